package cuda_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/fakecard"
)

// Parameters that are ready are updated beside the rest of the backward pass, on
// a stream of their own, which the card looks at for races: every run ends in the
// bits of one that updates all at its end, replayed steps too, and with gradients
// and theta.
func TestEarlyUpdate(t *testing.T) {
	e := computing(t)
	for _, kind := range []string{"norm relu pool", "residual"} {
		m := imageNet(kind, 4, 6, 6, 8)
		for _, o := range []nn.CompileOptions{
			{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4)},
			{Purpose: nn.Measuring, Optimizer: nn.NewAdam(), Precision: nn.BF16, KeepGradients: true},
		} {
			var states []map[string][]float32
			for _, least := range []int{0, math.MaxInt} {
				restore := cuda.SetBesideLeast(least)
				r := start(t, e, m, o)
				restore()
				for i := 1; i <= 9; i++ {
					r.step(i, 4-i%2, 0.05)
				}
				r.sync()
				states = append(states, r.state())
			}
			sameBits(t, fmt.Sprintf("%s, %s, updated early", kind, o.Optimizer.Kind), states[0], states[1])
		}
	}
}

// The early update begins behind what it needs and ends before the step does.
func TestTraceOfEarlyUpdate(t *testing.T) {
	defer cuda.SetBesideLeast(0)()
	e, card := open(t, fakecard.Options{CheckOnly: true, Trace: true})
	m := imageNet("residual", 4, 8, 8, 8)
	r := start(t, e, m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4)})
	card.ResetTrace()
	fill(r.Feed(0), 1, 4, 3)
	if err := r.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}); err != nil {
		t.Fatal(err)
	}
	r.sync()
	var order []string
	conv := false
	for line := range strings.Lines(card.Trace()) {
		f := strings.Fields(line)
		switch {
		case f[0] == "launch" && f[2] == "sgd_f32":
			order = append(order, "update on "+f[1])
			conv = false
		case f[0] == "conv" && len(order) == 1 && !conv:
			order, conv = append(order, "convolutions"), true
		case f[0] == "wait" && len(order) == 3:
			order = append(order, "wait of "+f[1])
		}
	}
	want := "update on stream4, convolutions, update on stream1, wait of stream1"
	if got := strings.Join(order, ", "); !strings.HasPrefix(got, want) {
		t.Errorf("the step does: %s; want %s\n%s", got, want, card.Trace())
	}
}
