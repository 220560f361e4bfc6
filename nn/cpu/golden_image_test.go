package cpu_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"sdnn/cnn"
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// imageGolden is a small image net with what PyTorch computes of it in
// float64: testdata/net_vgg3.json and net_wrn_blocks.json.
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
					return outInner(rows, len(a), len(b), len(c))
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

func outInner(w []any, in, h, wd int) []float64 {
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

func narrow(x []float64) []float32 {
	s := make([]float32, len(x))
	for i, v := range x {
		s[i] = float32(v)
	}
	return s
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

func near(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	top := 0.0
	for _, w := range want {
		top = max(top, math.Abs(w))
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		// Conv biases before a batch normalisation have a gradient of zero.
		if math.Abs(float64(got[i])-w) > 1e-5*top+2e-7 {
			t.Errorf("%s[%d] = %g, want %g", what, i, got[i], w)
			return
		}
	}
}

// checkImageGolden runs evaluation, two training steps and evaluation.
func readImageGolden(t *testing.T, file string) (g imageGolden) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func checkImageGolden(t *testing.T, file string, m *nn.Model) {
	g := readImageGolden(t, file)
	var losses []float64
	o := nn.NewSGD(g.SGD.WeightDecay)
	o.Momentum = g.SGD.Momentum
	s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: o, KeepGradients: true,
		OnStep: func(r nn.StepResult) { losses = append(losses, r.Loss) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, v := range g.Init {
		if strings.HasSuffix(name, "num_batches_tracked") {
			continue
		}
		if err := s.WriteState(ours(name), narrow(flatten(v))); err != nil {
			t.Fatal(err)
		}
	}
	eval := func(what string, want *goldenResult) {
		g.feed(s.Feed(0), 0)
		scores, loss, err := s.Forward(0)
		if err != nil {
			t.Fatal(err)
		}
		near(t, what+": logits", scores, flatten2(want.Logits))
		near(t, what+": loss", []float32{float32(loss)}, []float64{want.Loss})
	}
	state := func(what string, values map[string]any) {
		for name, v := range values {
			if strings.HasSuffix(name, "num_batches_tracked") {
				continue
			}
			prefix := ""
			if strings.HasSuffix(what, "gradients") {
				prefix = "grad/"
			}
			_ = s.ReadState(prefix+ours(name), func(d []float32) error {
				near(t, what+" "+name, d, flatten(v))
				return nil
			})
		}
	}
	eval("evaluation before", &g.F64.EvalInit)
	for i, want := range []*goldenResult{&g.F64.Step1, &g.F64.Step2} {
		g.feed(s.Feed(i), i)
		if err := s.TrainStep(i, nn.StepParams{LR: g.SGD.LR, Step: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
		what := []string{"step 1", "step 2"}[i]
		near(t, what+": loss", []float32{float32(losses[i])}, []float64{want.Loss})
		state(what+" gradients", want.Grads)
		state(what+" after", want.After)
	}
	eval("evaluation after", &g.F64.EvalAfter2)
}

func flatten2(x [][]float64) (all []float64) {
	for _, r := range x {
		all = append(all, r...)
	}
	return all
}

// Fused and unfused, forward and backward, in training and evaluation, the
// image nets compute what PyTorch does in float64, on every code path.
func TestGoldenImageNets(t *testing.T) {
	spec := cnn.Spec{Batch: 4, Outputs: 4, Size: 8, Channels: 3}
	for _, level := range kernel.Levels {
		t.Run(level.String(), func(t *testing.T) {
			useLevel(t, level)
			spec.Net = "vgg3"
			checkImageGolden(t, "net_vgg3.json", cnn.VGG(spec, []int{4, 0, 6, 0, 8, 0}, 10))
			spec.Net = "wrn-10"
			checkImageGolden(t, "net_wrn_blocks.json", cnn.WRN(spec, 1, []int{4, 4, 8}))
		})
	}
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
