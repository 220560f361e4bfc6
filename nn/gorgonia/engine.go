package gorgonia

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	"sdnn/nn"
)

const name = "gorgonia"

// New returns the engine.
func New() nn.Engine { return engine{} }

type engine struct{}

// Name implements nn.Engine.
func (engine) Name() string { return name }

// Compile implements nn.Engine. It knows the ops of the video networks, in float32.
func (engine) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	if o.Precision != "" && o.Precision != nn.F32 {
		return nil, &nn.UnsupportedError{Engine: name, Model: m.Name, What: fmt.Sprintf("precision %s", o.Precision)}
	}
	s := newSession(m, o)
	var err error
	if s.eval, err = newGraph(m, s.state, nil); err != nil {
		return nil, err
	}
	if o.Purpose == nn.Evaluation {
		return s, nil
	}
	s.trained = trainedParams(m)
	if s.train, err = newGraph(m, s.state, s.trained); err != nil {
		return nil, err
	}
	return s, nil
}

// trainedParams lists the parameters that reach the loss.
func trainedParams(m *nn.Model) []*nn.Value {
	reached := map[*nn.Value]bool{}
	var visit func(v *nn.Value)
	visit = func(v *nn.Value) {
		if reached[v] {
			return
		}
		reached[v] = true
		if v.Node != nil {
			for _, in := range v.Node.In {
				visit(in)
			}
		}
	}
	visit(m.Loss)
	var ps []*nn.Value
	for _, v := range m.Graph.Params() {
		if reached[v] {
			ps = append(ps, v)
		}
	}
	return ps
}

// graph is a compiled expression graph with what is read from it.
type graph struct {
	*machine
	output, penultimate, loss G.Value
	grads                     []G.Value // of the parameters asked for
}

// newGraph builds the graph of evaluation, or, with params, of training.
func newGraph(m *nn.Model, state map[string][]float32, params []*nn.Value) (g *graph, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case unsupported:
			err = &nn.UnsupportedError{Engine: name, Model: m.Name, What: "op " + p.op.Kind() + " is not known to it, only those of video networks are; use --engine cpu"}
		default:
			err = fmt.Errorf("engine gorgonia: build %s: %v", m.Name, p)
		}
	}()
	b := newBuilder(m, state, params != nil)
	g = &graph{}
	loss := b.value(m.Loss)
	G.Read(loss, &g.loss)
	G.Read(b.value(m.Output), &g.output)
	G.Read(b.value(m.Penultimate), &g.penultimate)
	if params != nil {
		var leaves []*G.Node
		for _, v := range params {
			leaves = append(leaves, b.value(v))
		}
		grads, err := G.Grad(loss, leaves...)
		if err != nil {
			return nil, fmt.Errorf("engine gorgonia: differentiate %s: %w", m.Name, err)
		}
		g.grads = make([]G.Value, len(grads))
		for i, n := range grads {
			G.Read(n, &g.grads[i])
		}
	}
	if g.machine, err = newMachine(b.g, b.leaves); err != nil {
		return nil, fmt.Errorf("engine gorgonia: compile %s: %w", m.Name, err)
	}
	return g, nil
}
