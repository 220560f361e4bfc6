package cuda_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"sdnn/nn"
)

// netBuilder builds small networks by hand.
type netBuilder struct {
	g *nn.Graph
	m *nn.Model
}

func newNet(name string, batch int) *netBuilder {
	g := nn.NewGraph()
	return &netBuilder{g, &nn.Model{Name: name, Batch: batch, Graph: g}}
}

func (b *netBuilder) images(h, w, c int) *nn.Value {
	x := b.g.NewImageInput("x", b.m.Batch, h, w, c)
	b.m.Features = append(b.m.Features, x)
	return x
}

func (b *netBuilder) input(name string, width int) *nn.Value {
	x := b.g.NewInput(name, b.m.Batch, width)
	b.m.Features = append(b.m.Features, x)
	return x
}

func (b *netBuilder) conv(name string, in *nn.Value, out int, bias bool) *nn.Value {
	k := in.Shape[3]
	args := []*nn.Value{in, b.g.NewParam(name+".weight", nn.Shape{out, 3, 3, k}, nn.Init{Kind: nn.InitNormal, Arg: 1 / math.Sqrt(float64(9*k))})}
	if bias {
		args = append(args, b.g.NewParam(name+".bias", nn.Shape{out}, nn.Init{Kind: nn.InitNormal, Arg: 0.5}))
	}
	return b.g.Apply(name, nn.Conv2D{Stride: 1, Pad: 1}, args...)[0]
}

func (b *netBuilder) norm(name string, in *nn.Value) *nn.Value {
	s := nn.Shape{in.Shape[len(in.Shape)-1]}
	return b.g.Apply(name, nn.BatchNorm{Epsilon: 1e-5, Momentum: 0.1}, in,
		b.g.NewParam(name+".weight", s, nn.Init{Kind: nn.InitNormal, Arg: 1}), b.g.NewParam(name+".bias", s, nn.Init{Kind: nn.InitNormal, Arg: 0.3}),
		b.g.NewBuffer(name+".mean", s, nn.Init{}), b.g.NewBuffer(name+".var", s, nn.Init{Arg: 1}))[0]
}

// then applies an op of one input.
func (b *netBuilder) then(op nn.Op, in ...*nn.Value) *nn.Value {
	return b.g.Apply(in[0].Name+"/"+op.Kind(), op, in...)[0]
}

func (b *netBuilder) dense(name string, x *nn.Value, out int) (y, w *nn.Value) {
	init := nn.TorchUniform(x.Width())
	w = b.g.NewParam(name+".weight", nn.Shape{out, x.Width()}, init)
	return b.g.Apply(name, nn.Dense{}, x, w, b.g.NewParam(name+".bias", nn.Shape{out}, init))[0], w
}

// classify ends the net with a dense layer and the loss.
func (b *netBuilder) classify(x *nn.Value, outputs int) *nn.Model {
	if b.m.Penultimate == nil {
		b.m.Penultimate = x
	}
	b.m.Output, b.m.ClassWeight = b.dense("classes", x, outputs)
	if b.m.Penultimate != x {
		b.m.ClassWeight = nil
	}
	b.m.Loss = b.g.Apply("loss", nn.SubclassCE{}, b.m.Output)[0]
	return b.m
}

// imageNets are nets around a batch normalisation whose neighbours the engine can fuse, or must not.
var imageNets = []string{"norm", "norm pool", "norm relu", "norm relu pool", "norm relu dropout", "two readers of the norm",
	"two readers of the relu", "pool and another", "penultimate before the pool", "residual", "norm of the input", "dropout and another"}

// imageNet builds one of imageNets, of c channels and h x w images.
func imageNet(kind string, batch, h, w, c int) *nn.Model {
	b := newNet(kind, batch)
	x := b.images(h, w, 3)
	relu := func(v *nn.Value) *nn.Value { return b.then(nn.ReLU{}, v) }
	pool := func(v *nn.Value) *nn.Value { return b.then(nn.MaxPool2D{}, v) }
	drop := nn.Dropout{Rate: 0.3, Stream: 5}
	y := b.conv("conv1", x, c, true)
	switch kind {
	case "norm":
		y = b.norm("bn", y)
	case "norm pool":
		y = pool(b.norm("bn", y))
	case "norm relu":
		y = relu(b.norm("bn", y))
	case "norm relu pool":
		y = pool(relu(b.norm("bn", y)))
	case "norm relu dropout":
		y = b.conv("conv2", b.then(drop, relu(b.norm("bn", y))), c, true)
	case "two readers of the norm":
		y = b.norm("bn", y)
		y = b.then(nn.Add{}, relu(y), y)
	case "two readers of the relu":
		y = relu(b.norm("bn", y))
		y = b.then(nn.Add{}, b.conv("conv2", y, c, false), y)
	case "pool and another":
		z := relu(b.norm("bn", y))
		y = b.then(nn.Add{}, pool(z), pool(b.conv("conv2", z, c, false)))
	case "penultimate before the pool":
		y = relu(b.norm("bn", y))
		b.m.Penultimate = y
		y = pool(y)
	case "residual":
		for i := range 2 {
			z := b.conv(fmt.Sprintf("conv2.%d", i), relu(b.norm(fmt.Sprintf("bn1.%d", i), y)), c, false)
			z = b.conv(fmt.Sprintf("conv3.%d", i), relu(b.norm(fmt.Sprintf("bn2.%d", i), z)), c, true)
			y = b.then(nn.Add{}, z, y)
		}
		y = relu(b.norm("bn", y))
	case "norm of the input":
		y = b.conv("conv2", relu(b.norm("bn", x)), c, true)
	case "dropout and another":
		z := relu(b.norm("bn", y))
		y = b.then(nn.Add{}, b.then(drop, z), z)
	}
	return b.classify(b.then(nn.GlobalAvgPool{}, y), 3)
}

// videoNet is a small net of package mlp's kinds.
func videoNet(kind string, batch, width, outputs int) *nn.Model {
	b := newNet(kind, batch)
	a := b.then(nn.L2Norm{}, b.input("rgb", width-width/3))
	x := b.g.Apply("features", nn.Concat{}, a, b.then(nn.L2Norm{}, b.input("audio", width/3)))[0]
	switch kind {
	case "mlp":
		x, _ = b.dense("hidden", x, 24)
		x = b.then(nn.Dropout{Rate: 0.3, Stream: 1}, b.then(nn.ReLU{}, x))
	case "conv1d":
		x = b.then(nn.L2Norm{}, b.then(nn.GaussianNoise{Std: 0.03, Stream: 2}, x))
		w := b.g.NewParam("conv.weight", nn.Shape{8, 3}, nn.TorchUniform(3))
		x = b.then(nn.ReLU{}, b.g.Apply("conv", nn.Conv1D{}, x, w, b.g.NewParam("conv.bias", nn.Shape{8}, nn.TorchUniform(3)))[0])
		x = b.then(nn.MaxPool1D{}, x)
		x = b.then(nn.Reshape{Shape: nn.Shape{x.Width()}}, x)
	case "conv1d dropout":
		w := b.g.NewParam("conv.weight", nn.Shape{8, 3}, nn.TorchUniform(3))
		x = b.then(nn.ReLU{}, b.g.Apply("conv", nn.Conv1D{}, x, w, b.g.NewParam("conv.bias", nn.Shape{8}, nn.TorchUniform(3)))[0])
		x = b.then(nn.MaxPool1D{}, x)
		x = b.then(nn.Dropout{Rate: 0.3, Stream: 1}, b.then(nn.Reshape{Shape: nn.Shape{x.Width()}}, x))
	case "moe":
		b.m.Penultimate = x
		gates, _ := b.dense("gates", x, outputs*3)
		experts, _ := b.dense("experts", x, outputs*2)
		b.m.Output = b.g.Apply("mixture", nn.MixtureOfExperts{Experts: 2}, gates, experts)[0]
		b.m.Probabilities = true
		b.m.Loss = b.g.Apply("loss", nn.SubclassCE{Probabilities: true}, b.m.Output)[0]
		return b.m
	}
	return b.classify(x, outputs)
}

// fill makes a batch of its own for each step.
func fill(f *nn.Feed, step, rows, outputs int) {
	f.Rows = rows
	for i, x := range f.Features {
		nn.FillNormal(x, nn.KeyOfString(uint64(step), fmt.Sprint("x", i)))
	}
	targets(f, step, outputs)
}

func targets(f *nn.Feed, step, outputs int) {
	f.Targets.Reset()
	for r := range f.Rows {
		f.Keys[r] = nn.RowKey(1, step, uint64(r))
		h := nn.Hash32(uint64(step), uint32(r))
		f.Targets.Add(int32(h%uint32(outputs)), 1, 1)
		f.Targets.EndRow()
	}
}

// run is a session with the results of its steps.
type run struct {
	t testing.TB
	m *nn.Model
	nn.Session
	results []nn.StepResult
}

func start(t testing.TB, e nn.Engine, m *nn.Model, o nn.CompileOptions) *run {
	t.Helper()
	r := &run{t: t, m: m}
	o.OnStep = func(s nn.StepResult) {
		s.Theta = slices.Clone(s.Theta)
		r.results = append(r.results, s)
	}
	s, err := e.Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	r.Session = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Session.Close: %v", err)
		}
	})
	return r
}

// step trains on a batch of its own.
func (r *run) step(number, rows int, lr float64) {
	r.t.Helper()
	slot := number % r.Slots()
	if number > r.Slots() { // the slot must be free
		r.sync()
	}
	fill(r.Feed(slot), number, rows, r.m.Outputs())
	if err := r.TrainStep(slot, nn.StepParams{LR: lr, Step: int64(number)}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) sync() {
	r.t.Helper()
	if err := r.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

// state reads all tensors.
func (r *run) state() map[string][]float32 {
	r.t.Helper()
	all := map[string][]float32{}
	for _, s := range r.State() {
		all[s.Name] = r.read(s.Name)
	}
	return all
}

func (r *run) read(name string) (x []float32) {
	r.t.Helper()
	if err := r.ReadState(name, func(d []float32) error { x = slices.Clone(d); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return x
}

// has reports whether there is a state tensor: a parameter that does not reach
// the loss has no gradient.
func (r *run) has(name string) bool {
	return r.ReadState(name, func([]float32) error { return nil }) == nil
}

// sameBits compares what two runs hold.
func sameBits(t testing.TB, what string, got, want map[string][]float32) {
	t.Helper()
	for name, w := range want {
		for i := range w {
			if g := got[name]; len(g) != len(w) || math.Float32bits(g[i]) != math.Float32bits(w[i]) {
				t.Errorf("%s: %s[%d] differs", what, name, i)
				break
			}
		}
	}
}

// near compares tensors: within a share of the largest element, and a bit.
func near(t testing.TB, what string, got, want []float32, share, bit float64) {
	t.Helper()
	top := 0.0
	for _, w := range want {
		top = max(top, math.Abs(float64(w)))
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= share*top+bit) {
			t.Errorf("%s[%d] = %g, want %g (largest %g)", what, i, got[i], want[i], top)
			return
		}
	}
}
