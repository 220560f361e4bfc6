package conformance

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"sdnn/nn"
)

// Reference returns the float64 interpreter as an engine, called "reference".
// Its gradients are those of the interpreted reverse pass. It computes at once:
// OnStep is called before TrainStep returns.
func Reference() nn.Engine { return reference{} }

type reference struct{}

func (reference) Name() string { return "reference" }

func (reference) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	if o.Precision == nn.BF16 {
		return nil, &nn.UnsupportedError{Engine: "reference", Model: m.Name, What: "precision bf16"}
	}
	s := &refSession{model: m, options: o, eval: nn.NewProgram(m, nn.Evaluation), data: map[string][]float32{}}
	for range 2 {
		f := &nn.Feed{Keys: make([]uint64, m.Batch)}
		for _, v := range m.Features {
			f.Features = append(f.Features, make([]float32, m.Batch*v.Width()))
		}
		s.feeds = append(s.feeds, f)
	}
	for _, v := range m.Graph.Constants() {
		s.data[v.Name] = make([]float32, v.Shape.Size())
		v.Init.Fill(s.data[v.Name], o.Seed, v.Name)
	}
	for _, v := range trained(m) {
		s.add(v.Name, v.Shape, true)
		v.Init.Fill(s.data[v.Name], o.Seed, v.Name)
	}
	if o.Purpose == nn.Evaluation {
		return s, nil
	}
	s.train = nn.NewProgram(m, o.Purpose)
	for _, kind := range o.Optimizer.StateNames() {
		for _, v := range m.Graph.Params() {
			s.add(stateName(kind, v), v.Shape, false)
		}
	}
	return s, nil
}

type refSession struct {
	model       *nn.Model
	options     nn.CompileOptions
	train, eval *nn.Program
	feeds       []*nn.Feed
	tensors     []nn.StateTensor
	data        map[string][]float32 // state, constants, gradients of the last step
	penultimate []float32
}

func (s *refSession) add(name string, shape nn.Shape, trained bool) {
	s.tensors = append(s.tensors, nn.StateTensor{Name: name, Shape: shape, Trained: trained})
	s.data[name] = make([]float32, shape.Size())
}

func (s *refSession) Slots() int             { return len(s.feeds) }
func (s *refSession) Feed(slot int) *nn.Feed { return s.feeds[slot] }
func (s *refSession) Sync() error            { return nil }
func (s *refSession) Close() error           { return nil }
func (s *refSession) Penultimate() []float32 { return s.penultimate }

func (s *refSession) wide() State {
	st := State{}
	for name, x := range s.data {
		st[name] = widen(x)
	}
	return st
}

func (s *refSession) TrainStep(slot int, sp nn.StepParams) error {
	if s.train == nil {
		return fmt.Errorf("session of %s was compiled for evaluation and cannot train", s.model.Name)
	}
	f := s.feeds[slot]
	t := trainer{program: s.train, opt: s.options.Optimizer, state: s.wide()}
	r := t.step(f, sp)
	for _, st := range s.tensors {
		copy(s.data[st.Name], narrow(t.state[st.Name]))
	}
	if s.options.KeepGradients {
		for i, v := range s.model.Graph.Params() {
			if g := s.train.Grads[i]; g != nil {
				s.data[stateName("grad", v)] = narrow(r.Of(g))
			}
		}
	}
	if s.options.OnStep != nil {
		res := nn.StepResult{Slot: slot, Step: sp.Step, Rows: f.Rows, Loss: r.Loss()}
		if s.train.Theta != nil {
			res.Theta = narrow(r.Of(s.train.Theta))
		}
		s.options.OnStep(res)
	}
	return nil
}

func (s *refSession) Forward(slot int) ([]float32, float64, error) {
	f := s.feeds[slot]
	r := Interpret(s.eval, f, s.wide())
	s.penultimate = narrow(r.Of(s.model.Penultimate))
	loss := math.NaN()
	if f.Targets.Rows() == f.Rows {
		loss = r.Loss()
	}
	return narrow(r.Of(s.model.Output)), loss, nil
}

func (s *refSession) State() []nn.StateTensor { return slices.Clone(s.tensors) }

func (s *refSession) ReadState(name string, f func([]float32) error) error {
	x, ok := s.data[name]
	if !ok {
		return fmt.Errorf("model %s has no state tensor %q", s.model.Name, name)
	}
	return f(x)
}

func (s *refSession) WriteState(name string, data []float32) error {
	x, ok := s.data[name]
	if !ok || strings.HasPrefix(name, "grad/") {
		return fmt.Errorf("model %s has no state tensor %q", s.model.Name, name)
	}
	if len(x) != len(data) {
		return fmt.Errorf("state tensor %q of %s has %d elements, got %d", name, s.model.Name, len(x), len(data))
	}
	copy(x, data)
	return nil
}
