package mlp_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/nn/conformance"
)

var yt8m = []mlp.Column{{Name: "mean_rgb", Width: 1024}, {Name: "mean_audio", Width: 128}}

func spec(net string, batch, outputs int) mlp.Spec {
	return mlp.Spec{Net: net, Batch: batch, Outputs: outputs, Columns: yt8m, Hidden: 2048, Dropout: 0.3, Noise: 0.03, Experts: 2, Filters: 64}
}

func build(t *testing.T, s mlp.Spec) *nn.Model {
	t.Helper()
	m, err := mlp.Build(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSizes counts parameters by hand at YouTube-8M's sizes.
func TestSizes(t *testing.T) {
	const s, f = 3962, 1152
	for _, c := range []struct {
		net         string
		params      int
		penultimate int
	}{
		{mlp.Logistic, s*f + s, f},
		{mlp.MLP, 2048*f + 2048 + s*2048 + s, 2048},
		{mlp.MoE, s*3*f + s*2*f + s*2, f},
		{mlp.Conv1D, 64*3 + 64 + s*(f/2*64) + s, f / 2 * 64},
	} {
		m := build(t, spec(c.net, 7, s))
		if m.ParamCount() != c.params {
			t.Errorf("%s: %d parameters, want %d", c.net, m.ParamCount(), c.params)
		}
		if !m.Output.Shape.Equal(nn.Shape{7, s}) || m.Penultimate.Width() != c.penultimate {
			t.Errorf("%s: output %v, penultimate %v", c.net, m.Output, m.Penultimate)
		}
		if isMoE := c.net == mlp.MoE; (m.ClassWeight == nil) != isMoE || m.Probabilities != isMoE {
			t.Errorf("%s: class weight %v, probabilities %v", c.net, m.ClassWeight, m.Probabilities)
		}
		for _, p := range []nn.Purpose{nn.Evaluation, nn.Training, nn.Measuring} {
			nn.NewProgram(m, p)
		}
	}
}

// TestPenultimateIsWhatTheClassifierReads: the neglection degree uses the classification
// layer's own gradient, so its x must be what that layer reads.
func TestPenultimateIsWhatTheClassifierReads(t *testing.T) {
	for _, net := range []string{mlp.Logistic, mlp.MLP, mlp.Conv1D} {
		m := build(t, spec(net, 2, 3))
		in := m.Output.Node.In
		if in[0] != m.Penultimate || in[1] != m.ClassWeight {
			t.Errorf("%s: the classifier reads %v, %v", net, in[0], in[1])
		}
	}
}

func TestTrainingOnlyOps(t *testing.T) {
	kinds := func(m *nn.Model) string {
		var k []string
		for _, n := range nn.NewProgram(m, nn.Training).Nodes {
			if _, ok := n.Op.(nn.TrainingOnly); ok && !strings.HasPrefix(n.Out[0].Name, "d:") {
				k = append(k, n.Op.Kind())
			}
		}
		return strings.Join(k, " ")
	}
	if k := kinds(build(t, spec(mlp.MLP, 2, 3))); k != "gaussian-noise dropout" {
		t.Errorf("mlp has %q", k)
	}
	plain := spec(mlp.Conv1D, 2, 3)
	plain.Noise, plain.Dropout = 0, 0
	if k := kinds(build(t, plain)); k != "" {
		t.Errorf("conv1d without noise and dropout has %q", k)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, c := range []struct {
		change func(*mlp.Spec)
		want   string
	}{
		{func(s *mlp.Spec) { s.Net = "resnet" }, "logistic, mlp, moe, conv1d"},
		{func(s *mlp.Spec) { s.Columns = nil }, "feature columns"},
		{func(s *mlp.Spec) { s.Net, s.Columns = mlp.Conv1D, []mlp.Column{{Name: "x", Width: 1}} }, "too few"},
		{func(s *mlp.Spec) { s.Net, s.Experts = mlp.MoE, 0 }, "at least one"},
	} {
		s := spec(mlp.MLP, 2, 3)
		c.change(&s)
		if _, err := mlp.Build(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v does not say %q", err, c.want)
		}
	}
}

// TestWeighted: a weight of 2 on every output doubles the loss.
func TestWeighted(t *testing.T) {
	s := mlp.Spec{Net: mlp.Logistic, Batch: 2, Outputs: 3, Columns: []mlp.Column{{Name: "x", Width: 4}}, Weighted: true}
	session, err := conformance.Reference().Compile(build(t, s), nn.CompileOptions{Purpose: nn.Evaluation, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	f := session.Feed(0)
	f.Rows = 2
	copy(f.Features[0], []float32{1, 2, 3, 4, -1, 0, 1, 5})
	f.Targets.Reset()
	f.Targets.Add(1, 1, 1)
	f.Targets.EndRow()
	f.Targets.EndRow()
	loss := func() float64 {
		_, l, err := session.Forward(0)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	one := loss()
	if err := session.WriteState("output_weight", []float32{2, 2, 2}); err != nil {
		t.Fatal(err)
	}
	if two := loss(); math.Abs(two-2*one) > 1e-9 || one == 0 {
		t.Errorf("loss %g with weight 1, %g with 2", one, two)
	}
}

type goldenCase struct {
	RGB, Audio, Noise, Labels [][]float32
	Init                      struct {
		ConvKernel  [][][]float32 `json:"conv_kernel"` // [width][1][filters]
		ConvBias    []float32     `json:"conv_bias"`
		DenseKernel [][]float32   `json:"dense_kernel"` // [in][out]
		DenseBias   []float32     `json:"dense_bias"`
	}
	F64 []struct {
		Loss float64
		Flat [][]float64
		Pred [][]float64
	}
}

// TestGoldenConv1D builds the paper's net at small sizes and compares features,
// predictions and loss with values computed elsewhere.
func TestGoldenConv1D(t *testing.T) {
	text, err := os.ReadFile("../testdata/golden/yt8m_net.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Cases map[string]goldenCase }
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	for name, c := range golden.Cases {
		if name == "even_len_12_noise" {
			continue // its noise is given; conformance has that case
		}
		t.Run(name, func(t *testing.T) { checkGolden(t, c) })
	}
}

func checkGolden(t *testing.T, c goldenCase) {
	n, filters, outputs := len(c.RGB), len(c.Init.ConvBias), len(c.Init.DenseBias)
	m := build(t, mlp.Spec{Net: mlp.Conv1D, Batch: n, Outputs: outputs, Filters: filters, Noise: 0.03,
		Columns: []mlp.Column{{Name: "mean_rgb", Width: len(c.RGB[0])}, {Name: "mean_audio", Width: len(c.Audio[0])}}})
	s, err := conformance.Reference().Compile(m, nn.CompileOptions{Purpose: nn.Evaluation})
	if err != nil {
		t.Fatal(err)
	}
	var kernel [][]float32
	for _, tap := range c.Init.ConvKernel {
		kernel = append(kernel, tap[0])
	}
	for tensor, data := range map[string][]float32{
		"conv.weight": transpose(kernel), "conv.bias": c.Init.ConvBias,
		"classifier.weight": transpose(c.Init.DenseKernel), "classifier.bias": c.Init.DenseBias,
	} {
		if err := s.WriteState(tensor, data); err != nil {
			t.Fatal(err)
		}
	}
	f := s.Feed(0)
	f.Rows = n
	f.Targets.Reset()
	for r := range n {
		copy(f.Features[0][r*len(c.RGB[0]):], c.RGB[r])
		copy(f.Features[1][r*len(c.Audio[0]):], c.Audio[r])
		for col, y := range c.Labels[r] {
			if y == 1 {
				f.Targets.Add(int32(col), 1, 1)
			}
		}
		f.Targets.EndRow()
	}
	logits, loss, err := s.Forward(0)
	if err != nil {
		t.Fatal(err)
	}
	want := c.F64[0]
	near(t, "loss", loss, want.Loss)
	for r := range n {
		for j, w := range want.Pred[r] {
			near(t, "prediction", 1/(1+math.Exp(-float64(logits[r*outputs+j]))), w)
		}
		for j, w := range want.Flat[r] {
			near(t, "flat", float64(s.Penultimate()[r*len(want.Flat[r])+j]), w)
		}
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
		t.Fatalf("%s is %.9g, want %.9g", what, got, want)
	}
}

// transpose flattens a matrix column by column.
func transpose(x [][]float32) []float32 {
	var y []float32
	for j := range x[0] {
		for i := range x {
			y = append(y, x[i][j])
		}
	}
	return y
}
