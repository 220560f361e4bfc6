package nn

// Model is a graph with the values that training and evaluation look at.
type Model struct {
	Name  string // "conv1d", "vgg16", ...
	Batch int    // most rows of a step
	Graph *Graph

	Features []*Value // the inputs, one a column of the store, in Feed's order
	Output   *Value   // scores [N,S]: logits, or probabilities
	// Probabilities says that Output is already in [0, 1].
	Probabilities bool
	Loss          *Value // [1]
	// OutputWeight is the Constant [S] that weighs the loss of each output,
	// all ones unless written.
	OutputWeight *Value
	// OutputBias is the parameter that stands for how frequent each output is:
	// the bias of the classification layer [S], or of a mixture of experts that
	// of its experts [S*E], those of an output side by side. Where Probabilities
	// is false it is added to Output, one number an output.
	OutputBias *Value

	// Penultimate is the input [N,F] of the classification layer, where the
	// neglection degree is measured; ClassWeight is that layer's weight [S,F],
	// nil if the layer is not one Dense (mixture of experts).
	Penultimate *Value
	ClassWeight *Value
}

// Outputs is the number of output columns: classes, or subclasses.
func (m *Model) Outputs() int { return m.Output.Shape[1] }

// ParamCount is the number of trained numbers.
func (m *Model) ParamCount() int {
	n := 0
	for _, p := range m.Graph.Params() {
		n += p.Shape.Size()
	}
	return n
}

// WithBatch returns the model for batches of n rows: what its net package
// would have built for them.
func (m *Model) WithBatch(n int) *Model {
	g := NewGraph()
	of := map[*Value]*Value{nil: nil}
	for _, v := range m.Graph.Values {
		if v.Node != nil {
			if of[v] == nil { // the node's first output
				in := make([]*Value, len(v.Node.In))
				for i, x := range v.Node.In {
					in[i] = of[x]
				}
				for i, out := range g.Apply(v.Name, v.Node.Op, in...) {
					of[v.Node.Out[i]] = out
				}
			}
			continue
		}
		shape := append(Shape(nil), v.Shape...)
		if v.Batched {
			shape[0] = n
		}
		of[v] = g.add(v.Name, shape, v.Batched, v.Role)
		of[v].Init = v.Init
	}
	c := *m
	c.Batch, c.Graph = n, g
	c.Output, c.Loss, c.OutputWeight = of[m.Output], of[m.Loss], of[m.OutputWeight]
	c.OutputBias = of[m.OutputBias]
	c.Penultimate, c.ClassWeight = of[m.Penultimate], of[m.ClassWeight]
	c.Features = make([]*Value, len(m.Features))
	for i, v := range m.Features {
		c.Features[i] = of[v]
	}
	return &c
}
