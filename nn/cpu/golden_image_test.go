package cpu_test

import (
	"testing"

	"sdnn/cnn"
	"sdnn/nn/conformance"
	"sdnn/nn/cpu/kernel"
)

// Fused and unfused, forward and backward, in training and evaluation, the
// image nets compute what PyTorch does in float64, on every code path.
func TestGoldenImageNets(t *testing.T) {
	spec := cnn.Spec{Batch: 4, Outputs: 4, Size: 8, Channels: 3}
	for _, level := range kernel.Levels {
		t.Run(level.String(), func(t *testing.T) {
			useLevel(t, level)
			spec.Net = "vgg3"
			conformance.ImageGolden(t, engine(t, 2), "testdata/net_vgg3.json", cnn.VGG(spec, []int{4, 0, 6, 0, 8, 0}, 10))
			spec.Net = "wrn-10"
			conformance.ImageGolden(t, engine(t, 2), "testdata/net_wrn_blocks.json", cnn.WRN(spec, 1, []int{4, 4, 8}))
		})
	}
}

// useLevel switches to a code path for a test, or skips it.
func useLevel(t testing.TB, level kernel.Level) {
	t.Helper()
	before, err := kernel.Use(level)
	if err != nil {
		t.Skipf("NOT CHECKED: %v", err)
	}
	t.Cleanup(func() { _, _ = kernel.Use(before) })
}
