package cuda_test

import (
	"os"
	"testing"

	"sdnn/nn/conformance"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/libraries"
)

// Tests on a real card. Without one they are skipped, unless SDNN_TEST_GPU is
// set: then there must be one (make test-gpu).

func onCard(t *testing.T) *cuda.Engine {
	t.Helper()
	return onCardWith(t, cuda.Options{CacheDir: cacheDir})
}

func onCardWith(t *testing.T, o cuda.Options) *cuda.Engine {
	t.Helper()
	card, err := libraries.Open(0)
	if err != nil {
		if os.Getenv("SDNN_TEST_GPU") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return engineOn(t, card, o)
}

func TestGPUConformance(t *testing.T) { conformance.Run(t, onCard(t), conformance.AllOps) }

func TestGPUImageNetsAgainstCPU(t *testing.T) { imageNetsAgainstCPU(t, onCard(t)) }

func TestGPUBF16AgainstCPU(t *testing.T) { bf16AgainstCPU(t, onCard(t)) }

// Whatever candidates are the fastest, they compute the same net.
func TestGPUFastAgainstCPU(t *testing.T) {
	e := onCardWith(t, cuda.Options{CacheDir: cacheDir, Fast: true})
	t.Run("f32", func(t *testing.T) { imageNetsAgainstCPU(t, e) })
	t.Run("bf16", func(t *testing.T) { bf16AgainstCPU(t, e) })
}
