package cpu_test

import (
	"fmt"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/conformance"
	"sdnn/nn/cpu"
	"sdnn/nn/cpu/kernel"
)

func engine(t testing.TB, threads int) *cpu.Engine {
	t.Helper()
	e, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
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

// Every instruction set that the machine has passes the whole suite.
func TestConformance(t *testing.T) {
	for _, level := range kernel.Levels {
		t.Run(level.String(), func(t *testing.T) {
			useLevel(t, level)
			conformance.Run(t, engine(t, 2), conformance.AllOps)
		})
	}
}

// videoNet builds the video networks in small, by hand, so that the engine's
// tests do not depend on package mlp.
func videoNet(kind string, batch, width, outputs int) *nn.Model {
	g := nn.NewGraph()
	x := g.NewInput("x", batch, width)
	m := &nn.Model{Name: kind, Batch: batch, Graph: g, Features: []*nn.Value{x}}
	m.OutputWeight = g.NewConstant("output_weight", nn.Shape{outputs}, nn.Init{Kind: nn.InitConstant, Arg: 1})
	dense := func(name string, in *nn.Value, n int) (*nn.Value, *nn.Value) {
		f := in.Width()
		w := g.NewParam(name+".weight", nn.Shape{n, f}, nn.TorchUniform(f))
		b := g.NewParam(name+".bias", nn.Shape{n}, nn.TorchUniform(f))
		return g.Apply(name, nn.Dense{}, in, w, b)[0], w
	}
	h := x
	switch kind {
	case "mlp":
		h, _ = dense("hidden", x, 48)
		h = g.Apply("relu", nn.ReLU{}, h)[0]
		h = g.Apply("dropout", nn.Dropout{Rate: 0.3, Stream: 1}, h)[0]
	case "conv1d":
		h = g.Apply("noise", nn.GaussianNoise{Std: 0.03, Stream: 2}, x)[0]
		h = g.Apply("norm", nn.L2Norm{}, h)[0]
		w := g.NewParam("conv.weight", nn.Shape{64, 3}, nn.TorchUniform(3))
		b := g.NewParam("conv.bias", nn.Shape{64}, nn.TorchUniform(3))
		h = g.Apply("conv", nn.Conv1D{}, h, w, b)[0]
		h = g.Apply("relu", nn.ReLU{}, h)[0]
		h = g.Apply("pool", nn.MaxPool1D{}, h)[0]
		h = g.Apply("flat", nn.Reshape{Shape: nn.Shape{h.Width()}}, h)[0]
	case "moe":
		gates, _ := dense("gates", x, outputs*3)
		experts, _ := dense("experts", x, outputs*2)
		m.Output = g.Apply("mixture", nn.MixtureOfExperts{Experts: 2}, gates, experts)[0]
		m.Probabilities = true
	}
	m.Penultimate = h
	if m.Output == nil {
		m.Output, m.ClassWeight = dense("classifier", h, outputs)
	}
	m.Loss = g.Apply("loss", nn.SubclassCE{Probabilities: m.Probabilities}, m.Output, m.OutputWeight)[0]
	return m
}

func fill(f *nn.Feed, step, rows, outputs int) {
	f.Rows = rows
	for _, x := range f.Features {
		nn.FillNormal(x, nn.KeyOfString(uint64(step), "x"))
	}
	f.Targets.Reset()
	for r := range rows {
		f.Keys[r] = nn.RowKey(1, step, uint64(r))
		h := nn.Hash32(uint64(step), uint32(r))
		f.Targets.Add(int32(h%uint32(outputs)), 1, 1)
		f.Targets.EndRow()
	}
}

// A step in its steady state allocates nothing.
func TestStepAllocatesNothing(t *testing.T) {
	for _, kind := range []string{"logistic", "mlp", "conv1d", "moe"} {
		m := videoNet(kind, 64, 40, 33)
		s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam()})
		if err != nil {
			t.Fatal(err)
		}
		fill(s.Feed(0), 1, 64, 33)
		step := int64(0)
		run := func() {
			step++
			if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: step}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Forward(0); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			run()
		}
		if n := testing.AllocsPerRun(20, run); n > 0 {
			t.Errorf("%s: a step allocates %g times", kind, n)
		}
		s.Close()
	}
}

// The video net's convolution runs as one pass each way: its intermediate
// values would be the largest of the step.
func TestConv1DFuses(t *testing.T) {
	s, err := engine(t, 1).Compile(videoNet("conv1d", 8, 20, 5), nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := s.(nn.Profiler)
	p.SetProfiling(true)
	fill(s.Feed(0), 1, 8, 5)
	if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Forward(0); err != nil {
		t.Fatal(err)
	}
	for training, want := range map[bool][]string{
		true:  {"conv1d+relu+max-pool", "conv1d+relu+max-pool-backward"},
		false: {"conv1d+relu+max-pool"},
	} {
		var got []string
		for _, o := range p.Profile(training) {
			for _, k := range []string{"conv1d", "relu", "max-pool"} {
				if strings.HasPrefix(o.Kind, k) {
					got = append(got, o.Kind)
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("training %v: the convolution runs as %v, want %v", training, got, want)
		}
	}
}
