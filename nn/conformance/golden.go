package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"testing"

	"sdnn/nn"
)

// LoadGolden reads golden values: computed in float64 by another implementation
// (NumPy and PyTorch) from the published definitions. They are in the
// repository's testdata/golden; a test runs in the folder of its package.
func LoadGolden(t testing.TB, name string, into any) {
	t.Helper()
	folder := filepath.Join("testdata", "golden")
	for range 4 { // the depth of packages
		if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
			break
		}
		folder = filepath.Join("..", folder)
	}
	raw, err := os.ReadFile(filepath.Join(folder, name))
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatalf("golden values %s: %v", name, err)
	}
}

// goldenTolerance is 1e-5 relative, and for what cancels, 1e-6 of the largest.
var goldenTolerance = tolerance{rel: 1e-5, scale: 1e-6, abs: 1e-9}

func runGolden(t *testing.T, e nn.Engine, must []string) {
	t.Run("yt8m-net", func(t *testing.T) { goldenNets(t, e, must) })
	t.Run("class-ce", func(t *testing.T) { goldenLosses(t, e, must, "class_ce.json") })
	t.Run("subclass-ce", func(t *testing.T) { goldenLosses(t, e, must, "subclass_ce.json") })
	t.Run("neglection", func(t *testing.T) { goldenNeglection(t, e, must) })
	t.Run("vgg3", func(t *testing.T) { goldenImageNet(t, e, must, "net_vgg3.json", goldenVGG) })
	t.Run("wrn-blocks", func(t *testing.T) { goldenImageNet(t, e, must, "net_wrn_blocks.json", goldenWRN) })
}

// netGolden is a case of yt8m_net.json. Kernels are [k][1][filters] and [in][out].
type netGolden struct {
	RGB, Audio, Noise, Labels [][]float64
	Init                      netParams
	F64                       []struct {
		LR, Loss    float64
		Flat, Pred  [][]float64
		Grads       netParams
		ParamsAfter netParams `json:"params_after"`
	}
}

type netParams struct {
	ConvKernel  [][][]float64 `json:"conv_kernel"`
	ConvBias    []float64     `json:"conv_bias"`
	DenseKernel [][]float64   `json:"dense_kernel"`
	DenseBias   []float64     `json:"dense_bias"`
}

// ours returns the parameters by our names in our layout: [F,K] and [S,F]; nil
// if the case does not record them.
func (p netParams) ours() State {
	if p.ConvKernel == nil {
		return nil
	}
	var k [][]float64
	for _, t := range p.ConvKernel {
		k = append(k, t[0])
	}
	return State{"conv.weight": flat(transposed(k)), "conv.bias": p.ConvBias,
		"classes.weight": flat(transposed(p.DenseKernel)), "classes.bias": p.DenseBias}
}

// goldenNet is the paper's video net with its noise as an input.
func goldenNet(batch, rgb, audio, filters, k, outputs int) *nn.Model {
	b := build(batch)
	r, a, noise := b.input("rgb", rgb), b.input("audio", audio), b.input("noise", rgb+audio)
	x := b.apply("join", nn.Concat{}, b.apply("unit.rgb", nn.L2Norm{}, r), b.apply("unit.audio", nn.L2Norm{}, a))
	x = b.apply("unit", nn.L2Norm{}, b.apply("noisy", nn.Add{}, x, noise))
	h := b.apply("relu", nn.ReLU{}, b.conv("conv", x, filters, k))
	return b.classify("yt8m-net", b.flatten("flat", b.apply("pool", nn.MaxPool1D{}, h)), outputs)
}

func goldenNets(t *testing.T, e nn.Engine, must []string) {
	var all struct{ Cases map[string]netGolden }
	LoadGolden(t, "yt8m_net.json", &all)
	var names []string
	for name := range all.Cases {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) { goldenNetCase(t, e, must, all.Cases[name]) })
	}
}

func goldenNetCase(t *testing.T, e nn.Engine, must []string, g netGolden) {
	rows, outputs := len(g.Labels), len(g.Labels[0])
	m := goldenNet(rows, len(g.RGB[0]), len(g.Audio[0]), len(g.Init.ConvBias), len(g.Init.ConvKernel), outputs)
	f := &nn.Feed{Rows: rows, Features: [][]float32{narrow(flat(g.RGB)), narrow(flat(g.Audio)), narrow(flat(g.Noise))}, Keys: make([]uint64, rows)}
	f.Targets.Reset()
	for _, y := range g.Labels {
		addDense(&f.Targets, narrow(y), narrow(y))
	}
	c := &testCase{model: m, set: map[string][]float32{}}
	for name, x := range g.Init.ours() {
		c.set[name] = narrow(x)
	}
	h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewAdam(), KeepGradients: true})
	for i, want := range g.F64 {
		scores, penultimate, loss := h.forward(0, f)
		checkLoss(t, "evaluation loss", loss, want.Loss)
		if want.Flat != nil { // recorded for the first step
			check(t, "flat", nn.Shape{rows, len(want.Flat[0])}, penultimate, flat(want.Flat), goldenTolerance)
			check(t, "pred", nn.Shape{rows, outputs}, narrow(mapped(widen(scores), sigmoid)), flat(want.Pred), goldenTolerance)
		}

		r := h.train(i%h.s.Slots(), f, nn.StepParams{LR: want.LR, Step: int64(i + 1)})
		checkLoss(t, fmt.Sprintf("loss of step %d", i), r.Loss, want.Loss)
		grads, params := want.Grads.ours(), want.ParamsAfter.ours()
		for _, v := range m.Graph.Params() {
			name := stateName("grad", v)
			if grads != nil {
				check(t, fmt.Sprintf("%s of step %d", name, i), v.Shape, h.read(name), grads[v.Name], goldenTolerance)
			}
			if params != nil {
				check(t, fmt.Sprintf("%s after step %d", v.Name, i), v.Shape, h.read(v.Name), params[v.Name], goldenTolerance)
			}
		}
	}
}

// lossGolden is a case of class_ce.json and subclass_ce.json.
type lossGolden struct {
	Map, Kind      string
	Weight         float64
	Subclass2Class []int
	Labels         []int
	Logits         [][]float64
	F64            struct {
		Loss float64
		Grad [][]float64
	}
}

// targets are those of the case: siblings get m = Weight.
func (g *lossGolden) targets() nn.Targets {
	var t nn.Targets
	t.Reset()
	for r, label := range g.Labels {
		y, m := make([]float32, len(g.Logits[r])), make([]float32, len(g.Logits[r]))
		for s := range g.Subclass2Class {
			if g.Subclass2Class[s] == g.Subclass2Class[label] {
				m[s] = float32(g.Weight)
			}
		}
		y[label], m[label] = 1, 1
		addDense(&t, y, m)
	}
	return t
}

// goldenLosses gives the logits as the weights of a layer whose input rows are
// one-hot, so that the layer's gradient is that of the logits.
func goldenLosses(t *testing.T, e nn.Engine, must []string, file string) {
	var all struct{ Cases []lossGolden }
	LoadGolden(t, file, &all)
	for i := range all.Cases {
		g := &all.Cases[i]
		rows, outputs := len(g.Logits), len(g.Logits[0])
		f := &nn.Feed{Rows: rows, Features: [][]float32{make([]float32, rows*rows)}, Keys: make([]uint64, rows), Targets: g.targets()}
		oneHotRows(f.Features[0], rows)
		c := &testCase{model: logistic("ce", rows, rows, outputs), set: map[string][]float32{
			"classes.weight": narrow(flat(transposed(g.Logits))), "classes.bias": make([]float32, outputs)}}
		h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), KeepGradients: true})
		what := fmt.Sprintf("case %d (%s %s, weight %g)", i, g.Map, g.Kind, g.Weight)
		scores, _, loss := h.forward(0, f)
		check(t, what+": logits", nn.Shape{rows, outputs}, scores, flat(g.Logits), tolerance{})
		checkLoss(t, what+": evaluation loss", loss, g.F64.Loss)
		checkLoss(t, what+": loss", h.train(0, f, nn.StepParams{Step: 1}).Loss, g.F64.Loss)
		check(t, what+": gradient", nn.Shape{outputs, rows}, h.read("grad/classes.weight"), flat(transposed(g.F64.Grad)), goldenTolerance)
	}
}

// goldenNeglection gives the logits as an input, added to a layer of weight
// zero whose gradient is the class's.
func goldenNeglection(t *testing.T, e nn.Engine, must []string) {
	var all struct {
		Batches []struct {
			X, Logits [][]float64
			Labels    []int
			Present   []bool
			TAll      []float64 `json:"t_all"`
		}
	}
	LoadGolden(t, "neglection.json", &all)
	for i, g := range all.Batches {
		rows, classes := len(g.X), len(g.Logits[0])
		b := build(rows)
		x, z := b.input("x", len(g.X[0])), b.input("logits", classes)
		layer := b.dense("classes", x, classes)
		m := b.finish("neglection", x, b.apply("sum", nn.Add{}, layer, z), false)
		m.ClassWeight = layer.Node.In[1]
		f := &nn.Feed{Rows: rows, Features: [][]float32{narrow(flat(g.X)), narrow(flat(g.Logits))}, Keys: make([]uint64, rows)}
		f.Targets.Reset()
		want := make([]float64, classes)
		for _, label := range g.Labels {
			y := make([]float32, classes)
			y[label] = 1
			addDense(&f.Targets, y, y)
		}
		for k, p := range g.Present {
			if p {
				want[k] = g.TAll[k]
			}
		}
		c := &testCase{model: m, set: map[string][]float32{
			"classes.weight": make([]float32, classes*len(g.X[0])), "classes.bias": make([]float32, classes)}}
		h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(0)})
		theta := h.train(0, f, nn.StepParams{Step: 1}).Theta
		check(t, fmt.Sprintf("batch %d: theta", i), nn.Shape{classes}, theta, want, tolerance{rel: 2e-4})
	}
}

func flat(x [][]float64) []float64 {
	var y []float64
	for _, row := range x {
		y = append(y, row...)
	}
	return y
}

func transposed(x [][]float64) [][]float64 {
	y := make([][]float64, len(x[0]))
	for i := range y {
		y[i] = make([]float64, len(x))
		for j := range x {
			y[i][j] = x[j][i]
		}
	}
	return y
}
