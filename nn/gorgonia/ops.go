package gorgonia

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"sdnn/nn"
)

// apply translates the node that computes v.
func (b *builder) apply(v *nn.Value) *G.Node {
	n := v.Node
	switch op := n.Op.(type) {
	case nn.Dense:
		return b.dense(n)
	case nn.Conv1D:
		return b.conv1d(n)
	case nn.MaxPool1D:
		return b.maxPool(n)
	case nn.MixtureOfExperts:
		return b.mixture(n, op.Experts)
	case nn.ReLU:
		x := b.value(n.In[0])
		return must(G.HadamardProd(x, must(G.Gt(x, scalar(0), true))))
	case nn.Sigmoid:
		return must(G.Sigmoid(b.value(n.In[0])))
	case nn.Add:
		return must(G.Add(b.value(n.In[0]), b.value(n.In[1])))
	case nn.Dropout:
		return must(G.HadamardProd(b.value(n.In[0]), b.perRow("mask:"+v.Name, v, dropoutMask(op))))
	case nn.GaussianNoise:
		return must(G.Add(b.value(n.In[0]), b.perRow("noise:"+v.Name, v, gaussianNoise(op))))
	case nn.L2Norm:
		return b.l2Norm(n)
	case nn.Concat:
		return b.concat(n)
	case nn.Columns:
		x := must(G.Slice(b.value(n.In[0]), nil, G.S(op.From, op.From+op.Width)))
		return b.reshape(x, b.model.Batch, op.Width)
	case nn.Reshape:
		return b.reshape(b.value(n.In[0]), v.Shape...)
	case nn.SubclassCE:
		return b.subclassCE(n, op)
	}
	panic(unsupported{n.Op})
}

func (b *builder) dense(n *nn.Node) *G.Node {
	y := must(G.Mul(b.value(n.In[0]), must(G.Transpose(b.value(n.In[1])))))
	if len(n.In) == 3 {
		y = b.addRow(y, b.value(n.In[2]))
	}
	return y
}

// conv1d gathers the K neighbours of every position, [N*L,K], and multiplies
// them by Wᵀ [K,F].
func (b *builder) conv1d(n *nn.Node) *G.Node {
	batch, length := b.model.Batch, n.In[0].Shape[1]
	filters, k := n.In[1].Shape[0], n.In[1].Shape[1]
	image := b.reshape(b.value(n.In[0]), batch, 1, 1, length)
	columns := must(G.Im2Col(image, tensor.Shape{1, k}, tensor.Shape{0, k / 2}, tensor.Shape{1, 1}, tensor.Shape{1, 1}))
	y := must(G.Mul(b.reshape(columns, batch*length, k), must(G.Transpose(b.value(n.In[1])))))
	return b.reshape(b.addRow(y, b.value(n.In[2])), batch, length, filters)
}

// maxPool takes the positions as rows of an image and the filters as columns.
func (b *builder) maxPool(n *nn.Node) *G.Node {
	s := n.In[0].Shape
	image := b.reshape(b.value(n.In[0]), s[0], 1, s[1], s[2])
	return b.reshape(must(G.MaxPool2D(image, tensor.Shape{2, 1}, []int{0, 0}, []int{2, 1})), s[0], s[1]/2, s[2])
}

// mixture has a row for each class of each video.
func (b *builder) mixture(n *nn.Node, m int) *G.Node {
	rows, outputs := b.model.Batch, n.Out[0].Shape[1]
	shares := must(G.SoftMax(b.reshape(b.value(n.In[0]), rows*outputs, m+1), 1))
	// The last gate has no expert: a product with the identity without its last row.
	shares = must(G.Mul(shares, b.fixed(fmt.Sprintf("drop-last[%d]", m), m+1, m, func(r, c int) float32 {
		if r == c {
			return 1
		}
		return 0
	})))
	experts := must(G.Sigmoid(b.reshape(b.value(n.In[1]), rows*outputs, m)))
	return b.reshape(b.rowSums(must(G.HadamardProd(shares, experts))), rows, outputs)
}

// l2Norm divides by sqrt(sum x² + 1e-24): in float32 the same as by
// max(|x|, 1e-12) but for norms within a factor of a few thousand of 1e-12, and
// with a finite derivative at 0.
func (b *builder) l2Norm(n *nn.Node) *G.Node {
	x := b.matrix(n.In[0])
	sum := must(G.Add(b.rowSums(must(G.Square(x))), scalar(1e-24)))
	inverse := must(G.Inverse(must(G.Sqrt(sum))))
	y := must(G.HadamardProd(x, must(G.Mul(inverse, b.ones(1, n.In[0].Width())))))
	return b.reshape(y, n.In[0].Shape...)
}

func (b *builder) concat(n *nn.Node) *G.Node {
	var parts []*G.Node
	for _, in := range n.In {
		parts = append(parts, b.value(in))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return must(G.Concat(1, parts...))
}

// subclassCE is -sum( Y log(p+e) + Q log(1-p+e) ) with the dense leaves
// Y = c y/N and Q = c (1-m)/N, zero in rows beyond the batch's. 1-p is
// sigmoid(-z), which subtraction would make coarse.
func (b *builder) subclassCE(n *nn.Node, op nn.SubclassCE) *G.Node {
	z := b.value(n.In[0])
	var p, q *G.Node
	if op.Probabilities {
		p, q = z, must(G.Sub(scalar(1), z))
	} else {
		p, q = must(G.Sigmoid(z)), must(G.Sigmoid(must(G.Neg(z))))
	}
	var weight []float32
	if len(n.In) == 2 {
		weight = b.state[n.In[1].Name]
	}
	s := n.In[0].Shape[1]
	y := b.leaf("targets:y", shapeOf(n.In[0]), func(dst []float32, in *batch) { in.fillPositive(dst, s, weight) })
	m := b.leaf("targets:1-m", shapeOf(n.In[0]), func(dst []float32, in *batch) { in.fillNegative(dst, s, weight) })
	terms := must(G.Add(must(G.HadamardProd(must(G.Log(must(G.Add(p, scalar(nn.LossEpsilon))))), y)),
		must(G.HadamardProd(must(G.Log(must(G.Add(q, scalar(nn.LossEpsilon))))), m))))
	perOutput := must(G.Mul(b.ones(1, b.model.Batch), terms))
	return must(G.Neg(must(G.Reshape(b.rowSums(perOutput), tensor.Shape{}))))
}
