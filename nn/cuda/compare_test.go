package cuda_test

import (
	"fmt"
	"math"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cpu"
)

func cpuEngine(t testing.TB) nn.Engine {
	t.Helper()
	e, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// compare trains a net on both engines, the second step on a part of a batch,
// and compares losses, gradients, state and an evaluation.
func compare(t *testing.T, e nn.Engine, m *nn.Model, o nn.CompileOptions, share float64) {
	t.Helper()
	o.KeepGradients, o.Seed = true, 3
	reference := o
	reference.Precision = nn.F32
	a, b := start(t, cpuEngine(t), m, reference), start(t, e, m, o)
	for i, rows := range []int{m.Batch, m.Batch/2 + 1, m.Batch} {
		for _, r := range []*run{a, b} {
			r.step(i+1, rows, 0.01)
			r.sync()
		}
		x, y := a.results[i], b.results[i]
		near(t, fmt.Sprintf("loss of step %d", i+1), []float32{float32(y.Loss)}, []float32{float32(x.Loss)}, share, 0)
		if y.Rows != rows || y.Step != int64(i+1) {
			t.Errorf("step %d of %d rows gave a result of step %d, %d rows", i+1, rows, y.Step, y.Rows)
		}
		for _, v := range m.Graph.Params() {
			if name := "grad/" + v.Name; i == 0 && b.has(name) {
				near(t, name, b.read(name), a.read(name), share, 2e-6)
			}
		}
		if o.Purpose == nn.Measuring && i == 0 {
			near(t, "theta", y.Theta, x.Theta, 100*share, 1e-6)
		}
	}
	want := a.state()
	for name, x := range b.state() {
		near(t, name+" after", x, want[name], share, 2e-6)
	}
	fill(a.Feed(0), 9, 2, m.Outputs())
	fill(b.Feed(0), 9, 2, m.Outputs())
	x, lx, errx := a.Forward(0)
	y, ly, erry := b.Forward(0)
	if errx != nil || erry != nil {
		t.Fatal(errx, erry)
	}
	near(t, "scores", y, x, share, 1e-6)
	near(t, "evaluation loss", []float32{float32(ly)}, []float32{float32(lx)}, share, 0)
	near(t, "penultimate", b.Penultimate(), a.Penultimate(), share, 1e-6)
}

// Whatever is fused, image nets train on the card as on the processor.
func TestImageNetsAgainstCPU(t *testing.T) { imageNetsAgainstCPU(t, computing(t)) }

func imageNetsAgainstCPU(t *testing.T, e nn.Engine) {
	t.Helper()
	for _, kind := range imageNets {
		for _, s := range [][4]int{{3, 4, 6, 16}, {3, 5, 7, 5}} { // batch, height, width, channels
			m := imageNet(kind, s[0], s[1], s[2], s[3])
			t.Run(fmt.Sprintf("%s %v", kind, s), func(t *testing.T) {
				compare(t, e, m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(5e-4)}, 3e-5)
			})
		}
	}
}

// The video net's dropout is part of the passes beside it, both ways.
func TestConv1DDropout(t *testing.T) {
	e, m := computing(t), videoNet("conv1d dropout", 6, 33, 11)
	o := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam()}
	compare(t, e, m, o, 3e-5)
	r := start(t, e, m, o)
	p := r.Session.(nn.Profiler)
	p.SetProfiling(true)
	r.step(1, 6, 0.1)
	r.sync()
	kinds := map[string]int{}
	for _, op := range p.Profile(true) {
		kinds[op.Kind]++
	}
	if kinds["dropout"] != 0 || kinds["conv1d+relu+max-pool+dropout"] != 1 || kinds["conv1d+relu+max-pool+dropout-backward"] != 1 {
		t.Errorf("the ops are %v", kinds)
	}
}

// bf16 keeps about three digits: a run in it stays near one in float32. What
// it must not do is lose a term, a mask or a scale.
func TestBF16AgainstCPU(t *testing.T) { bf16AgainstCPU(t, computing(t)) }

func bf16AgainstCPU(t *testing.T, e nn.Engine) {
	t.Helper()
	for _, kind := range imageNets {
		t.Run(kind, func(t *testing.T) {
			near16(t, e, imageNet(kind, 4, 4, 6, 8), nn.NewSGD(5e-4))
		})
	}
	for _, kind := range []string{"logistic", "mlp", "conv1d", "conv1d dropout", "moe"} {
		t.Run(kind, func(t *testing.T) { near16(t, e, videoNet(kind, 6, 33, 11), nn.NewAdam()) })
	}
}

// near16 compares a step in bf16 with one in float32 on the processor: losses,
// gradients as vectors, and that the shadows that products read follow the weights.
func near16(t *testing.T, e nn.Engine, m *nn.Model, o nn.Optimizer) {
	t.Helper()
	options := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: o, KeepGradients: true, Seed: 3}
	a := start(t, cpuEngine(t), m, options)
	options.Precision = nn.BF16
	b := start(t, e, m, options)
	for i, rows := range []int{m.Batch, m.Batch - 1} {
		a.step(i+1, rows, 0.01)
		b.step(i+1, rows, 0.01)
		a.sync()
		b.sync()
		near(t, "loss", []float32{float32(b.results[i].Loss)}, []float32{float32(a.results[i].Loss)}, 0.02, 0)
	}
	for _, v := range m.Graph.Params() {
		if !b.has("grad/" + v.Name) {
			continue
		}
		g, want := b.read("grad/"+v.Name), a.read("grad/"+v.Name)
		if off, size := distance(g, want), norm(want); off > 0.2*size+2e-3 {
			t.Errorf("gradient of %s is %g off, its length is %g", v.Name, off, size)
		}
	}
	fill(b.Feed(0), 9, 2, m.Outputs())
	x, _, err := b.Forward(0)
	if err != nil {
		t.Fatal(err)
	}
	before := append([]float32(nil), x...)
	for _, v := range m.Graph.Params() { // writing weights makes their shadows anew
		if err := b.WriteState(v.Name, b.read(v.Name)); err != nil {
			t.Fatal(err)
		}
	}
	x, _, err = b.Forward(0)
	if err != nil {
		t.Fatal(err)
	}
	sameBits(t, "scores with rewritten weights", map[string][]float32{"scores": x}, map[string][]float32{"scores": before})
}

func norm(x []float32) float64 { return distance(x, make([]float32, len(x))) }

func distance(x, y []float32) float64 {
	s := 0.0
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		s += d * d
	}
	return math.Sqrt(s)
}
