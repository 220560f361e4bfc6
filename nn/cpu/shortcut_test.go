package cpu_test

import (
	"math"
	"slices"
	"testing"

	"sdnn/nn"
	"sdnn/nn/conformance"
	"sdnn/nn/cpu/kernel"
)

// shortcutNet is a residual block whose shortcut is a 1x1 convolution of c
// channels to o, with whatever can keep its sum from being fused.
func shortcutNet(kind string, batch, h, w, c, o, stride int) *nn.Model {
	g := nn.NewGraph()
	x := g.NewImageInput("x", batch, h, w, 2)
	m := &nn.Model{Name: kind, Batch: batch, Graph: g, Features: []*nn.Value{x}}
	conv := func(name string, in *nn.Value, out, k, stride int) *nn.Value {
		depth := in.Shape[3] * k * k
		weight := g.NewParam(name+".weight", nn.Shape{out, k, k, in.Shape[3]}, nn.Init{Kind: nn.InitNormal, Arg: 1 / math.Sqrt(float64(depth))})
		return g.Apply(name, nn.Conv2D{Stride: stride, Pad: k / 2}, in, weight, g.NewParam(name+".bias", nn.Shape{out}, nn.Init{Kind: nn.InitNormal, Arg: 0.5}))[0]
	}
	relu := func(in *nn.Value) *nn.Value { return g.Apply(in.Name+"/relu", nn.ReLU{}, in)[0] }
	add := func(a, b *nn.Value) *nn.Value { return g.Apply(a.Name+"/add", nn.Add{}, a, b)[0] }

	y := relu(conv("first", x, c, 3, 1))
	switch kind {
	case "main way first":
		y = add(conv("main", y, o, 3, stride), conv("shortcut", y, o, 1, stride))
	case "shortcut first":
		s := conv("shortcut", y, o, 1, stride)
		y = add(s, conv("main", y, o, 3, stride))
	case "main way read twice":
		z := conv("main", y, o, 3, stride)
		y = add(add(z, conv("shortcut", y, o, 1, stride)), relu(z))
	case "shortcut read twice":
		s := conv("shortcut", y, o, 1, stride)
		y = add(add(conv("main", y, o, 3, stride), s), relu(s))
	case "sum of the shortcut with itself":
		s := conv("shortcut", y, o, 1, stride)
		y = add(s, s)
	}
	classify(m, g.Apply("average", nn.GlobalAvgPool{}, relu(y))[0], o)
	return m
}

// A shortcut that is added by its own product, or is not, and biases before a
// residual sum: what the suite's own nets lack.
func TestResidualSumsConform(t *testing.T) {
	for _, level := range kernel.Levels {
		t.Run(level.String(), func(t *testing.T) {
			useLevel(t, level)
			e := engine(t, 2)
			for _, s := range [][6]int{{3, 5, 6, 16, 16, 1}, {3, 5, 4, 3, 5, 2}} { // batch, height, width, channels, outputs, stride
				for _, kind := range []string{"main way first", "shortcut first", "main way read twice", "shortcut read twice", "sum of the shortcut with itself"} {
					conformance.RunNet(t, e, shortcutNet(kind, s[0], s[1], s[2], s[3], s[4], s[5]))
				}
				conformance.RunNet(t, e, normNet("residual", s[0], s[1], s[2], s[3]))
			}
		})
	}
}

// The sums that are meant to be fused are.
func TestShortcutsAreFused(t *testing.T) {
	for kind, want := range map[string][2]int{ // sums that are left in a training step, and those in a product
		"main way first":      {0, 2},
		"shortcut first":      {1, 1}, // its value is made before the main way's, which Winograd computes
		"main way read twice": {2, 2},
	} {
		s, err := engine(t, 1).Compile(shortcutNet(kind, 2, 4, 4, 16, 16, 1), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatal(err)
		}
		fill(s.Feed(0), 1, 2, 3)
		s.(nn.Profiler).SetProfiling(true)
		if err := s.TrainStep(0, nn.StepParams{Step: 1}); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		var got [2]int
		for _, o := range s.(nn.Profiler).Profile(true) {
			kinds = append(kinds, o.Kind)
			if o.Kind == "add" {
				got[0]++
			}
			if slices.Contains([]string{"conv2d+add", "conv2d-backward-data+add"}, o.Kind) {
				got[1]++
			}
		}
		if got != want {
			t.Errorf("%s: %d sums and %d in products, want %d, in %q", kind, got[0], got[1], want, kinds)
		}
		s.Close()
	}
}
