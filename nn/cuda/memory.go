package cuda

import (
	"sort"

	"sdnn/nn"
	"sdnn/nn/cuda/kernels"
)

// planUnit is what nn.PlanMemory counts in here, instead of float32: a value
// begins on a line of the card's memory, whatever its type.
const planUnit = 16

// spare is left to the card's own needs: code, graphs, the libraries' handles.
const spare = 256 << 20

// layout plans the arena for batches of the given size.
func (l *lowering) layout(batch int) *nn.Plan {
	sized := make([]*nn.Value, len(l.p.Values))
	of := func(vs []*nn.Value) (list []*nn.Value) {
		for _, v := range vs {
			if _, ok := l.fixed[v]; ok || v.Node == nil && l.scratch[v] == nil {
				continue // has a place elsewhere
			}
			if sized[v.ID] == nil {
				sized[v.ID] = &nn.Value{ID: v.ID, Name: v.Name, Shape: nn.Shape{align(l.bytes(v, batch)) / planUnit}}
			}
			list = append(list, sized[v.ID])
		}
		return list
	}
	kept := map[int]bool{}
	for _, v := range l.p.Values[:len(l.p.Values):len(l.p.Values)] {
		if v.Node != nil && l.isResult(v) {
			kept[l.rootOf(v).ID] = true
		}
	}
	if l.scores != nil {
		kept[l.scores.ID] = true
	}
	steps := make([]nn.PlanStep, len(l.ops))
	for i := range l.ops {
		p := &l.ops[i].plan
		steps[i] = nn.PlanStep{Reads: of(p.Reads), Writes: of(p.Writes)}
		for _, pair := range p.InPlace {
			if both := of(pair[:]); len(both) == 2 {
				steps[i].InPlace = append(steps[i].InPlace, [2]*nn.Value(both))
			}
		}
	}
	return nn.PlanMemory(len(l.p.Values), steps, func(v *nn.Value) bool { return kept[v.ID] })
}

// sizes are what a session takes of the card's memory, in bytes.
type sizes struct {
	state, gradients, inputs int
	arena                    int // shared: one program runs at a time
	slots                    int
}

// fixed is what lies in one block.
func (z *sizes) fixed() int {
	return z.state + z.gradients + z.inputs + align(4*kernels.Counters) + z.arena
}

func (z *sizes) total() int { return z.fixed() + z.slots + matmulWorkspace + spare }

// arenaSize adds up what the session needs.
func (s *session) arenaSize() sizes { return s.sizesFor(s.model.Batch) }

// sizesFor is what it would need for another batch.
func (s *session) sizesFor(batch int) sizes {
	var z sizes
	for _, t := range s.tensors {
		z.state += align(4 * t.room)
	}
	for _, v := range s.shadowed() {
		z.state += align(2 * s.tensors[v.Name].room)
	}
	for _, g := range s.gradients {
		z.gradients += align(4 * g.tensor.room)
	}
	for _, v := range s.model.Features {
		z.inputs += align(4 * batch * v.Width())
	}
	for _, p := range []*program{s.eval, s.train} {
		if p == nil {
			continue
		}
		plan := p.plan
		if batch != s.model.Batch {
			plan = p.low.layout(batch)
		}
		z.arena = max(z.arena, plan.Size*planUnit)
	}
	m := *s.model
	m.Batch = batch
	z.slots = slots * newLayout(&m, firstEntries(&m)).cardSize
	return z
}

// reserve says whether the session fits, and if not what would.
func (s *session) reserve(z sizes) error {
	free, err := s.card.MemoryFree()
	if err != nil || z.total() <= free {
		return err
	}
	// The smallest batch that does not fit, in 1..Batch: what fits is one less.
	fits := sort.Search(s.model.Batch, func(i int) bool {
		z := s.sizesFor(i + 1)
		return z.total() > free
	})
	return &nn.MemoryError{Engine: "cuda", Model: s.model.Name, Batch: s.model.Batch, Of: "the card's memory", Need: z.total(), Free: free, Fits: fits,
		Advice: "stop what else runs on the card, or use --engine cpu"}
}
