package cnn

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cpu"
)

// The golden values are PyTorch's in float64, with its layouts: activations
// N,C,H,W and convolution weights out,in,k,k.
func load(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "golden", name))
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatalf("golden values %s: %v", name, err)
	}
}

// tensor is a nested list of numbers with its shape.
type tensor struct {
	shape nn.Shape
	data  []float64
}

func (x *tensor) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	x.take(v, 0)
	return nil
}

func (x *tensor) take(v any, depth int) {
	list, ok := v.([]any)
	if !ok {
		x.data = append(x.data, v.(float64))
		return
	}
	if depth == len(x.shape) {
		x.shape = append(x.shape, len(list))
	}
	for _, e := range list {
		x.take(e, depth+1)
	}
}

// ours moves dimension 1 of a tensor of four dimensions to the end: NCHW to
// NHWC, OIHW to OHWI.
func (x *tensor) ours() []float64 {
	if len(x.shape) != 4 {
		return x.data
	}
	n, c, positions := x.shape[0], x.shape[1], x.shape[2]*x.shape[3]
	out := make([]float64, len(x.data))
	for i := range n {
		for j := range c {
			for p := range positions {
				out[(i*positions+p)*c+j] = x.data[(i*c+j)*positions+p]
			}
		}
	}
	return out
}

func (x *tensor) narrow() []float32 {
	out := make([]float32, len(x.data))
	for i, v := range x.ours() {
		out[i] = float32(v)
	}
	return out
}

// netGolden is a small net with two steps of SGD on two batches.
type netGolden struct {
	Subclass2Class []int   `json:"subclass2class"`
	Weight         float64 `json:"subclass_label_weight"`
	SGD            struct {
		LR          float64
		Momentum    float64
		WeightDecay float64 `json:"weight_decay"`
	}
	X      []tensor
	Labels [][]int // subclasses
	Init   map[string]tensor
	F64    struct {
		EvalInit   evalGolden `json:"eval_init"`
		Step1      stepGolden
		Step2      stepGolden
		EvalAfter2 evalGolden `json:"eval_after2"`
	}
}

type evalGolden struct {
	Logits tensor
	Loss   float64
}

type stepGolden struct {
	Loss     float64
	Grads    map[string]tensor
	After    map[string]tensor
	Momentum map[string]tensor
}

// TestGoldenVGG and TestGoldenWRN compare evaluation, the losses and gradients
// of two steps, and all state after them, with PyTorch.
func TestGoldenVGG(t *testing.T) {
	var g netGolden
	load(t, "net_vgg3.json", &g)
	g.check(t, VGG(g.spec(), []int{4, 0, 6, 0, 8, 0}, 10), strings.NewReplacer())
}

func TestGoldenWRN(t *testing.T) {
	var g netGolden
	load(t, "net_wrn_blocks.json", &g)
	g.check(t, WRN(g.spec(), 1, []int{4, 4, 8}), strings.NewReplacer("block1.layer.0.", "b1.", "block2.layer.0.", "b2."))
}

func (g *netGolden) spec() Spec {
	x := g.X[0].shape
	return Spec{Net: "golden", Batch: x[0], Outputs: len(g.Subclass2Class), Channels: x[1], Size: x[2]}
}

// check runs the golden steps; rename gives our parameters their golden names.
func (g *netGolden) check(t *testing.T, m *nn.Model, rename *strings.Replacer) {
	e, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	o := nn.NewSGD(g.SGD.WeightDecay)
	o.Momentum = g.SGD.Momentum
	loss := 0.0
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: o, KeepGradients: true, OnStep: func(r nn.StepResult) { loss = r.Loss }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	trained := slices.Concat(m.Graph.Params(), m.Graph.Buffers())
	if len(trained) != len(g.Init) {
		t.Errorf("%d tensors, golden are %d", len(trained), len(g.Init))
	}
	for _, v := range trained {
		x := g.Init[rename.Replace(v.Name)]
		if err := s.WriteState(v.Name, x.narrow()); err != nil {
			t.Fatal(err)
		}
	}
	g.checkEval(t, s, "before the steps", 0, g.F64.EvalInit)
	for i, want := range []stepGolden{g.F64.Step1, g.F64.Step2} {
		g.feed(s, i)
		if err := s.TrainStep(0, nn.StepParams{LR: g.SGD.LR, Step: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf(" of step %d", i+1)
		near(t, "loss"+what, []float64{loss}, []float64{want.Loss}, 0)
		for _, v := range trained {
			name := rename.Replace(v.Name)
			checkState(t, s, v.Name, want.After[name], what)
			if v.Role == nn.Param {
				checkState(t, s, "grad/"+v.Name, want.Grads[name], what)
				checkState(t, s, "sgd.momentum/"+v.Name, want.Momentum[name], what)
			}
		}
	}
	g.checkEval(t, s, "after the steps", 0, g.F64.EvalAfter2)
}

func (g *netGolden) feed(s nn.Session, batch int) {
	f := s.Feed(0)
	f.Rows = copy(f.Keys, make([]uint64, len(g.Labels[batch])))
	copy(f.Features[0], g.X[batch].narrow())
	f.Targets.Reset()
	for _, label := range g.Labels[batch] {
		for i, class := range g.Subclass2Class {
			switch {
			case i == label:
				f.Targets.Add(int32(i), 1, 1)
			case class == g.Subclass2Class[label]:
				f.Targets.Add(int32(i), 0, float32(g.Weight))
			}
		}
		f.Targets.EndRow()
	}
}

func (g *netGolden) checkEval(t *testing.T, s nn.Session, what string, batch int, want evalGolden) {
	t.Helper()
	g.feed(s, batch)
	scores, loss, err := s.Forward(0)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "logits "+what, widen(scores), want.Logits.data, 0)
	near(t, "loss "+what, []float64{loss}, []float64{want.Loss}, 0)
}

func checkState(t *testing.T, s nn.Session, name string, want tensor, what string) {
	t.Helper()
	absolute := 0.0
	// The true gradient of a convolution's bias before a normalisation is 0.
	if strings.Contains(name, "/features.") && strings.HasSuffix(name, ".bias") {
		absolute = 1e-7
	}
	err := s.ReadState(name, func(data []float32) error {
		near(t, name+what, widen(data), want.ours(), absolute)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// near compares to 1e-5 of a number, or of the largest one's fifth: what
// cancels keeps the error of its terms.
func near(t *testing.T, what string, got, want []float64, absolute float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	largest := 0.0
	for _, v := range want {
		largest = max(largest, math.Abs(v))
	}
	for i, v := range want {
		if d := math.Abs(got[i] - v); !(d <= 1e-5*max(math.Abs(v), largest/5)+absolute) {
			t.Errorf("%s, element %d: %g, want %g (largest %g)", what, i, got[i], v, largest)
			return
		}
	}
}

// TestGoldenShapes compares names, shapes, numbers of parameters and the
// standard deviations of initial weights with PyTorch's nets.
func TestGoldenShapes(t *testing.T) {
	var all map[string]struct {
		Parameters int
		Shapes     map[string]nn.Shape
		Std        map[string]float64
	}
	load(t, "net_shapes.json", &all)
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
