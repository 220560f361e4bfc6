package cpu

import (
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// keptShare bounds kept weights in a session that only evaluates: the parameters'
// memory through keptShare. One that trains has room for them, as its evaluations
// leave most of the arena free.
const keptShare = 2

// kept is memory for the transformed weights of a convolution of an evaluation
// (kernel.ConvArgs.Kept). They last until the session's state changes, so that
// an evaluation of many batches transforms them once.
type kept struct {
	conv  *kernel.Conv3x3
	size  int // floats
	at    int // in the arena, or -1: there was no room
	state int // session.state of the transform
}

// keepWeights enters a forward convolution of an evaluation in the list of those
// that gain by memory for transformed weights; nil for any other.
func (l *lowering) keepWeights(c convolver) *kept {
	conv, fast := c.(*kernel.Conv3x3)
	if !fast || l.p.Purpose != nn.Evaluation {
		return nil
	}
	k := &kept{conv: conv, size: conv.KeptWeights(), at: -1}
	l.kept = append(l.kept, k)
	return k
}

// placeKept gives memory behind the evaluation's plan to transformed weights,
// to those first that are multiplied by the fewest tiles, as far as the arena
// need not be larger than limit, and returns the arena's size.
func (c *compiled) placeKept(limit int) int {
	const align = 16 // a cache line
	order := slices.Clone(c.kept)
	slices.SortStableFunc(order, func(a, b *kept) int { return a.conv.Tiles() - b.conv.Tiles() })
	size := (c.plan.Size + align - 1) / align * align
	for _, k := range order {
		k.at = -1
		if size+k.size <= limit {
			k.at = size
			size += (k.size + align - 1) / align * align
		}
	}
	return size
}

// binder returns a function that sets the operands that belong to k.
func (k *kept) binder(b *binder) func(*kernel.ConvArgs) {
	if k == nil || k.at < 0 {
		return func(*kernel.ConvArgs) {}
	}
	memory := b.arena[k.at : k.at+k.size]
	return func(a *kernel.ConvArgs) {
		a.Kept, a.Same = memory, k.state == b.s.changes
		k.state = b.s.changes
	}
}
