package cpu

import (
	"fmt"
	"sort"

	"sdnn/nn"
)

// op is one step of a compiled program.
type op struct {
	kind string // for profiles
	name string // of its output
	plan nn.PlanStep
	bind func(b *binder) func()

	// What profiles need to know, of a batch of some rows; see nn.OpProfile.
	operands *operands
	traffic  func(rows int) (bytes, set float64)
	flops    func(rows int) float64 // nil: bound by memory
	work     func(rows int) float64 // nil: as many as flops
	bf16     bool
	scratch  int                         // values of a thread's workspace, if more than threadScratch
	lists    func(rows, threads int) int // values of 4 bytes for lists of an operand without its zeros; nil: 0
	idle     func(s *session) bool       // nil: never; the op has nothing to do for this batch

	// update makes an op that updates w with the gradient that this op computes,
	// without storing it; nil if it cannot be.
	update func(w *nn.Value) op
}

// lowering turns a program's nodes into ops.
type lowering struct {
	p       *nn.Program
	o       nn.CompileOptions
	readers map[*nn.Value][]*nn.Node
	writer  map[*nn.Value]*nn.Node // in this program: a value's own Node is the graph's
	done    map[*nn.Node]bool      // part of an op that was emitted elsewhere
	root    map[*nn.Value]*nn.Value
	chains  []*convPool
	norms   map[*nn.Node]*norm        // by their forward node
	stats   map[*nn.Value]*statistics // that the makers of the values fill
	late    map[*nn.Node]*nn.Node     // gradients of data by the sum that they are added to
	tails   map[*nn.Node]*convTail    // by the node in whose place they run
	kept    []*kept                   // of an evaluation
	scratch int                       // scratch values made so far
	ops     []op
}

// lower compiles the program; update appends the optimiser's ops.
func lower(p *nn.Program, o nn.CompileOptions) (l *lowering, err error) {
	l = &lowering{p: p, o: o, readers: map[*nn.Value][]*nn.Node{}, writer: map[*nn.Value]*nn.Node{}, done: map[*nn.Node]bool{}, root: map[*nn.Value]*nn.Value{},
		norms: map[*nn.Node]*norm{}, stats: map[*nn.Value]*statistics{}, late: map[*nn.Node]*nn.Node{}, tails: map[*nn.Node]*convTail{}}
	for _, n := range p.Nodes {
		if _, ok := n.Op.(nn.Reshape); ok {
			l.root[n.Out[0]] = l.rootOf(n.In[0])
		}
	}
	for _, n := range p.Nodes {
		for _, in := range n.In {
			l.readers[in] = append(l.readers[in], n)
		}
		for _, out := range n.Out {
			l.writer[out] = n
		}
	}
	l.findConvPools()
	l.findConvTails()
	for _, n := range p.Nodes {
		if l.done[n] {
			l.chainAt(n)
			if t := l.tails[n]; t != nil {
				l.convWithTail(t)
			}
			continue
		}
		if !l.node(n) {
			return nil, &nn.UnsupportedError{Engine: "cpu", Model: p.Model.Name, What: fmt.Sprintf("op %s is not known to it", n.Op.Kind())}
		}
	}
	if err := l.checkPrecision(); err != nil {
		return nil, err
	}
	if p.Purpose != nn.Evaluation {
		l.updates()
	}
	return l, nil
}

// rootOf follows views to the value that owns the memory.
func (l *lowering) rootOf(v *nn.Value) *nn.Value {
	if r := l.root[v]; r != nil {
		return r
	}
	return v
}

// emit appends an op that reads and writes the given values.
func (l *lowering) emit(kind string, reads, writes []*nn.Value, bind func(b *binder) func()) *op {
	o := op{kind: kind, name: writes[0].Name, bind: bind}
	for _, v := range reads {
		o.plan.Reads = append(o.plan.Reads, l.rootOf(v))
	}
	for _, v := range writes {
		o.plan.Writes = append(o.plan.Writes, l.rootOf(v))
	}
	o.operands = operandsOf(o.plan.Reads, o.plan.Writes)
	o.traffic = o.operands.traffic
	l.ops = append(l.ops, o)
	return &l.ops[len(l.ops)-1]
}

// inPlace lets an op write its output over its i-th read.
func (o *op) inPlace(i int) {
	o.plan.InPlace = append(o.plan.InPlace, [2]*nn.Value{o.plan.Reads[i], o.plan.Writes[0]})
}

// temp makes a scratch value, alive during one op.
func (l *lowering) temp(size int) *nn.Value {
	l.scratch++
	v := &nn.Value{ID: len(l.p.Values), Name: fmt.Sprintf("scratch%d", l.scratch), Shape: nn.Shape{size}}
	l.p.Values = append(l.p.Values, v)
	return v
}

// onlyReader returns the single node that reads v, if v is read once and is no result.
func (l *lowering) onlyReader(v *nn.Value) *nn.Node {
	if len(l.readers[v]) != 1 || l.isResult(v) {
		return nil
	}
	return l.readers[v][0]
}

// isResult reports whether v is read after the program has run.
func (l *lowering) isResult(v *nn.Value) bool { return isResult(l.p, l.o, v) }

// isResult reports whether a session reads v after a run of the program:
// scores and penultimate features of an evaluation, theta, gradients on request.
func isResult(p *nn.Program, o nn.CompileOptions, v *nn.Value) bool {
	if p.Purpose == nn.Evaluation {
		return v == p.Resolve(p.Model.Output) || p.Model.Penultimate != nil && v == p.Resolve(p.Model.Penultimate)
	}
	if o.KeepGradients {
		for _, g := range p.Grads {
			if v == g {
				return true
			}
		}
	}
	return v == p.Theta
}

// updates inserts each parameter's update after the last op that reads the
// parameter or its gradient. An op that can update itself what it computes the
// gradient of moves there.
func (l *lowering) updates() {
	type at struct {
		after int
		op    op
	}
	var list []at
	moved := map[int]bool{}
	for i, w := range l.p.Model.Graph.Params() {
		g := l.p.Grads[i]
		if g == nil {
			continue
		}
		g = l.rootOf(g)
		last, maker := 0, -1
		for j := range l.ops {
			for _, v := range append(append([]*nn.Value(nil), l.ops[j].plan.Reads...), l.ops[j].plan.Writes...) {
				if v == w || v == g {
					last = j
				}
				if v == g && l.ops[j].update != nil {
					maker = j
				}
			}
		}
		if maker >= 0 {
			moved[maker] = true
			list = append(list, at{last, l.ops[maker].update(w)})
			continue
		}
		size, states := w.Shape.Size(), len(l.o.Optimizer.StateNames())
		list = append(list, at{last, op{kind: string(l.o.Optimizer.Kind), name: w.Name, plan: nn.PlanStep{Reads: []*nn.Value{w, g}},
			bind: bindUpdate(w, g), traffic: func(int) (bytes, set float64) {
				bytes, set = updateTraffic(size, states)
				return bytes + float64(4*size), set + float64(4*size)
			}}})
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].after < list[j].after })
	var ops []op
	for j, o := range l.ops {
		if !moved[j] {
			ops = append(ops, o)
		}
		for len(list) > 0 && list[0].after == j {
			ops = append(ops, list[0].op)
			list = list[1:]
		}
	}
	l.ops = ops
}
