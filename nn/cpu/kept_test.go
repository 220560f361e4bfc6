package cpu_test

import (
	"math"
	"slices"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/nn/cpu/kernel"
)

// TestKeptWeightsFollowTheState: an evaluation sees the parameters of the
// moment, whether a step or WriteState has changed them since the last.
func TestKeptWeightsFollowTheState(t *testing.T) {
	defer kernel.UseFastConv(kernel.UseFastConv(true))
	m := normNet("two convolutions", 4, 33, 31, 16)
	compile := func(purpose nn.Purpose) nn.Session {
		s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: purpose, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		fill(s.Feed(0), m.Batch, 2, 3)
		return s
	}
	forward := func(s nn.Session) []float32 {
		scores, _, err := s.Forward(0)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(scores)
	}
	trained, written := compile(nn.Training), compile(nn.Training)
	if cpu.Kept(trained) != 1 {
		t.Fatal("no weights are kept, nothing is tested")
	}
	fresh := forward(trained)
	for step := range 3 {
		if err := trained.TrainStep(0, nn.StepParams{LR: 0.5, Step: int64(step + 1)}); err != nil {
			t.Fatal(err)
		}
		copyState(t, written, trained)
		want := forward(copyOf(t, compile, trained))
		for i, s := range []nn.Session{trained, written, trained, written} {
			if got := forward(s); !sameBits(got, want) {
				t.Errorf("step %d, evaluation %d: %v, want %v", step, i, got, want)
			}
		}
		if sameBits(want, fresh) {
			t.Errorf("step %d changed nothing", step)
		}
	}
}

// copyOf is a session that has never run, with the state of another.
func copyOf(t *testing.T, compile func(nn.Purpose) nn.Session, from nn.Session) nn.Session {
	t.Helper()
	s := compile(nn.Evaluation)
	copyState(t, s, from)
	return s
}

func copyState(t *testing.T, to, from nn.Session) {
	t.Helper()
	for _, v := range to.State() {
		if err := from.ReadState(v.Name, func(data []float32) error { return to.WriteState(v.Name, data) }); err != nil {
			t.Fatal(err)
		}
	}
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
