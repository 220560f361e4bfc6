package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sdnn/nn"
)

// imageGolden is net_vgg3.json or net_wrn_blocks.json: a small image net, its
// evaluation, two steps of SGD on two batches, and evaluation again. Layouts are
// PyTorch's: activations [N,C,H,W], convolution weights [O,I,K,K].
type imageGolden struct {
	Subclass2Class []int   `json:"subclass2class"`
	Weight         float64 `json:"subclass_label_weight"`
	SGD            struct {
		LR, Momentum float64
		WeightDecay  float64 `json:"weight_decay"`
	}
	X      []tensor
	Labels [][]int // subclasses
	Init   map[string]tensor
	F64    struct {
		EvalInit   imageResult `json:"eval_init"`
		Step1      imageResult
		Step2      imageResult
		EvalAfter2 imageResult `json:"eval_after2"`
	}

	rename *strings.Replacer // names of the net's parameters into those of the file; nil: they are the same
}

// name is what the file calls a tensor of the net.
func (g *imageGolden) name(v *nn.Value) string {
	if g.rename == nil {
		return v.Name
	}
	return g.rename.Replace(v.Name)
}

type imageResult struct {
	Loss                   float64
	Logits, Penultimate    tensor
	GradX                  tensor `json:"grad_x"`
	Grads, After, Momentum map[string]tensor
}

// tensor is a nested list of numbers with its shape, in our layout: of four
// dimensions, the second is moved to the end.
type tensor struct {
	shape nn.Shape
	data  []float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (x *tensor) UnmarshalJSON(raw []byte) error {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	*x = tensor{}
	x.take(v, 0)
	if len(x.shape) == 4 {
		x.channelsLast()
	}
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

func (x *tensor) channelsLast() {
	n, c, positions := x.shape[0], x.shape[1], x.shape[2]*x.shape[3]
	from := x.data
	x.data = make([]float64, len(from))
	for i := range n {
		for j := range c {
			for p := range positions {
				x.data[(i*positions+p)*c+j] = from[(i*c+j)*positions+p]
			}
		}
	}
	x.shape = nn.Shape{n, x.shape[2], x.shape[3], c}
}

// goldenVGG is the net of net_vgg3.json: three convolutions and two hidden layers.
func goldenVGG(b *builder, x *nn.Value, outputs int) *nn.Model {
	for i, width := range []int{4, 6, 8} {
		x = b.conv2d(fmt.Sprintf("features.%d", 4*i), x, width, 3, nn.Conv2D{Stride: 1, Pad: 1}, true)
		x = b.pool(b.normReLU(fmt.Sprintf("features.%d", 4*i+1), x))
	}
	x = b.flatten("flatten", x)
	for _, name := range []string{"penultim_layer.0", "penultim_layer.3"} {
		x = b.relu(b.dense(name, x, 10))
	}
	return b.finish("vgg3", x, b.dense("classifier.1", x, outputs), false)
}

// goldenWRN is the net of net_wrn_blocks.json: a block that keeps the image's
// size and one that halves it.
func goldenWRN(b *builder, x *nn.Value, outputs int) *nn.Model {
	x = b.conv3("conv1", x, 4)
	x = b.block("b1", x, 4, 1, 0)
	x = b.block("b2", x, 8, 2, 0)
	x = b.average(b.normReLU("bn1", x))
	return b.finish("wrn-blocks", x, b.dense("fc", x, outputs), false)
}

// GoldenSize is the size of a golden image net: square images of some channels.
type GoldenSize struct{ Batch, Size, Channels, Outputs int }

// RunGoldenImages trains the image net that a net package builds for the size
// of a golden file's as that file says, and compares all that the file holds of
// it. rename turns the net's names of parameters into the file's.
func RunGoldenImages(t *testing.T, e nn.Engine, file string, net func(s GoldenSize) *nn.Model, rename *strings.Replacer) {
	g := imageGolden{rename: rename}
	LoadGolden(t, file, &g)
	shape := g.X[0].shape
	m := net(GoldenSize{Batch: shape[0], Size: shape[1], Channels: shape[3], Outputs: len(g.Subclass2Class)})
	g.training(t, e, AllOps, &testCase{model: m, set: g.state(m, g.Init)})
}

// imageNet builds one of the golden nets on images x.
type imageNet func(b *builder, x *nn.Value, outputs int) *nn.Model

func goldenImageNet(t *testing.T, e nn.Engine, must []string, file string, net imageNet) {
	var g imageGolden
	LoadGolden(t, file, &g)
	t.Run("training", func(t *testing.T) { g.training(t, e, must, g.build(build(g.X[0].shape[0]), net)) })
	t.Run("evaluation", func(t *testing.T) { g.evaluation(t, e, must, net) })
	t.Run("input", func(t *testing.T) { g.input(t, e, must, net) })
}

// build makes the net with its initial state.
func (g *imageGolden) build(b *builder, net imageNet) *testCase {
	shape := g.X[0].shape
	m := net(b, b.image("x", shape[1], shape[2], shape[3]), len(g.Subclass2Class))
	return &testCase{model: m, set: g.state(m, g.Init)}
}

// state lists a recorded state of the net.
func (g *imageGolden) state(m *nn.Model, from map[string]tensor) map[string][]float32 {
	set := map[string][]float32{}
	for _, v := range trained(m) {
		if x, ok := from[g.name(v)]; ok {
			set[v.Name] = narrow(x.data)
		}
	}
	return set
}

// training runs the two steps of the net of c.
func (g *imageGolden) training(t *testing.T, e nn.Engine, must []string, c *testCase) {
	if len(g.Init) != len(c.set) || len(g.Init) != len(trained(c.model)) {
		t.Errorf("the net has %d tensors, the golden one %d", len(trained(c.model)), len(g.Init))
	}
	o := nn.NewSGD(g.SGD.WeightDecay)
	o.Momentum = g.SGD.Momentum
	h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: o, KeepGradients: true})
	g.checkEval(h, "evaluation before", &g.F64.EvalInit)
	for i, want := range []*imageResult{&g.F64.Step1, &g.F64.Step2} {
		r := h.train(i%h.s.Slots(), g.feed(i), nn.StepParams{LR: g.SGD.LR, Step: int64(i + 1)})
		what := fmt.Sprintf("step %d: ", i+1)
		checkLoss(t, what+"loss", r.Loss, want.Loss)
		for _, v := range trained(c.model) {
			g.checkState(h, what, v.Name, want.After[g.name(v)])
			if v.Role == nn.Param {
				g.checkState(h, what, stateName("grad", v), want.Grads[g.name(v)])
				g.checkState(h, what, stateName("sgd.momentum", v), want.Momentum[g.name(v)])
			}
		}
	}
	g.checkEval(h, "evaluation after", &g.F64.EvalAfter2)
}

// evaluation compares the gradients in evaluation mode: through the running
// statistics.
func (g *imageGolden) evaluation(t *testing.T, e nn.Engine, must []string, net imageNet) {
	c := g.build(frozen(g.X[0].shape[0]), net)
	h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), KeepGradients: true})
	r := h.train(0, g.feed(0), nn.StepParams{Step: 1})
	checkLoss(t, "loss", r.Loss, g.F64.EvalInit.Loss)
	for _, v := range c.model.Graph.Params() {
		g.checkState(h, "", stateName("grad", v), g.F64.EvalInit.Grads[g.name(v)])
	}
	for _, v := range c.model.Graph.Buffers() {
		checkBits(t, v.Name+" after a step", h.read(v.Name), c.set[v.Name])
	}
}

// input compares the gradient of the loss for the images. They are given as the
// weights of a layer whose input rows are one-hot, so that the layer's gradient
// is that of the images.
func (g *imageGolden) input(t *testing.T, e nn.Engine, must []string, net imageNet) {
	shape := g.X[0].shape
	rows, width := shape[0], shape[1:].Size()
	b := build(rows)
	w := b.g.NewParam("images", nn.Shape{width, rows}, nn.Init{})
	x := b.apply("pixels", nn.Dense{}, b.input("rows", rows), w)
	m := net(b, b.apply("x", nn.Reshape{Shape: shape[1:]}, x), len(g.Subclass2Class))
	h := open(t, e, &testCase{model: m}, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), KeepGradients: true})
	for i, from := range []map[string]tensor{g.Init, g.F64.Step1.After} {
		want := []*imageResult{&g.F64.Step1, &g.F64.Step2}[i]
		for name, x := range g.state(m, from) {
			h.write(name, x)
		}
		h.write(w.Name, narrow(columnsFirst(g.X[i].data, rows)))
		f := g.feed(i)
		f.Features[0] = make([]float32, rows*rows)
		oneHotRows(f.Features[0], rows)
		r := h.train(0, f, nn.StepParams{Step: int64(i + 1)})
		what := fmt.Sprintf("step %d: ", i+1)
		checkLoss(t, what+"loss", r.Loss, want.Loss)
		check(t, what+"gradient of the images", w.Shape, h.read("grad/images"), columnsFirst(want.GradX.data, rows), goldenTolerance)
	}
}

// columnsFirst transposes a matrix of rows rows.
func columnsFirst(x []float64, rows int) []float64 {
	y, width := make([]float64, len(x)), len(x)/rows
	for i, v := range x {
		y[i%width*rows+i/width] = v
	}
	return y
}

// feed is the batch of a step.
func (g *imageGolden) feed(step int) *nn.Feed {
	f := &nn.Feed{Rows: len(g.Labels[step]), Features: [][]float32{narrow(g.X[step].data)}, Keys: make([]uint64, len(g.Labels[step]))}
	g.targets(&f.Targets, step)
	return f
}

func (g *imageGolden) targets(t *nn.Targets, step int) {
	t.Reset()
	for _, label := range g.Labels[step] {
		y, m := make([]float32, len(g.Subclass2Class)), make([]float32, len(g.Subclass2Class))
		for s, class := range g.Subclass2Class {
			if class == g.Subclass2Class[label] {
				m[s] = float32(g.Weight)
			}
		}
		y[label], m[label] = 1, 1
		addDense(t, y, m)
	}
}

func (g *imageGolden) checkEval(h *harness, what string, want *imageResult) {
	h.t.Helper()
	scores, _, loss := h.forward(0, g.feed(0))
	check(h.t, what+": logits", want.Logits.shape, scores, want.Logits.data, goldenTolerance)
	checkLoss(h.t, what+": loss", loss, want.Loss)
}

func (g *imageGolden) checkState(h *harness, what, name string, want tensor) {
	h.t.Helper()
	tol := goldenTolerance
	if strings.Contains(name, "/features.") && strings.HasSuffix(name, ".bias") {
		tol.abs = 2e-7 // the bias before a normalisation has a gradient of zero but for rounding
	}
	check(h.t, what+name, want.shape, h.read(name), want.data, tol)
}
