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
