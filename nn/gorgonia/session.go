package gorgonia

import (
	"fmt"
	"math"
	"slices"

	"sdnn/nn"
)

// slots is the number of feeds: one to fill while the other is computed on.
const slots = 2

// session implements nn.Session. It computes within the call: OnStep has the
// result before TrainStep returns.
type session struct {
	model   *nn.Model
	options nn.CompileOptions
	feeds   []*nn.Feed
	tensors []nn.StateTensor
	state   map[string][]float32 // state tensors and constants, by name
	grads   map[string][]float32 // of the last step, if kept

	eval, train *graph
	trained     []*nn.Value // parameters in the order of train.grads
	theta       neglection

	scores, penultimate []float32
}

func newSession(m *nn.Model, o nn.CompileOptions) *session {
	s := &session{model: m, options: o, state: map[string][]float32{}, grads: map[string][]float32{}}
	for range slots {
		f := &nn.Feed{Keys: make([]uint64, m.Batch)}
		for _, v := range m.Features {
			f.Features = append(f.Features, make([]float32, m.Batch*v.Width()))
		}
		f.Targets.Reset()
		s.feeds = append(s.feeds, f)
	}
	for _, v := range m.Graph.Constants() {
		s.state[v.Name] = make([]float32, v.Shape.Size())
		v.Init.Fill(s.state[v.Name], o.Seed, v.Name)
	}
	for _, v := range m.Graph.Params() {
		s.add(v.Name, v.Shape, true)
		v.Init.Fill(s.state[v.Name], o.Seed, v.Name)
	}
	if o.Purpose != nn.Evaluation {
		for _, kind := range o.Optimizer.StateNames() {
			for _, v := range m.Graph.Params() {
				s.add(kind+"/"+v.Name, v.Shape, false)
			}
		}
	}
	return s
}

func (s *session) add(name string, shape nn.Shape, trained bool) {
	s.tensors = append(s.tensors, nn.StateTensor{Name: name, Shape: shape, Trained: trained})
	s.state[name] = make([]float32, shape.Size())
}

// Slots implements nn.Session.
func (s *session) Slots() int { return slots }

// Feed implements nn.Session.
func (s *session) Feed(slot int) *nn.Feed { return s.feeds[slot] }

// Sync implements nn.Session: every step is done when TrainStep returns.
func (s *session) Sync() error { return nil }

// Close implements nn.Session.
func (s *session) Close() error {
	s.eval, s.train = nil, nil
	return nil
}

// TrainStep implements nn.Session.
func (s *session) TrainStep(slot int, sp nn.StepParams) error {
	if s.train == nil {
		return fmt.Errorf("engine gorgonia: this session of %s is for evaluation and cannot train", s.model.Name)
	}
	f, err := s.filled(slot)
	if err != nil {
		return err
	}
	if f.Targets.Rows() != f.Rows {
		return fmt.Errorf("engine gorgonia: train %s: the batch has %d rows, its targets %d", s.model.Name, f.Rows, f.Targets.Rows())
	}
	if err := s.train.run(&batch{f}); err != nil {
		return fmt.Errorf("engine gorgonia: train %s, step %d: %w", s.model.Name, sp.Step, err)
	}
	res := nn.StepResult{Slot: slot, Step: sp.Step, Rows: f.Rows, Loss: float64(floats(s.train.loss)[0])}
	if s.options.Purpose == nn.Measuring {
		res.Theta = s.theta.measure(s.model, f, floats(s.train.penultimate), floats(s.train.output))
	}
	for i, v := range s.trained {
		s.update(v, floats(s.train.grads[i]), sp)
	}
	if s.options.OnStep != nil {
		s.options.OnStep(res)
	}
	return nil
}

// filled returns a slot's feed if it holds a batch.
func (s *session) filled(slot int) (*nn.Feed, error) {
	f := s.feeds[slot]
	if f.Rows < 1 || f.Rows > s.model.Batch {
		return nil, fmt.Errorf("engine gorgonia: batch of %d rows in slot %d; %s takes 1 to %d", f.Rows, slot, s.model.Name, s.model.Batch)
	}
	return f, nil
}

// update applies the optimiser to a parameter.
func (s *session) update(v *nn.Value, grad []float32, sp nn.StepParams) {
	if s.options.KeepGradients {
		s.grads["grad/"+v.Name] = append(s.grads["grad/"+v.Name][:0], grad...)
	}
	var state [2][]float32
	for i, kind := range s.options.Optimizer.StateNames() {
		state[i] = s.state[kind+"/"+v.Name]
	}
	w := s.state[v.Name]
	if s.options.Optimizer.Kind == nn.SGD {
		sgd(s.options.Optimizer, sp, w, grad, state[0])
	} else {
		adam(s.options.Optimizer, sp, w, grad, state[0], state[1])
	}
}

// Forward implements nn.Session.
func (s *session) Forward(slot int) ([]float32, float64, error) {
	f, err := s.filled(slot)
	if err != nil {
		return nil, 0, err
	}
	if err := s.eval.run(&batch{f}); err != nil {
		return nil, 0, fmt.Errorf("engine gorgonia: evaluate %s: %w", s.model.Name, err)
	}
	s.scores = append(s.scores[:0], floats(s.eval.output)[:f.Rows*s.model.Outputs()]...)
	s.penultimate = append(s.penultimate[:0], floats(s.eval.penultimate)[:f.Rows*s.model.Penultimate.Width()]...)
	loss := math.NaN()
	if f.Targets.Rows() == f.Rows {
		loss = float64(floats(s.eval.loss)[0])
	}
	return s.scores, loss, nil
}

// Penultimate implements nn.Session.
func (s *session) Penultimate() []float32 { return s.penultimate }

// State implements nn.Session.
func (s *session) State() []nn.StateTensor { return slices.Clone(s.tensors) }

// ReadState implements nn.Session.
func (s *session) ReadState(name string, f func(data []float32) error) error {
	x, ok := s.state[name]
	if !ok {
		if x, ok = s.grads[name]; !ok {
			return s.unknown(name)
		}
	}
	return f(x)
}

// WriteState implements nn.Session.
func (s *session) WriteState(name string, data []float32) error {
	x, ok := s.state[name]
	if !ok {
		return s.unknown(name)
	}
	if len(x) != len(data) {
		return fmt.Errorf("engine gorgonia: state tensor %q of %s has %d elements, got %d", name, s.model.Name, len(x), len(data))
	}
	copy(x, data)
	return nil
}

func (s *session) unknown(name string) error {
	return fmt.Errorf("engine gorgonia: %s has no state tensor %q", s.model.Name, name)
}
