package cpu_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sdnn/cnn"
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// normNet builds nets around a batch normalisation, of c channels (some no
// multiple of 16) and h x w images (some odd), whose neighbours the engine can fuse, or must not.
func normNet(kind string, batch, h, w, c int) *nn.Model {
	g := nn.NewGraph()
	x := g.NewImageInput("x", batch, h, w, 2)
	m := &nn.Model{Name: kind, Batch: batch, Graph: g, Features: []*nn.Value{x}}
	conv := func(name string, in *nn.Value, out int, bias bool) *nn.Value {
		k := in.Shape[3]
		args := []*nn.Value{in, g.NewParam(name+".weight", nn.Shape{out, 3, 3, k}, nn.Init{Kind: nn.InitNormal, Arg: 1 / math.Sqrt(float64(9*k))})}
		if bias {
			args = append(args, g.NewParam(name+".bias", nn.Shape{out}, nn.Init{Kind: nn.InitNormal, Arg: 0.5}))
		}
		return g.Apply(name, nn.Conv2D{Stride: 1, Pad: 1}, args...)[0]
	}
	norm := func(name string, in *nn.Value) *nn.Value {
		s := nn.Shape{in.Shape[len(in.Shape)-1]}
		return g.Apply(name, nn.BatchNorm{Epsilon: 1e-5, Momentum: 0.1}, in,
			g.NewParam(name+".weight", s, nn.Init{Kind: nn.InitNormal, Arg: 1}), g.NewParam(name+".bias", s, nn.Init{Kind: nn.InitNormal, Arg: 0.3}),
			g.NewBuffer(name+".mean", s, nn.Init{}), g.NewBuffer(name+".var", s, nn.Init{Arg: 1}))[0]
	}
	relu := func(in *nn.Value) *nn.Value { return g.Apply(in.Name+"/relu", nn.ReLU{}, in)[0] }
	pool := func(in *nn.Value) *nn.Value { return g.Apply(in.Name+"/pool", nn.MaxPool2D{}, in)[0] }
	add := func(a, b *nn.Value) *nn.Value { return g.Apply(a.Name+"/add", nn.Add{}, a, b)[0] }

	y := conv("conv1", x, c, true)
	switch kind {
	case "norm":
		y = norm("bn", y)
	case "norm pool": // no ReLU between
		y = pool(norm("bn", y))
	case "norm relu":
		y = relu(norm("bn", y))
	case "norm relu pool":
		y = pool(relu(norm("bn", y)))
	case "two readers of the norm":
		y = norm("bn", y)
		y = add(relu(y), y)
	case "two readers of the relu":
		y = relu(norm("bn", y))
		y = add(conv("conv2", y, c, false), y)
	case "pool and another":
		z := relu(norm("bn", y))
		y = add(pool(z), pool(conv("conv2", z, c, false)))
	case "two convolutions":
		y = pool(relu(norm("bn", conv("conv2", y, c, true))))
	case "penultimate before the pool":
		y = relu(norm("bn", y))
		m.Penultimate = y
		y = pool(y)
	case "residual":
		for i := range 2 {
			z := conv(fmt.Sprintf("conv2.%d", i), relu(norm(fmt.Sprintf("bn1.%d", i), y)), c, false)
			z = conv(fmt.Sprintf("conv3.%d", i), relu(norm(fmt.Sprintf("bn2.%d", i), z)), c, true)
			y = add(z, y)
		}
		y = relu(norm("bn", y))
	case "norm of the input":
		y = conv("conv2", relu(norm("bn", x)), c, true)
	}
	classify(m, g.Apply("average", nn.GlobalAvgPool{}, y)[0], c)
	return m
}

// classify ends m with three classes from the c numbers of y, and their loss.
func classify(m *nn.Model, y *nn.Value, c int) {
	g := m.Graph
	if m.Penultimate == nil {
		m.Penultimate = y
	}
	w2 := g.NewParam("classes.weight", nn.Shape{3, c}, nn.Init{Kind: nn.InitNormal, Arg: 1})
	m.Output = g.Apply("classes", nn.Dense{}, y, w2, g.NewParam("classes.bias", nn.Shape{3}, nn.Init{}))[0]
	m.Loss = g.Apply("loss", nn.SubclassCE{}, m.Output)[0]
}

// The passes that are meant to be fused are.
func TestNormsAreFused(t *testing.T) {
	for kind, want := range map[string][]string{
		"norm":           {"batch-norm", "batch-norm-backward"},
		"norm relu":      {"batch-norm+relu", "relu+batch-norm-backward"},
		"norm relu pool": {"batch-norm+relu+max-pool", "max-pool+relu+batch-norm-backward"},
		"norm pool":      {"batch-norm", "max-pool2d", "max-pool2d-backward", "batch-norm-backward"},
		"residual": {"batch-norm+relu", "batch-norm+relu", "add+statistics", "batch-norm+relu", "batch-norm+relu", "add+statistics", "batch-norm+relu",
			"relu+batch-norm-backward", "relu+batch-norm-backward", "relu+batch-norm-backward+add", "column-sum",
			"relu+batch-norm-backward", "relu+batch-norm-backward+add", "column-sum"}, // of biases before a sum
		"penultimate before the pool": {"batch-norm+relu+max-pool", "max-pool+relu+batch-norm-backward"},
	} {
		s, err := engine(t, 1).Compile(normNet(kind, 2, 4, 4, 16), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatal(err)
		}
		fill(s.Feed(0), 1, 2, 3)
		s.(nn.Profiler).SetProfiling(true)
		if err := s.TrainStep(0, nn.StepParams{Step: 1}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Forward(0); err != nil {
			t.Fatal(err)
		}
		got := normPasses(s.(nn.Profiler).Profile(true))
		if !slices.Equal(got, want) {
			t.Errorf("%s: passes are %q, want %q", kind, got, want)
		}
		if kind == "penultimate before the pool" { // evaluation is asked for what is before the pool
			want := []string{"max-pool2d"} // the normalisation is part of a convolution
			if got := normPasses(s.(nn.Profiler).Profile(false)); !slices.Equal(got, want) {
				t.Errorf("%s: passes of evaluation are %q, want %q", kind, got, want)
			}
		}
		s.Close()
	}
}

// normPasses lists the kinds of the ops that are neither products nor at the ends of a net.
func normPasses(ops []nn.OpProfile) (kinds []string) {
	for _, o := range ops {
		switch {
		case strings.Contains(o.Kind, "conv"), strings.Contains(o.Kind, "dense"), strings.Contains(o.Kind, "global"),
			o.Kind == "sgd", o.Kind == "subclass-ce", o.Name == "d:classes.bias":
		default:
			kinds = append(kinds, o.Kind)
		}
	}
	return kinds
}

// Statistics keep their precision far from zero, where the sum of squares
// would lose all of it in float32.
func TestStatisticsFarFromZero(t *testing.T) {
	for _, level := range kernel.Levels {
		t.Run(level.String(), func(t *testing.T) {
			useLevel(t, level)
			const batch, side, away = 9, 31, 1000
			m := normNet("norm of the input", batch, side, side, 16)
			s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			x := s.Feed(0).Features[0]
			fill(s.Feed(0), 1, batch, 3)
			var mean, square [2]float64
			for i := range x {
				x[i] += away
				mean[i%2] += float64(x[i]) / (batch * side * side)
			}
			for i, v := range x {
				square[i%2] += (float64(v) - mean[i%2]) * (float64(v) - mean[i%2]) / (batch*side*side - 1)
			}
			if err := s.TrainStep(0, nn.StepParams{Step: 1}); err != nil {
				t.Fatal(err)
			}
			for c := range 2 {
				_ = s.ReadState("bn.mean", func(d []float32) error {
					if want := 0.1 * mean[c]; math.Abs(float64(d[c])-want) > 1e-7*want {
						t.Errorf("running mean %g, want %g", d[c], want)
					}
					return nil
				})
				_ = s.ReadState("bn.var", func(d []float32) error {
					if want := 0.9 + 0.1*square[c]; math.Abs(float64(d[c])-want) > 1e-6 {
						t.Errorf("running variance %g, want %g", d[c], want)
					}
					return nil
				})
			}
		})
	}
}

// imageNets are small image nets with every pass that package cnn's have.
func imageNets(t *testing.T) []*nn.Model {
	s := cnn.Spec{Net: "vgg", Batch: 17, Outputs: 7, Size: 8, Channels: 3, Dropout: 0.3}
	vgg := cnn.VGG(s, []int{16, 24, 0, 20, 0, 5, 0}, 20)
	s.Net = "wrn"
	return []*nn.Model{vgg, cnn.WRN(s, 2, []int{16, 32, 20}), normNet("two readers of the relu", 21, 9, 7, 20)}
}

// A step of an image net in its steady state allocates nothing.
func TestImageStepAllocatesNothing(t *testing.T) {
	for _, m := range imageNets(t) {
		s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatal(err)
		}
		fill(s.Feed(0), 1, m.Batch, m.Outputs())
		run := func() {
			if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Forward(0); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			run()
		}
		if n := testing.AllocsPerRun(10, run); n > 0 {
			t.Errorf("%s: a step allocates %g times", m.Name, n)
		}
		s.Close()
	}
}
