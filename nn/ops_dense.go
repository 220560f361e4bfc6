package nn

import (
	"errors"
	"fmt"
)

// Dense is the fully connected layer y = x Wᵀ + b: x [N,F], W [S,F], b [S]
// (optional third input) to y [N,S].
type Dense struct{}

// Kind implements Op.
func (Dense) Kind() string { return "dense" }

// Infer implements Op.
func (Dense) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) != 2 && len(in) != 3 {
		return nil, nil, fmt.Errorf("has %d inputs, needs x, W and perhaps b", len(in))
	}
	x, w := in[0], in[1]
	if len(x.Shape) != 2 || len(w.Shape) != 2 || x.Shape[1] != w.Shape[1] {
		return nil, nil, fmt.Errorf("x %v and W %v do not fit [N,F] and [S,F]", x, w)
	}
	if len(in) == 3 && !in[2].Shape.Equal(Shape{w.Shape[0]}) {
		return nil, nil, fmt.Errorf("bias %v does not fit W %v", in[2], w)
	}
	return []Shape{{x.Shape[0], w.Shape[0]}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (Dense) Gradient(p *Program, n *Node, dout *Value, want []bool) []*Value {
	grads := make([]*Value, len(n.In))
	if want[0] {
		grads[0] = p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, DenseBackwardData{}, dout, n.In[1])[0]
	}
	if want[1] {
		grads[1] = p.Apply("d:"+n.In[1].Name, DenseBackwardWeight{}, dout, n.In[0])[0]
	}
	if len(n.In) == 3 && want[2] {
		grads[2] = p.Apply("d:"+n.In[2].Name, ColumnSum{}, dout)[0]
	}
	return grads
}

// DenseBackwardData is dx = dy W: dy [N,S], W [S,F] to [N,F].
type DenseBackwardData struct{}

// Kind implements Op.
func (DenseBackwardData) Kind() string { return "dense-backward-data" }

// Infer implements Op.
func (DenseBackwardData) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{{in[0].Shape[0], in[1].Shape[1]}}, []bool{true}, nil
}

// DenseBackwardWeight is dW = dyᵀ x, summed over the batch: dy [N,S], x [N,F] to [S,F].
type DenseBackwardWeight struct{}

// Kind implements Op.
func (DenseBackwardWeight) Kind() string { return "dense-backward-weight" }

// Infer implements Op.
func (DenseBackwardWeight) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{{in[0].Shape[1], in[1].Shape[1]}}, []bool{false}, nil
}

// ColumnSum sums a batched value over all but its last dimension: [N,S] or
// [N,H,W,S] to [S]. It is the gradient of a bias.
type ColumnSum struct{}

// Kind implements Op.
func (ColumnSum) Kind() string { return "column-sum" }

// Infer implements Op.
func (ColumnSum) Infer(in []*Value) ([]Shape, []bool, error) {
	s := in[0].Shape
	return []Shape{{s[len(s)-1]}}, []bool{false}, nil
}

// MixtureOfExperts is YouTube-8M's mixture of logistic experts for each class:
// gates [N, S*(M+1)] and experts [N, S*M] (logits, class-major) to
// p [N,S] = sum over m < M of softmax(gates)[m] * sigmoid(experts)[m].
// The last gate leads to no expert: it can say "not this class".
type MixtureOfExperts struct{ Experts int }

// Kind implements Op.
func (MixtureOfExperts) Kind() string { return "mixture-of-experts" }

// Infer implements Op.
func (o MixtureOfExperts) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) != 2 || o.Experts < 1 {
		return nil, nil, errors.New("needs gates, experts and Experts >= 1")
	}
	s := in[1].Shape[1] / o.Experts
	if in[1].Shape[1] != s*o.Experts || in[0].Shape[1] != s*(o.Experts+1) {
		return nil, nil, fmt.Errorf("gates %v and experts %v do not fit %d experts", in[0], in[1], o.Experts)
	}
	return []Shape{{in[0].Shape[0], s}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (o MixtureOfExperts) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.Out[0].Name+"/in", MixtureOfExpertsBackward(o), dout, n.In[0], n.In[1])
}

// MixtureOfExpertsBackward takes dp, gates, experts to dgates, dexperts.
type MixtureOfExpertsBackward struct{ Experts int }

// Kind implements Op.
func (MixtureOfExpertsBackward) Kind() string { return "mixture-of-experts-backward" }

// Infer implements Op.
func (MixtureOfExpertsBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	return []Shape{in[1].Shape, in[2].Shape}, []bool{true, true}, nil
}
