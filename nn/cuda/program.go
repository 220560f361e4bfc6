package cuda

import (
	"slices"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// program is an nn.Program lowered for the card.
type program struct {
	nn   *nn.Program
	low  *lowering
	plan *nn.Plan // in units of planUnit bytes

	penultimate     place // evaluation
	penultimateType driver.Type

	variants []*variant // the last used first
	profile  []nn.OpProfile
}

// most is the number of variants that a program keeps: the full batch and the
// tails of the splits that are trained and validated on.
const most = 6

// variant is a program made ready for a number of rows. Products and
// convolutions are planned for it, and its launches recorded as a graph for
// each slot and kind of input.
type variant struct {
	rows   int
	run    [][]launch // by op
	closes []func() error
	ran    map[int]bool // once without a graph, by kind of input: code that is loaded at its first use cannot be while it is recorded
	graphs map[graphKey]graph
}

type graphKey struct{ slot, kept int }

type graph struct {
	driver.Graph
	born int // of the slot's block that it reads
}

// frame is what the launches of a run look at.
type frame struct {
	stream driver.Stream
	beside driver.Stream // of what can run beside it: another, or the same
	forked bool          // something does
	slot   *slot
	inputs []driver.Ptr // of the model's features
	direct bool         // the batch was gathered to the padded image, not to inputs
}

// at is a place in the slot's block.
func (f *frame) at(offset int) driver.Ptr { return f.slot.card.Add(offset) }

// variant returns the program made ready for rows.
func (s *session) variant(p *program, rows int) (*variant, error) {
	for i, v := range p.variants {
		if v.rows == rows {
			p.variants = slices.Insert(slices.Delete(p.variants, i, i+1), 0, v)
			return v, nil
		}
	}
	v, err := s.bind(p, rows)
	if err != nil {
		return nil, err
	}
	if len(p.variants) == most {
		old := p.variants[most-1]
		if err := s.card.SyncStream(s.compute); err != nil { // it may be at work
			return nil, err
		}
		p.variants = p.variants[:most-1]
		if err := old.close(s.card); err != nil {
			return nil, err
		}
	}
	p.variants = slices.Insert(p.variants, 0, v)
	return v, nil
}

func (v *variant) close(card driver.Card) error {
	errs := []error{v.dropGraphs(card)}
	for _, f := range v.closes {
		errs = append(errs, f())
	}
	return fail(errs...)
}

func (p *program) close(card driver.Card) error {
	var errs []error
	for _, v := range p.variants {
		errs = append(errs, v.close(card))
	}
	return fail(errs...)
}

// run queues a program on a slot's batch: launch by launch the first time,
// as a graph from then on.
func (s *session) run(p *program, sl *slot) error {
	v, err := s.variant(p, sl.rows)
	if err != nil {
		return err
	}
	f := &s.frame
	f.stream, f.beside, f.slot = s.compute, s.beside, sl
	s.setInputs(f)
	key := graphKey{sl.number, sl.feed.Kept}
	switch g, ok := v.graphs[key]; {
	case s.profiling:
		return s.runProfiled(p, v, f)
	case !v.ran[key.kept]:
		v.ran[key.kept] = true
		return s.launch(p, v, f)
	case ok && g.born == sl.born:
		return s.card.LaunchGraph(g.Graph, s.compute)
	case ok: // of a block that is no more
		delete(v.graphs, key)
		if err := s.card.DestroyGraph(g.Graph); err != nil {
			return err
		}
	}
	g, err := s.record(p, v, f)
	if err != nil {
		return err
	}
	v.graphs[key] = graph{g, sl.born}
	return s.card.LaunchGraph(g, s.compute)
}

// launch queues everything once: the batch is gathered if it is of kept data,
// then the program runs.
func (s *session) launch(p *program, v *variant, f *frame) error {
	if err := s.gather(p, f, v.rows); err != nil {
		return err
	}
	for _, op := range v.run {
		for _, f1 := range op {
			if err := f1(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// record makes a graph of what launch queues.
func (s *session) record(p *program, v *variant, f *frame) (driver.Graph, error) {
	if err := s.card.BeginCapture(s.compute); err != nil {
		return 0, err
	}
	err := fail(s.launch(p, v, f), s.join(f)) // joined already, but for an error
	g, ended := s.card.EndCapture(s.compute)
	if err == nil {
		return g, ended
	}
	if ended == nil {
		err = fail(err, s.card.DestroyGraph(g))
	}
	return 0, err
}

// setInputs says where the features of a frame's batch are.
func (s *session) setInputs(f *frame) {
	f.inputs = f.inputs[:0]
	for i, at := range f.slot.layout.features {
		if f.slot.feed.Kept != 0 {
			f.inputs = append(f.inputs, s.inputs[i])
			continue
		}
		f.inputs = append(f.inputs, f.slot.card.Add(at))
	}
}

// bind makes a program ready for a number of rows.
func (s *session) bind(p *program, rows int) (*variant, error) {
	v := &variant{rows: rows, ran: map[int]bool{}, graphs: map[graphKey]graph{}}
	b := &binder{s: s, p: p, v: v, rows: rows}
	for i := range p.low.ops {
		v.run = append(v.run, p.low.ops[i].bind(b))
		if b.err != nil {
			return nil, fail(b.err, v.close(s.card))
		}
	}
	s.e.chooser.save()
	s.workspaceBytes = max(s.workspaceBytes, b.need)
	if err := s.growWorkspace(); err != nil {
		return nil, fail(err, v.close(s.card))
	}
	return v, nil
}

// binder gives the ops of a variant their places and plans.
type binder struct {
	s    *session
	p    *program
	v    *variant
	rows int
	need int   // bytes of workspace
	err  error // of a plan
}

// place is where a value lies: on the card at a fixed address, in the frame's
// inputs, or in the results of its slot.
type place struct {
	at     driver.Ptr
	input  int // 1 + the number of the feature, 0: none
	result bool

	offset int // from there
}

func (p place) in(f *frame) driver.Ptr {
	if p.result {
		return f.slot.card.Add(f.slot.layout.results + p.offset)
	}
	if p.input > 0 {
		return f.inputs[p.input-1].Add(p.offset)
	}
	return p.at.Add(p.offset)
}

// plus is the place some bytes further on.
func (p place) plus(bytes int) place {
	p.offset += bytes
	return p
}

// place finds a value.
func (b *binder) place(v *nn.Value) place {
	v = b.p.low.rootOf(v)
	return b.s.placeOf(b.p, v)
}

// placeOf finds a root value of a program.
func (s *session) placeOf(p *program, v *nn.Value) place {
	if at, ok := p.low.fixed[v]; ok {
		return at
	}
	switch v.Role {
	case nn.Input:
		i := slices.Index(s.model.Features, v)
		if i < 0 {
			panic("cuda: input " + v.Name + " is not a feature of the model")
		}
		return place{input: i + 1}
	case nn.Param, nn.Constant, nn.Buffer:
		return place{at: s.tensors[v.Name].at}
	}
	return place{at: s.arena.Add(p.plan.Offset[v.ID] * planUnit)}
}

// growWorkspace takes the workspace that products want. A shorter batch seldom
// wants more than a whole one; if it does, graphs with the old one are void.
func (s *session) growWorkspace() error {
	if s.workspaceBytes <= s.workspaceTaken {
		return nil
	}
	if s.workspace != 0 {
		if err := fail(s.card.SyncStream(s.compute), s.card.Free(s.workspace)); err != nil {
			return err
		}
		s.workspace, s.workspaceTaken = 0, 0
	}
	for _, p := range []*program{s.train, s.eval} {
		if p == nil {
			continue
		}
		for _, v := range p.variants {
			if err := v.dropGraphs(s.card); err != nil {
				return err
			}
		}
	}
	var err error
	if s.workspace, err = s.card.Alloc(s.workspaceBytes); err == nil {
		s.workspaceTaken = s.workspaceBytes
	}
	return err
}

func (v *variant) dropGraphs(card driver.Card) error {
	var errs []error
	for key, g := range v.graphs {
		errs = append(errs, card.DestroyGraph(g.Graph))
		delete(v.graphs, key)
	}
	return fail(errs...)
}
