package cpu

import (
	"fmt"
	"math"
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cpu/pool"
)

// slots is the number of feeds: one computes while the other is filled.
const slots = 2

// session implements nn.Session.
type session struct {
	pool    *pool.Pool
	model   *nn.Model
	options nn.CompileOptions

	feeds     [slots]nn.Feed
	arena     []float32 // planned memory, shared: one program runs at a time
	arenaSize int
	tensors   map[string][]float32 // parameters, constants, optimiser state by name
	state     []nn.StateTensor
	frees     []func()

	train, eval *compiled
	grads       map[string]*ref // with KeepGradients
	theta       []float32

	// What the ops of a running program look at.
	feed      *nn.Feed
	rows      int
	changes   int // of state: the number of training steps and writes
	loss      float64
	rowLoss   []float64   // [batch]
	listed    [][]float32 // [batch], gradients of the listed targets
	weighted  bool        // OutputWeight is not all ones
	profiling bool
	adam      kernel.AdamStep
	sgd       kernel.SGDStep
}

// compiled is a program ready to run.
type compiled struct {
	program     *nn.Program
	ops         []op
	run         []func()
	scores      *ref
	penultimate *ref
	profile     []nn.OpProfile
	plan        *nn.Plan
	root        func(*nn.Value) *nn.Value
	kept        []*kept
}

func newSession(e *Engine, m *nn.Model, o nn.CompileOptions) (*session, error) {
	s := &session{pool: e.pool, model: m, options: o, tensors: map[string][]float32{}, changes: 1}
	if err := s.reserve(e.available); err != nil {
		return nil, err
	}
	s.makeTensors()
	s.arena = s.alloc(s.arenaSize)
	s.bind(s.eval)
	if s.train != nil {
		s.bind(s.train)
	}
	s.makeFeeds()
	return s, nil
}

// plan lowers the session's programs and plans their memory.
func (s *session) plan() (err error) {
	if s.eval, err = s.lower(nn.Evaluation); err == nil && s.options.Purpose != nn.Evaluation {
		s.train, err = s.lower(s.options.Purpose)
	}
	return err
}

func (s *session) alloc(n int) []float32 {
	data, free := pool.Alloc(n)
	s.frees = append(s.frees, free)
	return data
}

func (s *session) lower(purpose nn.Purpose) (*compiled, error) {
	p := nn.NewProgram(s.model, purpose)
	l, err := lower(p, s.options)
	if err != nil {
		return nil, err
	}
	steps := make([]nn.PlanStep, len(l.ops))
	for i := range l.ops {
		steps[i] = l.ops[i].plan
	}
	plan := nn.PlanMemory(len(p.Values), steps, func(v *nn.Value) bool {
		for _, w := range p.Values {
			if isResult(p, s.options, w) && l.rootOf(w) == v {
				return true
			}
		}
		return false
	})
	return &compiled{program: p, ops: l.ops, plan: plan, root: l.rootOf, kept: l.kept}, nil
}

// bind gives a program its memory.
func (s *session) bind(c *compiled) {
	b := &binder{s: s, plan: c.plan, arena: s.arena, root: c.root}
	for i := range c.ops {
		c.run = append(c.run, c.ops[i].bind(b))
	}
	p := c.program
	if p.Purpose == nn.Evaluation {
		c.scores = b.ref(p.Resolve(s.model.Output))
		if s.model.Penultimate != nil {
			c.penultimate = b.ref(p.Resolve(s.model.Penultimate))
		}
		return
	}
	if p.Theta != nil {
		s.theta = b.ref(p.Theta).data
	}
	if s.options.KeepGradients {
		s.grads = map[string]*ref{}
		for i, v := range s.model.Graph.Params() {
			if p.Grads[i] != nil {
				s.grads[v.Name] = b.ref(p.Grads[i])
			}
		}
	}
}

// makeTensors allocates and initialises parameters, constants and, for
// training, the optimiser's state.
func (s *session) makeTensors() {
	g := s.model.Graph
	for _, v := range slices.Concat(g.Params(), g.Buffers(), g.Constants()) {
		data := s.alloc(v.Shape.Size())
		v.Init.Fill(data, s.options.Seed, v.Name)
		s.tensors[v.Name] = data
		if v.Role != nn.Constant {
			s.state = append(s.state, nn.StateTensor{Name: v.Name, Shape: v.Shape, Trained: true})
		}
	}
	if s.model.OutputWeight != nil {
		s.weighted = !allOnes(s.tensors[s.model.OutputWeight.Name])
	}
	if s.train == nil {
		return
	}
	for _, kind := range s.options.Optimizer.StateNames() {
		for _, v := range g.Params() {
			name := kind + "/" + v.Name
			s.tensors[name] = s.alloc(v.Shape.Size())
			s.state = append(s.state, nn.StateTensor{Name: name, Shape: v.Shape})
		}
	}
}

func allOnes(x []float32) bool {
	for _, v := range x {
		if v != 1 {
			return false
		}
	}
	return true
}

func (s *session) makeFeeds() {
	n := s.model.Batch
	for i := range s.feeds {
		f := &s.feeds[i]
		for _, v := range s.model.Features {
			f.Features = append(f.Features, s.alloc(v.Shape.Size()))
		}
		f.Keys = make([]uint64, n)
		f.Targets.Reset()
	}
	s.rowLoss = make([]float64, n)
	s.listed = make([][]float32, n)
}

// Slots implements nn.Session.
func (s *session) Slots() int { return slots }

// Feed implements nn.Session.
func (s *session) Feed(slot int) *nn.Feed { return &s.feeds[slot] }

// TrainStep implements nn.Session.
func (s *session) TrainStep(slot int, sp nn.StepParams) error {
	if s.train == nil {
		return fmt.Errorf("cpu: this session of %s was compiled for evaluation and cannot train", s.model.Name)
	}
	if err := s.begin(slot); err != nil {
		return err
	}
	if t := &s.feed.Targets; t.Rows() != s.rows {
		return fmt.Errorf("cpu: the batch has %d rows and targets for %d", s.rows, t.Rows())
	}
	s.changes++
	o := s.options.Optimizer
	s.adam = kernel.AdamStep{Beta1: o.Beta1, Beta2: o.Beta2, Epsilon: o.Epsilon, GradScale: 1, WeightDecay: o.WeightDecay}
	if o.Kind == nn.Adam {
		s.adam.Rate = o.AdamRate(sp.LR, sp.Step)
	}
	s.sgd = kernel.SGDStep{Rate: sp.LR, Momentum: o.Momentum, GradScale: 1, WeightDecay: o.WeightDecay}
	s.execute(s.train)
	if s.options.OnStep != nil {
		s.options.OnStep(nn.StepResult{Slot: slot, Step: sp.Step, Rows: s.rows, Loss: s.loss, Theta: s.theta})
	}
	return nil
}

// begin points the ops at a slot's batch.
func (s *session) begin(slot int) error {
	s.feed = &s.feeds[slot]
	s.rows = s.feed.Rows
	if s.rows < 1 || s.rows > s.model.Batch {
		return fmt.Errorf("cpu: a batch of %d rows, %s was compiled for 1 to %d", s.rows, s.model.Name, s.model.Batch)
	}
	return nil
}

// Sync implements nn.Session; steps are over when TrainStep returns.
func (s *session) Sync() error { return nil }

// Forward implements nn.Session.
func (s *session) Forward(slot int) ([]float32, float64, error) {
	if err := s.begin(slot); err != nil {
		return nil, math.NaN(), err
	}
	s.execute(s.eval)
	return s.eval.scores.get()[:s.rows*s.model.Outputs()], s.loss, nil
}

// Penultimate implements nn.Session.
func (s *session) Penultimate() []float32 {
	if s.eval.penultimate == nil {
		return nil
	}
	return s.eval.penultimate.get()[:s.rows*s.model.Penultimate.Width()]
}

// State implements nn.Session.
func (s *session) State() []nn.StateTensor { return s.state }

// ReadState implements nn.Session. The data is the tensor itself, not a copy.
func (s *session) ReadState(name string, f func([]float32) error) error {
	if data, ok := s.tensors[name]; ok {
		return f(data)
	}
	if len(name) > 5 && name[:5] == "grad/" {
		if g := s.grads[name[5:]]; g != nil {
			return f(g.data)
		}
	}
	return fmt.Errorf("cpu: %s has no state tensor %q", s.model.Name, name)
}

// WriteState implements nn.Session.
func (s *session) WriteState(name string, data []float32) error {
	dst, ok := s.tensors[name]
	if !ok {
		return fmt.Errorf("cpu: %s has no state tensor %q", s.model.Name, name)
	}
	if len(dst) != len(data) {
		return fmt.Errorf("cpu: %s: %q has %d numbers, given %d", s.model.Name, name, len(dst), len(data))
	}
	copy(dst, data)
	s.changes++
	if w := s.model.OutputWeight; w != nil && w.Name == name {
		s.weighted = !allOnes(dst)
	}
	return nil
}

// Close implements nn.Session.
func (s *session) Close() error {
	for _, f := range s.frees {
		f()
	}
	*s = session{model: s.model}
	return nil
}
