package cnn

import (
	"math"
	"slices"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/conformance"
	"sdnn/nn/cpu"
)

// TestGoldenVGG and TestGoldenWRN compare evaluation, the losses and gradients
// of two steps, and all state after them, with PyTorch in float64.
func TestGoldenVGG(t *testing.T) {
	golden(t, "net_vgg3.json", func(s Spec) *nn.Model { return VGG(s, []int{4, 0, 6, 0, 8, 0}, 10) }, nil)
}

func TestGoldenWRN(t *testing.T) {
	golden(t, "net_wrn_blocks.json", func(s Spec) *nn.Model { return WRN(s, 1, []int{4, 4, 8}) },
		strings.NewReplacer("block1.layer.0.", "b1.", "block2.layer.0.", "b2."))
}

func golden(t *testing.T, file string, net func(Spec) *nn.Model, rename *strings.Replacer) {
	e, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	conformance.RunGoldenImages(t, e, file, func(s conformance.GoldenSize) *nn.Model {
		return net(Spec{Net: "golden", Batch: s.Batch, Outputs: s.Outputs, Channels: s.Channels, Size: s.Size})
	}, rename)
}

// TestGoldenShapes compares names, shapes, numbers of parameters and the
// standard deviations of initial weights with PyTorch's nets.
func TestGoldenShapes(t *testing.T) {
	var all map[string]struct {
		Parameters int
		Shapes     map[string]nn.Shape
		Std        map[string]float64
	}
	conformance.LoadGolden(t, "net_shapes.json", &all)
	for name, s := range map[string]Spec{"vgg16_bn_10": {Net: "vgg16", Outputs: 10}, "vgg16_bn_110": {Net: "vgg16", Outputs: 110},
		"wrn28_10_10": {Net: "wrn-28-10", Outputs: 10}, "wrn28_10_110": {Net: "wrn-28-10", Outputs: 110}, "wrn16_8_12": {Net: "wrn-16-8", Outputs: 12}} {
		s.Batch, s.Size, s.Channels, s.Dropout = 1, 32, 3, 0.3
		m, err := Build(s)
		if err != nil {
			t.Fatal(err)
		}
		want := all[name]
		if got := m.ParamCount(); got != want.Parameters {
			t.Errorf("%s: %d parameters, want %d", name, got, want.Parameters)
		}
		if want.Shapes == nil {
			continue
		}
		tensors := slices.Concat(m.Graph.Params(), m.Graph.Buffers())
		if len(tensors) != len(want.Shapes) {
			t.Errorf("%s: %d tensors, want %d", name, len(tensors), len(want.Shapes))
		}
		for _, v := range tensors {
			shape := slices.Clone(want.Shapes[v.Name])
			if len(shape) == 4 {
				shape = nn.Shape{shape[0], shape[2], shape[3], shape[1]}
			}
			if !v.Shape.Equal(shape) {
				t.Errorf("%s: %s has shape %v, want %v", name, v.Name, v.Shape, shape)
				continue
			}
			if std, ok := want.Std[v.Name]; ok {
				checkStd(t, name, v, std)
			}
		}
	}
}

// checkStd compares the deviations of two samples of a distribution, ours of
// at most 2^18 numbers.
func checkStd(t *testing.T, net string, v *nn.Value, want float64) {
	x := make([]float32, min(v.Shape.Size(), 1<<18))
	v.Init.Fill(x, 1, v.Name)
	var sum, squares float64
	for _, f := range x {
		sum += float64(f)
		squares += float64(f) * float64(f)
	}
	n := float64(len(x))
	got := math.Sqrt(max(squares/n-sum/n*sum/n, 0))
	if math.Abs(got-want) > 5*want/math.Sqrt(n) {
		t.Errorf("%s: the initial %s has standard deviation %g, want %g", net, v.Name, got, want)
	}
}
