package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sdnn/cnn"
	"sdnn/mlp"
	"sdnn/nn"
)

// What an H100 (SXM) can do at most, by NVIDIA's data sheet.
const (
	h100Flops = 990e12  // a second, dense, bf16
	h100Bytes = 3.35e12 // a second
)

func bigModel(t testing.TB, net string, batch, outputs int) (*nn.Model, nn.Optimizer) {
	t.Helper()
	if cnn.Known(net) == nil {
		m, err := cnn.Build(cnn.Spec{Net: net, Batch: batch, Outputs: outputs, Size: 32, Channels: 3, Dropout: cnn.DefaultDropout(net)})
		if err != nil {
			t.Fatal(err)
		}
		return m, nn.NewSGD(5e-4)
	}
	m, err := mlp.Build(mlp.Spec{Net: net, Batch: batch, Outputs: outputs, Hidden: 1024, Experts: 2, Filters: 64,
		Columns: []mlp.Column{{Name: "mean_rgb", Width: 1024}, {Name: "mean_audio", Width: 128}}})
	if err != nil {
		t.Fatal(err)
	}
	return m, nn.NewAdam()
}

// floorOf computes what a training step costs at least: of every op the longer
// of its operations at the peak and its traffic at the full bandwidth.
func floorOf(t testing.TB, net string, batch, outputs int) string {
	t.Helper()
	m, o := bigModel(t, net, batch, outputs)
	s := &session{model: m, options: nn.CompileOptions{Purpose: nn.Training, Optimizer: o, Precision: nn.BF16}, tensors: map[string]*tensor{}}
	p, err := s.lower(nn.Training)
	if err != nil {
		t.Fatal(err)
	}
	groups := []string{"products", "batch normalisation", "optimiser", "the rest"}
	flops, bytes, time := map[string]float64{}, map[string]float64{}, map[string]float64{}
	total := 0.0
	for i := range p.low.ops {
		op := &p.low.ops[i]
		f, b := 0.0, p.low.traffic(op, batch)
		group := "the rest"
		switch {
		case op.flops != nil:
			group, f = "products", op.flops(batch)
		case strings.Contains(op.kind, "batch-norm") || op.kind == "add+statistics":
			group = "batch normalisation"
		case op.name == "parameters":
			group = "optimiser"
		}
		took := max(f/h100Flops, b/h100Bytes)
		flops[group] += f
		bytes[group] += b
		time[group] += took
		total += took
	}
	var out strings.Builder
	for _, g := range groups {
		if bytes[g] > 0 {
			fmt.Fprintf(&out, "| %s %d | %s | %.2f | %.0f | %.0f |\n", net, batch, g, flops[g]/1e12, bytes[g]/1e6, time[g]*1e6)
		}
	}
	launches := countLaunches(t, m, o, batch)
	fmt.Fprintf(&out, "| %s %d | **step**, %d launches | %.2f | %.0f | %.0f |\n", net, batch, launches,
		sum(flops)/1e12, sum(bytes)/1e6, total*1e6)
	return out.String()
}

func sum(m map[string]float64) (s float64) {
	for _, g := range []string{"products", "batch normalisation", "optimiser", "the rest"} {
		s += m[g]
	}
	return s
}

// countLaunches is the number of kernels, products and clearings of a step.
func countLaunches(t testing.TB, m *nn.Model, o nn.Optimizer, batch int) int {
	t.Helper()
	card := newNullCard(80 << 30)
	e, err := New(card, Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{e: e, card: card, model: m, options: nn.CompileOptions{Purpose: nn.Training, Optimizer: o, Precision: nn.BF16}, tensors: map[string]*tensor{}}
	if s.train, err = s.lower(nn.Training); err != nil {
		t.Fatal(err)
	}
	s.eval = s.train
	s.listTensors()
	v, err := s.bind(s.train, batch)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, op := range v.run {
		n += len(op)
	}
	return n
}

// floorNets are the nets whose steps docs/cuda.md counts.
var floorNets = []struct {
	net            string
	batch, outputs int
}{{"vgg16", 128, 100}, {"wrn-28-10", 128, 100}, {"conv1d", 1024, 3862}}

// The floor in docs/cuda.md is what the lowering gives.
func TestFloorInTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cuda.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range floorNets {
		if rows := floorOf(t, k.net, k.batch, k.outputs); !strings.Contains(string(doc), rows) {
			t.Errorf("docs/cuda.md should have:\n%s", rows)
		}
	}
}
