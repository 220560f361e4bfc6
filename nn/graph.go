package nn

import "fmt"

// Shape is the extent of a value in each dimension, row-major.
type Shape []int

// Size is the number of elements.
func (s Shape) Size() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether both have the same dimensions.
func (s Shape) Equal(t Shape) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// Role says where a value's content comes from.
type Role uint8

// The roles of a value.
const (
	Computed Role = iota // by a node
	Input                // by the batch's Feed
	Param                // trained; initialised from Init, kept in checkpoints
	Constant             // set by Session.WriteState, not trained (class weights)
	Buffer               // written by ops in training, kept in checkpoints (running statistics)
)

// Value is a tensor of the graph. All values hold float32.
type Value struct {
	ID      int // index in Graph.Values
	Name    string
	Shape   Shape
	Batched bool // the first dimension is the batch
	Role    Role
	Init    Init  // of a Param or Constant
	Node    *Node // that computes it, nil otherwise
}

// Width is the number of elements of one row of a batched value.
func (v *Value) Width() int { return v.Shape[1:].Size() }

// String names the value with its shape.
func (v *Value) String() string { return fmt.Sprintf("%s%v", v.Name, []int(v.Shape)) }

// Node is one application of an op.
type Node struct {
	Op  Op
	In  []*Value
	Out []*Value
}

// Op is what a node computes. Engines switch on its concrete type; an engine
// that does not know a type refuses the model in Compile.
type Op interface {
	// Kind is the op's name, for messages and profiles.
	Kind() string
	// Infer checks the inputs and returns the outputs' shapes; batched says of
	// each whether its first dimension is the batch.
	Infer(in []*Value) (shapes []Shape, batched []bool, err error)
}

// Differentiable ops take part in the reverse pass.
type Differentiable interface {
	Op
	// Gradient appends to the program the nodes that compute the loss's
	// gradient for the node's inputs, given that of its first output, and
	// returns one value an input; nil where want is false or none flows.
	Gradient(p *Program, n *Node, dout *Value, want []bool) []*Value
}

// Graph is a static network under construction. Methods panic on shapes that
// do not fit: a net package's mistake, not a user's.
type Graph struct {
	Values []*Value
	Nodes  []*Node
	names  map[string]bool
}

// NewGraph returns an empty graph.
func NewGraph() *Graph { return &Graph{names: map[string]bool{}} }

// NewInput adds a value that the batch's Feed fills: batch rows of width columns.
func (g *Graph) NewInput(name string, batch, width int) *Value {
	return g.add(name, Shape{batch, width}, true, Input)
}

// NewParam adds a trained value.
func (g *Graph) NewParam(name string, shape Shape, init Init) *Value {
	v := g.add(name, shape, false, Param)
	v.Init = init
	return v
}

// NewConstant adds a value that is neither trained nor part of the batch.
func (g *Graph) NewConstant(name string, shape Shape, init Init) *Value {
	v := g.add(name, shape, false, Constant)
	v.Init = init
	return v
}

// NewBuffer adds a value that training ops update beside the gradients and
// that belongs to the network: the running statistics of a normalisation.
func (g *Graph) NewBuffer(name string, shape Shape, init Init) *Value {
	v := g.add(name, shape, false, Buffer)
	v.Init = init
	return v
}

// NewImageInput adds an input of batch images of height x width x channels,
// channels innermost (NHWC).
func (g *Graph) NewImageInput(name string, batch, height, width, channels int) *Value {
	return g.add(name, Shape{batch, height, width, channels}, true, Input)
}

// Apply adds a node and returns its outputs.
func (g *Graph) Apply(name string, op Op, in ...*Value) []*Value {
	n, err := g.apply(name, op, in)
	if err != nil {
		panic(fmt.Sprintf("nn: %s %q: %v", op.Kind(), name, err))
	}
	g.Nodes = append(g.Nodes, n)
	return n.Out
}

// Params lists the trained values in the order of their creation.
func (g *Graph) Params() []*Value { return g.withRole(Param) }

// Buffers lists the values that training ops update, in the order of their creation.
func (g *Graph) Buffers() []*Value { return g.withRole(Buffer) }

// Constants lists the constant values.
func (g *Graph) Constants() []*Value { return g.withRole(Constant) }

func (g *Graph) withRole(r Role) []*Value {
	var vs []*Value
	for _, v := range g.Values {
		if v.Role == r {
			vs = append(vs, v)
		}
	}
	return vs
}

func (g *Graph) apply(name string, op Op, in []*Value) (*Node, error) {
	shapes, batched, err := op.Infer(in)
	if err != nil {
		return nil, err
	}
	n := &Node{Op: op, In: in}
	for i, s := range shapes {
		vn := name
		if i > 0 {
			vn = fmt.Sprintf("%s#%d", name, i)
		}
		v := g.add(vn, s, batched[i], Computed)
		v.Node = n
		n.Out = append(n.Out, v)
	}
	return n, nil
}

func (g *Graph) add(name string, shape Shape, batched bool, role Role) *Value {
	if g.names[name] {
		panic(fmt.Sprintf("nn: two values named %q", name))
	}
	g.names[name] = true
	v := &Value{ID: len(g.Values), Name: name, Shape: shape, Batched: batched, Role: role}
	g.Values = append(g.Values, v)
	return v
}
