package gorgonia

import (
	"fmt"
	"slices"
	"strconv"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"sdnn/nn"
)

// builder makes the expression graph of a model, for all rows of a batch.
type builder struct {
	model    *nn.Model
	state    map[string][]float32 // parameters and constants
	training bool                 // whether TrainingOnly ops take part
	g        *G.ExprGraph
	leaves   []*leaf
	nodes    map[*nn.Value]*G.Node
	weights  map[*nn.Value]*G.Node // parameters as leaves
	helpers  map[string]*G.Node    // ones and other fixed matrices, by name
}

// unsupported is thrown by the builder at an op it does not know.
type unsupported struct{ op nn.Op }

func newBuilder(m *nn.Model, state map[string][]float32, training bool) *builder {
	return &builder{model: m, state: state, training: training, g: G.NewGraph(), nodes: map[*nn.Value]*G.Node{},
		weights: map[*nn.Value]*G.Node{}, helpers: map[string]*G.Node{}}
}

// must stops building at the library's error; newGraph recovers it.
func must(n *G.Node, err error) *G.Node {
	if err != nil {
		panic(err)
	}
	return n
}

// leaf adds an input of the expression graph.
func (b *builder) leaf(name string, shape tensor.Shape, fill func([]float32, *batch)) *G.Node {
	n := G.NewTensor(b.g, G.Float32, shape.Dims(), G.WithShape(shape...), G.WithName(name))
	b.leaves = append(b.leaves, &leaf{node: n, data: make([]float32, shape.TotalSize()), fill: fill})
	return n
}

// fixed adds a leaf whose content never changes.
func (b *builder) fixed(name string, rows, cols int, at func(r, c int) float32) *G.Node {
	if n := b.helpers[name]; n != nil {
		return n
	}
	n := b.leaf(name, tensor.Shape{rows, cols}, func(dst []float32, _ *batch) {
		for i := range dst {
			dst[i] = at(i/cols, i%cols)
		}
	})
	b.helpers[name] = n
	return n
}

func (b *builder) ones(rows, cols int) *G.Node {
	return b.fixed(fmt.Sprintf("ones[%d,%d]", rows, cols), rows, cols, func(int, int) float32 { return 1 })
}

// shapeOf is a value's shape with every row of the batch.
func shapeOf(v *nn.Value) tensor.Shape { return tensor.Shape(slices.Clone(v.Shape)) }

// value returns the node that computes v, and builds what it depends on.
func (b *builder) value(v *nn.Value) *G.Node {
	if n := b.nodes[v]; n != nil {
		return n
	}
	n := b.build(v)
	b.nodes[v] = n
	return n
}

func (b *builder) build(v *nn.Value) *G.Node {
	switch v.Role {
	case nn.Input:
		return b.feature(v)
	case nn.Param, nn.Constant:
		return b.weight(v)
	}
	if _, ok := v.Node.Op.(nn.TrainingOnly); ok && !b.training {
		return b.value(v.Node.In[0])
	}
	return b.apply(v)
}

// feature is a leaf with a column of the batch.
func (b *builder) feature(v *nn.Value) *G.Node {
	for i, f := range b.model.Features {
		if f == v {
			return b.leaf("input:"+v.Name, shapeOf(v), func(dst []float32, in *batch) {
				w := v.Width()
				copy(dst, in.Features[i][:in.Rows*w])
				repeatFirstRow(dst, in.Rows, w)
			})
		}
	}
	panic(fmt.Sprintf("gorgonia: input %v is not a feature of %s", v, b.model.Name))
}

// repeatFirstRow fills the rows from rows on with row 0.
func repeatFirstRow(dst []float32, rows, width int) {
	for from := rows * width; from < len(dst); from += width {
		copy(dst[from:from+width], dst[:width])
	}
}

// weight is a leaf with a parameter or constant; a vector [S] is a row [1,S].
func (b *builder) weight(v *nn.Value) *G.Node {
	if n := b.weights[v]; n != nil {
		return n
	}
	shape := shapeOf(v)
	if len(shape) == 1 {
		shape = tensor.Shape{1, shape[0]}
	}
	data := b.state[v.Name]
	n := b.leaf("param:"+v.Name, shape, func(dst []float32, _ *batch) { copy(dst, data) })
	b.weights[v] = n
	return n
}

// reshape gives x another shape. The library's Reshape may return x's own
// memory, and later ops may overwrite it while x is still read; so it stands
// between two negations, which copy whatever lives on, in the forward pass and,
// being their own derivative, in the reverse pass too.
func (b *builder) reshape(x *G.Node, shape ...int) *G.Node {
	if slices.Equal(x.Shape(), shape) { // Shape.Eq takes [N] for [N,1]
		return x
	}
	r := must(G.Reshape(must(G.Neg(x)), tensor.Shape(slices.Clone(shape))))
	return must(G.Neg(r))
}

// matrix views a batched value as [N, width].
func (b *builder) matrix(v *nn.Value) *G.Node {
	return b.reshape(b.value(v), b.model.Batch, v.Width())
}

// addRow adds a row [1,W] to every row of x [R,W].
func (b *builder) addRow(x, row *G.Node) *G.Node {
	return must(G.Add(x, must(G.Mul(b.ones(x.Shape()[0], 1), row))))
}

// rowSums sums the columns of x [R,W] to [R,1].
func (b *builder) rowSums(x *G.Node) *G.Node { return must(G.Mul(x, b.ones(x.Shape()[1], 1))) }

// scalar is a constant number.
func scalar(x float64) *G.Node {
	return G.NewConstant(float32(x), G.WithName(strconv.FormatFloat(x, 'g', -1, 64)))
}

// perRow is a leaf with random numbers like v, drawn from each row's key.
func (b *builder) perRow(name string, v *nn.Value, draw func(dst []float32, key uint64)) *G.Node {
	return b.leaf(name, shapeOf(v), func(dst []float32, in *batch) {
		w := v.Width()
		for r := range in.Rows {
			draw(dst[r*w:(r+1)*w], in.Keys[r])
		}
		repeatFirstRow(dst, in.Rows, w)
	})
}

// dropoutMask draws 0 where an element is dropped, else 1/(1-Rate).
func dropoutMask(op nn.Dropout) func([]float32, uint64) {
	return func(dst []float32, key uint64) {
		key, threshold, scale := nn.StreamKey(key, op.Stream), nn.KeepThreshold(op.Rate), float32(1/(1-op.Rate))
		for j := range dst {
			dst[j] = 0
			if nn.Hash32(key, uint32(j)) >= threshold {
				dst[j] = scale
			}
		}
	}
}

func gaussianNoise(op nn.GaussianNoise) func([]float32, uint64) {
	return func(dst []float32, key uint64) {
		nn.FillNormal(dst, nn.StreamKey(key, op.Stream))
		for j := range dst {
			dst[j] *= float32(op.Std)
		}
	}
}
