package cpu

import (
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// convTail is what follows a convolution in an evaluation and becomes part
// of its op (kernel.ConvTail), so that none of it is a pass over memory:
//
//	conv [+ add] [-> batch normalisation [-> relu [-> max-pool]]]
//
// The sum that the normalisation takes is stored only if something else reads
// it. In the pre-activated blocks of a WRN the sum is the shortcut of the next
// block.
type convTail struct {
	conv, add, norm *nn.Node  // add and norm may be nil
	fast            bool      // by Winograd
	relu, pool      *nn.Node  // behind norm, may be nil
	residual        *nn.Value // what add adds
}

// sum is the value before the normalisation.
func (t *convTail) sum() *nn.Value {
	if t.add != nil {
		return t.add.Out[0]
	}
	return t.conv.Out[0]
}

// out is the value at the end.
func (t *convTail) out() *nn.Value {
	switch {
	case t.pool != nil:
		return t.pool.Out[0]
	case t.relu != nil:
		return t.relu.Out[0]
	case t.norm != nil:
		return t.norm.Out[0]
	}
	return t.sum()
}

// at is the node in whose place the op runs: where the residual is known.
func (t *convTail) at() *nn.Node {
	if t.add != nil {
		return t.add
	}
	return t.conv
}

// keepsSum reports whether the sum is stored beside the output.
func (l *lowering) keepsSum(t *convTail) bool {
	return t.norm != nil && (len(l.readers[t.sum()]) > 1 || l.isResult(t.sum()))
}

// fuseTails is false in tests that compare with separate passes.
var fuseTails = true

// findConvTails looks for tails in an evaluation. A convolution that has one is
// lowered at the tail's node.
func (l *lowering) findConvTails() {
	if l.p.Purpose != nn.Evaluation || !fuseTails {
		return
	}
	for _, n := range l.p.Nodes {
		if !is[nn.Conv2D](n) {
			continue
		}
		_, fast := forwardConvolution(n).conv.(*kernel.Conv3x3)
		t := &convTail{conv: n, fast: fast}
		l.matchSum(t)
		l.matchNormTail(t)
		if t.add == nil && t.norm == nil {
			continue
		}
		for _, d := range []*nn.Node{t.conv, t.add, t.norm, t.relu, t.pool} {
			if d != nil {
				l.done[d] = true
			}
		}
		l.tails[t.at()] = t
	}
}

// matchSum fuses the sum that alone reads the convolution.
func (l *lowering) matchSum(t *convTail) {
	add := l.onlyReader(t.conv.Out[0])
	if add == nil || !is[nn.Add](add) || l.done[add] || add.In[0] == add.In[1] {
		return
	}
	t.add, t.residual = add, add.In[0]
	if t.residual == t.conv.Out[0] {
		t.residual = add.In[1]
	}
}

// matchNormTail fuses a normalisation of the sum with what alone follows it.
func (l *lowering) matchNormTail(t *convTail) {
	for _, r := range l.readers[t.sum()] {
		if is[nn.BatchNormInference](r) && r.In[0] == t.sum() && !l.done[r] {
			t.norm = r
			break
		}
	}
	if t.norm == nil {
		return
	}
	if r := l.onlyReader(t.norm.Out[0]); r != nil && is[nn.ReLU](r) {
		t.relu = r
		if r = l.onlyReader(r.Out[0]); r != nil && is[nn.MaxPool2D](r) && t.fast && t.residual == nil && !l.keepsSum(t) {
			t.pool = r
		}
	}
}

// convWithTail lowers a convolution and its tail.
func (l *lowering) convWithTail(t *convTail) {
	n := t.conv
	reads, kind := slices.Clone(n.In), n.Op.Kind()
	if t.residual != nil {
		reads = append(reads, t.residual)
		kind += "+add"
	}
	if t.norm != nil {
		reads = append(reads, t.norm.In[1:]...)
		kind += "+" + (&norm{node: t.norm, relu: t.relu, pool: t.pool}).kind()
	}
	stored := t.out() // what may take the residual's place
	var beside []*nn.Value
	if l.keepsSum(t) {
		stored = t.sum()
		beside = []*nn.Value{stored}
	}
	c := forwardConvolution(n)
	plain := c.args
	c.args = func(b *binder) func(*kernel.ConvArgs) {
		operands, tail := plain(b), l.bindTail(b, t)
		return func(a *kernel.ConvArgs) {
			operands(a)
			tail(&a.Tail)
		}
	}
	op := l.convolve(kind, c, reads, t.out(), nil, beside...)
	// A product keeps its partial sums in the result, which so must not be the residual.
	if t.residual != nil && l.rootOf(t.residual) != l.rootOf(n.In[0]) && (t.fast || l.keepsSum(t)) {
		op.plan.InPlace = append(op.plan.InPlace, [2]*nn.Value{l.rootOf(t.residual), l.rootOf(stored)})
	}
}

// bindTail returns a function that sets the tail's operands.
func (l *lowering) bindTail(b *binder, t *convTail) func(*kernel.ConvTail) {
	var residual, sum *ref
	if t.residual != nil {
		residual = b.ref(t.residual)
	}
	if l.keepsSum(t) {
		sum = b.ref(t.sum())
	}
	var coef *inferenceCoef
	if t.norm != nil {
		coef = newInferenceCoef(b, t.norm)
	}
	return func(k *kernel.ConvTail) {
		if residual != nil {
			k.Residual = residual.get()
		}
		if sum != nil {
			k.Sum = sum.data
		}
		if coef != nil {
			coef.compute()
			c := len(coef.inv)
			k.Scale, k.Shift, k.ReLU, k.Pool = coef.values[:c], coef.values[c:], t.relu != nil, t.pool != nil
		}
	}
}
