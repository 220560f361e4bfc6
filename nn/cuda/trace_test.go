package cuda_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/fakecard"
)

var update = flag.Bool("update", false, "write the recorded traces anew")

// The calls of a training step, with their arguments, are the recorded ones: a
// change of the step shows in its own diff.
func TestTraces(t *testing.T) {
	for name, m := range map[string]*nn.Model{"conv": imageNet("residual", 4, 8, 8, 8), "video": videoNet("conv1d", 6, 33, 11)} {
		for _, precision := range []nn.Precision{nn.F32, nn.BF16} {
			t.Run(fmt.Sprint(name, " ", precision), func(t *testing.T) {
				checkTrace(t, filepath.Join("testdata", fmt.Sprintf("step_%s_%s.txt", name, precision)), traceOf(t, m, precision))
			})
		}
	}
}

// traceOf is what a first step and one that is replayed ask of the card.
func traceOf(t *testing.T, m *nn.Model, p nn.Precision) string {
	t.Helper()
	e, card := open(t, fakecard.Options{CheckOnly: true, Trace: true})
	r := start(t, e, m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(5e-4), Precision: p})
	var b strings.Builder
	for i, title := range []string{"a first step", "", "a replayed step"} { // the second is recorded: the first's launches again
		card.ResetTrace()
		slot := min(i, 1)
		fill(r.Feed(slot), i, m.Batch, m.Outputs())
		if err := r.TrainStep(slot, nn.StepParams{LR: 0.1, Step: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
		r.sync()
		if title != "" {
			fmt.Fprintf(&b, "# %s\n%s", title, card.Trace())
		}
	}
	return b.String()
}

// Evaluations that are started ahead wait for nothing: the second batch is on
// the card before the first one's scores are waited for.
func TestTraceOfEvaluation(t *testing.T) {
	e, card := open(t, fakecard.Options{CheckOnly: true, Trace: true})
	m := videoNet("conv1d", 6, 33, 11)
	r := start(t, e, m, nn.CompileOptions{Purpose: nn.Evaluation, Precision: nn.BF16})
	s := r.Session.(nn.Starter)
	for range 3 { // the first is run plainly, the second recorded
		card.ResetTrace()
		for slot := range 3 {
			fill(r.Feed(slot), slot, m.Batch, m.Outputs())
			if slot < 2 {
				if err := s.Start(slot); err != nil {
					t.Fatal(err)
				}
			}
		}
		for slot := range 2 {
			if _, _, err := r.Forward(slot); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkTrace(t, filepath.Join("testdata", "evaluation_video_bf16.txt"), "# two replayed evaluations\n"+card.Trace())
}

func checkTrace(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			t.Fatalf("%s, line %d is other than recorded (go test -run TestTraces -update writes it anew):\n  got  %s\n  want %s",
				file, i+1, at(b, i), at(a, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
