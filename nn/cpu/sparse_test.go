package cpu_test

import (
	"fmt"
	"testing"

	"sdnn/cnn"
	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// zerosNets are nets of which the dense layers read what ReLU and dropout leave, large enough for tiles of more than one kind.
func zerosNets() []stepNet {
	video := mlp.Spec{Net: mlp.MLP, Batch: 150, Outputs: 210, Columns: []mlp.Column{{Name: "mean_rgb", Width: 100}}, Hidden: 400, Dropout: 0.3}
	image := cnn.Spec{Net: "vgg", Batch: 70, Outputs: 7, Size: 8, Channels: 3, Dropout: 0.5}
	return []stepNet{
		{"mlp", 33, func() *nn.Model {
			m, err := mlp.Build(video)
			if err != nil {
				panic(err)
			}
			return m
		}, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam(), Seed: 7}},
		{"vgg16", 5, func() *nn.Model { return cnn.VGG(image, []int{16, 0, 16, 0, 32, 0}, 200) },
			nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(5e-4), Seed: 7}},
	}
}

// TestStepsWithZerosSkipped: a step leaves the same bits whether products skip zeros or not, on any number of threads.
func TestStepsWithZerosSkipped(t *testing.T) {
	for _, n := range append(zerosNets(), stepNets()...) {
		if n.o.Precision == nn.BF16 {
			continue // its products keep zeros
		}
		t.Run(fmt.Sprintf("%s/%s", n.name, n.o.Optimizer.Kind), func(t *testing.T) {
			for _, level := range []kernel.Level{kernel.AVX512, kernel.AVX2} {
				if !kernel.Has(level) {
					t.Logf("NOT CHECKED: %v", level)
					continue
				}
				compareSkipping(t, n, level)
			}
		})
	}
}

// compareSkipping is TestStepsWithZerosSkipped for a net on a code path.
func compareSkipping(t *testing.T, n stepNet, level kernel.Level) {
	before, err := kernel.Use(level)
	if err != nil {
		t.Fatal(err)
	}
	was := kernel.UseZeros(kernel.ZerosKept)
	defer func() {
		kernel.UseZeros(was)
		_, _ = kernel.Use(before)
	}()
	want := steps(t, n, 2)
	kernel.UseZeros(kernel.ZerosSkipped)
	for threads := 1; threads <= 3; threads++ {
		got := steps(t, n, threads)
		for i := range got {
			if name := want[i].differ(got[i]); name != "" {
				t.Errorf("%v, %d threads: after step %d %s is another than with the zeros", level, threads, i, name)
				break
			}
		}
	}
}
