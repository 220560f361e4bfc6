package cuda

import (
	"encoding/binary"
	"math"

	"sdnn/nn"
)

// head are the numbers of a step that its kernels read from the slot's block.
type head struct{ rate float32 }

func (h head) write(dst []byte) { binary.LittleEndian.PutUint32(dst, math.Float32bits(h.rate)) }

// head is that of a slot's step.
func (s *session) head(sl *slot) head {
	if sl.step.Step == 0 || s.options.Optimizer.Kind == nn.SGD {
		return head{float32(sl.step.LR)}
	}
	return head{float32(s.options.Optimizer.AdamRate(sl.step.LR, sl.step.Step))}
}

// results is where a program leaves what it found out, at the end of the card's
// part of the slot's block, so that the step after it can begin while they are
// fetched:
//
//	loss   float64, mean over the rows
//	theta  [S] float32, when measuring
//	scores [rows, S] float32, of an evaluation, in the place of theta
type results struct {
	bytes   int // of a step
	outputs int
	theta   bool // measured
}

// thetaAt and scoresAt are where theta and scores begin.
const (
	thetaAt  = 256
	scoresAt = thetaAt
)

func newResults(m *nn.Model, purpose nn.Purpose) results {
	if purpose != nn.Measuring {
		return results{bytes: 8, outputs: m.Outputs()}
	}
	return results{thetaAt + 4*m.Outputs(), m.Outputs(), true}
}

// resultsRoom is what the results of a batch of a model take at most.
func resultsRoom(m *nn.Model) int { return scoresAt + 4*m.Batch*m.Outputs() }

// fetch queues the copy of the results to the program's memory, on a stream of its own.
func (r *results) fetch(s *session, sl *slot, bytes int) error {
	if err := s.card.Record(sl.computed, s.compute); err != nil {
		return err
	}
	if err := s.card.Wait(s.returning, sl.computed); err != nil {
		return err
	}
	if err := s.card.CopyFromCard(sl.results, sl.card.Add(sl.layout.results), bytes, s.returning); err != nil {
		return err
	}
	return s.card.Record(sl.done, s.returning)
}

// loss is the loss that has come to a slot.
func (r *results) loss(sl *slot) float64 { return hostSlice[float64](sl.results, 0, 1)[0] }

// scores are those of the evaluation that has come to a slot.
func (r *results) scores(sl *slot) []float32 {
	return hostSlice[float32](sl.results, scoresAt, sl.rows*r.outputs)
}

// of is the result of a slot's step. Theta is the slot's own and stays until
// the slot's next step.
func (r *results) of(sl *slot) nn.StepResult {
	res := nn.StepResult{Slot: sl.number, Step: sl.step.Step, Rows: sl.rows, Loss: r.loss(sl)}
	if r.theta {
		res.Theta = hostSlice[float32](sl.results, thetaAt, r.outputs)
	}
	return res
}
