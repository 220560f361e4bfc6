package conformance

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"sdnn/nn"
)

const seed = 42

// harness is a session of a case under test.
type harness struct {
	t    testing.TB
	c    *testCase
	s    nn.Session
	mu   sync.Mutex // an engine may call OnStep from its own goroutine
	done []nn.StepResult
}

// open compiles a case and writes its initial state. If the engine refuses the
// model, the test is skipped, or fails if it must support all the model's ops.
func open(t testing.TB, e nn.Engine, c *testCase, must []string, o nn.CompileOptions) *harness {
	t.Helper()
	h := &harness{t: t, c: c}
	if o.Seed == 0 {
		o.Seed = seed
	}
	o.OnStep = h.onStep
	s, err := e.Compile(c.model, o)
	var unsupported *nn.UnsupportedError
	if errors.As(err, &unsupported) {
		for _, kind := range c.kinds() {
			if !slices.Contains(must, kind) {
				t.Skip(err)
			}
		}
		t.Fatalf("%v; but it must support every op of this model: %s", err, strings.Join(c.kinds(), ", "))
	}
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	h.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	for name, x := range c.set {
		h.write(name, x)
	}
	return h
}

func (h *harness) onStep(r nn.StepResult) {
	r.Theta = slices.Clone(r.Theta)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = append(h.done, r)
}

// results returns what the steps so far found out.
func (h *harness) results() []nn.StepResult {
	h.t.Helper()
	if err := h.s.Sync(); err != nil {
		h.t.Fatalf("Sync: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.done)
}

// train does one step and waits for its result.
func (h *harness) train(slot int, f *nn.Feed, sp nn.StepParams) nn.StepResult {
	h.t.Helper()
	before := len(h.results())
	fill(h.s, h.c.model, slot, f)
	if err := h.s.TrainStep(slot, sp); err != nil {
		h.t.Fatalf("TrainStep: %v", err)
	}
	all := h.results()
	if len(all) != before+1 {
		h.t.Fatalf("a TrainStep and Sync gave %d results, want 1", len(all)-before)
	}
	r := all[before]
	if r.Slot != slot || r.Step != sp.Step || r.Rows != f.Rows {
		h.t.Errorf("OnStep says slot %d, step %d, %d rows; want slot %d, step %d, %d rows", r.Slot, r.Step, r.Rows, slot, sp.Step, f.Rows)
	}
	return r
}

// forward evaluates a batch; the results are copies.
func (h *harness) forward(slot int, f *nn.Feed) (scores, penultimate []float32, loss float64) {
	h.t.Helper()
	fill(h.s, h.c.model, slot, f)
	scores, loss, err := h.s.Forward(slot)
	if err != nil {
		h.t.Fatalf("Forward: %v", err)
	}
	return slices.Clone(scores), slices.Clone(h.s.Penultimate()), loss
}

// read returns a copy of a state tensor.
func (h *harness) read(name string) []float32 {
	h.t.Helper()
	var x []float32
	err := h.s.ReadState(name, func(data []float32) error {
		x = slices.Clone(data)
		return nil
	})
	if err != nil {
		h.t.Fatalf("ReadState(%q): %v", name, err)
	}
	return x
}

func (h *harness) write(name string, data []float32) {
	h.t.Helper()
	if err := h.s.WriteState(name, data); err != nil {
		h.t.Fatalf("WriteState(%q): %v", name, err)
	}
}

// snapshot reads all state but the gradients.
func (h *harness) snapshot() map[string][]float32 {
	h.t.Helper()
	all := map[string][]float32{}
	for _, st := range h.s.State() {
		if !strings.HasPrefix(st.Name, "grad/") {
			all[st.Name] = h.read(st.Name)
		}
	}
	return all
}

// sameState compares snapshots bit by bit.
func sameState(t testing.TB, what string, got, want map[string][]float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d state tensors, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		checkBits(t, what+": "+name, got[name], w)
	}
}
