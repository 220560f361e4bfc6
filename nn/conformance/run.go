package conformance

import (
	"math"
	"slices"
	"testing"

	"sdnn/internal/race"
	"sdnn/nn"
)

// Run checks an engine against the suite. must lists, by Kind, the ops that
// the engine has to support: VideoOps or AllOps.
func Run(t *testing.T, e nn.Engine, must []string) {
	for _, c := range allCases() {
		runCase(t, e, c, must)
	}
	t.Run("session", func(t *testing.T) { runSession(t, e, must) })
	t.Run("golden", func(t *testing.T) { runGolden(t, e, must) })
}

// RunNet checks an engine on a net of the caller's as Run does on each of its
// own: for what only this engine fuses.
func RunNet(t *testing.T, e nn.Engine, m *nn.Model) { runCase(t, e, withStatistics(m), AllOps) }

func runCase(t *testing.T, e nn.Engine, c *testCase, must []string) {
	t.Run(c.name(), func(t *testing.T) {
		open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewAdam()}) // skips all below at once
		t.Run("forward", func(t *testing.T) { testForward(t, e, c, must) })
		t.Run("gradients", func(t *testing.T) { testGradients(t, e, c, must) })
		if !c.cancels {
			t.Run("adam", func(t *testing.T) { testSteps(t, e, c, must, nn.NewAdam(), 1e-3) })
		}
		t.Run("sgd", func(t *testing.T) { testSteps(t, e, c, must, nn.NewSGD(5e-4), 0.05) })
		if c.theta {
			t.Run("theta", func(t *testing.T) { testTheta(t, e, c, must) })
		}
	})
}

// testForward compares scores, penultimate features and loss in evaluation,
// by a session made for it and by a training session.
func testForward(t *testing.T, e nn.Engine, c *testCase, must []string) {
	p := nn.NewProgram(c.model, nn.Evaluation)
	for _, purpose := range []nn.Purpose{nn.Evaluation, nn.Training} {
		h := open(t, e, c, must, nn.CompileOptions{Purpose: purpose, Optimizer: nn.NewAdam()})
		for i, f := range c.feeds {
			checkForward(h, p, i%h.s.Slots(), f, c.initial(seed))
		}
		unlabelled := *c.feeds[0]
		unlabelled.Targets = nn.Targets{}
		unlabelled.Targets.Reset()
		if _, _, loss := h.forward(0, &unlabelled); !math.IsNaN(loss) {
			t.Errorf("loss of a batch without targets: got %g, want NaN", loss)
		}
	}
}

func checkForward(h *harness, p *nn.Program, slot int, f *nn.Feed, st State) {
	h.t.Helper()
	r := Interpret(p, f, st)
	scores, penultimate, loss := h.forward(slot, f)
	m := h.c.model
	check(h.t, "penultimate", nn.Shape{f.Rows, m.Penultimate.Width()}, penultimate, r.Of(m.Penultimate), valueTolerance)
	check(h.t, "scores", nn.Shape{f.Rows, m.Outputs()}, scores, r.Of(m.Output), valueTolerance)
	checkLoss(h.t, "evaluation loss", loss, r.Loss())
}

// testGradients compares the training loss and every gradient with the
// interpreted reverse pass, and samples of them with finite differences.
func testGradients(t *testing.T, e nn.Engine, c *testCase, must []string) {
	h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), KeepGradients: true})
	p := nn.NewProgram(c.model, nn.Training)
	st := c.initial(seed)
	for i, f := range c.feeds {
		want := Interpret(p, f, st)
		got := h.train(i%h.s.Slots(), f, nn.StepParams{LR: 0, Step: int64(i + 1)})
		checkLoss(t, "training loss", got.Loss, want.Loss())
		for j, v := range c.model.Graph.Params() {
			if p.Grads[j] == nil {
				continue
			}
			name := stateName("grad", v)
			g := h.read(name)
			tol := gradTolerance
			tol.abs += rounding(want, j)
			check(t, name, v.Shape, g, want.Of(p.Grads[j]), tol)
			if i == 1 && !c.kinks && len(g) == v.Shape.Size() {
				checkDifferences(t, p, f, st, v, g, tol.abs)
			}
		}
	}
}

// rounding is what the rounding of its terms can make of the gradient of
// parameter j where that is a sum of numbers which cancel: the bias before a
// normalisation, whose gradient is zero.
func rounding(r *Result, j int) float64 {
	n := maker(r.program, r.program.Grads[j])
	if n == nil || n.Op.Kind() != (nn.ColumnSum{}).Kind() {
		return 0
	}
	terms := columnSum(mapped(r.Of(n.In[0]), math.Abs), n.Out[0].Shape[0])
	return 5e-7 * slices.Max(terms)
}

// maker is the program's node that computes v.
func maker(p *nn.Program, v *nn.Value) *nn.Node {
	for _, n := range p.Nodes {
		if slices.Contains(n.Out, v) {
			return n
		}
	}
	return nil
}

// checkDifferences compares a gradient with central differences of the loss. It is
// left to runs without the race detector, which has nothing to see in one
// goroutine's naive loops and makes them slow.
func checkDifferences(t *testing.T, p *nn.Program, f *nn.Feed, st State, v *nn.Value, g []float32, abs float64) {
	t.Helper()
	if race.Enabled {
		return
	}
	const h = 1e-5
	w, top := st[v.Name], 0.0
	most := 16
	if len(w) > 1000 {
		most = 6 // a large net takes long to interpret
	}
	for _, d := range g {
		top = math.Max(top, math.Abs(float64(d)))
	}
	stride := (len(w) + most - 1) / most
	for i := 0; i < len(w); i += stride {
		at := i + int(nn.Hash32(9, uint32(i))%uint32(min(stride, len(w)-i)))
		saved := w[at]
		w[at] = saved + h
		up := interpret(p, f, st, p.Model.Loss).Loss()
		w[at] = saved - h
		down := interpret(p, f, st, p.Model.Loss).Loss()
		w[at] = saved
		want := (up - down) / (2 * h)
		if b := 2e-5*math.Abs(want) + 1e-5*top + 1e-8 + abs; !(math.Abs(float64(g[at])-want) <= b) {
			t.Errorf("grad/%s at %v: got %.9g, finite differences of the loss give %.9g, off by %.3g where %.3g is allowed",
				v.Name, position(v.Shape, at), g[at], want, math.Abs(float64(g[at])-want), b)
			return
		}
	}
}

// testSteps trains for some steps and compares losses, parameters, the
// optimiser's state and an evaluation afterwards with float64 training.
func testSteps(t *testing.T, e nn.Engine, c *testCase, must []string, o nn.Optimizer, lr float64) {
	h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Training, Optimizer: o})
	ref := newTrainer(c.model, nn.Training, o, c.initial(seed))
	steps := 4
	if c.kinks {
		steps = 1 // a second one would begin beside the corner, on either side
	}
	noise := map[string]float64{}
	for i := range steps {
		sp := nn.StepParams{LR: lr / float64(i+1), Step: int64(i + 1)}
		f := c.feeds[i%len(c.feeds)]
		want := ref.step(f, sp)
		checkLoss(t, "training loss", h.train(i%h.s.Slots(), f, sp).Loss, want.Loss())
		for j, v := range c.model.Graph.Params() {
			for _, kind := range o.StateNames() {
				noise[stateName(kind, v)] += rounding(want, j)
			}
		}
	}
	for _, st := range h.s.State() {
		want, ok := ref.state[st.Name]
		if !ok {
			t.Errorf("state tensor %q is neither a parameter nor of the optimiser", st.Name)
			continue
		}
		tol := tolerance{rel: 2e-5, scale: 1e-5, abs: 1e-12 + noise[st.Name]}
		if st.Trained {
			tol.abs = 1e-3 * lr // the least that Adam's m/sqrt(v) makes of a gradient's rounding
		}
		check(t, st.Name, st.Shape, h.read(st.Name), want, tol)
	}
}

// testTheta compares the neglection degrees of some steps.
func testTheta(t *testing.T, e nn.Engine, c *testCase, must []string) {
	o := nn.NewSGD(0)
	h := open(t, e, c, must, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: o})
	ref := newTrainer(c.model, nn.Measuring, o, c.initial(seed))
	for i, f := range c.feeds {
		sp := nn.StepParams{LR: 0.1, Step: int64(i + 1)}
		want := ref.step(f, sp)
		got := h.train(i%h.s.Slots(), f, sp)
		checkTheta(t, ref.program, f, want, got.Theta)
	}
}

// checkTheta allows what nn.Neglection allows, 3e-5 of each term of a pull, and
// rounding.
func checkTheta(t testing.TB, p *nn.Program, f *nn.Feed, want *Result, got []float32) {
	t.Helper()
	m := p.Model
	in := &interpreter{rows: f.Rows}
	in.y, _ = denseTargets(&f.Targets, m.Outputs())
	all := in.classPulls(m.Probabilities, want.Of(m.Penultimate), want.Of(m.Output), m.Penultimate.Width(), m.Outputs())
	checkBound(t, "theta", p.Theta.Shape, got, want.Of(p.Theta), func(i int) float64 {
		c := all[i]
		if !c.occurs || math.IsInf(c.theta(), 1) || c.pull == 0 {
			return 0
		}
		slack := 3.2e-5 * c.pull
		return (slack + c.theta()*slack) / math.Max(c.sum-slack, 0)
	})
}
