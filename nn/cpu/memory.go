package cpu

import (
	"sort"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// certain is the number of bytes from which on a lower bound of what a model
// needs is enough: what follows from it in whole numbers is still exact below.
const certain = 1 << 50

// threadScratch is about the number of values of a thread's own workspace (pool.Scratch).
const threadScratch = 1 << 19

// needs is the memory of a session in bytes: all that it takes before its first
// step and in it.
func (s *session) needs() int {
	m, n := s.model, s.model.Batch
	floats, largest, lists, scratch := s.arenaSize, 0, 0, threadScratch
	for _, c := range []*compiled{s.eval, s.train} {
		if c == nil {
			continue
		}
		for _, o := range c.ops {
			scratch = max(scratch, o.scratch)
			for _, v := range o.plan.Reads {
				largest = max(largest, v.Shape.Size())
			}
			if o.lists != nil {
				lists = max(lists, o.lists(n, s.pool.Threads()))
			}
		}
	}
	// Products pack an operand whole, up to a bound, with a margin around it, and every thread its parts.
	floats += min(kernel.GemmPacked, largest+largest/16) + lists + s.pool.Threads()*scratch
	perRow := slots*8 + 8 + 24 + s.options.Beside // Keys, rowLoss, listed
	return 4*(floats+stateSize(m, s.options)+slots*featureSize(m)) + n*perRow
}

// stateSize is the number of parameters, constants and, for training, values
// of the optimiser's state.
func stateSize(m *nn.Model, o nn.CompileOptions) int {
	copies := 1
	if o.Purpose != nn.Evaluation {
		copies += len(o.Optimizer.StateNames())
	}
	size := copies * m.ParamCount()
	for _, list := range [][]*nn.Value{m.Graph.Buffers(), m.Graph.Constants()} {
		for _, v := range list {
			size += v.Shape.Size()
		}
	}
	return size
}

// featureSize is the number of values of a batch.
func featureSize(m *nn.Model) (n int) {
	for _, v := range m.Features {
		n += v.Shape.Size()
	}
	return n
}

// atLeast is a part of what a session of the model needs, in bytes: parameters
// with the optimiser's state and the batches. It is right where a whole number
// would have overflown.
func atLeast(m *nn.Model, o nn.CompileOptions) float64 {
	size := func(s nn.Shape) float64 {
		n := 4.0
		for _, d := range s {
			n *= float64(d)
		}
		return n
	}
	var sum float64
	for _, v := range m.Graph.Params() {
		sum += size(v.Shape)
	}
	if o.Purpose != nn.Evaluation {
		sum *= float64(1 + len(o.Optimizer.StateNames()))
	}
	for _, v := range m.Features {
		sum += slots * size(v.Shape)
	}
	return sum
}

// reserve lowers the session's model and plans its memory within what is free.
// It refuses what does not fit by an *nn.MemoryError; where nobody knows how
// much is free, everything fits.
func (s *session) reserve(available func() (free int, of string)) error {
	free, of := available()
	known := of != ""
	if known && atLeast(s.model, s.options) >= certain {
		return s.short(free, of, certain, true)
	}
	if err := s.plan(); err != nil {
		return err
	}
	limit := s.planned()
	if s.train == nil {
		limit += s.model.ParamCount() / keptShare
	}
	s.arenaSize = max(s.planned(), s.eval.placeKept(limit))
	if !known || s.needs() <= free {
		return nil
	}
	// Kept weights are not worth a failure.
	s.arenaSize = max(s.planned(), s.eval.placeKept(s.planned()))
	if need := s.needs(); need > free {
		return s.short(free, of, need, false)
	}
	return nil
}

// planned is the number of values of the arena that the programs need.
func (s *session) planned() int {
	size := s.eval.plan.Size
	if s.train != nil {
		size = max(size, s.train.plan.Size)
	}
	return size
}

// short is the error of a session that does not fit.
func (s *session) short(free int, of string, need int, atLeast bool) error {
	// The smallest batch that does not fit, in 1..Batch: what fits is one less. A
	// little is left, so that it still fits when it is tried.
	left := free - free/64
	fits := sort.Search(s.model.Batch, func(i int) bool { return !s.fits(i+1, left) })
	if fits == 0 && s.fits(1, free) {
		fits = 1
	}
	return &nn.MemoryError{Engine: "cpu", Model: s.model.Name, Batch: s.model.Batch, Of: of, Need: need, AtLeast: atLeast, Free: free, Fits: fits,
		Advice: "stop what else runs here, or take a smaller network"}
}

// fits reports whether a session for batches of n rows would fit.
func (s *session) fits(n, free int) bool {
	c := &session{pool: s.pool, model: s.model.WithBatch(n), options: s.options}
	if atLeast(c.model, c.options) > float64(free) || c.plan() != nil {
		return false
	}
	c.arenaSize = c.planned()
	return c.needs() <= free
}
