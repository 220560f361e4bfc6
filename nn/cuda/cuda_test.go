package cuda_test

import (
	"os"
	"path/filepath"
	"testing"

	"sdnn/cnn"
	"sdnn/nn/conformance"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/fakecard"
)

// cacheDir keeps the compiled kernels for all tests of the package.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sdnn-cuda")
	if err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "kernels")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// open starts an engine on a fake card that reports to t what is wrong, also what is left at the end.
func open(t testing.TB, o fakecard.Options) (*cuda.Engine, *fakecard.Card) {
	t.Helper()
	if o.Report == nil {
		o.Report = t
	}
	card := fakecard.New(o)
	e, err := cuda.New(card, cuda.Options{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Engine.Close: %v", err)
		}
		if err := card.Close(); err != nil {
			t.Errorf("Card.Close: %v", err)
		}
	})
	return e, card
}

// computing is open, for tests of numbers.
func computing(t testing.TB) *cuda.Engine {
	t.Helper()
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skipf("NOT CHECKED: kernels cannot run here: %v", why)
	}
	e, _ := open(t, fakecard.Options{})
	return e
}

func TestConformance(t *testing.T) { conformance.Run(t, computing(t), conformance.AllOps) }

func TestGoldenImageNets(t *testing.T) {
	spec := cnn.Spec{Batch: 4, Outputs: 4, Size: 8, Channels: 3, Net: "vgg3"}
	conformance.ImageGolden(t, computing(t), "../cpu/testdata/net_vgg3.json", cnn.VGG(spec, []int{4, 0, 6, 0, 8, 0}, 10))
	spec.Net = "wrn-10"
	conformance.ImageGolden(t, computing(t), "../cpu/testdata/net_wrn_blocks.json", cnn.WRN(spec, 1, []int{4, 4, 8}))
}
