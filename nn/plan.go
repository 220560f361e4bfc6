package nn

import (
	"fmt"
	"sort"
)

// PlanStep is one step of an engine's schedule as memory planning sees it.
type PlanStep struct {
	Reads, Writes []*Value
	// InPlace pairs a read with a write that may overwrite it element by
	// element, if nothing reads it later.
	InPlace [][2]*Value
}

// Plan is a layout of the computed values in one arena: values that are never
// alive together share memory, so that a session's memory is known, and
// allocated, before its first step.
type Plan struct {
	Offset []int // by Value.ID, in elements; -1 for a value without memory here
	Size   int   // of the arena, in elements
}

// planAlign keeps every value on a cache line (16 float32).
const planAlign = 16

// block is a set of values that share one place: a value, its views and what
// overwrites it in place.
type block struct {
	size       int
	from, last int // steps of the first write and the last use
	offset     int
}

// PlanMemory lays out the values that the steps write. A kept value is alive
// to the end (a result read after the run). Leaves (inputs, parameters,
// constants) have no place in the arena.
func PlanMemory(values int, steps []PlanStep, keep func(*Value) bool) *Plan {
	blocks := collectBlocks(values, steps, keep)
	p := &Plan{Offset: make([]int, values)}
	for i := range p.Offset {
		p.Offset[i] = -1
	}
	var distinct []*block
	seen := map[*block]bool{}
	for _, b := range blocks {
		if b != nil && !seen[b] {
			seen[b] = true
			distinct = append(distinct, b)
		}
	}
	// Largest first: the small ones then fill the holes.
	sort.SliceStable(distinct, func(i, j int) bool { return distinct[i].size > distinct[j].size })
	for i, b := range distinct {
		b.offset = lowestFit(b, distinct[:i])
		p.Size = max(p.Size, b.offset+b.size)
	}
	for id, b := range blocks {
		if b != nil {
			p.Offset[id] = b.offset
		}
	}
	return p
}

// collectBlocks finds each written value's block with its lifetime.
func collectBlocks(values int, steps []PlanStep, keep func(*Value) bool) []*block {
	last := make([]int, values)
	for i, s := range steps {
		for _, v := range s.Reads {
			last[v.ID] = i
		}
	}
	blocks := make([]*block, values)
	for i, s := range steps {
		for _, v := range s.Writes {
			b := &block{from: i}
			for _, pair := range s.InPlace {
				in := blocks[pair[0].ID]
				if pair[1] == v && in != nil && in.last == i && last[pair[0].ID] == i {
					b = in
				}
			}
			if blocks[v.ID] != nil {
				panic(fmt.Sprintf("nn: %s is written twice", v.Name))
			}
			b.size = max(b.size, (v.Shape.Size()+planAlign-1)/planAlign*planAlign)
			b.last = max(b.last, i, last[v.ID])
			if keep(v) {
				b.last = len(steps)
			}
			blocks[v.ID] = b
		}
	}
	return blocks
}

// lowestFit finds the lowest offset at which b overlaps no block that is alive
// at the same time.
func lowestFit(b *block, placed []*block) int {
	var rivals []*block
	for _, q := range placed {
		if b.from <= q.last && q.from <= b.last {
			rivals = append(rivals, q)
		}
	}
	sort.Slice(rivals, func(i, j int) bool { return rivals[i].offset < rivals[j].offset })
	at := 0
	for _, q := range rivals {
		if at+b.size <= q.offset {
			break
		}
		at = max(at, q.offset+q.size)
	}
	return at
}
