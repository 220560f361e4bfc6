package nn

import "fmt"

// Conv1D slides F filters of odd width K over a one-channel sequence, stride
// 1, zero padding that keeps the length: x [N,L], W [F,K], b [F] to
// y [N,L,F], y[n,l,f] = b[f] + sum over t of W[f,t] x[n, l+t-K/2]. Positions
// outermost, so that flattening gives index = position*F + filter, as the
// paper's video net has it.
type Conv1D struct{}

// Kind implements Op.
func (Conv1D) Kind() string { return "conv1d" }

// Infer implements Op.
func (Conv1D) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) != 3 {
		return nil, nil, fmt.Errorf("has %d inputs, needs x, W, b", len(in))
	}
	x, w, b := in[0], in[1], in[2]
	if len(x.Shape) != 2 || len(w.Shape) != 2 || w.Shape[1]%2 != 1 || !b.Shape.Equal(Shape{w.Shape[0]}) {
		return nil, nil, fmt.Errorf("x %v, W %v, b %v do not fit [N,L], [F,K odd], [F]", x, w, b)
	}
	return []Shape{{x.Shape[0], x.Shape[1], w.Shape[0]}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (Conv1D) Gradient(p *Program, n *Node, dout *Value, want []bool) []*Value {
	out := p.Apply("d:"+n.Out[0].Name+"/in", Conv1DBackward{Data: want[0]}, dout, n.In[0], n.In[1])
	grads := []*Value{nil, out[0], out[1]}
	if want[0] {
		grads[0] = out[2]
	}
	return grads
}

// Conv1DBackward takes dy, x, W to dW [F,K], db [F] and, if Data, dx [N,L].
type Conv1DBackward struct{ Data bool }

// Kind implements Op.
func (Conv1DBackward) Kind() string { return "conv1d-backward" }

// Infer implements Op.
func (o Conv1DBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	w := in[2].Shape
	shapes, batched := []Shape{w, {w[0]}}, []bool{false, false}
	if o.Data {
		shapes, batched = append(shapes, in[1].Shape), append(batched, true)
	}
	return shapes, batched, nil
}

// MaxPool1D takes the maximum of two neighbours with stride 2:
// [N,L,F] to [N, floor(L/2), F]; an odd last position is dropped.
type MaxPool1D struct{}

// Kind implements Op.
func (MaxPool1D) Kind() string { return "max-pool1d" }

// Infer implements Op.
func (MaxPool1D) Infer(in []*Value) ([]Shape, []bool, error) {
	s := in[0].Shape
	if len(s) != 3 || s[1] < 2 {
		return nil, nil, fmt.Errorf("input %v is not [N,L>=2,F]", in[0])
	}
	return []Shape{{s[0], s[1] / 2, s[2]}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (MaxPool1D) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, MaxPool1DBackward{}, dout, n.In[0])
}

// MaxPool1DBackward gives each window's gradient to its maximum, the first of
// equal ones; inputs dy, x.
type MaxPool1DBackward struct{}

// Kind implements Op.
func (MaxPool1DBackward) Kind() string { return "max-pool1d-backward" }

// Infer implements Op.
func (MaxPool1DBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{in[1].Shape}, []bool{true}, nil
}
