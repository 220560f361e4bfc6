package fakecard

import (
	"fmt"
	"hash/maphash"
	"time"

	"sdnn/nn/cuda/driver"
)

// op is a queued operation.
type op struct {
	name   string // for messages: "relu_forward_f32"
	stream *stream
	reads  []span
	writes []span
	run    func() error
	wait   *op // an event's: it must be done first
	done   bool
	cost   time.Duration // by the made-up clock; 0 is a microsecond if it touches memory
}

func (o *op) String() string { return fmt.Sprintf("%s (%s)", o.name, o.stream.name) }

// stream is a queue, or a branch of a graph, which has one of its own.
type stream struct {
	name    string
	id      int
	known   clock
	tick    int
	queue   []*op // not yet done
	capture *capture
	spent   time.Duration // what has been queued takes, by the made-up clock
}

// event is the last operation before Record, and what its stream knew then.
type event struct {
	name    string
	last    *op
	known   clock
	asked   bool     // EventDone said no once
	capture *capture // recorded in one: the host cannot ask for it
	mark    int      // there
	timed   bool
	at      time.Duration // its stream's spent
}

// newStream makes a stream without a handle.
func (c *Card) newStream(name string) *stream {
	c.ids++
	return &stream{name: name, id: c.ids}
}

// NewStream implements driver.Card.
func (c *Card) NewStream() (driver.Stream, error) {
	err := c.begin("NewStream")
	defer c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n := c.number("stream")
	s := c.newStream(fmt.Sprintf("stream%d", n))
	c.streams[driver.Stream(n)] = s
	c.note("new %s", s.name)
	return driver.Stream(n), nil
}

// NewYieldingStream implements driver.Card: here no work goes before other work.
func (c *Card) NewYieldingStream() (driver.Stream, error) { return c.NewStream() }

// DestroyStream implements driver.Card.
func (c *Card) DestroyStream(h driver.Stream) error {
	err := c.begin("DestroyStream")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("DestroyStream", h)
	if err != nil {
		return err
	}
	if len(s.queue) > 0 {
		c.problem("DestroyStream: %s still has %d operations queued", s.name, len(s.queue))
		_ = c.drain(s, nil)
	}
	delete(c.streams, h)
	c.note("destroy %s", s.name)
	return nil
}

func (c *Card) stream(call string, h driver.Stream) (*stream, error) {
	if s := c.streams[h]; s != nil {
		return s, nil
	}
	return nil, c.invalid(call, "stream %d does not exist", h)
}

func (c *Card) event(call string, h driver.Event) (*event, error) {
	if e := c.events[h]; e != nil {
		return e, nil
	}
	return nil, c.invalid(call, "event %d does not exist", h)
}

// NewEvent implements driver.Card.
func (c *Card) NewEvent() (driver.Event, error) {
	err := c.begin("NewEvent")
	defer c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n := c.number("event")
	e := &event{name: fmt.Sprintf("event%d", n)}
	c.events[driver.Event(n)] = e
	c.note("new %s", e.name)
	return driver.Event(n), nil
}

// DestroyEvent implements driver.Card.
func (c *Card) DestroyEvent(h driver.Event) error {
	err := c.begin("DestroyEvent")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	e, err := c.event("DestroyEvent", h)
	if err != nil {
		return err
	}
	delete(c.events, h)
	c.note("destroy %s", e.name)
	return nil
}

// enqueue puts an operation into a stream's queue, or into the graph that is
// being captured from it.
func (c *Card) enqueue(s *stream, o *op) error {
	if s.capture != nil {
		s.capture.add(s, o)
		return nil
	}
	c.perform(s, o)
	return nil
}

// perform orders an operation after its stream's, looks for races, and queues it.
func (c *Card) perform(s *stream, o *op) {
	s.known.join(c.host)
	s.tick++
	s.known.set(s.id, s.tick)
	o.stream = s
	for _, r := range o.reads {
		c.touch(r.b, access{r.lo, r.hi, false, o, s.id, s.tick}, s.known)
	}
	for _, w := range o.writes {
		c.touch(w.b, access{w.lo, w.hi, true, o, s.id, s.tick}, s.known)
	}
	s.queue = append(s.queue, o)
	c.queued++
	if o.cost == 0 && len(o.reads)+len(o.writes) > 0 {
		o.cost = time.Microsecond
	}
	s.spent += o.cost
}

// drain does a stream's operations in order, up to one of them or all.
func (c *Card) drain(s *stream, last *op) error {
	for len(s.queue) > 0 && (last == nil || !last.done) {
		o := s.queue[0]
		if o.wait != nil && !o.wait.done {
			_ = c.drain(o.wait.stream, o.wait) // a failure is kept, and what is left of this stream is over too
		}
		s.queue = s.queue[1:]
		o.done = true
		c.queued--
		if o.run == nil || c.failure != nil {
			continue
		}
		if err := o.run(); err != nil {
			c.failure = err
		}
	}
	return c.failure
}

func (c *Card) drainAll() error {
	for _, s := range c.streams {
		_ = c.drain(s, nil)
	}
	for _, g := range c.graphs {
		for _, s := range g.branches {
			_ = c.drain(s, nil)
		}
	}
	return c.failure
}

// pendingOn returns a queued operation that touches an allocation, nil if there is none.
func (c *Card) pendingOn(b *allocation) *op {
	if c.queued == 0 {
		return nil
	}
	var all []*stream
	for _, s := range c.streams {
		all = append(all, s)
	}
	for _, g := range c.graphs {
		all = append(all, g.branches...)
	}
	for _, s := range all {
		for _, o := range s.queue {
			for _, list := range [][]span{o.reads, o.writes} {
				for _, r := range list {
					if r.b == b {
						return o
					}
				}
			}
		}
	}
	return nil
}

// SyncStream implements driver.Card.
func (c *Card) SyncStream(h driver.Stream) error {
	err := c.begin("SyncStream")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("SyncStream", h)
	if err != nil {
		return err
	}
	if s.capture != nil {
		return c.captureError("SyncStream", s.name)
	}
	c.note("sync %s", s.name)
	c.host.join(s.known)
	return c.drain(s, nil)
}

// Record implements driver.Card.
func (c *Card) Record(h driver.Event, hs driver.Stream) error {
	err := c.begin("Record")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("Record", hs)
	if err != nil {
		return err
	}
	e, err := c.event("Record", h)
	if err != nil {
		return err
	}
	c.note("record %s %s", e.name, s.name)
	if s.capture != nil {
		e.capture, e.mark = s.capture, s.capture.record(s)
		return nil
	}
	o := &op{name: "record " + e.name}
	c.perform(s, o)
	e.last, e.known, e.asked, e.capture, e.at = o, s.known.copy(), false, nil, s.spent
	return nil
}

// Wait implements driver.Card.
func (c *Card) Wait(hs driver.Stream, h driver.Event) error {
	err := c.begin("Wait")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("Wait", hs)
	if err != nil {
		return err
	}
	e, err := c.event("Wait", h)
	if err != nil {
		return err
	}
	c.note("wait %s %s", s.name, e.name)
	switch {
	case e.capture != nil && !e.capture.over:
		return e.capture.wait(c, s, e)
	case e.capture != nil:
		return c.invalid("Wait", "%s was recorded in a capture that is over", e.name)
	case s.capture != nil:
		c.problem("Wait: %s is being captured and %s was recorded outside", s.name, e.name)
		return &driver.Error{Call: "cuStreamWaitEvent", Code: 905, Text: "CUDA_ERROR_STREAM_CAPTURE_ISOLATION"}
	}
	c.waitFor(s, e.name, e.last, e.known)
	return nil
}

// waitFor lets a stream wait for an operation; nil is one long done.
func (c *Card) waitFor(s *stream, name string, last *op, known clock) {
	s.known.join(known)
	if last != nil {
		c.perform(s, &op{name: "wait " + name, wait: last})
	}
}

// SyncEvent implements driver.Card.
func (c *Card) SyncEvent(h driver.Event) error {
	err := c.begin("SyncEvent")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	e, err := c.event("SyncEvent", h)
	if err != nil {
		return err
	}
	c.note("sync %s", e.name)
	return c.syncEvent("SyncEvent", e)
}

func (c *Card) syncEvent(call string, e *event) error {
	if e.capture != nil {
		return c.captureError(call, e.name)
	}
	if e.last == nil {
		return c.failure
	}
	c.host.join(e.known)
	if e.last.done {
		return c.failure
	}
	return c.drain(e.last.stream, e.last)
}

// EventDone implements driver.Card. It says no once to who asks for something
// that is not yet done, and does it when asked again.
func (c *Card) EventDone(h driver.Event) (bool, error) {
	err := c.begin("EventDone")
	defer c.mu.Unlock()
	if err != nil {
		return false, err
	}
	e, err := c.event("EventDone", h)
	if err != nil {
		return false, err
	}
	if e.capture == nil && e.last != nil && !e.last.done && !e.asked {
		e.asked = true
		return false, nil
	}
	err = c.syncEvent("EventDone", e)
	return err == nil, err
}

// captureError is what a card says to who waits for what is being captured.
func (c *Card) captureError(call, name string) error {
	c.problem("%s: %s is being captured", call, name)
	return &driver.Error{Call: call, Code: 900, Text: "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}
}

var seed = maphash.MakeSeed()

func hash(b []byte) uint64 { return maphash.Bytes(seed, b) }
