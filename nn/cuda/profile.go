package cuda

import (
	"time"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// SetProfiling implements nn.Profiler. While the clocks are on, steps are not
// replayed as graphs and every op is waited for.
func (s *session) SetProfiling(on bool) {
	s.profiling = on
	for _, p := range []*program{s.train, s.eval} {
		if p != nil && on {
			p.profile = make([]nn.OpProfile, len(p.low.ops))
		}
	}
}

// Profile implements nn.Profiler.
func (s *session) Profile(training bool) []nn.OpProfile {
	p := s.eval
	if training {
		p = s.train
	}
	if p == nil {
		return nil
	}
	return p.profile
}

// runProfiled runs a variant with a clock on every op: the card's own where it
// has one, else the host's, which then includes the cost of waiting.
func (s *session) runProfiled(p *program, v *variant, f *frame) error {
	f.beside = f.stream
	if err := s.gather(p, f, v.rows); err != nil {
		return err
	}
	for i, op := range v.run {
		took, err := s.clock(func() error {
			for _, run := range op {
				if err := run(f); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		o, q := &p.low.ops[i], &p.profile[i]
		if q.Calls == 0 || took < q.Best {
			q.Best = took
		}
		q.Calls++
		q.Time += took
		p.describe(q, o, v.rows)
	}
	return nil
}

// describe tells a profile what an op has to do for a batch of the given rows.
func (p *program) describe(q *nn.OpProfile, o *op, rows int) {
	q.Kind, q.Name = o.kind, o.name
	q.Bytes, q.Set = p.low.traffic(o, rows), p.low.operandBytes(o, rows)
	if o.flops != nil {
		q.Flops = o.flops(rows)
		q.Work, q.BF16 = q.Flops, p.low.half() == driver.BF16
	}
}

// clock measures what f queues.
func (s *session) clock(f func() error) (time.Duration, error) {
	t, ok := s.card.(driver.Timer)
	if !ok {
		if err := s.card.SyncStream(s.compute); err != nil {
			return 0, err
		}
		begun := time.Now()
		err := fail(f(), s.card.SyncStream(s.compute))
		return time.Since(begun), err
	}
	if s.clocks[0] == 0 {
		for i := range s.clocks {
			e, err := t.NewTimedEvent()
			if err != nil {
				return 0, err
			}
			s.clocks[i] = e
			s.events = append(s.events, e)
		}
	}
	if err := s.card.Record(s.clocks[0], s.compute); err != nil {
		return 0, err
	}
	if err := fail(f(), s.card.Record(s.clocks[1], s.compute), s.card.SyncEvent(s.clocks[1])); err != nil {
		return 0, err
	}
	return t.Elapsed(s.clocks[0], s.clocks[1])
}

var _ nn.Profiler = (*session)(nil)
