package cpu_test

import (
	"fmt"
	"math"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// convNet has a convolution of every kind the engine knows: few channels,
// Winograd on even and odd maps, stride 2, 1x1, and 2x2 maps.
func convNet(batch int) *nn.Model {
	g := nn.NewGraph()
	h := g.NewImageInput("x", batch, 21, 21, 3)
	m := &nn.Model{Name: "convolutions", Batch: batch, Graph: g, Features: []*nn.Value{h}}
	m.OutputWeight = g.NewConstant("output_weight", nn.Shape{10}, nn.Init{Kind: nn.InitConstant, Arg: 1})
	conv := func(name string, out, k, stride int) {
		c := h.Shape[3]
		w := g.NewParam(name+".weight", nn.Shape{out, k, k, c}, nn.Init{Kind: nn.InitNormal, Arg: math.Sqrt(2 / float64(k*k*c))})
		b := g.NewParam(name+".bias", nn.Shape{out}, nn.Init{Kind: nn.InitNormal, Arg: 0.1})
		h = g.Apply(name, nn.Conv2D{Stride: stride, Pad: k / 2}, h, w, b)[0]
		h = g.Apply(name+"/relu", nn.ReLU{}, h)[0]
	}
	conv("first", 16, 3, 1)
	conv("large", 32, 3, 1)
	conv("half", 32, 3, 2)
	conv("point", 48, 1, 1)
	conv("middle", 48, 3, 1)
	h = g.Apply("pool", nn.MaxPool2D{}, h)[0] // 5x5
	h = g.Apply("pool2", nn.MaxPool2D{}, h)[0]
	conv("small", 16, 3, 1)
	m.Penultimate = g.Apply("flat", nn.Reshape{Shape: nn.Shape{h.Width()}}, h)[0]
	m.ClassWeight = g.NewParam("out.weight", nn.Shape{10, h.Width()}, nn.TorchUniform(h.Width()))
	m.Output = g.Apply("out", nn.Dense{}, m.Penultimate, m.ClassWeight)[0]
	m.Loss = g.Apply("loss", nn.SubclassCE{}, m.Output, m.OutputWeight)[0]
	return m
}

// gradients returns the parameters' gradients of one step.
func gradients(t *testing.T, e nn.Engine, fast bool) map[string][]float32 {
	t.Helper()
	before := kernel.UseFastConv(fast)
	defer kernel.UseFastConv(before)
	m := convNet(9)
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), KeepGradients: true, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill(s.Feed(0), 1, 7, 10)
	if err := s.TrainStep(0, nn.StepParams{LR: 0, Step: 1}); err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	for _, p := range m.Graph.Params() {
		_ = s.ReadState("grad/"+p.Name, func(d []float32) error {
			all[p.Name] = append([]float32(nil), d...)
			return nil
		})
	}
	return all
}

// The fast convolutions give the gradients of the direct ones.
func TestFastConvAgreesWithDirect(t *testing.T) {
	e := engine(t, 2)
	direct, fast := gradients(t, e, false), gradients(t, e, true)
	same := 0
	for name, want := range direct {
		var d, n float64
		for i, v := range want {
			e := float64(fast[name][i]) - float64(v)
			d, n = d+e*e, n+float64(v)*float64(v)
		}
		if n == 0 || math.Sqrt(d/n) > 1e-5 {
			t.Errorf("%s: l2 difference %.2g of norm %.2g", name, math.Sqrt(d), math.Sqrt(n))
		}
		if d == 0 {
			same++
		}
	}
	if same == len(direct) {
		t.Error("all gradients are equal: the fast way was not taken")
	}
}

// Convolutions end in the same bits on any number of threads and on both
// vector paths.
func TestConvolutionsGiveTheSameBits(t *testing.T) {
	for _, fast := range []bool{true, false} {
		want := fmt.Sprint(gradients(t, engine(t, 1), fast))
		for _, threads := range []int{2, 3} {
			if fmt.Sprint(gradients(t, engine(t, threads), fast)) != want {
				t.Errorf("fast=%v: %d threads end in other bits than 1", fast, threads)
			}
		}
		if !kernel.Has(kernel.AVX512) || kernel.Path() == kernel.Portable {
			t.Log("NOT CHECKED: AVX2 against AVX-512")
			continue
		}
		var paths []string
		for _, l := range []kernel.Level{kernel.AVX2, kernel.AVX512} {
			before, err := kernel.Use(l)
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, fmt.Sprint(gradients(t, engine(t, 2), fast)))
			_, _ = kernel.Use(before)
		}
		if paths[0] != paths[1] {
			t.Errorf("fast=%v: AVX2 and AVX-512 end in other bits", fast)
		}
	}
}

// A step with convolutions allocates nothing.
func TestConvolutionsAllocateNothing(t *testing.T) {
	s, err := engine(t, 2).Compile(convNet(8), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill(s.Feed(0), 1, 8, 10)
	run := func() {
		if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Forward(0); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		run()
	}
	if n := testing.AllocsPerRun(10, run); n > 0 {
		t.Errorf("a step allocates %g times", n)
	}
}
