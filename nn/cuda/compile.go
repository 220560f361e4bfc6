package cuda

import (
	"errors"
	"slices"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// newSession plans a model's memory, and takes it all: after that nothing is
// allocated but for a batch with more targets than any before, and kept data.
func newSession(e *Engine, m *nn.Model, o nn.CompileOptions) (_ *session, err error) {
	s := &session{e: e, card: e.card, model: m, options: o, tensors: map[string]*tensor{}, results: newResults(m, o.Purpose)}
	if o.Precision == nn.TF32 {
		s.math = driver.MathTF32
	}
	if s.eval, err = s.lower(nn.Evaluation); err != nil {
		return nil, err
	}
	if o.Purpose != nn.Evaluation {
		if s.train, err = s.lower(o.Purpose); err != nil {
			return nil, err
		}
	}
	if err = s.open(); err != nil {
		var short *nn.MemoryError
		if !errors.As(err, &short) {
			err = &Error{"preparing " + m.Name, err}
		}
		return nil, fail(err, s.Close())
	}
	return s, nil
}

// lower lowers the model for a purpose.
func (s *session) lower(purpose nn.Purpose) (*program, error) {
	p := nn.NewProgram(s.model, purpose)
	fixed := map[*nn.Value]place{s.model.Loss: {result: true}}
	if p.Theta != nil {
		fixed[p.Theta] = place{result: true, offset: thetaAt}
	}
	for _, g := range p.Grads {
		if g != nil {
			fixed[g] = place{}
		}
	}
	l, err := lower(p, s.options, fixed)
	if err != nil {
		return nil, err
	}
	if purpose == nn.Evaluation {
		out := l.scores
		if out == nil {
			out = l.rootOf(p.Resolve(s.model.Output))
		}
		fixed[out] = place{result: true, offset: scoresAt}
	} else {
		s.update(l)
	}
	c := &program{nn: p, low: l}
	c.plan = l.layout(s.model.Batch)
	return c, nil
}

// open takes memory and everything else from the card.
func (s *session) open() error {
	s.listTensors()
	size := s.arenaSize()
	if err := s.reserve(size); err != nil {
		return err
	}
	var err error
	for _, stream := range []*driver.Stream{&s.compute, &s.copying, &s.returning} {
		if *stream, err = s.card.NewStream(); err != nil {
			return err
		}
	}
	if s.train != nil && len(s.train.low.early) > 0 {
		if s.beside, err = s.card.NewYieldingStream(); err != nil {
			return err
		}
	}
	err = s.allocate(size)
	if err == nil && s.beside != 0 {
		for i := range s.fork {
			if s.fork[i], err = s.newEvent(); err != nil {
				return err
			}
		}
	}
	if err == nil {
		err = s.makeSlots()
	}
	if err == nil {
		err = s.prepare()
	}
	if err == nil {
		err = s.initialise()
	}
	return err
}

// listTensors lists the state with its sizes.
func (s *session) listTensors() {
	g := s.model.Graph
	for _, v := range slices.Concat(g.Params(), g.Buffers(), g.Constants()) {
		s.tensors[v.Name] = &tensor{n: v.Shape.Size(), room: room(v.Shape)}
		if v.Role != nn.Constant {
			s.state = append(s.state, nn.StateTensor{Name: v.Name, Shape: v.Shape, Trained: true})
		}
	}
	if s.train == nil {
		return
	}
	for _, kind := range s.options.Optimizer.StateNames() {
		for _, v := range g.Params() {
			name := kind + "/" + v.Name
			s.tensors[name] = &tensor{n: v.Shape.Size(), room: room(v.Shape)}
			s.state = append(s.state, nn.StateTensor{Name: name, Shape: v.Shape})
		}
	}
	for i, v := range g.Params() {
		if s.train.nn.Grads[i] != nil {
			s.gradients = append(s.gradients, gradient{v, s.train.nn.Grads[i], &tensor{n: v.Shape.Size(), room: room(v.Shape)}})
		}
	}
}

// gradient is that of a parameter, with its place.
type gradient struct {
	param, value *nn.Value
	tensor       *tensor
}

// allocate takes the session's memory and gives everything its place.
func (s *session) allocate(size sizes) error {
	at, err := s.take(size.fixed())
	if err != nil {
		return err
	}
	if err := s.card.Zero(at, size.fixed(), s.compute); err != nil {
		return err
	}
	next := func(bytes int) driver.Ptr {
		p := at
		at = at.Add(align(bytes))
		return p
	}
	for _, name := range s.tensorNames() {
		s.tensors[name].at = next(4 * s.tensors[name].room)
	}
	for _, v := range s.shadowed() {
		t := s.tensors[v.Name]
		t.shadow = next(2 * t.room)
	}
	placed := map[*nn.Value]bool{}
	for _, g := range s.gradients {
		g.tensor.typ = s.train.low.types[g.value]
		g.tensor.at = next(4 * g.tensor.room)
		if !placed[g.value] {
			placed[g.value] = true
			s.train.low.fixed[g.value] = place{at: g.tensor.at}
		}
		if s.options.KeepGradients {
			s.tensors[gradientPrefix+g.param.Name] = g.tensor
		}
	}
	for _, v := range s.model.Features {
		s.inputs = append(s.inputs, next(4*v.Shape.Size()))
	}
	s.counters = next(4 * kernels.Counters)
	s.arena = next(size.arena)
	return nil
}

// take allocates memory that Close frees.
func (s *session) take(bytes int) (driver.Ptr, error) {
	p, err := s.card.Alloc(max(bytes, 1))
	if err == nil {
		s.memory = append(s.memory, p)
	}
	return p, err
}

// tensorNames lists the tensors in the order of their places.
func (s *session) tensorNames() []string {
	var names []string
	for _, t := range s.state {
		names = append(names, t.Name)
	}
	for _, v := range s.model.Graph.Constants() {
		names = append(names, v.Name)
	}
	return names
}

// shadowed lists the parameters of which products read bf16 copies.
func (s *session) shadowed() []*nn.Value {
	if s.options.Precision != nn.BF16 {
		return nil
	}
	return s.model.Graph.Params()
}

func (s *session) newEvent() (driver.Event, error) {
	e, err := s.card.NewEvent()
	if err == nil {
		s.events = append(s.events, e)
	}
	return e, err
}

func (s *session) makeSlots() error {
	for i := range slots {
		sl := &slot{number: i}
		s.slots = append(s.slots, sl)
		if err := s.makeSlot(sl, firstEntries(s.model)); err != nil {
			return err
		}
		sl.feed.Targets.Reset()
		var err error
		if sl.results, err = s.card.AllocHost(resultsRoom(s.model)); err != nil {
			return err
		}
		for _, e := range []*driver.Event{&sl.ready, &sl.computed, &sl.done} {
			if *e, err = s.newEvent(); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare binds the programs for a whole batch, which says what memory the
// products want, and takes that.
func (s *session) prepare() error {
	e := s.eval
	if v := s.model.Penultimate; v != nil {
		v = e.low.rootOf(e.nn.Resolve(v))
		e.penultimate, e.penultimateType = s.placeOf(e, v), e.low.types[v]
	}
	if s.train != nil {
		if err := fail(s.makeTables(), s.makeOnes(s.train.low.ones)); err != nil {
			return err
		}
	}
	for _, p := range []*program{s.eval, s.train} {
		if p == nil {
			continue
		}
		if _, err := s.variant(p, s.model.Batch); err != nil {
			return err
		}
	}
	return nil
}

// initialise writes the initial state.
func (s *session) initialise() error {
	var x []float32
	g := s.model.Graph
	for _, v := range slices.Concat(g.Params(), g.Buffers(), g.Constants()) {
		n := v.Shape.Size()
		if cap(x) < n {
			x = make([]float32, n)
		}
		v.Init.Fill(x[:n], s.options.Seed, v.Name)
		if err := s.write(s.tensors[v.Name], x[:n]); err != nil {
			return err
		}
	}
	return s.card.SyncStream(s.compute)
}

// makeOnes writes n ones.
func (s *session) makeOnes(n int) (err error) {
	if n == 0 {
		return nil
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	s.ones, err = s.put(asBytes(x))
	return err
}

// put takes memory for data that stays as it is, and writes it.
func (s *session) put(data []byte) (driver.Ptr, error) {
	at, err := s.take(len(data))
	if err != nil {
		return 0, err
	}
	return at, s.upload(at, len(data), 1, func(from int, piece []byte) error {
		copy(piece, data[from:])
		return nil
	})
}
