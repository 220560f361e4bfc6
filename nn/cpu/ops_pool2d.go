package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// maxPool2D lowers the pool and its gradient; windows are [2,2] pixels of c channels.
func (l *lowering) maxPool2D(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(x), b.ref(y)
		w, c, oh, ow := x.Shape[2], x.Shape[3], y.Shape[1], y.Shape[2]
		return b.overRows(func(lo, hi int) {
			for r := lo; r < hi; r++ {
				in, out := xs.get()[r*x.Width():], ys.data[r*y.Width():]
				for p := range oh * ow {
					at := (p/ow*2*w + p%ow*2) * c
					p00, p01 := in[at:at+c], in[at+c:at+2*c]
					p10, p11 := in[at+w*c:at+w*c+c], in[at+w*c+c:at+w*c+2*c]
					for i := range out[p*c : (p+1)*c] {
						out[p*c+i] = max(p00[i], p01[i], p10[i], p11[i])
					}
				}
			}
		})
	})
}

func (l *lowering) maxPool2DBackward(n *nn.Node) {
	dy, x, dx := n.In[0], n.In[1], n.Out[0]
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ds, xs, dxs := b.ref(dy), b.ref(x), b.ref(dx)
		w, c, oh, ow := x.Shape[2], x.Shape[3], dy.Shape[1], dy.Shape[2]
		step := [4]int{0, c, w * c, w*c + c} // row-major order: the first of equal ones wins
		return b.overRows(func(lo, hi int) {
			for r := lo; r < hi; r++ {
				in, d := xs.get()[r*x.Width():(r+1)*x.Width()], ds.get()[r*dy.Width():]
				out := dxs.data[r*x.Width() : (r+1)*x.Width()]
				clear(out)
				for p := range oh * ow {
					at := (p/ow*2*w + p%ow*2) * c
					for i := at; i < at+c; i++ {
						best := 0
						for s := 1; s < 4; s++ {
							if in[i+step[s]] > in[i+step[best]] {
								best = s
							}
						}
						out[i+step[best]] = d[p*c+i-at]
					}
				}
			}
		})
	})
}

// globalAvgPool lowers the average over positions and its gradient.
func (l *lowering) globalAvgPool(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	c, positions := y.Width(), x.Shape[1]*x.Shape[2]
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(x), b.ref(y)
		return b.overRows(func(lo, hi int) {
			for r := lo; r < hi; r++ {
				out := ys.data[r*c : (r+1)*c]
				clear(out)
				kernel.ChanSum(out, xs.get()[r*positions*c:(r+1)*positions*c])
				kernel.Scale(out, out, 1/float32(positions))
			}
		})
	})
}

func (l *lowering) globalAvgPoolBackward(n *nn.Node, o nn.GlobalAvgPoolBackward) {
	dy, dx := n.In[0], n.Out[0]
	c, positions := dy.Width(), o.Height*o.Width
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ds, xs := b.ref(dy), b.ref(dx)
		return b.overRows(func(lo, hi int) {
			for r := lo; r < hi; r++ {
				d := ds.get()[r*c : (r+1)*c]
				for p := range positions {
					kernel.Scale(xs.data[(r*positions+p)*c:][:c], d, 1/float32(positions))
				}
			}
		})
	})
}
