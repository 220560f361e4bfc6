package cuda

import (
	"encoding/binary"
	"math"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
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

// results is where a program leaves what it found out, one block, so that one
// copy brings it to the slot's own:
//
//	loss   float64, mean over the rows
//	theta  [S] float32, when measuring
type results struct {
	at      driver.Ptr
	bytes   int
	outputs int // of theta, 0: not measured
}

// thetaAt is where theta begins.
const thetaAt = 256

func (r *results) place(s *session, place func(bytes int) driver.Ptr) {
	r.bytes = 8
	if s.options.Purpose == nn.Measuring {
		r.outputs = s.model.Outputs()
		r.bytes = thetaAt + 4*r.outputs
	}
	r.at = place(thetaAt + 4*s.model.Outputs())
	s.eval.low.fixed[s.model.Loss] = r.at
	if s.train == nil {
		return
	}
	s.train.low.fixed[s.model.Loss] = r.at
	if theta := s.train.nn.Theta; theta != nil {
		s.train.low.fixed[theta] = r.at.Add(thetaAt)
	}
}

// fetch queues the copy of the results to a slot, behind the program.
func (r *results) fetch(s *session, sl *slot) error {
	if err := s.card.CopyFromCard(sl.results, r.at, r.bytes, s.compute); err != nil {
		return err
	}
	return s.card.Record(sl.done, s.compute)
}

// loss is the loss that has come to a slot.
func (r *results) loss(sl *slot) float64 { return hostSlice[float64](sl.results, 0, 1)[0] }

// of is the result of a slot's step. Theta is the slot's own and stays until
// the slot's next step.
func (r *results) of(sl *slot) nn.StepResult {
	res := nn.StepResult{Slot: sl.number, Step: sl.step.Step, Rows: sl.rows, Loss: r.loss(sl)}
	if r.outputs > 0 {
		res.Theta = hostSlice[float32](sl.results, thetaAt, r.outputs)
	}
	return res
}
