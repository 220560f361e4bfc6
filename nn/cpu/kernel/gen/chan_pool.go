package main

import (
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("chan_pool", chanPoolKernels) }

// chanPoolKernels writes the 2x2 max-pools, plain and behind a batch
// normalisation with ReLU; see pool2d.go.
func chanPoolKernels(f *vecFile) {
	f.fn("maxPool", "func(y, x0, x1 []float32, rows, c int)", (*kern).maxPool)
	f.fn("maxPoolGrad", "func(dx0, dx1, dy, x0, x1 []float32, rows, c int)", (*kern).maxPoolGrad)
	f.fn("affinePool", "func(y, x0, x1, coef []float32, rows, c int)", (*kern).affinePool)
	f.fn("affinePoolGradSums", "func(acc, dy, x0, x1, coef []float32, rows, c int)", (*kern).affinePoolGradSums)
	f.fn("affinePoolGrad", "func(dx0, dx1, dy, x0, x1, coef []float32, rows, c int)", (*kern).affinePoolGrad)
}

// windows writes the loop over windows, one at a time: pointers go on by a
// window, those of pooled matrices, which come first, by a row.
func (g *grid) windows(pooled int, body func(c *cell)) {
	TESTQ(g.rows, g.rows)
	JE(LabelRef("done"))
	Label("window")
	together := slices.Repeat([]int{2}, len(g.walk))
	for i := range pooled {
		together[i] = 1
	}
	g.columns(1, together, body)
	for _, p := range g.walk[pooled:] {
		ADDQ(g.stride, p)
	}
	DECQ(g.rows)
	JNE(LabelRef("window"))
	Label("done")
}

// window is the four positions of a window in row-major order, given the
// pointers of two image rows.
func (c *cell) window(p0, p1 Register) (load func(i int) VecVirtual, store func(i int, v VecVirtual)) {
	p := [2]Register{p0, p1}
	return func(i int) VecVirtual { return c.load(p[i/2], i%2) }, func(i int, v VecVirtual) { c.store(v, p[i/2], i%2) }
}

// largest is the maximum of a window.
func (k *kern) largest(v [4]VecVirtual) VecVirtual {
	return k.max(k.max(v[0], v[1]), k.max(v[2], v[3]))
}

const notEqual = 0x04 // or unordered

// winner splits the gradient d of a window: it goes to the first of v that is
// the maximum top. f gets what each position receives.
func (k *kern) winner(d VecVirtual, v [4]VecVirtual, top VecVirtual, f func(i int, d VecVirtual)) {
	for i := range 3 {
		f(i, k.where(k.compare(equal, v[i], top), d))
		d = k.where(k.compare(notEqual, v[i], top), d)
	}
	f(3, d)
}

func (k *kern) maxPool() {
	g := newGrid(k, []string{"y", "x0", "x1"}, nil)
	g.windows(1, func(c *cell) {
		load, _ := c.window(g.walk[1], g.walk[2])
		c.store(k.largest([4]VecVirtual{load(0), load(1), load(2), load(3)}), g.walk[0], 0)
	})
}

func (k *kern) maxPoolGrad() {
	g := newGrid(k, []string{"dy", "x0", "x1", "dx0", "dx1"}, nil)
	g.windows(1, func(c *cell) {
		load, _ := c.window(g.walk[1], g.walk[2])
		_, store := c.window(g.walk[3], g.walk[4])
		v := [4]VecVirtual{load(0), load(1), load(2), load(3)}
		k.winner(c.load(g.walk[0], 0), v, k.largest(v), store)
	})
}

func (k *kern) affinePool() {
	g := newGrid(k, []string{"y", "x0", "x1"}, []string{"coef"})
	zero := k.vec()
	k.zero(zero)
	g.windows(1, func(c *cell) {
		load, _ := c.window(g.walk[1], g.walk[2])
		scale, shift := c.load(g.again[0], 0), c.load(g.again[0], 1)
		var v [4]VecVirtual
		for i := range v {
			v[i] = k.fused(load(i), scale, shift)
		}
		c.store(k.max(zero, k.largest(v)), g.walk[0], 0)
	})
}

// passed computes a window's values before the ReLU again, and returns them with their
// maximum and the part of the window's gradient that the ReLU lets pass.
func (c *cell) passed(load func(int) VecVirtual, dy Register, scale, shift VecVirtual) (v [4]VecVirtual, top, d VecVirtual) {
	k := c.g.k
	for i := range v {
		v[i] = k.fused(load(i), scale, shift)
	}
	top = k.largest(v)
	return v, top, k.where(k.compare(greaterThan, top, k.bits(0)), c.load(dy, 0))
}

// affinePoolGradSums takes the rows mean, scale and shift of coef.
func (k *kern) affinePoolGradSums() {
	g := newGrid(k, []string{"dy", "x0", "x1"}, []string{"acc", "coef"})
	acc, coef := g.again[0], g.again[1]
	g.windows(1, func(c *cell) {
		load, _ := c.window(g.walk[1], g.walk[2])
		v, top, d := c.passed(load, g.walk[0], c.load(coef, 1), c.load(coef, 2))
		c.plus(d, acc, 0)
		// The winner's x: from the last to the first, so that the first stays.
		x := load(3)
		for i := 2; i >= 0; i-- {
			x = k.choose(k.compare(equal, v[i], top), load(i), x)
		}
		dot := c.load(acc, 1)
		k.fma(dot, d, k.sub(x, c.load(coef, 0)))
		c.store(dot, acc, 1)
	})
}

// affinePoolGrad takes the rows scale, shift, a, b and c of coef.
func (k *kern) affinePoolGrad() {
	g := newGrid(k, []string{"dy", "x0", "x1", "dx0", "dx1"}, []string{"coef"})
	coef := g.again[0]
	g.windows(1, func(c *cell) {
		load, _ := c.window(g.walk[1], g.walk[2])
		_, store := c.window(g.walk[3], g.walk[4])
		v, top, d := c.passed(load, g.walk[0], c.load(coef, 0), c.load(coef, 1))
		fy, fx, f1 := c.load(coef, 2), c.load(coef, 3), c.load(coef, 4)
		k.winner(d, v, top, func(i int, d VecVirtual) {
			r := k.fused(load(i), fx, f1)
			k.fma(r, d, fy)
			store(i, r)
		})
	})
}
