package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// poolGrid is how a pass over the windows of a 2x2 max-pool is split: a unit is
// one row of windows of one image, a block some units in order, bounded as a
// block of channels is.
type poolGrid struct {
	c, ow, oh int
	row       int // elements of an image row
	image     int // elements of an image
	units     int // of a block
	blocks    int // of a whole batch
}

// newPoolGrid takes the pool's input [N,H,W,C] and output.
func newPoolGrid(x, y *nn.Value) poolGrid {
	g := poolGrid{c: x.Shape[3], ow: y.Shape[2], oh: y.Shape[1], row: x.Shape[2] * x.Shape[3], image: x.Width()}
	g.units = max(1, min(chanBlock*g.c, chanFloats)/(2*g.row))
	g.blocks = (x.Shape[0]*g.oh + g.units - 1) / g.units
	return g
}

// count is the number of blocks of the current batch.
func (g *poolGrid) count(s *session) int { return (s.rows*g.oh + g.units - 1) / g.units }

// each returns a function that runs f for the units of each block t: r0 is
// where the unit's first image row starts, the second follows it, rest where what
// belongs to the unit ends (an odd last row belongs to the last), out where its
// row of windows starts.
func (g poolGrid) each(s *session, f func(t, r0, rest, out int)) func() {
	task := func(t, _ int) {
		for u := t * g.units; u < min((t+1)*g.units, s.rows*g.oh); u++ {
			img, oy := u/g.oh, u%g.oh
			r0 := img*g.image + oy*2*g.row
			rest := r0 + 2*g.row
			if oy == g.oh-1 {
				rest = (img + 1) * g.image
			}
			f(t, r0, rest, u*g.ow*g.c)
		}
	}
	return func() { s.pool.Run(g.count(s), task) }
}

// first reports whether the unit whose windows start at out is block t's first.
func (g *poolGrid) first(t, out int) bool { return out == t*g.units*g.ow*g.c }

// maxPool2D lowers a pool that is not part of another op.
func (l *lowering) maxPool2D(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	g := newPoolGrid(x, y)
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(x), b.ref(y)
		return g.each(b.s, func(_, r0, _, out int) {
			in := xs.get()
			kernel.MaxPool(ys.data[out:out+g.ow*g.c], in[r0:r0+g.row], in[r0+g.row:r0+2*g.row], g.c)
		})
	})
}

func (l *lowering) maxPool2DBackward(n *nn.Node) {
	dy, x, dx := n.In[0], n.In[1], n.Out[0]
	g := newPoolGrid(x, dy)
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ds, xs, dxs := b.ref(dy), b.ref(x), b.ref(dx)
		return g.each(b.s, func(_, r0, rest, out int) {
			in, to := xs.get(), dxs.data
			r1, end, w := r0+g.row, r0+2*g.row, 2*g.ow*g.c
			kernel.MaxPoolGrad(to[r0:r1], to[r1:end], ds.get()[out:out+g.ow*g.c], in[r0:r1], in[r1:end], g.c)
			clear(to[r0+w : r1])
			clear(to[r1+w : end])
			clear(to[end:rest])
		})
	}).inPlace(1)
}

// globalAvgPool lowers the average over positions and its gradient.
func (l *lowering) globalAvgPool(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	c, positions := y.Width(), x.Shape[1]*x.Shape[2]
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(x), b.ref(y)
		return b.overImages(func(r int) {
			out := ys.data[r*c : (r+1)*c]
			clear(out)
			kernel.ChanSum(out, xs.get()[r*positions*c:(r+1)*positions*c])
			kernel.Scale(out, out, 1/float32(positions))
		})
	})
}

func (l *lowering) globalAvgPoolBackward(n *nn.Node, o nn.GlobalAvgPoolBackward) {
	dy, dx := n.In[0], n.Out[0]
	c, positions := dy.Width(), o.Height*o.Width
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ds, xs := b.ref(dy), b.ref(dx)
		return b.overImages(func(r int) {
			out := xs.data[r*positions*c : (r+1)*positions*c]
			kernel.Scale(out[:c], ds.get()[r*c:(r+1)*c], 1/float32(positions))
			for done := c; done < len(out); done *= 2 {
				copy(out[done:], out[:done])
			}
		})
	})
}

// overImages runs f for every row of the batch, each a task of its own.
func (b *binder) overImages(f func(r int)) func() {
	task := func(t, _ int) { f(t) }
	return func() { b.s.pool.Run(b.s.rows, task) }
}
