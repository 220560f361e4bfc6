package conformance

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"sdnn/nn"
)

// imageGolden is a small image net with what PyTorch computes of it in
// float64.
type imageGolden struct {
	Subclass2Class []int   `json:"subclass2class"`
	Weight         float64 `json:"subclass_label_weight"`
	SGD            struct {
		LR, Momentum float64
		WeightDecay  float64 `json:"weight_decay"`
	}
	X      [][][][][]float64 // step, N, C, H, W
	Labels [][]int
	Init   map[string]any
	F64    struct {
		EvalInit   goldenResult `json:"eval_init"`
		Step1      goldenResult
		Step2      goldenResult
		EvalAfter2 goldenResult `json:"eval_after2"`
	}
}

type goldenResult struct {
	Logits, Penultimate    [][]float64
	Loss                   float64
	Grads, After, Momentum map[string]any
}

// flatten lists the numbers of nested lists; a list of four levels, [O,I,K,K], becomes [O,K,K,I].
func flatten(v any) []float64 {
	if rows, ok := v.([]any); ok && len(rows) > 0 {
		if a, ok := rows[0].([]any); ok {
			if b, ok := a[0].([]any); ok {
				if c, ok := b[0].([]any); ok {
					return innerChannels(rows, len(a), len(b), len(c))
				}
			}
		}
		var all []float64
		for _, r := range rows {
			all = append(all, flatten(r)...)
		}
		return all
	}
	return []float64{v.(float64)}
}

func innerChannels(w []any, in, h, wd int) []float64 {
	var all []float64
	for _, o := range w {
		for y := range h {
			for x := range wd {
				for i := range in {
					all = append(all, o.([]any)[i].([]any)[y].([]any)[x].(float64))
				}
			}
		}
	}
	return all
}

// feed fills a batch with the images and labels of a step.
func (g *imageGolden) feed(f *nn.Feed, step int) {
	x := g.X[step]
	f.Rows = len(x)
	at := 0
	for _, img := range x {
		for y := range img[0] {
			for px := range img[0][y] {
				for c := range img {
					f.Features[0][at] = float32(img[c][y][px])
					at++
				}
			}
		}
	}
	f.Targets.Reset()
	for _, label := range g.Labels[step] {
		for s, class := range g.Subclass2Class {
			switch {
			case s == label:
				f.Targets.Add(int32(s), 1, 1)
			case class == g.Subclass2Class[label]:
				f.Targets.Add(int32(s), 0, float32(g.Weight))
			}
		}
		f.Targets.EndRow()
	}
}

// ours maps PyTorch's names of the residual net to those of package cnn.
func ours(name string) string {
	name = strings.Replace(name, "b1.", "block1.layer.0.", 1)
	return strings.Replace(name, "b2.", "block2.layer.0.", 1)
}

// imageTolerance allows for the gradient of a convolution's bias before a batch
// normalisation, which is zero but for rounding.
var imageTolerance = tolerance{scale: 1e-5, abs: 2e-7}

func readImageGolden(t testing.TB, file string) (g imageGolden) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// ImageGolden compares an engine with a file of golden values of a small image
// net, of which m is the model: evaluation, two training steps, evaluation. Fused
// and unfused, forward and backward, it has to compute what PyTorch does.
func ImageGolden(t *testing.T, e nn.Engine, file string, m *nn.Model) {
	g := readImageGolden(t, file)
	o := nn.NewSGD(g.SGD.WeightDecay)
	o.Momentum = g.SGD.Momentum
	h := open(t, e, &testCase{model: m}, nil, nn.CompileOptions{Purpose: nn.Training, Optimizer: o, KeepGradients: true})
	for name, v := range g.Init {
		if counts(name) {
			h.write(ours(name), narrow(flatten(v)))
		}
	}
	h.imageEvaluation(&g, "evaluation before", &g.F64.EvalInit)
	for i, want := range []*goldenResult{&g.F64.Step1, &g.F64.Step2} {
		g.feed(h.s.Feed(i), i)
		if err := h.s.TrainStep(i, nn.StepParams{LR: g.SGD.LR, Step: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
		what := []string{"step 1", "step 2"}[i]
		checkLoss(t, what+": loss", h.results()[i].Loss, want.Loss)
		h.imageState(what+" gradient", "grad/", want.Grads)
		h.imageState(what+" after", "", want.After)
	}
	h.imageEvaluation(&g, "evaluation after", &g.F64.EvalAfter2)
}

// counts leaves out PyTorch's counters of batches.
func counts(name string) bool { return !strings.HasSuffix(name, "num_batches_tracked") }

func (h *harness) imageEvaluation(g *imageGolden, what string, want *goldenResult) {
	h.t.Helper()
	g.feed(h.s.Feed(0), 0)
	scores, loss, err := h.s.Forward(0)
	if err != nil {
		h.t.Fatal(err)
	}
	check(h.t, what+": logits", nn.Shape{len(want.Logits), len(want.Logits[0])}, scores, flat(want.Logits), imageTolerance)
	checkLoss(h.t, what+": loss", loss, want.Loss)
}

func (h *harness) imageState(what, prefix string, values map[string]any) {
	h.t.Helper()
	for name, v := range values {
		if counts(name) {
			x := flatten(v)
			check(h.t, what+" "+name, nn.Shape{len(x)}, h.read(prefix+ours(name)), x, imageTolerance)
		}
	}
}
