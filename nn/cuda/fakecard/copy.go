package fakecard

import (
	"fmt"
	"unsafe"

	"sdnn/nn/cuda/driver"
)

// transfer is an operation that copies bytes.
type transfer struct {
	name     string
	dst, src span
}

// copyOp makes the operation of a copy. A captured one is made anew for every
// launch of its graph: what the host's memory holds then is what counts.
func (c *Card) copyOp(t transfer) *op {
	o := &op{name: t.name, reads: []span{t.src}, writes: []span{t.dst}}
	var before uint64
	check := t.src.b.host && c.pendingOn(t.src.b) == nil
	if check {
		before = hash(t.src.bytes())
	}
	if t.dst.b.host {
		fill(t.dst.bytes(), freshByte) // who reads too early sees NaN
	}
	o.run = func() error {
		if check && hash(t.src.bytes()) != before {
			c.problem("%v was changed by the host before %s was done", t.src, o)
		}
		copy(t.dst.bytes(), t.src.bytes())
		return nil
	}
	return o
}

// transfer queues a copy.
func (c *Card) transfer(call string, dst, src uintptr, dstHost, srcHost bool, size int, h driver.Stream) error {
	err := c.begin(call)
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream(call, h)
	if err != nil {
		return err
	}
	c.note("copy %s %s %s %d", s.name, c.memory.place(dst), c.memory.place(src), size)
	if size == 0 {
		return nil
	}
	to, err := c.memory.find(dst, size, dstHost)
	if err != nil {
		return c.invalid(call, "to %v", err)
	}
	from, err := c.memory.find(src, size, srcHost)
	if err != nil {
		return c.invalid(call, "from %v", err)
	}
	if to.b == from.b && to.lo < from.hi && from.lo < to.hi {
		return c.invalid(call, "%v and %v overlap", to, from)
	}
	t := transfer{fmt.Sprintf("copy of %v to %v", from, to), to, from}
	if s.capture != nil {
		s.capture.addMade(s, t.name, []span{from, to}, func() *op { return c.copyOp(t) })
		return nil
	}
	c.perform(s, c.copyOp(t))
	return nil
}

// CopyToCard implements driver.Card.
func (c *Card) CopyToCard(dst driver.Ptr, src unsafe.Pointer, bytes int, s driver.Stream) error {
	return c.transfer("CopyToCard", uintptr(dst), uintptr(src), false, true, bytes, s)
}

// CopyFromCard implements driver.Card.
func (c *Card) CopyFromCard(dst unsafe.Pointer, src driver.Ptr, bytes int, s driver.Stream) error {
	return c.transfer("CopyFromCard", uintptr(dst), uintptr(src), true, false, bytes, s)
}

// CopyOnCard implements driver.Card.
func (c *Card) CopyOnCard(dst, src driver.Ptr, bytes int, s driver.Stream) error {
	return c.transfer("CopyOnCard", uintptr(dst), uintptr(src), false, false, bytes, s)
}

// Zero implements driver.Card.
func (c *Card) Zero(dst driver.Ptr, bytes int, h driver.Stream) error {
	err := c.begin("Zero")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("Zero", h)
	if err != nil {
		return err
	}
	c.note("zero %s %s %d", s.name, c.memory.place(uintptr(dst)), bytes)
	if bytes == 0 {
		return nil
	}
	to, err := c.memory.find(uintptr(dst), bytes, false)
	if err != nil {
		return c.invalid("Zero", "%v", err)
	}
	o := &op{name: fmt.Sprintf("zero of %v", to), writes: []span{to}, run: func() error { fill(to.bytes(), 0); return nil }}
	return c.enqueue(s, o)
}
