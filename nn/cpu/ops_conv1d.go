package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// convPool is convolution (3 taps), ReLU and max-pool of the video net, run as
// one pass: the values between them, the largest of the whole step, never
// reach memory, and the backward pass computes them again.
type convPool struct {
	conv, relu, pool                *nn.Node
	poolBack, reluBack, convolvBack *nn.Node // nil in evaluation
}

// findConvPools marks the nodes of every such chain and remembers where to
// emit it.
func (l *lowering) findConvPools() {
	for _, n := range l.p.Nodes {
		if _, ok := n.Op.(nn.MaxPool1D); !ok {
			continue
		}
		c := l.matchConvPool(n)
		if c == nil {
			continue
		}
		for _, m := range []*nn.Node{c.conv, c.relu, c.pool, c.poolBack, c.reluBack, c.convolvBack} {
			if m != nil {
				l.done[m] = true
			}
		}
		l.chains = append(l.chains, c)
	}
}

// matchConvPool returns the chain that ends in a max-pool, or nil.
func (l *lowering) matchConvPool(pool *nn.Node) *convPool {
	c := &convPool{pool: pool}
	if c.relu = l.writer[pool.In[0]]; c.relu == nil || l.isResult(pool.In[0]) {
		return nil
	}
	if _, ok := c.relu.Op.(nn.ReLU); !ok {
		return nil
	}
	c.conv = l.writer[c.relu.In[0]]
	if c.conv == nil || l.onlyReader(c.conv.Out[0]) != c.relu {
		return nil
	}
	if _, ok := c.conv.Op.(nn.Conv1D); !ok || c.conv.In[1].Shape[1] != 3 {
		return nil
	}
	for _, r := range l.readers[c.relu.Out[0]] {
		switch r.Op.(type) {
		case nn.MaxPool1D:
		case nn.MaxPool1DBackward:
			c.poolBack = r
		case nn.ReLUBackward:
			c.reluBack = r
		default:
			return nil
		}
	}
	if c.poolBack == nil {
		return c
	}
	if c.reluBack == nil || l.onlyReader(c.poolBack.Out[0]) != c.reluBack {
		return nil
	}
	if c.convolvBack = l.onlyReader(c.reluBack.Out[0]); c.convolvBack == nil {
		return nil
	}
	if _, ok := c.convolvBack.Op.(nn.Conv1DBackward); !ok {
		return nil
	}
	return c
}

// chainAt emits the fused op whose last node is n, if there is one.
func (l *lowering) chainAt(n *nn.Node) {
	for _, c := range l.chains {
		switch n {
		case c.pool:
			l.convPoolForward(c)
		case c.convolvBack:
			l.convPoolBackward(c)
		}
	}
}

func (l *lowering) convPoolForward(c *convPool) {
	x, w, bias, y := c.conv.In[0], c.conv.In[1], c.conv.In[2], c.pool.Out[0]
	f, length, width := w.Shape[0], x.Width(), y.Width()
	taps := l.temp(3 * f)
	o := l.emit("conv1d+relu+max-pool", []*nn.Value{x, w, bias}, []*nn.Value{y, taps}, func(b *binder) func() {
		xs, ys, ws, bs, ts := b.ref(x), b.ref(y), b.ref(w), b.ref(bias), b.ref(taps)
		rows := b.overRows(func(lo, hi int) {
			x, y := xs.get(), ys.data
			for r := lo; r < hi; r++ {
				kernel.ConvPool(y[r*width:(r+1)*width], x[r*length:(r+1)*length], ts.data, bs.data)
			}
		})
		return func() { transpose(ts.data, ws.data, f, 3); rows() }
	})
	o.flops = func(rows int) float64 { return 6 * float64(rows) * float64(length) * float64(f) }
}

// convPoolBackward sums the gradients of each block of rows apart and adds
// the blocks in order, so that the bits do not depend on the threads.
func (l *lowering) convPoolBackward(c *convPool) {
	dy, x, w, bias := c.poolBack.In[0], c.conv.In[0], c.conv.In[1], c.conv.In[2]
	out := c.convolvBack.Out
	f, length, width := w.Shape[0], x.Width(), c.pool.Out[0].Width()
	blocks := (l.p.Model.Batch + rowBlock - 1) / rowBlock
	taps, partial := l.temp(3*f), l.temp(blocks*4*f)
	writes := append([]*nn.Value{}, out...)
	o := l.emit("conv1d+relu+max-pool-backward", []*nn.Value{dy, x, w, bias}, append(writes, taps, partial), func(b *binder) func() {
		ds, xs, ws, bs := b.ref(dy), b.ref(x), b.ref(w), b.ref(bias)
		dws, dbs, ts, ps := b.ref(out[0]), b.ref(out[1]), b.ref(taps), b.ref(partial)
		var dx *ref
		if len(out) == 3 {
			dx = b.ref(out[2])
		}
		rows := b.overRows(func(lo, hi int) {
			sum := ps.data[lo/rowBlock*4*f:][:4*f]
			clear(sum)
			for r := lo; r < hi; r++ {
				d, xr := ds.data[r*width:(r+1)*width], xs.get()[r*length:(r+1)*length]
				kernel.ConvPoolGrad(sum[:3*f], sum[3*f:], d, xr, ts.data, bs.data)
				if dx != nil {
					kernel.ConvPoolInputGrad(dx.data[r*length:(r+1)*length], d, xr, ts.data, bs.data)
				}
			}
		})
		return func() {
			transpose(ts.data, ws.data, f, 3)
			rows()
			total := ps.data[:4*f]
			for lo := rowBlock; lo < b.s.rows; lo += rowBlock {
				kernel.Accumulate(total, ps.data[lo/rowBlock*4*f:][:4*f])
			}
			transpose(dws.data, total[:3*f], 3, f)
			copy(dbs.data, total[3*f:])
		}
	})
	o.flops = func(rows int) float64 { return 10 * float64(rows) * float64(length) * float64(f) }
}

// transpose writes the rows x columns matrix a to dst as columns x rows.
func transpose(dst, a []float32, rows, columns int) {
	for i := range rows {
		for j := range columns {
			dst[j*rows+i] = a[i*columns+j]
		}
	}
}

// plainConv1D lowers the ops of a chain that did not fuse: correct for every
// odd width, and not fast.
func (l *lowering) plainConv1D(n *nn.Node) {
	switch o := n.Op.(type) {
	case nn.Conv1D:
		l.emit(o.Kind(), n.In, n.Out, func(b *binder) func() {
			xs, ws, bs, ys := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2]), b.ref(n.Out[0])
			length, f, k := n.In[0].Width(), n.In[1].Shape[0], n.In[1].Shape[1]
			return b.overRows(func(lo, hi int) {
				for r := lo; r < hi; r++ {
					convRow(ys.data[r*length*f:], xs.get()[r*length:(r+1)*length], ws.data, bs.data, f, k)
				}
			})
		})
	case nn.Conv1DBackward:
		l.plainConv1DBackward(n)
	case nn.MaxPool1D:
		l.emit(o.Kind(), n.In, n.Out, func(b *binder) func() {
			xs, ys := b.ref(n.In[0]), b.ref(n.Out[0])
			pairs, f := n.Out[0].Shape[1], n.Out[0].Shape[2]
			in := n.In[0].Width()
			return b.overRows(func(lo, hi int) {
				for r := lo; r < hi; r++ {
					x, y := xs.get()[r*in:], ys.data[r*pairs*f:]
					for i := range pairs * f {
						at := i/f*2*f + i%f
						y[i] = max(x[at], x[at+f])
					}
				}
			})
		})
	case nn.MaxPool1DBackward:
		l.emit(o.Kind(), n.In, n.Out, func(b *binder) func() {
			ds, xs, ys := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.Out[0])
			pairs, f := n.In[0].Shape[1], n.In[0].Shape[2]
			in := n.In[1].Width()
			return b.overRows(func(lo, hi int) {
				for r := lo; r < hi; r++ {
					d, x, dx := ds.get()[r*pairs*f:], xs.get()[r*in:], ys.data[r*in:(r+1)*in]
					clear(dx)
					for i := range pairs * f {
						at := i/f*2*f + i%f
						if x[at+f] > x[at] {
							at += f
						}
						dx[at] = d[i]
					}
				}
			})
		})
	}
}

// convRow computes y [L,F] of one row.
func convRow(y, x, w, bias []float32, f, k int) {
	for p := range x {
		for j := range f {
			sum := bias[j]
			for t := range k {
				if q := p + t - k/2; q >= 0 && q < len(x) {
					sum += w[j*k+t] * x[q]
				}
			}
			y[p*f+j] = sum
		}
	}
}

func (l *lowering) plainConv1DBackward(n *nn.Node) {
	dy, x, w := n.In[0], n.In[1], n.In[2]
	length, f, k := x.Width(), w.Shape[0], w.Shape[1]
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ds, xs, ws, dws, dbs := b.ref(dy), b.ref(x), b.ref(w), b.ref(n.Out[0]), b.ref(n.Out[1])
		var dx *ref
		if len(n.Out) == 3 {
			dx = b.ref(n.Out[2])
		}
		return func() {
			clear(dws.data)
			clear(dbs.data)
			for r := range b.s.rows {
				xr, d := xs.get()[r*length:(r+1)*length], ds.get()[r*length*f:]
				if dx != nil {
					clear(dx.data[r*length : (r+1)*length])
				}
				for p := range length {
					for j := range f {
						g := d[p*f+j]
						dbs.data[j] += g
						for t := range k {
							q := p + t - k/2
							if q < 0 || q >= length {
								continue
							}
							dws.data[j*k+t] += g * xr[q]
							if dx != nil {
								dx.data[r*length+q] += g * ws.data[j*k+t]
							}
						}
					}
				}
			}
		}
	})
}
