package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// In bf16 the factors of products and what streams between them are bfloat16:
// activations, their gradients, and those of the products' weights. Statistics,
// logits, losses, the neglection degree and the masters of the parameters are
// float32.
// Every op takes its type from its first operand and has the others converted,
// so that only the sources need a rule: products give bfloat16 unless somebody
// needs float32, and what comes from the batch stays float32 until a product
// wants it.

// half is the type of products' factors.
func (l *lowering) half() driver.Type {
	if l.o.Precision == nn.BF16 {
		return driver.BF16
	}
	return driver.F32
}

// resultType is the type of a product's result v.
func (l *lowering) resultType(v *nn.Value) driver.Type {
	for _, r := range l.readers[v] {
		if needsF32(r, v) {
			return driver.F32
		}
	}
	if v == l.p.Resolve(l.p.Model.Output) {
		return driver.F32
	}
	return l.half()
}

// gradientType is the type of a product's result dw, the gradient of a
// parameter: what the optimiser reads is half the traffic in bf16. That theta is
// measured with it changes nothing, so that training ends in the same bits.
func (l *lowering) gradientType(dw *nn.Value) driver.Type {
	if len(l.readers[dw]) > 0 && !l.readBy(dw, fusedTheta) {
		return driver.F32
	}
	return l.half()
}

// needsF32 reports whether a node reads v as float32 only.
func needsF32(n *nn.Node, v *nn.Value) bool {
	switch n.Op.(type) {
	case nn.SubclassCE, nn.MixtureOfExperts, nn.Sigmoid:
		return true
	case nn.MixtureOfExpertsBackward:
		return true
	case nn.Neglection:
		return n.In[1] == v
	}
	return false
}

// wanted is the type in which an op that could write v either way should: bf16
// if all that read it are products, or pass it on to some.
func (l *lowering) wanted(v *nn.Value) driver.Type {
	if l.half() == driver.F32 || !l.readBy(v, l.wantsHalf) {
		return driver.F32
	}
	return driver.BF16
}

func (l *lowering) wantsHalf(n *nn.Node) bool {
	switch n.Op.(type) {
	case nn.Dense, nn.DenseBackwardData, nn.DenseBackwardWeight, nn.Conv2D, nn.Conv2DBackwardData, nn.Conv2DBackwardWeight,
		nn.ColumnSum, nn.Conv1D, nn.Conv1DBackward:
		return true
	case nn.Reshape, nn.Concat, nn.Columns:
		return l.readBy(n.Out[0], l.wantsHalf)
	case nn.Neglection:
		return true
	}
	return false
}
