package cuda

import (
	"fmt"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// fed is a pointer into the slot's block.
type fed func(l *layout) int

// The arrays of a slot's block.
var (
	fedStep    fed = func(*layout) int { return 0 }
	fedKeys    fed = func(l *layout) int { return l.keys }
	fedIndex   fed = func(l *layout) int { return l.index }
	fedOffsets fed = func(l *layout) int { return l.offsets }
	fedColumns fed = func(l *layout) int { return l.columns }
	fedY       fed = func(l *layout) int { return l.y }
	fedM       fed = func(l *layout) int { return l.m }
)

// call makes the launch of a kernel. Arguments are, by type: place, fed,
// driver.Ptr and nil for pointers, int, uint32, uint64 and float32.
func (b *binder) call(name string, args ...any) []launch {
	set, fixed := b.s.e.set, make([]driver.Arg, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case place, fed: // known at run time
		case nil:
			fixed[i] = kernels.P(0)
		case driver.Ptr:
			fixed[i] = kernels.P(a)
		case int:
			fixed[i] = kernels.I(a)
		case uint32:
			fixed[i] = kernels.U(a)
		case uint64:
			fixed[i] = kernels.L(a)
		case float32:
			fixed[i] = kernels.F(a)
		default:
			panic(fmt.Sprintf("cuda: argument %d of %s is a %T", i, name, a))
		}
	}
	return []launch{func(f *frame) error {
		for i, a := range args {
			switch a := a.(type) {
			case place:
				fixed[i] = kernels.P(a.in(f))
			case fed:
				fixed[i] = kernels.P(f.at(a(&f.slot.layout)))
			}
		}
		return set.Launch(f.stream, name, fixed...)
	}}
}

// count is the number of elements of v in this variant, padding included.
func (b *binder) count(v *nn.Value) uint64 { return uint64(b.p.low.elements(v, b.rows)) }

// positions is the number of rows of v as a matrix of its last dimension.
func (b *binder) positions(v *nn.Value) int {
	return b.rows * (v.Width() / v.Shape[len(v.Shape)-1])
}

// zero makes the clearing of a value.
func (b *binder) zero(v *nn.Value) launch {
	at, bytes := b.place(v), b.p.low.bytes(b.p.low.rootOf(v), b.rows)
	return func(f *frame) error { return b.s.card.Zero(at.in(f), bytes, f.stream) }
}

// workspace takes note of what a planned product needs; all share one, as one
// runs at a time.
func (b *binder) workspace(n int, close func() error) {
	b.v.closes = append(b.v.closes, close)
	b.need = max(b.need, n)
}

// Limits of the memory that a product may use. They do not depend on what is
// free, as the algorithm, and with it the result's bits, may depend on them.
const (
	matmulWorkspace = 32 << 20
	convWorkspace   = 512 << 20
)

// matmul makes the launch of a product.
func (b *binder) matmul(spec driver.MatmulSpec, d, x, y, bias place) []launch {
	spec.Math = b.s.math
	m, err := b.planMatmul(spec)
	if err != nil {
		b.fail(err)
		return nil
	}
	b.workspace(m.Workspace(), m.Close)
	s := b.s
	return []launch{func(f *frame) error {
		return m.Run(d.in(f), x.in(f), y.in(f), bias.in(f), s.workspace, f.stream)
	}}
}

// planMatmul plans a product with the candidate that was chosen for it.
func (b *binder) planMatmul(spec driver.MatmulSpec) (driver.Matmul, error) {
	plan := func(candidate int) (driver.Matmul, error) {
		spec.Candidate = candidate
		return b.s.card.PlanMatmul(spec, matmulWorkspace)
	}
	ab, bias := spec.AB.Size(), 0
	if spec.Epilogue != driver.EpilogueNone {
		bias = spec.N * spec.Bias.Size()
	}
	return planned(b, problem{fmt.Sprintf("product %+v", spec), [4]int{spec.M * spec.N * spec.D.Size(), spec.M * spec.K * ab, spec.K * spec.N * ab, bias},
		func(candidate int) (trial, error) {
			m, err := plan(candidate)
			return trial{m, func(o [4]driver.Ptr, w driver.Ptr, s driver.Stream) error { return m.Run(o[0], o[1], o[2], o[3], w, s) }}, err
		}}, plan)
}

// planned plans the candidate that was chosen for a problem, which is chosen anew
// if it cannot be planned any more.
func planned[P any](b *binder, p problem, plan func(candidate int) (P, error)) (P, error) {
	c := b.s.e.chooser
	candidate := c.pick(b.s.compute, p)
	m, err := plan(candidate)
	if err != nil && candidate > 0 {
		c.forget(p.key)
		return plan(c.pick(b.s.compute, p))
	}
	return m, err
}

// conv makes the launch of a convolution.
func (b *binder) conv(spec driver.ConvSpec, dst, x, y place) []launch {
	spec.Math, spec.Deterministic, spec.WorkspaceLimit = b.s.math, !b.s.e.options.Fast, convWorkspace
	c, err := b.planConv(spec)
	if err != nil {
		b.fail(err)
		return nil
	}
	b.workspace(c.Workspace(), c.Close)
	s := b.s
	return []launch{func(f *frame) error {
		return c.Run(dst.in(f), x.in(f), y.in(f), s.workspace, f.stream)
	}}
}

// planConv plans a convolution with the candidate that was chosen for it.
func (b *binder) planConv(spec driver.ConvSpec) (driver.Conv, error) {
	plan := func(candidate int) (driver.Conv, error) {
		spec.Candidate = candidate
		return b.s.card.PlanConv(spec)
	}
	size := spec.Type.Size()
	x, w, y := size*spec.N*spec.H*spec.W*spec.C, size*spec.O*spec.K*spec.K*spec.C, size*spec.N*spec.OutHeight()*spec.OutWidth()*spec.O
	bytes := [...][4]int{driver.Forward: {y, x, w}, driver.BackwardData: {x, y, w}, driver.BackwardWeight: {w, y, x}}[spec.Direction]
	return planned(b, problem{fmt.Sprintf("convolution %+v", spec), bytes, func(candidate int) (trial, error) {
		c, err := plan(candidate)
		return trial{c, func(o [4]driver.Ptr, w driver.Ptr, s driver.Stream) error { return c.Run(o[0], o[1], o[2], w, s) }}, err
	}}, plan)
}

// fail keeps the first error of a binding.
func (b *binder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}
