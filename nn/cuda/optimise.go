package cuda

import (
	"slices"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// update ends a training program with the optimiser's step over all parameters;
// what can be updated earlier is, beside the rest of the program.
func (s *session) update(l *lowering) {
	var grads []*nn.Value
	for _, g := range l.p.Grads {
		if g != nil {
			grads = append(grads, g)
		}
	}
	if len(grads) == 0 {
		return
	}
	seen := map[*nn.Value]bool{}
	for _, g := range grads {
		if seen[g] { // of two parameters: each has a place for its own
			l.emit("copy", []*nn.Value{g}, []*nn.Value{g}, func(b *binder) []launch { return b.copyGradients(g) })
		}
		seen[g] = true
	}
	var at int
	if l.early, at = s.findEarly(l); len(l.early) > 0 {
		s.emitUpdate(l, true, nil, func(b *binder) []launch { return b.updateBeside() })
		last := len(l.ops) - 1
		l.ops = slices.Insert(l.ops[:last], at+1, l.ops[last])
	}
	m := l.measured
	s.emitUpdate(l, false, m, func(b *binder) []launch { return b.updateRest(m) })
	if m != nil {
		m.finish(l)
	}
}

// emitUpdate emits the update of the early parameters, or of the others.
func (s *session) emitUpdate(l *lowering, early bool, m *measured, bind func(b *binder) []launch) {
	var grads []*nn.Value
	moved := 0
	for i, v := range l.p.Model.Graph.Params() {
		if g := l.p.Grads[i]; g != nil && l.early[v] == early {
			grads = append(grads, g)
			moved += s.stateBytes(l, v)
		}
	}
	reads, writes := grads, grads[:1:1]
	if m != nil {
		reads, writes = append(reads[:len(reads):len(reads)], m.x, m.z, m.bits), append(writes, m.partial)
	}
	o := l.emit(string(s.options.Optimizer.Kind), reads, writes, bind)
	o.name = "parameters"
	o.moved = float64(moved - l.bytes(grads[0], 1)) // which is read, not written
	if m != nil {
		o.kept = append(o.kept, m.z) // but for the listed rows
	}
}

// stateBytes is what an update of v moves beside its gradient: read and written.
func (s *session) stateBytes(l *lowering, v *nn.Value) int {
	per := 4 * 2 * (1 + len(s.options.Optimizer.StateNames()))
	if l.half() == driver.BF16 {
		per += 2
	}
	return per * v.Shape.Size()
}

// The optimiser is bound by memory, and most of what is left of a program once
// the gradients of its last layers are known is not. So what is ready is updated
// beside it, on a stream that gives way to the others. Each parameter is updated
// as it would be: to the same bits.

// The card that times are estimated for, by the data sheet of an H100; only their
// ratios matter. besideShare is how much of what is left the update may be, at full
// bandwidth, of which it has a part; besideLeast is what is worth a launch.
const (
	sheetFlops  = 990e12
	sheetBytes  = 3.35e12
	besideShare = 0.5
)

var besideLeast = 4 << 20 // bytes; a variable for tests of small networks

// findEarly finds the parameters to update early, and the op behind which that
// can begin: all that read them, and make their gradients, are over by then.
func (s *session) findEarly(l *lowering) (early map[*nn.Value]bool, at int) {
	rows := s.model.Batch
	ready := map[*nn.Value]int{} // by parameter: the last op that has to do with it
	params := l.p.Model.Graph.Params()
	count := map[*nn.Value]int{}
	of := map[*nn.Value][]*nn.Value{} // parameters of a gradient, and a parameter itself
	for i, v := range params {
		if g := l.p.Grads[i]; g != nil && (l.measured == nil || l.measured.dw != g) {
			count[g]++
			of[l.rootOf(g)] = append(of[l.rootOf(g)], v)
			of[v] = append(of[v], v)
			ready[v] = -1
		}
	}
	left := 0.0
	for i := range l.ops {
		o := &l.ops[i]
		left += s.estimate(l, o, rows)
		for _, v := range slices.Concat(o.plan.Reads, o.plan.Writes) {
			for _, p := range of[v] {
				ready[p] = i
			}
		}
	}
	best := 0
	for i := range l.ops {
		left -= s.estimate(l, &l.ops[i], rows)
		bytes := 0
		var found []*nn.Value
		for k, v := range params {
			if r, ok := ready[v]; ok && r >= 0 && r <= i && count[l.p.Grads[k]] == 1 {
				bytes += s.stateBytes(l, v) + l.bytes(l.rootOf(l.p.Grads[k]), rows)
				found = append(found, v)
			}
		}
		if bytes > best && bytes >= besideLeast && len(found) < len(ready) && float64(bytes)/sheetBytes <= besideShare*left {
			best, at, early = bytes, i, map[*nn.Value]bool{}
			for _, v := range found {
				early[v] = true
			}
		}
	}
	return early, at
}

// estimate is the least time of an op.
func (s *session) estimate(l *lowering, o *op, rows int) float64 {
	t := l.traffic(o, rows) / sheetBytes
	if o.flops != nil {
		t = max(t, o.flops(rows)/sheetFlops)
	}
	return t
}

// copyGradients copies a gradient that is that of several parameters to the places of the others.
func (b *binder) copyGradients(v *nn.Value) []launch {
	src := b.place(v)
	var run []launch
	for _, g := range b.s.gradients {
		if g.value == v && g.tensor.at != src.at {
			run = append(run, func(f *frame) error {
				return b.s.card.CopyOnCard(g.tensor.at, src.at, g.tensor.typ.Size()*g.tensor.n, f.stream)
			})
		}
	}
	return run
}

// numbers are the last arguments of the optimiser's kernels.
func numbers(o nn.Optimizer) []any {
	if o.Kind == nn.SGD {
		return []any{float32(o.Momentum), float32(o.WeightDecay)}
	}
	return []any{float32(o.Beta1), float32(1 - o.Beta1), float32(o.Beta2), float32(1 - o.Beta2), float32(o.Epsilon), float32(o.WeightDecay)}
}

// optimise makes the launch that updates the tensors of a table.
func (b *binder) optimise(t *table) []launch {
	o := b.s.options.Optimizer
	return b.call(string(o.Kind)+"_f32", join([]any{t.table, t.chunks, fedStep, t.tensors, t.count}, numbers(o))...)
}

// updateBeside makes the launch of the early update: it follows what is queued
// on the compute stream, and does not hold up what comes then.
func (b *binder) updateBeside() []launch {
	s := b.s
	run := b.optimise(&s.early)[0]
	return []launch{func(f *frame) error {
		if f.beside == f.stream {
			return run(f)
		}
		compute := f.stream
		if err := s.card.Record(s.fork[0], compute); err != nil {
			return err
		}
		if err := s.card.Wait(f.beside, s.fork[0]); err != nil {
			return err
		}
		f.stream, f.forked = f.beside, true
		err := run(f)
		f.stream = compute
		return err
	}}
}

// join lets the compute stream wait for what runs beside it.
func (s *session) join(f *frame) error {
	if !f.forked {
		return nil
	}
	if err := s.card.Record(s.fork[1], f.beside); err != nil {
		return err
	}
	if err := s.card.Wait(f.stream, s.fork[1]); err != nil {
		return err
	}
	f.forked = false
	return nil
}

// updateRest makes the launch of the other parameters, which leaves what m wants
// of it, if there is a measurement, and waits for the early update.
func (b *binder) updateRest(m *measured) []launch {
	s := b.s
	run := b.optimise(&s.table)
	if m != nil {
		// dW is that of a loss with an e in its logarithms, over the rows.
		scale, t := float32(float64(b.rows)*(1+nn.LossEpsilon)), &s.table
		run = b.call(string(s.options.Optimizer.Kind)+"_theta_"+suffix(m.t), join([]any{b.place(m.partial), t.table, t.chunks, fedStep,
			b.place(m.bits), b.place(m.x), b.place(m.z), t.tensors, t.count, t.measured,
			b.rows, m.z.Width(), b.p.low.stride(m.z), m.x.Width(), scale}, numbers(s.options.Optimizer))...)
	}
	if len(b.p.low.early) == 0 {
		return run
	}
	return []launch{func(f *frame) error {
		if err := run[0](f); err != nil {
			return err
		}
		return s.join(f)
	}}
}

// table is a list of tensors that one launch of the optimiser updates, on the card.
type table struct {
	table, chunks  driver.Ptr
	tensors, count int
	measured       int // the tensor whose gradient theta is made of
}

// makeTables writes the tables, once: tensors do not move.
func (s *session) makeTables() error {
	for _, t := range []*table{&s.early, &s.table} {
		if err := s.makeTable(t, t == &s.early); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) makeTable(to *table, early bool) error {
	var list []kernels.OptimizerTensor
	for _, g := range s.gradients {
		if s.train.low.early[g.param] != early {
			continue
		}
		name := g.param.Name
		w := s.tensors[name]
		t := kernels.OptimizerTensor{Weight: w.at, Gradient: g.tensor.at, Shadow: w.shadow, Elements: w.n, GradientBF16: g.tensor.typ == driver.BF16}
		if m := s.train.low.measured; m != nil && m.dw == g.value {
			to.measured, t.Row = len(list), m.x.Width()
		}
		for i, kind := range s.options.Optimizer.StateNames() {
			t.State[i] = s.tensors[kind+"/"+name].at
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		return nil
	}
	words, chunks := kernels.OptimizerTable(list)
	to.tensors, to.count = len(list), len(chunks)/2
	var err error
	if to.table, err = s.put(asBytes(words)); err == nil {
		to.chunks, err = s.put(asBytes(chunks))
	}
	return err
}
