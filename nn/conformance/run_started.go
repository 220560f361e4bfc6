package conformance

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"sdnn/nn"
)

// started evaluates ahead, with steps between, and forgets some of what it
// started: every batch has the scores it has alone, and training notices nothing.
func (s *sessionTest) started(t *testing.T) {
	h, alone := s.open(t, 0), s.open(t, 0)
	starter, ok := h.s.(nn.Starter)
	if !ok {
		t.Skip("the engine cannot evaluate ahead")
	}
	slots, number := h.s.Slots(), 0
	feed := func(i int) *nn.Feed { return s.c.feeds[i%len(s.c.feeds)] }
	begin := func(i int) {
		fill(h.s, s.c.model, i%slots, feed(i))
		if err := starter.Start(i % slots); err != nil {
			t.Fatalf("Start: %v", err)
		}
	}
	for round := range 3 {
		begin(0)
		for i := range 5 {
			if i < 4 {
				begin(i + 1)
			}
			scores, loss, err := h.s.Forward(i % slots)
			if err != nil {
				t.Fatalf("Forward: %v", err)
			}
			scores = slices.Clone(scores)
			want, penultimate, wantLoss := alone.forward(0, feed(i))
			what := fmt.Sprintf("round %d, batch %d: ", round, i)
			checkBits(t, what+"scores", scores, want)
			if math.Float64bits(loss) != math.Float64bits(wantLoss) {
				t.Errorf("%sthe loss is %v, alone %v", what, loss, wantLoss)
			}
			if i == 4 {
				checkBits(t, what+"penultimate", h.s.Penultimate(), penultimate)
			}
		}
		begin(0)
		if round == 0 {
			begin(1)
			if err := h.s.Sync(); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		}
		s.steps(h, number, number+2) // on slots that may still be at work
		s.steps(alone, number, number+2)
		number += 2
	}
	sameState(t, "with evaluations ahead of steps", h.snapshot(), alone.snapshot())
}
