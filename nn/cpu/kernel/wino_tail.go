package kernel

import (
	"math"
	"unsafe"
)

// ConvTail is what a forward convolution does with its output while that is in
// registers: the passes over memory that would follow it. With s = y + bias,
//
//	s += Residual                      if not nil
//	Sum = s                            if not nil
//	z = max(s Scale + Shift, 0)        if Scale is not nil; the maximum if ReLU
//	Out = z, or with Pool the maxima of its 2x2 windows
//
// The zero value does nothing. The bits are those of Add, ChanAffine,
// ChanAffineReLU and AffinePool on the same values.
type ConvTail struct {
	Residual     []float32 // [Rows,h,w,O]; may be the memory of Sum or Out
	Sum          []float32 // [Rows,h,w,O]
	Scale, Shift []float32 // [O]
	ReLU         bool
	Pool         bool // Out is [Rows,h/2,w/2,O]; needs Scale, excludes Residual and Sum
}

// none reports whether nothing is to be done.
func (t *ConvTail) none() bool { return t.Residual == nil && t.Sum == nil && t.Scale == nil }

// check panics on operands that do not fit.
func (t *ConvTail) check(v *Conv3x3, size int, need func(name string, x []float32, n int)) {
	if t.none() && !t.Pool {
		return
	}
	switch {
	case v.kind != ConvForward:
		panic("kernel: Conv3x3: only a forward convolution has a tail")
	case t.Pool && (t.Scale == nil || t.Residual != nil || t.Sum != nil):
		panic("kernel: Conv3x3: a max-pool needs Scale and excludes Residual and Sum")
	}
	if t.Scale != nil {
		need("Scale", t.Scale, v.n)
		need("Shift", t.Shift, v.n)
	}
	if t.Residual != nil {
		need("Residual", t.Residual, size)
	}
	if t.Sum != nil {
		need("Sum", t.Sum, size)
	}
}

// winoTail is ConvTail for a group of channels.
type winoTail struct {
	residual, sum, scale, shift []float32
	floor                       float32
}

// set takes the channels [n0, n1).
func (w *winoTail) set(t *ConvTail, n0, n1 int) {
	*w = winoTail{residual: t.Residual, sum: t.Sum, floor: float32(math.Inf(-1))}
	if t.ReLU {
		w.floor = 0
	}
	if t.Scale != nil {
		w.scale, w.shift = t.Scale[n0:n1], t.Shift[n0:n1]
	}
}

// bindTail computes the addresses of the tail; bind has computed rows.
func (c *winoCall) bindTail() {
	t := &c.tail
	c.floor = t.floor
	c.scale, c.shift = uintptr(unsafe.Pointer(unsafe.SliceData(t.scale))), uintptr(unsafe.Pointer(unsafe.SliceData(t.shift)))
	c.bindRows(&c.residual, t.residual)
	c.bindRows(&c.sums, t.sum)
}

// bindRows computes the addresses of the rows of pixels in another image, or 0.
func (c *winoCall) bindRows(rows *[4]uintptr, image []float32) {
	rows[0] = 0
	if image == nil {
		return
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(image)))
	for y := range rows {
		rows[y] = base + uintptr(4*c.rowAt[y])
		if c.rowAt[y] == winoAbsent {
			rows[y] = uintptr(unsafe.Pointer(unsafe.SliceData(c.absent)))
		}
	}
}

// setPooled is setWindow for the max-pool of an image, with n rows from y0 and
// x0 on in the image before the pool.
func (c *winoCall) setPooled(image int, im plane, ch, first, y0, x0, n int) {
	c.columns = 1<<min(n, im.w-x0) - 1
	h, w := im.h/2, im.w/2
	for i := range c.rowAt {
		c.rowAt[i] = winoAbsent
		if y := y0/2 + i; y < h && i < n/2 {
			c.rowAt[i] = ((image*h+y)*w+x0/2)*ch + first
		}
	}
}

// outputTransform chooses the transform for the tail.
func (v *Conv3x3) outputTransform() func(*winoCall) {
	switch {
	case v.tail.Pool:
		return v.isa.pool[v.alg.id]
	case !v.tail.none():
		return v.isa.sum[v.alg.id]
	}
	return v.isa.output[v.alg.id]
}
