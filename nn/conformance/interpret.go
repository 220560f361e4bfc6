package conformance

import (
	"fmt"
	"slices"

	"sdnn/nn"
)

// State is the content of a model's parameters, buffers and constants, by name.
type State map[string][]float64

// InitialState returns what a session begins with: the Init of each parameter
// and buffer under the seed.
func InitialState(m *nn.Model, seed uint64) State {
	st := State{}
	for _, v := range slices.Concat(trained(m), m.Graph.Constants()) {
		buf := make([]float32, v.Shape.Size())
		v.Init.Fill(buf, seed, v.Name)
		st[v.Name] = widen(buf)
	}
	return st
}

// trained lists what a training step changes of a network: parameters and buffers.
func trained(m *nn.Model) []*nn.Value { return slices.Concat(m.Graph.Params(), m.Graph.Buffers()) }

// Result holds every value of an interpreted program.
type Result struct {
	program *nn.Program
	values  [][]float64
	moved   map[*nn.Value][]float64 // what ops make of buffers
}

// Moved is what the program makes of a buffer: the running statistics after a
// training step; nil for a buffer that it leaves alone.
func (r *Result) Moved(buffer *nn.Value) []float64 { return r.moved[buffer] }

// Of returns the content of a value, [Rows, ...] where it is batched.
func (r *Result) Of(v *nn.Value) []float64 { return r.values[r.program.Resolve(v).ID] }

// Loss is the loss of the batch.
func (r *Result) Loss() float64 { return r.Of(r.program.Model.Loss)[0] }

// Interpret runs a program in float64, an op at a time by its definition. Of
// the feed it reads Rows rows; the state it leaves as it is. It panics on an op it
// does not know.
func Interpret(p *nn.Program, f *nn.Feed, st State) *Result { return interpret(p, f, st, nil) }

// interpret stops as soon as it has computed the value until, if not nil.
func interpret(p *nn.Program, f *nn.Feed, st State, until *nn.Value) *Result {
	in := newInterpreter(p, f, st)
	for _, n := range p.Nodes {
		args := make([][]float64, len(n.In))
		for i, v := range n.In {
			if in.values[v.ID] == nil {
				panic(fmt.Sprintf("conformance: %s reads %v before it is computed", n.Op.Kind(), v))
			}
			args[i] = in.values[v.ID]
		}
		outs := in.eval(n, args)
		for i, out := range outs { // an op for evaluation may make less than that for training
			v := n.Out[i]
			if want := in.size(v); len(out) != want {
				panic(fmt.Sprintf("conformance: %s made %d elements of %v, not %d", n.Op.Kind(), len(out), v, want))
			}
			in.values[v.ID] = out
			if v == until {
				return in.result(p)
			}
		}
	}
	return in.result(p)
}

func (in *interpreter) result(p *nn.Program) *Result { return &Result{p, in.values, in.moved} }

// interpreter is the working state of one run of a program on one batch.
type interpreter struct {
	rows   int
	keys   []uint64
	y, m   []float64 // dense targets [rows, outputs]; nil without targets
	values [][]float64
	moved  map[*nn.Value][]float64
}

func newInterpreter(p *nn.Program, f *nn.Feed, st State) *interpreter {
	in := &interpreter{rows: f.Rows, keys: f.Keys, values: make([][]float64, len(p.Values)), moved: map[*nn.Value][]float64{}}
	if f.Targets.Rows() == f.Rows {
		in.y, in.m = denseTargets(&f.Targets, p.Model.Outputs())
	}
	for i, v := range p.Model.Features {
		in.values[v.ID] = widen(f.Features[i][:f.Rows*v.Width()])
	}
	for _, v := range p.Model.Graph.Values {
		if v.Role != nn.Param && v.Role != nn.Buffer && v.Role != nn.Constant {
			continue
		}
		if len(st[v.Name]) != v.Shape.Size() {
			panic(fmt.Sprintf("conformance: state of %v has %d elements", v, len(st[v.Name])))
		}
		in.values[v.ID] = st[v.Name]
	}
	return in
}

// size is the number of elements of v in this batch.
func (in *interpreter) size(v *nn.Value) int {
	if v.Batched {
		return in.rows * v.Width()
	}
	return v.Shape.Size()
}

// eval computes the outputs of a node.
func (in *interpreter) eval(n *nn.Node, args [][]float64) [][]float64 {
	for _, eval := range []func(*nn.Node, [][]float64) [][]float64{in.forward, in.backward, in.image, in.norm} {
		if outs := eval(n, args); outs != nil {
			return outs
		}
	}
	panic(fmt.Sprintf("conformance: the interpreter does not know the op %s", n.Op.Kind()))
}

func denseTargets(t *nn.Targets, outputs int) (y, m []float64) {
	rows := t.Rows()
	y, m = make([]float64, rows*outputs), make([]float64, rows*outputs)
	for r := range rows {
		for e := t.Offsets[r]; e < t.Offsets[r+1]; e++ {
			i := r*outputs + int(t.Index[e])
			y[i], m[i] = float64(t.Y[e]), float64(t.M[e])
		}
	}
	return y, m
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
