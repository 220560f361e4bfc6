package fakecard

import (
	"fmt"

	"sdnn/nn/cuda/driver"
)

// capture records what is queued on a stream, and on those that join it by
// waiting for an event recorded in it.
type capture struct {
	origin  *stream
	streams []*stream // the branches: origin first, then those that joined
	nodes   []node
	known   []clock // of each branch, counting nodes
	marks   []mark
	over    bool
}

// node is an operation of a branch: work, a mark, or waiting for one.
type node struct {
	branch int
	make   func() *op // work
	spans  []span
	mark   int // 1, 2, ...: record it; -1, -2, ...: wait for it
}

type mark struct{ known clock }

// graph is a finished capture.
type graph struct {
	name     string
	nodes    []node
	marks    int
	branches []*stream // but the first, which is the stream it is launched on
}

func (p *capture) branch(s *stream) int {
	for i, t := range p.streams {
		if t == s {
			return i
		}
	}
	panic("fakecard: a stream of no branch")
}

// push appends a node to a branch.
func (p *capture) push(branch int, n node) {
	n.branch = branch
	p.nodes = append(p.nodes, n)
	p.known[branch].set(branch, len(p.nodes))
}

// add records work whose operation is the same at every launch.
func (p *capture) add(s *stream, o *op) {
	p.addMade(s, o.name, append(append([]span(nil), o.reads...), o.writes...), func() *op { again := *o; return &again })
}

func (p *capture) addMade(s *stream, _ string, spans []span, f func() *op) {
	p.push(p.branch(s), node{make: f, spans: spans})
}

// record marks a place for events.
func (p *capture) record(s *stream) int {
	b := p.branch(s)
	p.marks = append(p.marks, mark{})
	p.push(b, node{mark: len(p.marks)})
	p.marks[len(p.marks)-1].known = p.known[b].copy()
	return len(p.marks)
}

// wait lets s wait for an event of the capture, which it joins if it must.
func (p *capture) wait(c *Card, s *stream, e *event) error {
	switch s.capture {
	case p:
	case nil:
		if len(s.queue) > 0 {
			c.note("join %s", s.name)
		}
		s.capture = p
		p.streams = append(p.streams, s)
		p.known = append(p.known, nil)
	default:
		return c.invalid("Wait", "%s and %s belong to two captures", s.name, e.name)
	}
	b := p.branch(s)
	p.known[b].join(p.marks[e.mark-1].known)
	p.push(b, node{mark: -e.mark})
	return nil
}

// BeginCapture implements driver.Card.
func (c *Card) BeginCapture(h driver.Stream) error {
	err := c.begin("BeginCapture")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("BeginCapture", h)
	if err != nil {
		return err
	}
	if s.capture != nil {
		return c.captureError("BeginCapture", s.name)
	}
	c.note("capture %s", s.name)
	s.capture = &capture{origin: s, streams: []*stream{s}, known: make([]clock, 1)}
	return nil
}

// EndCapture implements driver.Card.
func (c *Card) EndCapture(h driver.Stream) (driver.Graph, error) {
	err := c.begin("EndCapture")
	defer c.mu.Unlock()
	s, serr := c.stream("EndCapture", h)
	if serr != nil {
		return 0, serr
	}
	p := s.capture
	if p == nil || p.origin != s {
		return 0, c.invalid("EndCapture", "no capture began on %s", s.name)
	}
	p.over = true
	for _, t := range p.streams {
		t.capture = nil
	}
	if err != nil {
		return 0, err
	}
	for i, t := range p.streams[1:] {
		if p.known[0].of(i+1) < p.known[i+1].of(i+1) {
			c.problem("EndCapture: %s does not wait for the work of %s", s.name, t.name)
			return 0, &driver.Error{Call: "cuStreamEndCapture", Code: 904, Text: "CUDA_ERROR_STREAM_CAPTURE_UNJOINED"}
		}
	}
	n := c.number("graph")
	g := &graph{name: fmt.Sprintf("graph%d", n), nodes: p.nodes, marks: len(p.marks)}
	for i := range p.streams[1:] {
		g.branches = append(g.branches, c.newStream(fmt.Sprintf("%s branch %d", g.name, i+1)))
	}
	c.graphs[driver.Graph(n)] = g
	c.note("captured %s %d", g.name, len(g.nodes))
	return driver.Graph(n), nil
}

// LaunchGraph implements driver.Card.
func (c *Card) LaunchGraph(h driver.Graph, hs driver.Stream) error {
	err := c.begin("LaunchGraph")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("LaunchGraph", hs)
	if err != nil {
		return err
	}
	g := c.graphs[h]
	if g == nil {
		return c.invalid("LaunchGraph", "graph %d does not exist", h)
	}
	if s.capture != nil {
		return c.captureError("LaunchGraph", s.name)
	}
	c.note("launch %s %s", s.name, g.name)
	type reached struct {
		last  *op
		known clock
	}
	marks := make([]reached, g.marks)
	for _, n := range g.nodes {
		t := s
		if n.branch > 0 {
			t = g.branches[n.branch-1]
		}
		switch {
		case n.mark > 0:
			o := &op{name: "record in " + g.name}
			c.perform(t, o)
			marks[n.mark-1] = reached{o, t.known.copy()}
		case n.mark < 0:
			m := marks[-n.mark-1]
			c.waitFor(t, "in "+g.name, m.last, m.known)
		default:
			for _, r := range n.spans {
				if r.b.freed {
					return c.invalid("LaunchGraph", "%s uses %s, which is freed", g.name, r.b.name)
				}
			}
			c.perform(t, n.make())
		}
	}
	return nil
}

// DestroyGraph implements driver.Card.
func (c *Card) DestroyGraph(h driver.Graph) error {
	err := c.begin("DestroyGraph")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	g := c.graphs[h]
	if g == nil {
		return c.invalid("DestroyGraph", "graph %d does not exist", h)
	}
	for _, s := range g.branches {
		if len(s.queue) > 0 {
			c.problem("DestroyGraph: %s still runs", g.name)
			_ = c.drain(s, nil)
		}
	}
	delete(c.graphs, h)
	c.note("destroy %s", g.name)
	return nil
}
