package cuda

import (
	"fmt"
	"slices"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// op is one step of a lowered program: a few launches.
type op struct {
	kind  string // for profiles
	name  string // of its output
	plan  nn.PlanStep
	bind  func(b *binder) []launch
	flops func(rows int) float64 // nil: bound by memory
	again []*nn.Value            // read in a second pass over memory
	moved float64                // bytes beside the operands
	kept  []*nn.Value            // reads of which next to nothing is read
}

// launch queues one call of the card.
type launch func(f *frame) error

// lowering turns a program's nodes into ops.
type lowering struct {
	p       *nn.Program
	o       nn.CompileOptions
	readers map[*nn.Value][]*nn.Node
	writer  map[*nn.Value]*nn.Node // in this program: a value's own Node is the graph's
	done    map[*nn.Node]bool      // part of an op that was emitted elsewhere
	root    map[*nn.Value]*nn.Value

	types   map[*nn.Value]driver.Type        // of root values; F32 unless here
	strides map[*nn.Value]int                // of padded matrices, see padding
	scratch map[*nn.Value]func(rows int) int // bytes of scratch values
	fixed   map[*nn.Value]place              // outside the arena: gradients of parameters, results
	as      map[*nn.Value]map[driver.Type]*nn.Value

	chains map[*nn.Node]*convPool  // conv1d+relu+max-pool, by their last node
	norms  map[*nn.Node]*norm      // by their forward node
	wide   map[*nn.Value]*nn.Value // images with padded channels
	direct *nn.Value               // the padded image, if kept data can be gathered straight to it
	bare   map[*nn.Node]bool       // convolutions whose bias a batch normalisation takes over
	scores *nn.Value               // the output without padding, nil: it has none
	ones   int                     // that some op reads
	listed map[*nn.Value]*nn.Value // by outputs: rows that theta looks at

	measured *measured          // in the optimiser's pass; nil: not there
	early    map[*nn.Value]bool // parameters that are updated before the program's end
	ops      []op
}

// lower compiles the program. fixed says which values have a place of their own.
func lower(p *nn.Program, o nn.CompileOptions, fixed map[*nn.Value]place) (*lowering, error) {
	l := &lowering{p: p, o: o, fixed: fixed, readers: map[*nn.Value][]*nn.Node{}, writer: map[*nn.Value]*nn.Node{}, done: map[*nn.Node]bool{},
		root: map[*nn.Value]*nn.Value{}, types: map[*nn.Value]driver.Type{}, strides: map[*nn.Value]int{},
		scratch: map[*nn.Value]func(int) int{}, as: map[*nn.Value]map[driver.Type]*nn.Value{}, chains: map[*nn.Node]*convPool{},
		norms: map[*nn.Node]*norm{}, wide: map[*nn.Value]*nn.Value{}, listed: map[*nn.Value]*nn.Value{}, bare: map[*nn.Node]bool{}}
	for _, n := range p.Nodes {
		if is[nn.Reshape](n) {
			l.root[n.Out[0]] = l.rootOf(n.In[0])
		}
		for _, in := range n.In {
			l.readers[in] = append(l.readers[in], n)
		}
		for _, out := range n.Out {
			l.writer[out] = n
		}
	}
	l.findConvPools()
	l.findPadding()
	l.findBareConvolutions()
	for _, n := range p.Nodes {
		if c := l.chains[n]; c != nil {
			l.convPool(c, n)
			continue
		}
		if l.done[n] {
			continue
		}
		if !l.node(n) {
			return nil, &nn.UnsupportedError{Engine: "cuda", Model: p.Model.Name, What: fmt.Sprintf("op %s is not known to it", n.Op.Kind())}
		}
	}
	if p.Purpose == nn.Evaluation {
		l.compactScores()
	}
	return l, nil
}

// is reports whether a node's op is an O.
func is[O nn.Op](n *nn.Node) bool {
	if n == nil {
		return false
	}
	_, ok := n.Op.(O)
	return ok
}

// rootOf follows views to the value that owns the memory.
func (l *lowering) rootOf(v *nn.Value) *nn.Value {
	if r := l.root[v]; r != nil {
		return r
	}
	return v
}

// typeOf is the type of a value's elements.
func (l *lowering) typeOf(v *nn.Value) driver.Type { return l.types[l.rootOf(v)] }

// setType says what the op that computes v will write.
func (l *lowering) setType(v *nn.Value, t driver.Type) { l.types[l.rootOf(v)] = t }

// emit appends an op that reads and writes the given values.
func (l *lowering) emit(kind string, reads, writes []*nn.Value, bind func(b *binder) []launch) *op {
	o := op{kind: kind, name: writes[0].Name, bind: bind}
	for _, v := range reads {
		o.plan.Reads = append(o.plan.Reads, l.rootOf(v))
	}
	for _, v := range writes {
		o.plan.Writes = append(o.plan.Writes, l.rootOf(v))
	}
	l.ops = append(l.ops, o)
	return &l.ops[len(l.ops)-1]
}

// inPlace lets an op write its first output over its i-th read.
func (o *op) inPlace(i int) {
	o.plan.InPlace = append(o.plan.InPlace, [2]*nn.Value{o.plan.Reads[i], o.plan.Writes[0]})
}

// traffic is the least that an op moves, in bytes: every operand once a pass.
func (l *lowering) traffic(o *op, rows int) float64 {
	n := 0
	for _, v := range o.again {
		n += l.bytes(l.rootOf(v), rows)
	}
	return l.operandBytes(o, rows) + float64(n)
}

// operandBytes is the size of an op's operands and results.
func (l *lowering) operandBytes(o *op, rows int) float64 {
	n := 0
	for _, v := range slices.Concat(o.plan.Reads, o.plan.Writes) {
		n += l.bytes(v, rows)
	}
	for _, v := range o.kept {
		n -= l.bytes(l.rootOf(v), rows)
	}
	return float64(n) + o.moved
}

// temp makes a scratch value, alive during one op unless others read it.
func (l *lowering) temp(bytes func(rows int) int) *nn.Value {
	v := &nn.Value{ID: len(l.p.Values), Name: fmt.Sprintf("scratch%d", len(l.scratch)+1), Shape: nn.Shape{1}}
	l.p.Values = append(l.p.Values, v)
	l.scratch[v] = bytes
	return v
}

// like makes a scratch value with as many elements as v, of another type or stride.
func (l *lowering) like(v *nn.Value, t driver.Type) *nn.Value {
	c := l.temp(func(rows int) int { return l.elements(v, rows) * t.Size() })
	c.Name = v.Name + "/" + suffix(t)
	l.types[c] = t
	return c
}

// elements is the number of elements of v for rows of the batch, padding included.
func (l *lowering) elements(v *nn.Value, rows int) int {
	if !v.Batched {
		return v.Shape.Size()
	}
	return rows * l.stride(v)
}

// stride is the distance of v's rows.
func (l *lowering) stride(v *nn.Value) int {
	if s := l.strides[l.rootOf(v)]; s > 0 {
		return s
	}
	return v.Width()
}

// bytes is the size of a value for rows of the batch.
func (l *lowering) bytes(v *nn.Value, rows int) int {
	if f := l.scratch[v]; f != nil {
		return f(rows)
	}
	return l.elements(v, rows) * l.types[v].Size()
}

// in returns v as t: itself, or what an op that is put here makes of it.
func (l *lowering) in(v *nn.Value, t driver.Type) *nn.Value {
	r := l.rootOf(v)
	if l.types[r] == t {
		return v
	}
	if c := l.as[r][t]; c != nil {
		return c
	}
	c := l.like(v, t)
	if l.as[r] == nil {
		l.as[r] = map[driver.Type]*nn.Value{}
	}
	l.as[r][t] = c
	name := "convert_f32_bf16"
	if t == driver.F32 {
		name = "convert_bf16_f32"
	}
	l.emit("convert", []*nn.Value{v}, []*nn.Value{c}, func(b *binder) []launch {
		return b.call(name, b.place(c), b.place(v), b.count(v))
	})
	return c
}

// onlyReader returns the single node that reads v, if v is read once and is no result.
func (l *lowering) onlyReader(v *nn.Value) *nn.Node {
	if len(l.readers[v]) != 1 || l.isResult(v) {
		return nil
	}
	return l.readers[v][0]
}

// before reports whether node a comes before b in the program.
func (l *lowering) before(a, b *nn.Node) bool {
	return a != nil && slices.Index(l.p.Nodes, a) < slices.Index(l.p.Nodes, b)
}

// isResult reports whether a session reads v after a run of the program:
// scores and penultimate features of an evaluation, theta, gradients.
func (l *lowering) isResult(v *nn.Value) bool {
	p := l.p
	if p.Purpose == nn.Evaluation {
		return v == p.Resolve(p.Model.Output) || p.Model.Penultimate != nil && v == p.Resolve(p.Model.Penultimate)
	}
	return v == p.Theta || slices.Contains(p.Grads, v)
}

// suffix ends the name of a kernel's variant.
func suffix(t driver.Type) string {
	if t == driver.BF16 {
		return "bf16"
	}
	return "f32"
}
