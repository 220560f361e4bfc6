package conformance

import (
	"math"

	"sdnn/nn"
)

// update applies an update rule to one parameter in float64: w, its gradient g
// and its state tensors in the order of nn.Optimizer.StateNames.
func update(o nn.Optimizer, sp nn.StepParams, w, g []float64, state [][]float64) {
	for i := range w {
		d := g[i] + o.WeightDecay*w[i]
		switch o.Kind {
		case nn.SGD:
			u := state[0]
			u[i] = o.Momentum*u[i] + d
			w[i] -= sp.LR * (d + o.Momentum*u[i])
		case nn.Adam:
			m, v := state[0], state[1]
			m[i] = o.Beta1*m[i] + (1-o.Beta1)*d
			v[i] = o.Beta2*v[i] + (1-o.Beta2)*d*d
			w[i] -= o.AdamRate(sp.LR, sp.Step) * m[i] / (math.Sqrt(v[i]) + o.Epsilon)
		default:
			panic("conformance: unknown optimizer " + string(o.Kind))
		}
	}
}

// stateName is the name of an optimiser's state tensor for a parameter.
func stateName(kind string, param *nn.Value) string { return kind + "/" + param.Name }

// trainer trains a model in float64: what an engine's state ought to be.
type trainer struct {
	program *nn.Program
	opt     nn.Optimizer
	state   State // parameters, buffers, constants and the optimiser's tensors
}

func newTrainer(m *nn.Model, purpose nn.Purpose, o nn.Optimizer, st State) *trainer {
	t := &trainer{program: nn.NewProgram(m, purpose), opt: o, state: st}
	for _, v := range m.Graph.Params() {
		for _, kind := range o.StateNames() {
			st[stateName(kind, v)] = make([]float64, v.Shape.Size())
		}
	}
	return t
}

// step updates the state by one batch and returns all values of the step.
func (t *trainer) step(f *nn.Feed, sp nn.StepParams) *Result {
	r := Interpret(t.program, f, t.state)
	for _, v := range t.program.Model.Graph.Buffers() {
		if x := r.Moved(v); x != nil {
			t.state[v.Name] = x
		}
	}
	for i, v := range t.program.Model.Graph.Params() {
		if t.program.Grads[i] == nil {
			continue
		}
		var state [][]float64
		for _, kind := range t.opt.StateNames() {
			state = append(state, t.state[stateName(kind, v)])
		}
		update(t.opt, sp, t.state[v.Name], r.Of(t.program.Grads[i]), state)
	}
	return r
}
