package conformance

import (
	"math"
	"slices"
	"sync"
	"testing"

	"sdnn/nn"
)

// runSession checks what nn.Session promises beside numbers.
func runSession(t *testing.T, e nn.Engine, must []string) {
	if e.Name() == "" {
		t.Error("the engine has no name")
	}
	for _, c := range []*testCase{plain(dropoutNet()), plain(convNet(6, 13, 8, 3, 7)), plain(mixtureNet(9, 2, 5)), plain(branches()),
		plain(vggNet(build(3), 8)), plain(residualNet(build(3), 8, []int{4, 4, 16}))} {
		for _, o := range []nn.Optimizer{nn.NewAdam(), nn.NewSGD(5e-4)} {
			s := &sessionTest{e: e, c: c, must: must, o: o}
			t.Run(c.name()+"/"+string(o.Kind), func(t *testing.T) {
				s.open(t, 0) // skips all below at once
				t.Run("initial", s.initial)
				t.Run("state", s.state)
				t.Run("errors", s.errors)
				t.Run("evaluation", s.evaluation)
				t.Run("deterministic", s.deterministic)
				t.Run("resume", s.resume)
				t.Run("slots", s.slots)
				t.Run("bad-batch", s.badBatch)
				t.Run("forward-between-steps", s.forwardBetween)
				if o.Kind == nn.Adam { // no optimiser has a part in it
					t.Run("started-evaluations", s.started)
				}
				t.Run("theta-changes-nothing", s.measuring)
			})
		}
	}
}

type sessionTest struct {
	e    nn.Engine
	c    *testCase
	must []string
	o    nn.Optimizer
}

func (s *sessionTest) open(t *testing.T, seed uint64) *harness {
	t.Helper()
	return open(t, s.e, s.c, s.must, nn.CompileOptions{Purpose: nn.Training, Optimizer: s.o, Seed: seed})
}

// steps trains on the case's batches from to to-1, and returns the losses.
func (s *sessionTest) steps(h *harness, from, to int) []float64 {
	var losses []float64
	for i := from; i < to; i++ {
		f := s.c.feeds[i%len(s.c.feeds)]
		losses = append(losses, h.train(i%h.s.Slots(), f, nn.StepParams{LR: 0.01, Step: int64(i + 1)}).Loss)
	}
	return losses
}

func (s *sessionTest) initial(t *testing.T) {
	h := s.open(t, 7)
	for name, want := range InitialState(s.c.model, 7) {
		if _, isParam := h.snapshot()[name]; isParam {
			checkBits(t, name, h.read(name), narrow(want))
		}
	}
}

// state checks the list of state tensors, and that each keeps what is written.
func (s *sessionTest) state(t *testing.T) {
	h := s.open(t, 0)
	if n := h.s.Slots(); n < 2 {
		t.Errorf("%d slots, want at least 2", n)
	}
	list := h.s.State()
	var names []string
	shapes, network := map[string]nn.Shape{}, map[string]bool{}
	for _, st := range list {
		names = append(names, st.Name)
		shapes[st.Name], network[st.Name] = st.Shape, st.Trained
	}
	for _, v := range trained(s.c.model) {
		if !shapes[v.Name].Equal(v.Shape) || !network[v.Name] {
			t.Errorf("%v of the network is listed as shape %v, trained %v", v, shapes[v.Name], network[v.Name])
		}
	}
	for _, v := range s.c.model.Graph.Params() {
		for _, kind := range s.o.StateNames() {
			if n := stateName(kind, v); !shapes[n].Equal(v.Shape) || network[n] {
				t.Errorf("optimiser state %s is listed as shape %v, trained %v", n, shapes[n], network[n])
			}
		}
	}
	for i, name := range names {
		x := make([]float32, shapes[name].Size())
		nn.FillUniform(x, uint64(i), 1)
		h.write(name, x)
	}
	for i, name := range names {
		want := make([]float32, shapes[name].Size())
		nn.FillUniform(want, uint64(i), 1)
		checkBits(t, name, h.read(name), want)
	}
	for i, st := range h.s.State() {
		if i >= len(names) || st.Name != names[i] {
			t.Errorf("State lists %q at %d the second time", st.Name, i)
		}
	}
}

func (s *sessionTest) errors(t *testing.T) {
	h := s.open(t, 0)
	if h.s.ReadState("no/such", func([]float32) error { return nil }) == nil {
		t.Error("ReadState of an unknown name gave no error")
	}
	if h.s.WriteState("no/such", nil) == nil {
		t.Error("WriteState of an unknown name gave no error")
	}
	v := s.c.model.Graph.Params()[0]
	before := h.read(v.Name)
	if h.s.WriteState(v.Name, make([]float32, v.Shape.Size()+1)) == nil {
		t.Errorf("WriteState of %v with one element too many gave no error", v)
	}
	checkBits(t, "after a refused WriteState", h.read(v.Name), before)
	fail := errStop{}
	if err := h.s.ReadState(v.Name, func([]float32) error { return fail }); err != fail {
		t.Errorf("ReadState gave %v, want what its function returned", err)
	}
}

type errStop struct{}

func (errStop) Error() string { return "stop" }

// evaluation sessions know only the network, and do not train.
func (s *sessionTest) evaluation(t *testing.T) {
	h := open(t, s.e, s.c, s.must, nn.CompileOptions{Purpose: nn.Evaluation, Optimizer: s.o})
	for _, st := range h.s.State() {
		if !st.Trained {
			t.Errorf("an evaluation session lists the state tensor %q", st.Name)
		}
	}
	fill(h.s, s.c.model, 0, s.c.feeds[0])
	if err := h.s.TrainStep(0, nn.StepParams{LR: 1, Step: 1}); err == nil && h.s.Sync() == nil {
		t.Error("an evaluation session trained")
	}
}

func (s *sessionTest) deterministic(t *testing.T) {
	a, b := s.open(t, 0), s.open(t, 0)
	la, lb := s.steps(a, 1, 5), s.steps(b, 1, 5)
	if !slices.Equal(la, lb) {
		t.Errorf("losses of the same run differ: %v and %v", la, lb)
	}
	sameState(t, "the same run again", b.snapshot(), a.snapshot())
	x, _, _ := a.forward(0, s.c.feeds[1])
	y, _, _ := b.forward(1, s.c.feeds[1])
	checkBits(t, "the same scores again", y, x)
}

// resume moves the state to a session that began elsewhere, and goes on.
func (s *sessionTest) resume(t *testing.T) {
	a, b := s.open(t, 0), s.open(t, 99)
	s.steps(a, 1, 4)
	for name, x := range a.snapshot() {
		b.write(name, x)
	}
	la, lb := s.steps(a, 4, 7), s.steps(b, 4, 7)
	if !slices.Equal(la, lb) {
		t.Errorf("losses after resuming: %v, without interruption %v", lb, la)
	}
	sameState(t, "after resuming", b.snapshot(), a.snapshot())
}

// slots fills a slot while another is computed on.
func (s *sessionTest) slots(t *testing.T) {
	want := s.open(t, 0)
	losses := s.steps(want, 0, 6)

	h := s.open(t, 0)
	for i := 0; i < 6; i += 2 {
		fill(h.s, s.c.model, 0, s.c.feeds[i%len(s.c.feeds)])
		var wg sync.WaitGroup
		wg.Go(func() { fill(h.s, s.c.model, 1, s.c.feeds[(i+1)%len(s.c.feeds)]) })
		for slot := range 2 {
			if err := h.s.TrainStep(slot, nn.StepParams{LR: 0.01, Step: int64(i + slot + 1)}); err != nil {
				t.Fatalf("TrainStep: %v", err)
			}
			wg.Wait()
		}
		h.results() // both slots are free again
	}
	for i, r := range h.results() {
		if r.Step != int64(i+1) || r.Loss != losses[i] {
			t.Errorf("result %d is step %d with loss %g, want step %d with loss %g as without overlap", i, r.Step, r.Loss, i+1, losses[i])
		}
	}
	sameState(t, "with overlapping slots", h.snapshot(), want.snapshot())

	fill(h.s, s.c.model, 0, s.c.feeds[0])
	fill(h.s, s.c.model, 1, s.c.feeds[1])
	var scores [3][]float32
	for i, slot := range []int{0, 1, 0} {
		x, _, err := h.s.Forward(slot)
		if err != nil {
			t.Fatalf("Forward: %v", err)
		}
		scores[i] = slices.Clone(x)
	}
	checkBits(t, "scores of slot 0 after slot 1", scores[2], scores[0])
	if rows := s.c.feeds[1].Rows; len(scores[1]) != rows*s.c.model.Outputs() {
		t.Errorf("slot 1 gave %d scores for %d rows of %d", len(scores[1]), rows, s.c.model.Outputs())
	}
}

// badBatch evaluates a batch of NaN, which may fail, and then one with fewer
// rows: nothing of the first may be left in the second.
func (s *sessionTest) badBatch(t *testing.T) {
	good := s.c.feeds[1]
	want, _, _ := s.open(t, 0).forward(0, good)
	bad := *s.c.feeds[0]
	bad.Features = nil
	for _, x := range s.c.feeds[0].Features {
		nan := make([]float32, len(x))
		for i := range nan {
			nan[i] = float32(math.NaN())
		}
		bad.Features = append(bad.Features, nan)
	}
	h := s.open(t, 0)
	fill(h.s, s.c.model, 0, &bad)
	_, _, _ = h.s.Forward(0)
	got, _, loss := h.forward(0, good)
	checkBits(t, "scores after a batch of NaN", got, want)
	if math.IsNaN(loss) {
		t.Error("the loss after a batch of NaN is NaN")
	}
}

// forwardBetween evaluates between steps: training must not notice.
func (s *sessionTest) forwardBetween(t *testing.T) {
	a, b := s.open(t, 0), s.open(t, 0)
	s.steps(a, 1, 5)
	for i := 1; i < 5; i++ {
		s.steps(b, i, i+1)
		b.forward(i%b.s.Slots(), s.c.feeds[(i+1)%len(s.c.feeds)])
	}
	sameState(t, "with evaluation between steps", b.snapshot(), a.snapshot())
}

// measuring compares a run that measures the neglection degree with one that does not.
func (s *sessionTest) measuring(t *testing.T) {
	a := s.open(t, 0)
	b := open(t, s.e, s.c, s.must, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: s.o})
	for i, f := range s.c.feeds {
		sp := nn.StepParams{LR: 0.01, Step: int64(i + 1)}
		ra, rb := a.train(0, f, sp), b.train(0, f, sp)
		if ra.Theta != nil {
			t.Error("a training session reports theta")
		}
		if len(rb.Theta) != s.c.model.Outputs() {
			t.Errorf("%d thetas, want %d", len(rb.Theta), s.c.model.Outputs())
		}
		if math.Abs(ra.Loss-rb.Loss) > lossTolerance.rel*math.Abs(ra.Loss) {
			t.Errorf("loss %g, when measuring %g", ra.Loss, rb.Loss)
		}
	}
}
