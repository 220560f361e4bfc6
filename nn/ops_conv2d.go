package nn

import "fmt"

// Conv2D is a two-dimensional convolution (cross-correlation, as everywhere in
// this field) with a square kernel, zero padding Pad on every side and stride
// Stride: x [N,H,W,C], W [O,K,K,C], b [O] (optional third input) to
// y [N,H',W',O], H' = (H + 2 Pad - K)/Stride + 1. Channels are innermost.
type Conv2D struct{ Stride, Pad int }

// Kind implements Op.
func (Conv2D) Kind() string { return "conv2d" }

// Infer implements Op.
func (o Conv2D) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) != 2 && len(in) != 3 {
		return nil, nil, fmt.Errorf("has %d inputs, needs x, W and perhaps b", len(in))
	}
	x, w := in[0].Shape, in[1].Shape
	if len(x) != 4 || len(w) != 4 || w[1] != w[2] || x[3] != w[3] || o.Stride < 1 || o.Pad < 0 {
		return nil, nil, fmt.Errorf("x %v and W %v do not fit [N,H,W,C] and [O,K,K,C] (stride %d, pad %d)", in[0], in[1], o.Stride, o.Pad)
	}
	if len(in) == 3 && !in[2].Shape.Equal(Shape{w[0]}) {
		return nil, nil, fmt.Errorf("bias %v does not fit W %v", in[2], in[1])
	}
	h, wd := (x[1]+2*o.Pad-w[1])/o.Stride+1, (x[2]+2*o.Pad-w[2])/o.Stride+1
	if h < 1 || wd < 1 || x[1]+2*o.Pad < w[1] || x[2]+2*o.Pad < w[2] {
		return nil, nil, fmt.Errorf("a %dx%d kernel does not fit into %v", w[1], w[2], in[0])
	}
	return []Shape{{x[0], h, wd, w[0]}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (o Conv2D) Gradient(p *Program, n *Node, dout *Value, want []bool) []*Value {
	grads := make([]*Value, len(n.In))
	x, w := n.In[0], n.In[1]
	if want[0] {
		grads[0] = p.Apply("d:"+x.Name+"/"+n.Out[0].Name, Conv2DBackwardData{o.Stride, o.Pad, x.Shape[1], x.Shape[2]}, dout, w)[0]
	}
	if want[1] {
		grads[1] = p.Apply("d:"+w.Name, Conv2DBackwardWeight{o.Stride, o.Pad, w.Shape[1]}, dout, x)[0]
	}
	if len(n.In) == 3 && want[2] {
		grads[2] = p.Apply("d:"+n.In[2].Name, ColumnSum{}, dout)[0]
	}
	return grads
}

// Conv2DBackwardData takes dy [N,H',W',O] and W [O,K,K,C] to dx [N,Height,Width,C].
type Conv2DBackwardData struct{ Stride, Pad, Height, Width int }

// Kind implements Op.
func (Conv2DBackwardData) Kind() string { return "conv2d-backward-data" }

// Infer implements Op.
func (o Conv2DBackwardData) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{{in[0].Shape[0], o.Height, o.Width, in[1].Shape[3]}}, []bool{true}, nil
}

// Conv2DBackwardWeight takes dy [N,H',W',O] and x [N,H,W,C] to dW [O,Kernel,Kernel,C],
// summed over the batch.
type Conv2DBackwardWeight struct{ Stride, Pad, Kernel int }

// Kind implements Op.
func (Conv2DBackwardWeight) Kind() string { return "conv2d-backward-weight" }

// Infer implements Op.
func (o Conv2DBackwardWeight) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{{in[0].Shape[3], o.Kernel, o.Kernel, in[1].Shape[3]}}, []bool{false}, nil
}

// MaxPool2D takes the maximum of 2x2 windows with stride 2: [N,H,W,C] to
// [N,floor(H/2),floor(W/2),C]; an odd last row or column is dropped.
type MaxPool2D struct{}

// Kind implements Op.
func (MaxPool2D) Kind() string { return "max-pool2d" }

// Infer implements Op.
func (MaxPool2D) Infer(in []*Value) ([]Shape, []bool, error) {
	s := in[0].Shape
	if len(s) != 4 || s[1] < 2 || s[2] < 2 {
		return nil, nil, fmt.Errorf("input %v is not [N,H>=2,W>=2,C]", in[0])
	}
	return []Shape{{s[0], s[1] / 2, s[2] / 2, s[3]}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (MaxPool2D) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, MaxPool2DBackward{}, dout, n.In[0])
}

// MaxPool2DBackward gives each window's gradient to its maximum, the first in
// row-major order of equal ones; inputs dy, x.
type MaxPool2DBackward struct{}

// Kind implements Op.
func (MaxPool2DBackward) Kind() string { return "max-pool2d-backward" }

// Infer implements Op.
func (MaxPool2DBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{in[1].Shape}, []bool{true}, nil
}

// GlobalAvgPool averages over the positions: [N,H,W,C] to [N,C].
type GlobalAvgPool struct{}

// Kind implements Op.
func (GlobalAvgPool) Kind() string { return "global-avg-pool" }

// Infer implements Op.
func (GlobalAvgPool) Infer(in []*Value) ([]Shape, []bool, error) {
	s := in[0].Shape
	if len(s) != 4 {
		return nil, nil, fmt.Errorf("input %v is not [N,H,W,C]", in[0])
	}
	return []Shape{{s[0], s[3]}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (GlobalAvgPool) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	x := n.In[0]
	return p.Apply("d:"+x.Name+"/"+n.Out[0].Name, GlobalAvgPoolBackward{x.Shape[1], x.Shape[2]}, dout)
}

// GlobalAvgPoolBackward spreads dy [N,C] evenly over [N,Height,Width,C].
type GlobalAvgPoolBackward struct{ Height, Width int }

// Kind implements Op.
func (GlobalAvgPoolBackward) Kind() string { return "global-avg-pool-backward" }

// Infer implements Op.
func (o GlobalAvgPoolBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{{in[0].Shape[0], o.Height, o.Width, in[0].Shape[1]}}, []bool{true}, nil
}
