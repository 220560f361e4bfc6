package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// weight returns a parameter as a product reads it: the master, or its bf16 shadow.
func (b *binder) weight(v *nn.Value, t driver.Type) place {
	if t == driver.BF16 {
		return place{at: b.s.tensors[v.Name].shadow}
	}
	return b.place(v)
}

// dense lowers y = x Wᵀ + b, with the ReLU that alone reads y in the product's epilogue.
func (l *lowering) dense(n *nn.Node) {
	x, w, y := n.In[0], n.In[1], n.Out[0]
	out := y
	if r := l.onlyReader(y); is[nn.ReLU](r) && len(n.In) == 3 {
		l.done[r] = true
		out = r.Out[0]
	}
	t := l.half()
	d := l.resultType(y)
	l.setType(out, d)
	in := l.in(x, t)
	kind := n.Op.Kind()
	if out != y {
		kind += "+relu"
	}
	reads := append([]*nn.Value{in}, n.In[1:]...)
	f, s := w.Shape[1], l.stride(y)
	l.emit(kind, reads, []*nn.Value{out}, func(b *binder) []launch {
		spec := driver.MatmulSpec{M: b.rows, N: s, K: f, TransB: true, AB: t, D: d, Bias: d}
		var bias place
		if len(n.In) == 3 {
			spec.Epilogue, bias = driver.EpilogueBias, b.weight(n.In[2], d)
			if out != y {
				spec.Epilogue = driver.EpilogueBiasReLU
			}
		}
		return b.matmul(spec, b.place(out), b.place(in), b.weight(w, t), bias)
	}).flops = func(rows int) float64 { return 2 * float64(rows) * float64(s) * float64(f) }
}

func (l *lowering) denseBackwardData(n *nn.Node) {
	dy, w, dx := n.In[0], n.In[1], n.Out[0]
	t := l.half()
	d := l.resultType(dx)
	l.setType(dx, d)
	s, f := l.stride(dy), w.Shape[1]
	in := l.in(dy, t)
	l.emit(n.Op.Kind(), []*nn.Value{in, w}, n.Out, func(b *binder) []launch {
		return b.matmul(driver.MatmulSpec{M: b.rows, N: f, K: s, AB: t, D: d}, b.place(dx), b.place(in), b.weight(w, t), place{})
	}).flops = func(rows int) float64 { return 2 * float64(rows) * float64(s) * float64(f) }
}

func (l *lowering) denseBackwardWeight(n *nn.Node) {
	dy, x, dw := n.In[0], n.In[1], n.Out[0]
	t := l.half()
	s, f := l.stride(dy), x.Width()
	in := []*nn.Value{l.in(dy, t), l.in(x, t)}
	d := l.gradientType(dw)
	l.setType(dw, d)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.matmul(driver.MatmulSpec{M: s, N: f, K: b.rows, TransA: true, AB: t, D: d}, b.place(dw), b.place(in[0]), b.place(in[1]), place{})
	}).flops = func(rows int) float64 { return 2 * float64(rows) * float64(s) * float64(f) }
}

// Convolutions run on tensor cores only if the channels are a multiple of 8.
// Images have 3: in bf16 the first layer reads them padded with zeros, and its
// weights with it, both copied in the step, which costs next to nothing.

// convChannels is the number of channels that a convolution of type t sees.
func convChannels(c int, t driver.Type) int {
	if t == driver.BF16 {
		return padded(c)
	}
	return c
}

// widened returns x [N,H,W,C] with its channels padded, as t.
func (l *lowering) widened(x *nn.Value, t driver.Type) *nn.Value {
	c := channels(x)
	wide := convChannels(c, t)
	if wide == c {
		return l.in(x, t)
	}
	r := l.rootOf(x)
	if v := l.wide[r]; v != nil {
		return v
	}
	per := x.Width() / c
	v := l.temp(func(rows int) int { return t.Size() * rows * per * wide })
	v.Name = x.Name + "/padded"
	l.wide[r] = v
	from := suffix(l.typeOf(x))
	if len(l.ops) == 0 && l.readBy(x, readsWide) {
		l.direct = v
	}
	l.emit("pad", []*nn.Value{x}, []*nn.Value{v}, func(b *binder) []launch {
		pad := b.call("pad_rows_"+from+"_bf16", b.place(v), b.place(x), b.rows*per, c, wide)[0]
		return []launch{func(f *frame) error {
			if f.direct { // it has been gathered there
				return nil
			}
			return pad(f)
		}}
	})
	return v
}

// readsWide are the ops that read an image with padded channels.
func readsWide(n *nn.Node) bool { return is[nn.Conv2D](n) || is[nn.Conv2DBackwardWeight](n) }

// convWeight gives a launch list that makes w [O,K,K,C] with padded channels in
// scratch, and where it is; nothing to launch if it needs no padding.
func (b *binder) convWeight(w *nn.Value, scratch *nn.Value, t driver.Type) (place, []launch) {
	if scratch == nil {
		return b.weight(w, t), nil
	}
	c := channels(w)
	rows := w.Shape.Size() / c
	return b.place(scratch), b.call("pad_rows_f32_bf16", b.place(scratch), b.place(w), rows, c, convChannels(c, t))
}

// wideWeight makes scratch for a weight with padded channels; nil if it needs none.
func (l *lowering) wideWeight(w nn.Shape, t driver.Type, size int) *nn.Value {
	c := w[len(w)-1]
	wide := convChannels(c, t)
	if wide == c {
		return nil
	}
	n := w.Size() / c * wide * size
	return l.temp(func(int) int { return n })
}

// convSpec is the convolution of x [N,H,W,C] with O filters.
func convSpec(d driver.Direction, x nn.Shape, o, k, stride, pad int, t driver.Type) driver.ConvSpec {
	return driver.ConvSpec{Direction: d, H: x[1], W: x[2], C: convChannels(x[3], t), O: o, K: k, Stride: stride, Pad: pad, Type: t}
}

// convFlops counts the products that the definition asks for, not those of padding.
func convFlops(s driver.ConvSpec, c int) func(int) float64 {
	return func(rows int) float64 {
		return 2 * float64(rows) * float64(s.OutHeight()*s.OutWidth()) * float64(s.K*s.K*c) * float64(s.O)
	}
}

func (l *lowering) conv2d(n *nn.Node, o nn.Conv2D) {
	x, w, y := n.In[0], n.In[1], n.Out[0]
	t := l.half()
	l.setType(y, t)
	in, wide := l.widened(x, t), l.wideWeight(w.Shape, t, t.Size())
	spec := convSpec(driver.Forward, x.Shape, w.Shape[0], w.Shape[1], o.Stride, o.Pad, t)
	reads, writes := []*nn.Value{in, w}, []*nn.Value{y}
	if wide != nil {
		writes = append(writes, wide)
	}
	biased := len(n.In) == 3 && !l.bare[n]
	l.emit(n.Op.Kind(), reads, writes, func(b *binder) []launch {
		spec := spec
		spec.N = b.rows
		at, run := b.convWeight(w, wide, t)
		run = append(run, b.conv(spec, b.place(y), b.place(in), at)...)
		if biased {
			run = append(run, b.call("bias_"+suffix(t), b.place(y), b.place(y), b.place(n.In[2]), b.positions(y), channels(y))...)
		}
		return run
	}).flops = convFlops(spec, x.Shape[3])
}

func (l *lowering) conv2dBackwardData(n *nn.Node, o nn.Conv2DBackwardData) {
	dy, w, dx := n.In[0], n.In[1], n.Out[0]
	t := l.half()
	l.setType(dx, t)
	in := l.in(dy, t)
	spec := convSpec(driver.BackwardData, dx.Shape, w.Shape[0], w.Shape[1], o.Stride, o.Pad, t)
	wideW, c := l.wideWeight(w.Shape, t, t.Size()), channels(dx)
	writes := []*nn.Value{dx}
	var wide *nn.Value // dx with padded channels
	if wideW != nil {
		per := dx.Width() / c
		wide = l.temp(func(rows int) int { return t.Size() * rows * per * spec.C })
		writes = append(writes, wideW, wide)
	}
	l.emit(n.Op.Kind(), []*nn.Value{in, w}, writes, func(b *binder) []launch {
		spec := spec
		spec.N = b.rows
		at, run := b.convWeight(w, wideW, t)
		if wide == nil {
			return append(run, b.conv(spec, b.place(dx), b.place(in), at)...)
		}
		run = append(run, b.conv(spec, b.place(wide), b.place(in), at)...)
		return append(run, b.call(rowsKernel("copy_rows", suffix(t), suffix(t)), b.place(dx), b.place(wide), nil, b.positions(dx), c, c, spec.C)...)
	}).flops = convFlops(spec, c)
}

func (l *lowering) conv2dBackwardWeight(n *nn.Node, o nn.Conv2DBackwardWeight) {
	dy, x, dw := n.In[0], n.In[1], n.Out[0]
	t := l.half()
	in := []*nn.Value{l.in(dy, t), l.widened(x, t)}
	spec := convSpec(driver.BackwardWeight, x.Shape, channels(dy), o.Kernel, o.Stride, o.Pad, t)
	l.setType(dw, t) // the library gives the type of its operands
	writes, wide := []*nn.Value{dw}, l.wideWeight(dw.Shape, t, t.Size())
	if wide != nil {
		writes = append(writes, wide)
	}
	l.emit(n.Op.Kind(), in, writes, func(b *binder) []launch {
		spec := spec
		spec.N = b.rows
		if wide == nil {
			return b.conv(spec, b.place(dw), b.place(in[0]), b.place(in[1]))
		}
		c := channels(dw)
		return append(b.conv(spec, b.place(wide), b.place(in[0]), b.place(in[1])),
			b.call(rowsKernel("copy_rows", suffix(t), suffix(t)), b.place(dw), b.place(wide), nil, dw.Shape.Size()/c, c, c, spec.C)...)
	}).flops = convFlops(spec, x.Shape[3])
}
