package cuda

import (
	"testing"

	"sdnn/nn"
)

// A step in its steady state, replayed, allocates nothing.
func TestStepAllocatesNothing(t *testing.T) {
	e, err := New(newNullCard(1<<30), Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, o := bigModel(t, "mlp", 16, 20)
	got := 0
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: o, OnStep: func(nn.StepResult) { got++ }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range s.Slots() {
		fillOne(s.Feed(i), 16)
	}
	step := 0
	run := func() {
		step++
		if err := s.TrainStep(step%s.Slots(), nn.StepParams{LR: 0.1, Step: int64(step)}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Forward((step + 2) % s.Slots()); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 * s.Slots() {
		run()
	}
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("a step and an evaluation allocate %g times", n)
	}
	if err := s.Sync(); err != nil || got != step {
		t.Errorf("%d results of %d steps, %v", got, step, err)
	}
}

func fillOne(f *nn.Feed, rows int) {
	f.Rows = rows
	f.Targets.Reset()
	for range rows {
		f.Targets.Add(1, 1, 1)
		f.Targets.EndRow()
	}
}
