package fakecard

// The order of work is kept by vector clocks: every stream counts its
// operations, and knows of every other stream up to which of its operations it
// has waited. An access and an earlier one of another stream conflict if one of
// them writes and the stream does not know of the other.

// clock is, by stream id, the last operation known to be done before.
type clock []int

func (c clock) of(id int) int {
	if id < len(c) {
		return c[id]
	}
	return 0
}

// join learns what o knows.
func (c *clock) join(o clock) {
	for len(*c) < len(o) {
		*c = append(*c, 0)
	}
	for i, t := range o {
		(*c)[i] = max((*c)[i], t)
	}
}

// set makes t the stream's last operation.
func (c *clock) set(id, t int) {
	for len(*c) <= id {
		*c = append(*c, 0)
	}
	(*c)[id] = t
}

func (c clock) copy() clock { return append(clock(nil), c...) }

// access is what an operation does to a range of an allocation.
type access struct {
	lo, hi int
	write  bool
	op     *op
	stream int
	tick   int
}

// touch records an access of an allocation and reports the earlier ones that it
// conflicts with. What the new access supersedes is forgotten.
func (c *Card) touch(b *allocation, a access, known clock) {
	kept := b.accesses[:0]
	reported := false
	for _, e := range b.accesses {
		ordered := e.stream == a.stream || e.tick <= known.of(e.stream)
		if !ordered && !reported && e.lo < a.hi && a.lo < e.hi && (e.write || a.write) {
			reported = true
			c.problem("race on %s[%d:%d]: %s %s it and %s %s it, with no event between them", b.name, max(e.lo, a.lo), min(e.hi, a.hi),
				e.op, does(e.write), a.op, does(a.write))
		}
		if ordered && a.lo <= e.lo && e.hi <= a.hi && (a.write || !e.write && e.stream == a.stream) {
			continue
		}
		kept = append(kept, e)
	}
	b.accesses = append(kept, a)
}

func does(write bool) string {
	if write {
		return "writes"
	}
	return "reads"
}
