package nn

import "fmt"

// Purpose says what a Program is for.
type Purpose uint8

// The purposes of a Program.
const (
	Evaluation Purpose = iota // output, penultimate and loss
	Training                  // and the gradient of the loss for every parameter
	Measuring                 // and the neglection degree: training in stage 1
)

// Program is the ordered list of the nodes that a purpose needs.
type Program struct {
	Model   *Model
	Purpose Purpose
	// Values are the graph's and those of the reverse pass; a value's ID is its
	// index here.
	Values []*Value
	Nodes  []*Node
	// Grads holds for each of Model.Graph.Params() the gradient of the loss;
	// nil for a parameter that does not reach the loss, and in evaluation.
	Grads []*Value
	// Theta [C] is set when measuring.
	Theta *Value

	instead map[*Value]*Value // bypassed by training-only ops in evaluation
	names   map[string]bool
}

// NewProgram prunes the model's graph to what the purpose needs and appends
// the reverse pass. The model is left as it was.
func NewProgram(m *Model, purpose Purpose) *Program {
	p := &Program{Model: m, Purpose: purpose, instead: map[*Value]*Value{}, names: map[string]bool{}}
	p.Values = append(p.Values, m.Graph.Values...)
	for n := range m.Graph.names {
		p.names[n] = true
	}
	p.forward()
	if purpose != Evaluation {
		p.reverse()
	}
	if purpose == Measuring {
		in := []*Value{m.Penultimate, m.Output}
		if m.ClassWeight != nil {
			in = append(in, p.grad(m.ClassWeight))
		}
		p.Theta = p.Apply("theta", Neglection{Probabilities: m.Probabilities}, in...)[0]
	}
	return p
}

// Apply appends a node to the program; a name already taken gets a suffix.
func (p *Program) Apply(name string, op Op, in ...*Value) []*Value {
	shapes, batched, err := op.Infer(in)
	if err != nil {
		panic(fmt.Sprintf("nn: %s %q: %v", op.Kind(), name, err))
	}
	n := &Node{Op: op, In: in}
	for i, s := range shapes {
		v := &Value{ID: len(p.Values), Name: p.unique(name), Shape: s, Batched: batched[i], Node: n}
		p.Values = append(p.Values, v)
		n.Out = append(n.Out, v)
	}
	p.Nodes = append(p.Nodes, n)
	return n.Out
}

func (p *Program) unique(name string) string {
	u := name
	for i := 1; p.names[u]; i++ {
		u = fmt.Sprintf("%s#%d", name, i)
	}
	p.names[u] = true
	return u
}

// forward lists the graph's nodes that the results need, in the graph's order.
// In evaluation, training-only ops are bypassed: their readers read their input.
func (p *Program) forward() {
	m := p.Model
	needed := map[*Node]bool{}
	var mark func(v *Value)
	mark = func(v *Value) {
		if v != nil && v.Node != nil && !needed[v.Node] {
			needed[v.Node] = true
			for _, in := range v.Node.In {
				mark(in)
			}
		}
	}
	mark(m.Output)
	mark(m.Penultimate)
	mark(m.Loss)
	for _, n := range m.Graph.Nodes {
		if !needed[n] {
			continue
		}
		if _, ok := n.Op.(TrainingOnly); ok && p.Purpose == Evaluation {
			p.instead[n.Out[0]] = p.Resolve(n.In[0])
			continue
		}
		n = p.rewire(n)
		if o, ok := n.Op.(Modal); ok && p.Purpose == Evaluation {
			n.Op = o.ForEvaluation()
		}
		p.Nodes = append(p.Nodes, n)
	}
}

// Resolve returns the value that stands for v in this program: v itself, or,
// in evaluation, what a training-only op that computes v reads.
func (p *Program) Resolve(v *Value) *Value {
	if s := p.instead[v]; s != nil {
		return s
	}
	return v
}

// rewire returns n reading what stands for its inputs.
func (p *Program) rewire(n *Node) *Node {
	c := &Node{Op: n.Op, Out: n.Out}
	for _, in := range n.In {
		c.In = append(c.In, p.Resolve(in))
	}
	return c
}

// reverse appends the nodes of reverse-mode differentiation of the loss.
func (p *Program) reverse() {
	wants := map[*Value]bool{}
	for _, v := range p.Model.Graph.Params() {
		wants[v] = true
	}
	for _, n := range p.Nodes {
		for _, in := range n.In {
			if wants[in] {
				for _, o := range n.Out {
					wants[o] = true
				}
			}
		}
	}
	grads := map[*Value]*Value{p.Model.Loss: p.Model.Loss}
	for i := len(p.Nodes) - 1; i >= 0; i-- {
		n := p.Nodes[i]
		dout := grads[n.Out[0]]
		if dout == nil || !wants[n.Out[0]] {
			continue
		}
		d, ok := n.Op.(Differentiable)
		if !ok {
			panic(fmt.Sprintf("nn: %s has no gradient", n.Op.Kind()))
		}
		p.accumulate(n, d.Gradient(p, n, dout, wanted(n, wants)), wants, grads)
	}
	for _, v := range p.Model.Graph.Params() {
		p.Grads = append(p.Grads, grads[v])
	}
}

func wanted(n *Node, wants map[*Value]bool) []bool {
	w := make([]bool, len(n.In))
	for i, in := range n.In {
		w[i] = wants[in]
	}
	return w
}

// accumulate adds the gradients of a node's inputs to what other readers of
// the same values gave.
func (p *Program) accumulate(n *Node, ds []*Value, wants map[*Value]bool, grads map[*Value]*Value) {
	for i, in := range n.In {
		if i >= len(ds) || ds[i] == nil || !wants[in] {
			continue
		}
		if grads[in] == nil {
			grads[in] = ds[i]
			continue
		}
		grads[in] = p.Apply("d:"+in.Name+"/sum", Add{}, grads[in], ds[i])[0]
	}
}

func (p *Program) grad(param *Value) *Value {
	for i, v := range p.Model.Graph.Params() {
		if v == param {
			return p.Grads[i]
		}
	}
	panic("nn: " + param.Name + " is no parameter of the model")
}
