package cuda

import (
	"fmt"
	"math"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

const (
	// slots is the number of feeds, and depth how many of them may be on the
	// card when TrainStep returns: one computes, one waits so that the card never
	// does, and the others are the loader's, one filled and one being filled.
	slots = 4
	depth = 2
)

// session implements nn.Session.
type session struct {
	e       *Engine
	card    driver.Card
	model   *nn.Model
	options nn.CompileOptions

	compute   driver.Stream
	copying   driver.Stream // to the card
	returning driver.Stream // from it
	beside    driver.Stream // of the early update; 0: there is none
	fork      [2]driver.Event
	memory    []driver.Ptr // freed by Close
	events    []driver.Event
	slots     []*slot
	pending   []*slot // steps whose results are on their way, in order

	train, eval *program
	math        driver.Math
	frame       frame
	tensors     map[string]*tensor
	state       []nn.StateTensor
	gradients   []gradient
	table       table
	early       table // of what is updated before a program's end
	ones        driver.Ptr
	counters    driver.Ptr // of kernels that finish what they sum: 0 between them
	staging     staging
	kept        []*kept
	inputs      []driver.Ptr // features gathered from kept data
	arena       driver.Ptr
	results     results
	penultimate *hostBuffer
	evaluated   int // rows of the last Forward

	workspace      driver.Ptr // of products
	workspaceBytes int        // that are wanted
	workspaceTaken int

	profiling bool
	clocks    [2]driver.Event
	err       error // sticky
}

// Slots implements nn.Session.
func (s *session) Slots() int { return len(s.slots) }

// Feed implements nn.Session.
func (s *session) Feed(slot int) *nn.Feed { return &s.slots[slot].feed }

// failed makes a card's error the session's, for good.
func (s *session) failed(err error, format string, args ...any) error {
	if s.err == nil && err != nil {
		s.err = &Error{fmt.Sprintf(format, args...), err}
	}
	return s.err
}

// TrainStep implements nn.Session. It queues the step and returns; it waits
// only for the step before the last, so that the card always has one more.
func (s *session) TrainStep(slot int, sp nn.StepParams) error {
	if s.err != nil {
		return s.err
	}
	if s.train == nil {
		return fmt.Errorf("cuda: this session of %s was compiled for evaluation and cannot train", s.model.Name)
	}
	sl := s.slots[slot]
	if err := s.free(sl); err != nil {
		return err
	}
	if err := s.checkFeed(sl, true); err != nil {
		return err
	}
	sl.step, sl.rows = sp, sl.feed.Rows
	if err := s.queue(s.train, sl); err != nil {
		return s.failed(err, "step %d of %s", sp.Step, s.model.Name)
	}
	if err := s.results.fetch(s, sl, s.results.bytes); err != nil {
		return s.failed(err, "results of step %d of %s", sp.Step, s.model.Name)
	}
	sl.busy = true
	s.pending = append(s.pending, sl)
	return s.deliver(depth)
}

// queue sends a slot's batch to the card and runs a program on it.
func (s *session) queue(p *program, sl *slot) error {
	bytes, err := s.pack(sl, s.head(sl))
	if err != nil {
		return err
	}
	if err := s.card.CopyToCard(sl.card, sl.host, bytes, s.copying); err != nil {
		return err
	}
	if err := s.card.Record(sl.ready, s.copying); err != nil {
		return err
	}
	if err := s.card.Wait(s.compute, sl.ready); err != nil {
		return err
	}
	return s.run(p, sl)
}

// free waits until a slot that was handed in again before its result was out is free.
func (s *session) free(sl *slot) error {
	for sl.busy {
		if err := s.deliver(len(s.pending) - 1); err != nil {
			return err
		}
	}
	return s.arrived(sl)
}

// arrived waits for a started evaluation.
func (s *session) arrived(sl *slot) error {
	if !sl.started {
		return nil
	}
	sl.started = false
	if err := s.card.SyncEvent(sl.done); err != nil {
		return s.failed(err, "evaluating %s", s.model.Name)
	}
	return nil
}

// deliver hands out results in order: those that are there, and waits until
// at most the given number are not.
func (s *session) deliver(most int) error {
	for len(s.pending) > 0 {
		sl := s.pending[0]
		if len(s.pending) > most {
			if err := s.card.SyncEvent(sl.done); err != nil {
				return s.failed(err, "step %d of %s", sl.step.Step, s.model.Name)
			}
		} else if done, err := s.card.EventDone(sl.done); err != nil {
			return s.failed(err, "step %d of %s", sl.step.Step, s.model.Name)
		} else if !done {
			return nil
		}
		s.pending = append(s.pending[:0], s.pending[1:]...)
		sl.busy = false
		if s.options.OnStep != nil {
			s.options.OnStep(s.results.of(sl))
		}
	}
	return nil
}

// Sync implements nn.Session.
func (s *session) Sync() error {
	if s.err != nil {
		return s.err
	}
	for _, sl := range s.slots {
		if err := s.arrived(sl); err != nil {
			return err
		}
	}
	return s.deliver(0)
}

// Start implements nn.Starter.
func (s *session) Start(slot int) error {
	if s.err != nil {
		return s.err
	}
	sl := s.slots[slot]
	if err := s.free(sl); err != nil {
		return err
	}
	if err := s.checkFeed(sl, false); err != nil {
		return err
	}
	sl.step, sl.rows = nn.StepParams{}, sl.feed.Rows
	err := s.queue(s.eval, sl)
	if err == nil {
		err = s.results.fetch(s, sl, scoresAt+4*sl.rows*s.model.Outputs())
	}
	if err != nil {
		return s.failed(err, "evaluating %s", s.model.Name)
	}
	sl.started = true
	return nil
}

// Forward implements nn.Session.
func (s *session) Forward(slot int) ([]float32, float64, error) {
	sl, err := s.slots[slot], s.err
	if err == nil && !sl.started {
		err = s.Start(slot)
	}
	if err == nil {
		err = s.arrived(sl)
	}
	if err != nil {
		return nil, math.NaN(), err
	}
	s.evaluated = sl.rows
	loss := math.NaN()
	if sl.feed.Targets.Rows() == sl.rows {
		loss = s.results.loss(sl)
	}
	return s.results.scores(sl), loss, s.deliver(0)
}

// Penultimate implements nn.Session. The features come from the card when
// they are asked for; if that fails they are NaN, and the next call that can
// says why.
func (s *session) Penultimate() []float32 {
	if s.model.Penultimate == nil {
		return nil
	}
	for _, sl := range s.slots {
		if sl.started {
			panic("cuda: penultimate features were asked for while another evaluation was started")
		}
	}
	w := s.model.Penultimate.Width()
	x, err := s.fetchPenultimate(s.evaluated*w, s.eval.penultimateType)
	if err != nil {
		_ = s.failed(err, "reading the penultimate features of %s", s.model.Name)
		x = make([]float32, s.evaluated*w)
		for i := range x {
			x[i] = float32(math.NaN())
		}
	}
	return x
}

func (s *session) fetchPenultimate(n int, t driver.Type) ([]float32, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.penultimate == nil {
		b, err := newHostBuffer(s.card, 4*s.model.Penultimate.Shape.Size())
		if err != nil {
			return nil, err
		}
		s.penultimate = b
	}
	// bf16 comes to the upper half of the buffer and is widened from there.
	at := s.penultimate.bytes - t.Size()*n
	if t == driver.F32 {
		at = 0
	}
	src := s.eval.penultimate.in(&s.frame)
	if err := s.card.CopyFromCard(s.penultimate.at(at), src, t.Size()*n, s.compute); err != nil {
		return nil, err
	}
	if err := s.card.SyncStream(s.compute); err != nil {
		return nil, err
	}
	x := hostSlice[float32](s.penultimate.data, 0, n)
	if t == driver.BF16 {
		widen(x, hostSlice[byte](s.penultimate.data, at, 2*n))
	}
	return x, nil
}

// Close implements nn.Session.
func (s *session) Close() error {
	if s.card == nil {
		return nil
	}
	var errs []error
	// After an error of the card its calls fail: what can be freed is, quietly.
	note := func(err error) {
		if s.err == nil {
			errs = append(errs, err)
		}
	}
	for _, stream := range []driver.Stream{s.copying, s.compute, s.beside, s.returning} {
		if stream != 0 {
			note(s.card.SyncStream(stream))
		}
	}
	for _, p := range []*program{s.train, s.eval} {
		if p != nil {
			note(p.close(s.card))
		}
	}
	for _, sl := range s.slots {
		note(s.freeBlock(sl))
		if sl.results != nil {
			note(s.card.FreeHost(sl.results))
		}
	}
	note(s.penultimate.free(s.card))
	note(s.staging.free(s.card))
	if s.workspace != 0 {
		note(s.card.Free(s.workspace))
	}
	for _, p := range s.memory {
		note(s.card.Free(p))
	}
	for _, e := range s.events {
		note(s.card.DestroyEvent(e))
	}
	for _, stream := range []driver.Stream{s.copying, s.compute, s.beside, s.returning} {
		if stream != 0 {
			note(s.card.DestroyStream(stream))
		}
	}
	*s = session{model: s.model, err: fmt.Errorf("cuda: the session of %s is closed", s.model.Name)}
	return fail(errs...)
}
