package nn

import "fmt"

// LossEpsilon is e inside the logarithms of the cross-entropies.
const LossEpsilon = 1e-5

// SubclassCE is the subclass cross-entropy, summed over outputs and averaged
// over the batch's rows, with the batch's Targets as y and m:
//
//	L = mean_n sum_s -c_s [ y log(p+e) + (1-m) log(1-p+e) ],  p = sigmoid(z)
//
// Inputs z [N,S] and optionally c [S], the weight of each output. Outputs the
// loss [1] and its gradient for z [N,S], in one pass over z:
//
//	dL/dz = c_s p(1-p) [ -y/(p+e) + (1-m)/(1-p+e) ] / N
//
// With Probabilities the input is p itself and the gradient dL/dp
// (mixture of experts). Plain class CE is the case of Targets with y = m.
type SubclassCE struct{ Probabilities bool }

// Kind implements Op.
func (SubclassCE) Kind() string { return "subclass-ce" }

// Infer implements Op.
func (SubclassCE) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) == 0 || len(in) > 2 || len(in[0].Shape) != 2 {
		return nil, nil, fmt.Errorf("needs z [N,S] and perhaps weights [S]")
	}
	if len(in) == 2 && !in[1].Shape.Equal(Shape{in[0].Shape[1]}) {
		return nil, nil, fmt.Errorf("weights %v do not fit %v", in[1], in[0])
	}
	return []Shape{{1}, in[0].Shape}, []bool{false, true}, nil
}

// Gradient implements Differentiable. The loss is where the reverse pass
// begins: its gradient for itself is 1 and dout is not looked at.
func (SubclassCE) Gradient(_ *Program, n *Node, _ *Value, _ []bool) []*Value {
	return []*Value{n.Out[1], nil}[:len(n.In)]
}

// Neglection measures for every class i that occurs in the batch (y = 1 in the
// Targets) the neglection degree theta_i = (|g1_i| + |g0_i|) / |g1_i + g0_i|
// with g1_i = sum over positives of (p-y) x, g0_i = the same over the other
// rows, Euclidean norms (method of Gkalelis and Mezaris 2020). 0/0 gives 1,
// x/0 gives +Inf; a class that does not occur gives 0.
//
// Inputs: x [N,F] of the classification layer, z [N,C] its logits (or p with
// Probabilities) and, where the layer is Dense under SubclassCE, its dW
// [C,F]: N dW is g1+g0 but for the e of the loss, so that only the positives
// need another product, a sparse one. Engines correct for e: exactly at the
// positives and at negatives with p > 3/4, and by the factor 1+e at the rest,
// which leaves less than 3e-5 of any one term.
type Neglection struct{ Probabilities bool }

// Kind implements Op.
func (Neglection) Kind() string { return "neglection" }

// Infer implements Op.
func (Neglection) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) != 2 && len(in) != 3 {
		return nil, nil, fmt.Errorf("needs x, z and perhaps dW")
	}
	if len(in) == 3 && !in[2].Shape.Equal(Shape{in[1].Shape[1], in[0].Shape[1]}) {
		return nil, nil, fmt.Errorf("dW %v does not fit x %v and z %v", in[2], in[0], in[1])
	}
	return []Shape{{in[1].Shape[1]}}, []bool{false}, nil
}
