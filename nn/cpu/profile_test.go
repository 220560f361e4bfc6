package cpu_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"sdnn/nn"
)

// profileNet is a small image net with an op of each kind whose cost a test counts: on maps of 8x8 and 2x2.
func profileNet(batch int) *nn.Model {
	g := nn.NewGraph()
	x := g.NewImageInput("x", batch, 8, 8, 3)
	m := &nn.Model{Name: "profile", Batch: batch, Graph: g, Features: []*nn.Value{x}}
	conv := func(name string, in *nn.Value, out, stride int) *nn.Value {
		w := g.NewParam(name+".weight", nn.Shape{out, 3, 3, in.Shape[3]}, nn.Init{Kind: nn.InitNormal, Arg: 0.1})
		return g.Apply(name, nn.Conv2D{Stride: stride, Pad: 1}, in, w)[0]
	}
	y := conv("first", x, 16, 1)
	s := nn.Shape{16}
	y = g.Apply("bn", nn.BatchNorm{Epsilon: 1e-5, Momentum: 0.1}, y, g.NewParam("bn.weight", s, nn.Init{Kind: nn.InitConstant, Arg: 1}),
		g.NewParam("bn.bias", s, nn.Init{}), g.NewBuffer("bn.mean", s, nn.Init{}), g.NewBuffer("bn.var", s, nn.Init{Arg: 1}))[0]
	y = g.Apply("relu", nn.ReLU{}, y)[0]
	y = conv("fast", y, 32, 1)
	y = g.Apply("pool", nn.MaxPool2D{}, y)[0]
	y = conv("stride", y, 16, 2)
	y = conv("small", y, 16, 1)
	classify(m, g.Apply("average", nn.GlobalAvgPool{}, y)[0], 16)
	return m
}

// profileOf returns the ops of a training step and of an evaluation of the given rows, by kind and name.
func profileOf(t *testing.T, m *nn.Model, rows int, o nn.CompileOptions) (train, eval map[string]nn.OpProfile) {
	t.Helper()
	s, err := engine(t, 2).Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := s.(nn.Profiler)
	p.SetProfiling(true)
	fill(s.Feed(0), 1, rows, m.Outputs())
	for step := range int64(2) {
		if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: step + 1}); err != nil {
			t.Fatal(err)
		}
	}
	s.Feed(0).Targets.Reset()
	if _, _, err := s.Forward(0); err != nil {
		t.Fatal(err)
	}
	list := func(ops []nn.OpProfile, calls int) map[string]nn.OpProfile {
		found := map[string]nn.OpProfile{}
		for _, o := range ops {
			if o.Calls != calls && o.Calls != 0 {
				t.Errorf("%s %s: %d calls, want %d", o.Kind, o.Name, o.Calls, calls)
			}
			if time.Duration(o.Calls)*o.Best > o.Time {
				t.Errorf("%s %s: the fastest of %d calls took %v, all %v", o.Kind, o.Name, o.Calls, o.Best, o.Time)
			}
			if o.Calls > 0 {
				found[o.Kind+" "+o.Name] = o
			}
		}
		return found
	}
	return list(p.Profile(true), 2), list(p.Profile(false), 1)
}

type cost struct {
	op                       string
	flops, work, bytes, sets float64
}

func checkCosts(t *testing.T, ops map[string]nn.OpProfile, costs []cost) {
	t.Helper()
	for _, c := range costs {
		o, ok := ops[c.op]
		if !ok {
			var names []string
			for name := range ops {
				names = append(names, name)
			}
			t.Errorf("no op %q among %s", c.op, strings.Join(names, ", "))
			continue
		}
		if o.Flops != c.flops || o.Work != c.work || o.Bytes != c.bytes || o.Set != c.sets {
			t.Errorf("%s: flops %g, work %g, bytes %g, set %g; want %g, %g, %g, %g", c.op, o.Flops, o.Work, o.Bytes, o.Set, c.flops, c.work, c.bytes, c.sets)
		}
	}
}

// What ops of an image net have to do, counted by hand, for 3 rows of a batch of 4.
func TestProfileCountsImageOps(t *testing.T) {
	train, eval := profileOf(t, profileNet(4), 3, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4)})
	const (
		x     = 4 * 3 * 64 * 3  // bytes of the images
		first = 4 * 3 * 64 * 16 // of the maps of 8x8 and 16 channels
		fast  = 2 * first       // of 32 channels
		small = 4 * 3 * 4 * 16  // of 2x2 and 16 channels
		w     = 4 * 9 * 16 * 32 // of the weights from 16 to 32 channels
		c16   = 4 * 16          // of one number a channel
	)
	direct := func(pixels, in, out float64) float64 { return 2 * 3 * pixels * 9 * in * out }
	checkCosts(t, train, []cost{
		{"conv2d first", direct(64, 3, 16), direct(64, 3, 16), x + first + 4*9*3*16, x + first + 4*9*3*16},
		// 4 tiles of 4x4 pixels an image, at 36 points each.
		{"conv2d fast", direct(64, 16, 32), 2 * 3 * 4 * 36 * 16 * 32, first + fast + w, first + fast + w},
		{"conv2d-backward-weight d:fast.weight", direct(64, 16, 32), 2 * 3 * 4 * 36 * 16 * 32, first + fast + w, first + fast + w},
		// Maps of 2x2: 9 products for 16.
		{"conv2d small", direct(4, 16, 16), 2 * 3 * 9 * 16 * 16, 2*small + 4*9*16*16, 2*small + 4*9*16*16},
		// x is read for the statistics and again to apply them; y, weight, bias, both running values, mean and 1/deviation.
		{"batch-norm+relu relu", 0, 0, 3*first + 6*c16, 2*first + 6*c16},
		{"max-pool2d pool", 0, 0, fast + fast/4, fast + fast/4},
		// Weights and momentum are read and written, the gradient read.
		{"sgd fast.weight", 0, 0, 5 * w, 3 * w},
	})
	// dy and x twice, dx once; weight, bias, mean, 1/deviation and two gradients.
	for name, o := range train {
		if strings.HasPrefix(name, "relu+batch-norm-backward ") {
			if want := float64(5*first + 6*c16); o.Bytes != want {
				t.Errorf("%s: %g bytes, want %g", name, o.Bytes, want)
			}
		}
	}
	checkCosts(t, eval, []cost{{"conv2d fast", direct(64, 16, 32), 2 * 3 * 4 * 36 * 16 * 32, first + fast + w, first + fast + w}})
	for name := range eval {
		if strings.HasPrefix(name, "subclass-ce") {
			t.Error("a loss that was not computed is in the profile of evaluation")
		}
	}
}

// What dense layers have to do, and which are computed in bf16: mlp of 85 features, 48 hidden units and 97 outputs, 6 rows
// of 8. The hidden layer has 4080 weights, too few for bf16.
func TestProfileCountsDenseLayers(t *testing.T) {
	for _, precision := range precisions(t) {
		train, _ := profileOf(t, videoNet("mlp", 8, 85, 97), 6, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewAdam(), Precision: precision})
		const hidden, logits, w = 4 * 6 * 48, 4 * 6 * 97, 4 * 48 * 97
		const product = 2 * 6 * 48 * 97
		checkCosts(t, train, []cost{
			{"dense relu", 2 * 6 * 85 * 48, 2 * 6 * 85 * 48, 4*6*85 + 4*85*48 + 4*48 + hidden, 4*6*85 + 4*85*48 + 4*48 + hidden},
			{"dense classifier", product, product, hidden + w + 4*97 + logits, hidden + w + 4*97 + logits},
			// The gradient is used where it is made; weights and two moments are read and written.
			{"dense-backward-weight+adam classifier.weight", product, product, hidden + logits + 6*w, hidden + logits + 3*w},
		})
		for name, bf16 := range map[string]bool{"dense relu": false, "dense classifier": precision == nn.BF16, "dense-backward-weight+adam classifier.weight": precision == nn.BF16} {
			if train[name].BF16 != bf16 {
				t.Errorf("%s, %s: BF16 is %v", precision, name, train[name].BF16)
			}
		}
	}
}

// A roof is measured on the pool's threads, of the path in use.
func TestRoof(t *testing.T) {
	s, err := engine(t, 2).Compile(videoNet("logistic", 4, 5, 3), nn.CompileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.(nn.Profiler).Roof()
	if r.Path == "" || !(r.Flops > 0) || (r.BF16Flops > 0) != (len(precisions(t)) == 2) || len(r.Bandwidth) < 3 {
		t.Fatalf("%+v", r)
	}
	last := 0.0
	for _, b := range r.Bandwidth {
		if b.Set <= last || !(b.Rate > 0) || math.IsInf(b.Rate, 0) {
			t.Errorf("bandwidth of a set of %g bytes after one of %g: %g", b.Set, last, b.Rate)
		}
		last = b.Set
	}
}
