package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sdnn/nn"
)

// stepFloor is what a step costs at least: bytes, seconds and launches.
func stepFloor(t *testing.T, net string, batch, outputs int, purpose nn.Purpose) (bytes, seconds float64, launches int) {
	t.Helper()
	card := newNullCard(80 << 30)
	e, err := New(card, Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, o := bigModel(t, net, batch, outputs)
	s := &session{e: e, card: card, model: m, options: nn.CompileOptions{Purpose: purpose, Optimizer: o, Precision: nn.BF16}, tensors: map[string]*tensor{}}
	if s.train, err = s.lower(purpose); err != nil {
		t.Fatal(err)
	}
	s.eval = s.train
	s.listTensors()
	v, err := s.bind(s.train, batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, run := range v.run {
		op, flops := &s.train.low.ops[i], 0.0
		if op.flops != nil {
			flops = op.flops(batch)
		}
		b := s.train.low.traffic(op, batch)
		bytes, seconds, launches = bytes+b, seconds+max(flops/h100Flops, b/h100Bytes), launches+len(run)
	}
	return bytes, seconds, launches
}

// What theta adds to a step, by the lowering, is at most 2 %, and is what
// docs/cuda.md says.
func TestThetaInTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cuda.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range floorNets {
		b0, s0, n0 := stepFloor(t, k.net, k.batch, k.outputs, nn.Training)
		b, s, n := stepFloor(t, k.net, k.batch, k.outputs, nn.Measuring)
		share := (s - s0) / s0
		row := fmt.Sprintf("| %s %d | %d | %.2f | %.2f | %.2f %% |\n", k.net, k.batch, n-n0, (b-b0)/1e6, (s-s0)*1e6, 100*share)
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/cuda.md should have:\n%s", row)
		}
		if share > 0.02 {
			t.Errorf("theta adds %.1f %% to a step of %s", 100*share, k.net)
		}
	}
}
