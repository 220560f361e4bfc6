package conformance

import (
	"math"

	"sdnn/nn"
)

// builder makes small models: layers by name, then finish.
type builder struct {
	g     *nn.Graph
	batch int
	feats []*nn.Value
	// frozen makes normalisations use their running statistics in training too.
	frozen bool
}

func build(batch int) *builder { return &builder{g: nn.NewGraph(), batch: batch} }

func (b *builder) input(name string, width int) *nn.Value {
	v := b.g.NewInput(name, b.batch, width)
	b.feats = append(b.feats, v)
	return v
}

func (b *builder) apply(name string, op nn.Op, in ...*nn.Value) *nn.Value {
	return b.g.Apply(name, op, in...)[0]
}

// dense adds a fully connected layer with parameters name.weight and name.bias.
func (b *builder) dense(name string, x *nn.Value, outputs int) *nn.Value {
	w, bias := b.denseParams(name, x.Width(), outputs)
	return b.apply(name, nn.Dense{}, x, w, bias)
}

func (b *builder) denseParams(name string, inputs, outputs int) (w, bias *nn.Value) {
	w = b.g.NewParam(name+".weight", nn.Shape{outputs, inputs}, nn.Init{Kind: nn.InitNormal, Arg: 1 / math.Sqrt(float64(inputs))})
	return w, b.g.NewParam(name+".bias", nn.Shape{outputs}, nn.Init{Kind: nn.InitNormal, Arg: 0.3})
}

// conv adds a convolution with parameters name.weight and name.bias.
func (b *builder) conv(name string, x *nn.Value, filters, k int) *nn.Value {
	w := b.g.NewParam(name+".weight", nn.Shape{filters, k}, nn.Init{Kind: nn.InitNormal, Arg: 0.5})
	bias := b.g.NewParam(name+".bias", nn.Shape{filters}, nn.Init{Kind: nn.InitNormal, Arg: 0.2})
	return b.apply(name, nn.Conv1D{}, x, w, bias)
}

func (b *builder) flatten(name string, x *nn.Value) *nn.Value {
	return b.apply(name, nn.Reshape{Shape: nn.Shape{x.Width()}}, x)
}

// finish adds the loss. The last layer is z = dense(x), or p with probabilities.
func (b *builder) finish(name string, x, out *nn.Value, probabilities bool) *nn.Model {
	c := b.g.NewConstant("output.weight", nn.Shape{out.Shape[1]}, nn.Init{Kind: nn.InitConstant, Arg: 1})
	loss := b.apply("loss", nn.SubclassCE{Probabilities: probabilities}, out, c)
	m := &nn.Model{Name: name, Batch: b.batch, Graph: b.g, Features: b.feats, Output: out, Probabilities: probabilities,
		Loss: loss, OutputWeight: c, Penultimate: x}
	if _, ok := out.Node.Op.(nn.Dense); ok {
		m.ClassWeight = out.Node.In[1]
	}
	return m
}

// classify adds the classification layer to x and the loss.
func (b *builder) classify(name string, x *nn.Value, outputs int) *nn.Model {
	return b.finish(name, x, b.dense("classes", x, outputs), false)
}
