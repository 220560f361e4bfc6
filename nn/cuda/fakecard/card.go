package fakecard

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"sdnn/nn/cuda/driver"
)

// Reporter takes what a Card finds wrong; a *testing.T is one.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// Options of a Card. The zero value is a card of 1 GiB that runs kernels where
// there is a compiler, and panics where something is wrong.
type Options struct {
	Report Reporter // nil: problems panic
	Memory int      // bytes of the card; 0: 1 GiB
	Trace  bool     // record all calls, see Card.Trace
	// CheckOnly leaves out all computing: kernels, products and convolutions are
	// checked and traced, and write nothing. It is set where kernels cannot run.
	CheckOnly bool
	// Info is what the card says of itself; the zero value is a card of compute
	// capability 9.0 called "fake card".
	Info driver.Info
}

// Card implements driver.Card.
type Card struct {
	mu      sync.Mutex
	options Options
	trace   strings.Builder
	faults  map[string][]fault
	failure error // of queued work; what waits next returns it
	closed  bool

	memory  memory
	streams map[driver.Stream]*stream
	events  map[driver.Event]*event
	modules map[driver.Module]*module
	funcs   map[driver.Function]*function
	graphs  map[driver.Graph]*graph
	plans   map[any]string // open products and convolutions
	made    map[string]int // objects made so far, by kind
	host    clock          // what the host has waited for
	ids     int            // streams numbered so far
	queued  int            // operations not yet done
}

var _ driver.Card = (*Card)(nil)

// New returns a card.
func New(o Options) *Card {
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
	if ok, _ := CanExecute(); !ok {
		o.CheckOnly = true
	}
	if o.Info.Major == 0 {
		o.Info = driver.Info{Name: "fake card", Major: 9, Minor: 0, Multiprocessors: 4, SharedPerBlock: 48 << 10, Driver: 13000,
			Libraries: map[string]int{"cublasLt": 130000, "cudnn": 91000, "nvrtc": 13000}, SupportsBF16: true}
	}
	o.Info.Memory = o.Memory
	return &Card{options: o, faults: map[string][]fault{}, streams: map[driver.Stream]*stream{}, events: map[driver.Event]*event{},
		modules: map[driver.Module]*module{}, funcs: map[driver.Function]*function{}, graphs: map[driver.Graph]*graph{},
		plans: map[any]string{}, made: map[string]int{}}
}

// Executes reports whether the card computes: false with Options.CheckOnly, and
// where kernels cannot run.
func (c *Card) Executes() bool { return !c.options.CheckOnly }

// Trace returns the calls so far, one a line, with objects numbered in the order
// in which they were made and memory as allocation+offset: the same calls give
// the same text.
func (c *Card) Trace() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trace.String()
}

// ResetTrace empties the trace.
func (c *Card) ResetTrace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trace.Reset()
}

// fault is an error that a later call returns.
type fault struct {
	after int // calls that still succeed
	err   error
	late  bool
}

// Fail lets a call of the named method ("Alloc", "Launch", "LaunchGraph", ...)
// fail with err, after that many successful ones.
func (c *Card) Fail(method string, after int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[method] = append(c.faults[method], fault{after, err, false})
}

// FailLate lets the work that a call queues fail: the call succeeds, and what
// waits next returns err, as do all calls after it.
func (c *Card) FailLate(method string, after int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[method] = append(c.faults[method], fault{after, err, true})
}

// begin starts a call: it takes the lock that the caller gives back, and returns
// the error that was asked for.
func (c *Card) begin(method string) error {
	c.mu.Lock()
	if c.closed {
		c.problem("%s after Close", method)
		return &driver.Error{Call: method, Code: 201, Text: "CUDA_ERROR_INVALID_CONTEXT"}
	}
	list := c.faults[method]
	for i := range list {
		if list[i].after > 0 {
			list[i].after--
			continue
		}
		f := list[i]
		c.faults[method] = slices.Delete(list, i, i+1)
		if f.late {
			if c.failure == nil {
				c.failure = f.err
			}
			return nil
		}
		return f.err
	}
	return nil
}

// problem reports a broken rule.
func (c *Card) problem(format string, args ...any) {
	if c.options.Report == nil {
		panic("fakecard: " + fmt.Sprintf(format, args...))
	}
	c.options.Report.Helper()
	c.options.Report.Errorf("fakecard: "+format, args...)
}

// invalid reports a broken rule and returns what a card would.
func (c *Card) invalid(call, format string, args ...any) error {
	c.problem(call+": "+format, args...)
	return &driver.Error{Call: call, Code: 1, Text: "CUDA_ERROR_INVALID_VALUE"}
}

// note writes a line of the trace.
func (c *Card) note(format string, args ...any) {
	if c.options.Trace {
		fmt.Fprintf(&c.trace, format+"\n", args...)
	}
}

// number returns the next number of a kind of object.
func (c *Card) number(kind string) int {
	c.made[kind]++
	return c.made[kind]
}

// Info implements driver.Card.
func (c *Card) Info() driver.Info { return c.options.Info }

// MemoryFree implements driver.Card.
func (c *Card) MemoryFree() (int, error) {
	err := c.begin("MemoryFree")
	defer c.mu.Unlock()
	return c.options.Memory - c.memory.used, err
}

// Close implements driver.Card: it reports what is left.
func (c *Card) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.problem("Close: a second time")
		return nil
	}
	if err := c.drainAll(); err != nil && c.failure == nil {
		c.problem("Close: %v", err)
	}
	c.memory.leaks(c)
	for _, left := range []struct {
		kind string
		n    int
	}{{"stream", len(c.streams)}, {"event", len(c.events)}, {"module", len(c.modules)}, {"graph", len(c.graphs)}, {"product or convolution", len(c.plans)}} {
		if left.n > 0 {
			c.problem("Close: left open: %d of kind %s", left.n, left.kind)
		}
	}
	c.closed = true
	return nil
}
