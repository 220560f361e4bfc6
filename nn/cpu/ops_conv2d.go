package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// A 3x3 convolution of stride 1 and padding 1 whose channels are multiples of 16
// goes the fast way (kernel.Conv3x3). Every other convolution is a matrix
// product of patches with the weights. Patches (im2col) are written for a chunk
// of images at a time, so that they stay near the second-level cache:
//
//	forward   y[pixel,O]       = patches(x)[pixel, K K C] · W[O, K K C]ᵀ
//	weights   dW[O, K K C]    += dy[pixel,O]ᵀ · patches(x)[pixel, K K C]
//	data      dx = gather(dpatches), dpatches[pixel, K K C] = dy[pixel,O] · W[O, K K C]

// patchBytes is the aim for a chunk's patches.
const patchBytes = 4 << 20

// geometry is the shape of a convolution.
type geometry struct {
	h, w, c        int // of x
	oh, ow, o      int // of y
	k, stride, pad int
	chunk          int // images at a time
}

func newGeometry(x, y nn.Shape, k, stride, pad, batch int) geometry {
	g := geometry{h: x[1], w: x[2], c: x[3], oh: y[1], ow: y[2], o: y[3], k: k, stride: stride, pad: pad}
	g.chunk = min(batch, max(1, patchBytes/(4*g.pixels()*g.depth())))
	return g
}

func (g *geometry) pixels() int { return g.oh * g.ow }
func (g *geometry) depth() int  { return g.k * g.k * g.c }
func (g *geometry) flops(rows int) float64 {
	return 2 * float64(rows) * float64(g.pixels()) * float64(g.depth()) * float64(g.o)
}

// plain reports whether x itself is the patches' matrix: a 1x1 kernel.
func (g *geometry) plain() bool { return g.k == 1 && g.stride == 1 && g.pad == 0 }

// patchRow writes the patches of output row oy of one image. A row of a
// patch, k pixels of c channels, lies together in the image.
func (g *geometry) patchRow(dst, img []float32, oy int) {
	run, depth := g.k*g.c, g.depth()
	// The patches [from, until) lie inside the image's columns.
	from := min(g.ow, (g.pad+g.stride-1)/g.stride)
	until := max(from, min(g.ow, (g.w+g.pad-g.k)/g.stride+1))
	for ky := range g.k {
		iy := oy*g.stride + ky - g.pad
		out := dst[ky*run:]
		if iy < 0 || iy >= g.h {
			for ox := range g.ow {
				clear(out[ox*depth:][:run])
			}
			continue
		}
		row := img[iy*g.w*g.c : (iy+1)*g.w*g.c]
		for ox := range from {
			g.patchEdge(out[ox*depth:][:run], row, ox*g.stride-g.pad)
		}
		if from < until { // else the kernel is wider than what it may read
			copyRuns(out[from*depth:], row[(from*g.stride-g.pad)*g.c:], until-from, run, depth, g.stride*g.c)
		}
		for ox := until; ox < g.ow; ox++ {
			g.patchEdge(out[ox*depth:][:run], row, ox*g.stride-g.pad)
		}
	}
}

// patchEdge writes the part of a patch's row that lies inside of an image's
// row, from column ix on, and zeros elsewhere.
func (g *geometry) patchEdge(out, row []float32, ix int) {
	clear(out)
	if lo, hi := max(0, -ix), min(g.k, g.w-ix); lo < hi {
		copy(out[lo*g.c:hi*g.c], row[(ix+lo)*g.c:])
	}
}

// copyRuns copies n runs of floats. Those of a first layer, 3 pixels of 3
// channels, are too short for a call of copy.
func copyRuns(dst, src []float32, n, run, dstStep, srcStep int) {
	for i := range n {
		d, s := dst[i*dstStep:], src[i*srcStep:]
		if run == 9 {
			*(*[9]float32)(d) = [9]float32(s)
		} else {
			copy(d[:run], s[:run])
		}
	}
}

// gatherPixel sets dx of one pixel to the sum of the patch entries that read it.
func (g *geometry) gatherPixel(dx, patches []float32, iy, ix int) {
	clear(dx)
	for ky := range g.k {
		oy := iy + g.pad - ky
		if oy < 0 || oy%g.stride != 0 || oy/g.stride >= g.oh {
			continue
		}
		for kx := range g.k {
			ox := ix + g.pad - kx
			if ox < 0 || ox%g.stride != 0 || ox/g.stride >= g.ow {
				continue
			}
			at := ((oy/g.stride*g.ow+ox/g.stride)*g.k+ky)*g.k + kx
			kernel.Accumulate(dx, patches[at*g.c:(at+1)*g.c])
		}
	}
}

// chunks runs f for the images [lo, hi) of the batch, chunk by chunk.
func (g *geometry) chunks(b *binder, f func(lo, hi int)) func() {
	return func() {
		for lo := 0; lo < b.s.rows; lo += g.chunk {
			f(lo, min(lo+g.chunk, b.s.rows))
		}
	}
}

// patcher returns a function that writes the patches of images [lo, hi).
func (g *geometry) patcher(b *binder, x *ref, patches []float32) func(lo, hi int) {
	var first int
	image, row := g.h*g.w*g.c, g.ow*g.depth()
	task := func(t, _ int) {
		img := x.get()[(first+t/g.oh)*image:][:image]
		g.patchRow(patches[t*row:(t+1)*row], img, t%g.oh)
	}
	return func(lo, hi int) {
		first = lo
		b.s.pool.Run((hi-lo)*g.oh, task)
	}
}

// fast lowers a convolution to kernel.Conv3x3 if that takes it. The
// function that args returns sets the operands.
func (l *lowering) fast(n *nn.Node, kind kernel.ConvKind, g geometry, batch int, args func(b *binder) func(*kernel.ConvArgs)) bool {
	if g.k != 3 || g.stride != 1 || g.pad != 1 || !kernel.FastConv() {
		return false
	}
	conv := kernel.NewConv3x3(kind, batch, g.h, g.w, g.c, g.o)
	if conv == nil {
		return false
	}
	work := l.temp(conv.Workspace())
	op := l.emit(n.Op.Kind(), n.In, []*nn.Value{n.Out[0], work}, func(b *binder) func() {
		var a kernel.ConvArgs
		out, ws, set := b.ref(n.Out[0]), b.ref(work), args(b)
		return func() {
			a.Rows, a.Out, a.Work = b.s.rows, out.data, ws.data
			set(&a)
			conv.Run(b.s.pool, a)
		}
	})
	op.flops, op.work = g.flops, conv.Work
	return true
}

func (l *lowering) conv2d(n *nn.Node, o nn.Conv2D) {
	x, w, y := n.In[0], n.In[1], n.Out[0]
	g := newGeometry(x.Shape, y.Shape, w.Shape[1], o.Stride, o.Pad, x.Shape[0])
	if l.fast(n, kernel.ConvForward, g, x.Shape[0], func(b *binder) func(*kernel.ConvArgs) {
		xs, ws := b.ref(x), b.ref(w)
		var bias []float32
		if len(n.In) == 3 {
			bias = b.ref(n.In[2]).data
		}
		return func(a *kernel.ConvArgs) { a.X, a.W, a.Bias = xs.get(), ws.data, bias }
	}) {
		return
	}
	patches := l.temp(g.chunk * g.pixels() * g.depth())
	op := l.emit(n.Op.Kind(), n.In, []*nn.Value{y, patches}, func(b *binder) func() {
		xs, ws, ys, ps := b.ref(x), b.ref(w), b.ref(y), b.ref(patches)
		var e *kernel.Epilogue
		if len(n.In) == 3 {
			e = &kernel.Epilogue{Bias: b.ref(n.In[2]).data}
		}
		patch := g.patcher(b, xs, ps.data)
		d, px := g.depth(), g.pixels()
		return g.chunks(b, func(lo, hi int) {
			a := ps.data
			if g.plain() {
				a = xs.get()[lo*px*g.c:]
			} else {
				patch(lo, hi)
			}
			kernel.Gemm(b.s.pool, (hi-lo)*px, g.o, d, kernel.Matrix{Data: a, Stride: d},
				kernel.Matrix{Data: ws.data, Stride: d, Trans: true}, ys.data[lo*px*g.o:], g.o, false, e)
		})
	})
	op.flops = g.flops
}

func (l *lowering) conv2dBackwardWeight(n *nn.Node, o nn.Conv2DBackwardWeight) {
	dy, x, dw := n.In[0], n.In[1], n.Out[0]
	g := newGeometry(x.Shape, dy.Shape, o.Kernel, o.Stride, o.Pad, x.Shape[0])
	if l.fast(n, kernel.ConvWeights, g, x.Shape[0], func(b *binder) func(*kernel.ConvArgs) {
		ds, xs := b.ref(dy), b.ref(x)
		return func(a *kernel.ConvArgs) { a.DY, a.X = ds.get(), xs.get() }
	}) {
		return
	}
	patches := l.temp(g.chunk * g.pixels() * g.depth())
	op := l.emit(n.Op.Kind(), n.In, []*nn.Value{dw, patches}, func(b *binder) func() {
		ds, xs, ws, ps := b.ref(dy), b.ref(x), b.ref(dw), b.ref(patches)
		patch := g.patcher(b, xs, ps.data)
		d, px := g.depth(), g.pixels()
		return g.chunks(b, func(lo, hi int) {
			a := ps.data
			if g.plain() {
				a = xs.get()[lo*px*g.c:]
			} else {
				patch(lo, hi)
			}
			kernel.Gemm(b.s.pool, g.o, d, (hi-lo)*px, kernel.Matrix{Data: ds.get()[lo*px*g.o:], Stride: g.o, Trans: true},
				kernel.Matrix{Data: a, Stride: d}, ws.data, d, lo > 0, nil)
		})
	})
	op.flops = g.flops
}

func (l *lowering) conv2dBackwardData(n *nn.Node, o nn.Conv2DBackwardData) {
	dy, w, dx := n.In[0], n.In[1], n.Out[0]
	g := newGeometry(dx.Shape, dy.Shape, w.Shape[1], o.Stride, o.Pad, dx.Shape[0])
	if l.fast(n, kernel.ConvData, g, dx.Shape[0], func(b *binder) func(*kernel.ConvArgs) {
		ds, ws := b.ref(dy), b.ref(w)
		return func(a *kernel.ConvArgs) { a.X, a.W = ds.get(), ws.data }
	}) {
		return
	}
	patches := l.temp(g.chunk * g.pixels() * g.depth())
	op := l.emit(n.Op.Kind(), n.In, []*nn.Value{dx, patches}, func(b *binder) func() {
		ds, ws, xs, ps := b.ref(dy), b.ref(w), b.ref(dx), b.ref(patches)
		d, px := g.depth(), g.pixels()
		var first int
		gather := func(t, _ int) {
			img, iy := t/g.h, t%g.h
			for ix := range g.w {
				at := (((first+img)*g.h+iy)*g.w + ix) * g.c
				g.gatherPixel(xs.data[at:at+g.c], ps.data[img*px*d:(img+1)*px*d], iy, ix)
			}
		}
		return g.chunks(b, func(lo, hi int) {
			dst := ps.data
			if g.plain() {
				dst = xs.data[lo*px*g.c:]
			}
			kernel.Gemm(b.s.pool, (hi-lo)*px, d, g.o, kernel.Matrix{Data: ds.get()[lo*px*g.o:], Stride: g.o},
				kernel.Matrix{Data: ws.data, Stride: d}, dst, d, false, nil)
			if !g.plain() {
				first = lo
				b.s.pool.Run((hi-lo)*g.h, gather)
			}
		})
	})
	op.flops = g.flops
}
