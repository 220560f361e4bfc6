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
		took := time.Since(start)
		o, p := &c.ops[i], &c.profile[i]
		if o.idle != nil && o.idle(s) {
			continue
		}
		if p.Calls == 0 || took < p.Best {
			p.Best = took
		}
		p.Calls++
		p.Time += took
		o.describe(p, s.rows)
	}
}

// describe tells a profile what the op has to do for a batch of the given rows.
func (o *op) describe(p *nn.OpProfile, rows int) {
	p.Kind, p.Name, p.BF16 = o.kind, o.name, o.bf16
	p.Bytes, p.Set = o.traffic(rows)
	if o.flops != nil {
		p.Flops = o.flops(rows)
		p.Work = p.Flops
	}
	if o.work != nil {
		p.Work = o.work(rows)
	}
}

// operands is the memory that an op cannot do without.
type operands struct {
	values []*nn.Value // read or written; scratch does not count
	again  []*nn.Value // of them those that are read in a second pass
}

// operandsOf are those among reads and writes that hold what other ops make or read.
func operandsOf(reads, writes []*nn.Value) *operands {
	var m operands
	for _, list := range [][]*nn.Value{reads, writes} {
		for _, v := range list {
			if scratch := v.Role == nn.Computed && v.Node == nil; !scratch {
				m.values = append(m.values, v)
			}
		}
	}
	return &m
}

// traffic is that of every value once for each pass, and the size of the values, in bytes for a batch of the given rows.
func (m *operands) traffic(rows int) (bytes, set float64) {
	sum := func(values []*nn.Value) (n float64) {
		for _, v := range values {
			size := v.Shape.Size()
			if v.Batched {
				size = rows * v.Width()
			}
			n += 4 * float64(size)
		}
		return n
	}
	set = sum(m.values)
	return set + sum(m.again), set
}

// twice says that an op reads values in two passes over memory.
func (o *op) twice(values ...*nn.Value) {
	o.operands.again = append(o.operands.again, values...)
}

// updateTraffic is that of an optimiser's pass over a parameter, beside the gradient: weights and the states tensors of
// its state are read and written.
func updateTraffic(size, states int) (bytes, set float64) {
	set = float64(4 * size * (1 + states))
	return 2 * set, set
}
