package cpu

import "sdnn/nn"

// rowBlock is the number of rows of a task: small enough to share a batch of
// 128 out, large enough that a task outweighs its claiming. It is fixed, as
// partial sums by row block are part of the result's bits.
const rowBlock = 16

// flatBlock is the number of elements of a task over a parameter.
const flatBlock = 1 << 15

// binder gives ops the memory of their values.
type binder struct {
	s     *session
	plan  *nn.Plan
	arena []float32
	root  func(*nn.Value) *nn.Value
}

// ref finds a value's data at run time: an input's lies in the slot's feed.
type ref struct {
	s     *session
	data  []float32
	input int // index in Features, -1 for other values
}

func (r *ref) get() []float32 {
	if r.input >= 0 {
		return r.s.feed.Features[r.input]
	}
	return r.data
}

func (b *binder) ref(v *nn.Value) *ref {
	v = b.root(v)
	r := &ref{s: b.s, input: -1}
	switch v.Role {
	case nn.Input:
		for i, f := range b.s.model.Features {
			if f == v {
				r.input = i
			}
		}
		if r.input < 0 {
			panic("cpu: input " + v.Name + " is not a feature of the model")
		}
	case nn.Param, nn.Constant, nn.Buffer:
		r.data = b.s.tensors[v.Name]
	default:
		at := b.plan.Offset[v.ID]
		r.data = b.arena[at : at+v.Shape.Size()]
	}
	return r
}

// overRows runs f over the batch's rows in blocks of rowBlock.
func (b *binder) overRows(f func(lo, hi int)) func() {
	s := b.s
	task := func(t, _ int) { f(t*rowBlock, min((t+1)*rowBlock, s.rows)) }
	return func() { s.pool.Run((s.rows+rowBlock-1)/rowBlock, task) }
}

// overFlat runs f over n elements in blocks of flatBlock.
func (b *binder) overFlat(n int, f func(lo, hi int)) func() {
	p := b.s.pool
	task := func(t, _ int) { f(t*flatBlock, min((t+1)*flatBlock, n)) }
	return func() { p.Run((n+flatBlock-1)/flatBlock, task) }
}

// over runs f over the elements of v: those of the batch's rows, or all.
func (b *binder) over(v *nn.Value, f func(lo, hi int)) func() {
	if !v.Batched {
		return b.overFlat(v.Shape.Size(), f)
	}
	w := v.Width()
	return b.overRows(func(lo, hi int) { f(lo*w, hi*w) })
}

// overWorkers runs f over the batch's rows, telling it which worker it is on.
func (b *binder) overWorkers(f func(row, worker int)) func() {
	s := b.s
	task := func(t, worker int) {
		for r := t * rowBlock; r < min((t+1)*rowBlock, s.rows); r++ {
			f(r, worker)
		}
	}
	return func() { s.pool.Run((s.rows+rowBlock-1)/rowBlock, task) }
}
