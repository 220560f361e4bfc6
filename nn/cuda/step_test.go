package cuda_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

// A replayed graph reads the rate of its own step: a run of one session, where
// steps are replayed, is to the bit one of sessions that do a step each.
func TestReplayWithChangingRate(t *testing.T) {
	e := computing(t)
	m := imageNet("residual", 4, 4, 4, 8)
	for _, o := range []nn.Optimizer{nn.NewSGD(5e-4), nn.NewAdam()} {
		options := nn.CompileOptions{Purpose: nn.Training, Optimizer: o, Seed: 3}
		r := start(t, e, m, options)
		var state map[string][]float32
		for i := 1; i <= 10; i++ {
			rows, lr := 4-i%2, 0.1/float64(i)
			r.step(i, rows, lr)
			r.sync()
			fresh := start(t, e, m, options)
			for name, x := range state {
				if err := fresh.WriteState(name, x); err != nil {
					t.Fatal(err)
				}
			}
			fresh.step(i, rows, lr)
			fresh.sync()
			state = fresh.state()
		}
		sameBits(t, string(o.Kind), r.state(), state)
	}
}

// Results come in order, one for each step, at most a few steps late.
func TestResultsComeInOrder(t *testing.T) {
	e, _ := open(t, fakecard.Options{CheckOnly: true})
	r := start(t, e, imageNet("norm", 4, 4, 4, 8), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
	for i := 1; i <= 20; i++ {
		slot := i % r.Slots()
		fill(r.Feed(slot), i, 4, 3)
		if err := r.TrainStep(slot, nn.StepParams{LR: 0.1, Step: int64(i)}); err != nil {
			t.Fatal(err)
		}
		if late := i - len(r.results); late > r.Slots()-2 {
			t.Errorf("after step %d, %d results are out: with %d slots none is left to fill", i, late, r.Slots())
		}
	}
	r.sync()
	for i, s := range r.results {
		if s.Step != int64(i+1) || s.Slot != (i+1)%r.Slots() {
			t.Errorf("result %d is that of step %d in slot %d", i+1, s.Step, s.Slot)
		}
	}
	if len(r.results) != 20 {
		t.Errorf("%d results", len(r.results))
	}
}

// A batch with more targets than any before makes its slot anew; what its feed
// holds stays.
func TestManyTargets(t *testing.T) {
	e := computing(t)
	m := videoNet("logistic", 4, 12, 40)
	o := nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), Seed: 3}
	r, c := start(t, e, m, o), start(t, cpuEngine(t), m, o)
	for i := 1; i <= 8; i++ {
		for _, s := range []*run{r, c} {
			slot := i % 2
			f := s.Feed(slot)
			fill(f, i, 4, 40)
			if i >= 5 { // after the slot's graph was made
				f.Targets.Reset()
				for range 4 {
					for col := range 40 - i {
						f.Targets.Add(int32(col), 1, 1)
					}
					f.Targets.EndRow()
				}
			}
			if err := s.TrainStep(slot, nn.StepParams{LR: 0.1, Step: int64(i)}); err != nil {
				t.Fatal(err)
			}
			s.sync()
		}
	}
	want := c.state()
	for name, x := range r.state() {
		near(t, name, x, want[name], 1e-5, 1e-6)
	}
}

// stepCalls are the calls of a step that can fail.
var stepCalls = []string{"CopyToCard", "Record", "Wait", "Launch", "Zero", "Conv.Run", "Matmul.Run", "CopyFromCard", "SyncEvent", "EventDone",
	"BeginCapture", "EndCapture", "LaunchGraph"}

// Whatever call of a step fails, at once or when the card comes to it: the step
// or Sync says which and what to do, every later call says the same, no result
// comes of it, no state can be read, and Close leaves nothing behind.
func TestErrorAtEveryCall(t *testing.T) {
	defer cuda.SetBesideLeast(0)() // also of what runs beside the rest
	m := imageNet("norm relu", 4, 4, 4, 8)
	failures := 0
	for _, call := range stepCalls {
		for _, late := range []bool{false, true} {
			for after := 0; after < 1000; after += 1 + after/2 {
				failed := false
				t.Run(fmt.Sprintf("%s late %v after %d", call, late, after), func(t *testing.T) { failed = failAt(t, m, call, after, late) })
				if !failed {
					break
				}
				failures++
			}
		}
	}
	if failures < 40 {
		t.Errorf("only %d failures were tried", failures)
	}
}

// failAt trains with a failure; it reports whether the call came so often.
func failAt(t *testing.T, m *nn.Model, call string, after int, late bool) bool {
	e, card := open(t, fakecard.Options{CheckOnly: true})
	r := start(t, e, m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4)})
	injected := &driver.Error{Call: "cu" + call, Code: 700, Text: "CUDA_ERROR_ILLEGAL_ADDRESS"}
	if late {
		card.FailLate(call, after, injected)
	} else {
		card.Fail(call, after, injected)
	}
	var err error
	steps := 0
	for i := 1; i <= 6 && err == nil; i++ {
		slot := i % r.Slots()
		fill(r.Feed(slot), i, 4, 3)
		if err = r.TrainStep(slot, nn.StepParams{LR: 0.1, Step: int64(i)}); err == nil {
			steps++
		}
	}
	if err == nil {
		err = r.Sync()
	}
	if err == nil {
		return false
	}
	var ours *cuda.Error
	if !errors.As(err, &ours) || !errors.Is(err, error(injected)) {
		t.Fatalf("got %v, want a *cuda.Error with the card's in it", err)
	}
	for _, part := range []string{"cu" + call, "step ", "--resume"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q: %v", part, err)
		}
	}
	if len(r.results) > steps {
		t.Errorf("%d results of %d steps", len(r.results), steps)
	}
	results := len(r.results)
	_, loss, ferr := r.Forward(0)
	for what, again := range map[string]error{"TrainStep": r.TrainStep(0, nn.StepParams{LR: 1, Step: 9}), "Sync": r.Sync(), "Forward": ferr,
		"WriteState": r.WriteState("bn.weight", nil),
		"ReadState":  r.ReadState("conv1.weight", func([]float32) error { t.Error("state was read after an error"); return nil })} {
		if !errors.Is(again, err) {
			t.Errorf("%s after the error gave %v", what, again)
		}
	}
	if !math.IsNaN(loss) || len(r.results) != results {
		t.Error("something came out of a failed session")
	}
	return true
}

// A batch that does not fit says how much it needs and which would fit, and
// that is so.
func TestMemoryMessage(t *testing.T) {
	e, _ := open(t, fakecard.Options{CheckOnly: true, Memory: 400 << 20})
	o := nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)}
	_, err := e.Compile(imageNet("residual", 3000, 16, 16, 16), o)
	var short *nn.MemoryError
	if !errors.As(err, &short) {
		t.Fatalf("got %v, want an *nn.MemoryError", err)
	}
	if short.Need <= short.Free || short.Free != 400<<20 || short.Batch != 3000 || short.Fits < 1 || short.Fits >= 3000 {
		t.Errorf("%+v", short)
	}
	if want := fmt.Sprintf("--batch %d", short.Fits); !strings.Contains(err.Error(), want) {
		t.Errorf("the message does not say %s: %v", want, err)
	}
	start(t, e, imageNet("residual", short.Fits, 16, 16, 16), o)
	if _, err := e.Compile(imageNet("residual", 3000, 64, 64, 64), o); !errors.As(err, &short) {
		t.Errorf("got %v", err)
	}
}

// A failure while a session is made leaves nothing behind.
func TestErrorsOfCompile(t *testing.T) {
	m := imageNet("norm relu", 4, 4, 4, 8)
	for _, call := range []string{"Alloc", "AllocHost", "NewStream", "NewEvent", "PlanConv", "PlanMatmul", "CopyToCard", "Zero", "SyncStream", "MemoryFree"} {
		for after := 0; ; after += 1 + after/2 {
			e, card := open(t, fakecard.Options{CheckOnly: true})
			injected := &driver.Error{Call: "cu" + call, Code: 2, Text: "CUDA_ERROR_OUT_OF_MEMORY"}
			card.Fail(call, after, injected)
			s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
			if err == nil {
				if err := s.Close(); err != nil && after == 0 {
					t.Error(err)
				}
				break
			}
			if !errors.Is(err, error(injected)) || !strings.Contains(err.Error(), "--batch") {
				t.Errorf("%s after %d: %v", call, after, err)
			}
		}
	}
}

// With the clocks on, steps are the same to the bit, and every op is counted.
func TestProfile(t *testing.T) {
	e := computing(t)
	m := imageNet("residual", 4, 4, 4, 8)
	o := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(5e-4), Seed: 3}
	plain, clocked := start(t, e, m, o), start(t, e, m, o)
	p := clocked.Session.(nn.Profiler)
	p.SetProfiling(true)
	for i := 1; i <= 3; i++ {
		plain.step(i, 4, 0.1)
		clocked.step(i, 4, 0.1)
	}
	sameBits(t, "with the clocks on", clocked.state(), plain.state())
	kinds := map[string]int{}
	for _, op := range p.Profile(true) {
		kinds[op.Kind]++
		if op.Calls != 3 || op.Bytes <= 0 || op.Best > op.Time || op.Name == "" {
			t.Errorf("%+v", op)
		}
	}
	for kind, n := range map[string]int{"batch-norm+relu": 4, "batch-norm+relu+global-avg-pool": 1, "add+statistics": 2, "relu+batch-norm-backward+add": 2,
		"relu": 0, "relu-backward": 0, "add": 0, "sgd": 1, "neglection": 1} {
		if kinds[kind] != n {
			t.Errorf("%d ops of kind %s, want %d", kinds[kind], kind, n)
		}
	}
}
