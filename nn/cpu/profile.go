package cpu

import (
	"time"

	"sdnn/nn"
)

// SetProfiling implements nn.Profiler.
func (s *session) SetProfiling(on bool) {
	s.profiling = on
	for _, c := range []*compiled{s.train, s.eval} {
		if c != nil && on {
			c.profile = make([]nn.OpProfile, len(c.ops))
		}
	}
}

// Profile implements nn.Profiler.
func (s *session) Profile(training bool) []nn.OpProfile {
	c := s.eval
	if training {
		c = s.train
	}
	if c == nil {
		return nil
	}
	return c.profile
}

// execute runs a program on the current batch.
func (s *session) execute(c *compiled) {
	if !s.profiling {
		for _, f := range c.run {
			f()
		}
		return
	}
	for i, f := range c.run {
		start := time.Now()
		f()
		o, p := &c.ops[i], &c.profile[i]
		p.Kind, p.Name = o.kind, o.name
		p.Calls++
		p.Time += time.Since(start)
		p.Bytes += o.bytes(s.rows)
		if o.flops != nil {
			p.Flops += o.flops(s.rows)
		}
	}
}
