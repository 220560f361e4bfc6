package fakecard

import (
	"bytes"
	"fmt"
	"sort"
	"unsafe"

	"sdnn/nn/cuda/driver"
)

const (
	guardBytes = 256  // on either side of an allocation; also its alignment
	guardByte  = 0xA5 // what guards hold
	freshByte  = 0xFF // what new memory holds: NaN as f32, f64 and bf16
)

// allocation is a piece of card or of page-locked host memory.
type allocation struct {
	name     string // in traces: "mem3", "host1"
	host     bool
	base     uintptr
	data     []byte // the allocation itself
	all      []byte // with its guards
	freed    bool
	accesses []access
}

// memory holds the allocations of a card. Freed ones are kept, so that no
// address is given twice and a late use is known for what it is.
type memory struct {
	blocks []*allocation // by address
	used   int
}

// add makes an allocation.
func (m *memory) add(name string, host bool, size int) *allocation {
	all := make([]byte, size+3*guardBytes)
	for i := range all {
		all[i] = guardByte
	}
	at := guardBytes + (guardBytes-int(uintptr(unsafe.Pointer(&all[0]))%guardBytes))%guardBytes
	b := &allocation{name: name, host: host, all: all, data: all[at : at+size : at+size]}
	b.base = uintptr(unsafe.Pointer(&all[0])) + uintptr(at)
	fill(b.data, freshByte)
	i := sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].base > b.base })
	m.blocks = append(m.blocks, nil)
	copy(m.blocks[i+1:], m.blocks[i:])
	m.blocks[i] = b
	return b
}

// at returns the allocation that an address is in, at most one past its end.
func (m *memory) at(p uintptr) *allocation {
	i := sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].base > p })
	if i == 0 {
		return nil
	}
	if b := m.blocks[i-1]; p <= b.base+uintptr(len(b.data)) {
		return b
	}
	return nil
}

// intact reports whether the guards are as they were made.
func (b *allocation) intact() bool {
	at := int(b.base - uintptr(unsafe.Pointer(&b.all[0])))
	return guarded(b.all[:at]) && guarded(b.all[at+len(b.data):])
}

func guarded(b []byte) bool { return len(bytes.TrimLeft(b, string([]byte{guardByte}))) == 0 }

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

// span is a range of bytes of an allocation.
type span struct {
	b      *allocation
	lo, hi int
}

func (s span) String() string { return fmt.Sprintf("%s[%d:%d]", s.b.name, s.lo, s.hi) }

func (s span) bytes() []byte { return s.b.data[s.lo:s.hi] }

// find returns the bytes from p on. An error names what is wrong with them.
func (m *memory) find(p uintptr, size int, host bool) (span, error) {
	b := m.at(p)
	switch {
	case p == 0:
		return span{}, fmt.Errorf("a null pointer")
	case b == nil:
		return span{}, fmt.Errorf("%#x, which is in no allocation", p)
	case b.freed:
		return span{}, fmt.Errorf("%s, which is freed", b.name)
	case b.host != host:
		return span{}, fmt.Errorf("%s, where the other kind of memory is needed", b.name)
	}
	s := span{b, int(p - b.base), int(p-b.base) + size}
	if size < 0 || s.hi > len(b.data) {
		return s, fmt.Errorf("%v, but %s has %d bytes", s, b.name, len(b.data))
	}
	return s, nil
}

// place writes an address for traces.
func (m *memory) place(p uintptr) string {
	if b := m.at(p); b != nil {
		return fmt.Sprintf("%s+%d", b.name, p-b.base)
	}
	if p == 0 {
		return "null"
	}
	return "?"
}

// leaks reports what is not freed and which guards were written over.
func (m *memory) leaks(c *Card) {
	for _, b := range m.blocks {
		if !b.freed {
			c.problem("Close: %s of %d bytes is not freed", b.name, len(b.data))
		}
		if !b.intact() {
			c.problem("Close: bytes outside %s were written", b.name)
		}
	}
}

// Alloc implements driver.Card.
func (c *Card) Alloc(size int) (driver.Ptr, error) {
	err := c.begin("Alloc")
	defer c.mu.Unlock()
	if err == nil && c.memory.used+size > c.options.Memory {
		err = &driver.Error{Call: "cuMemAlloc", Code: 2, Text: "CUDA_ERROR_OUT_OF_MEMORY"}
	}
	if err != nil {
		return 0, err
	}
	if size <= 0 {
		return 0, c.invalid("Alloc", "%d bytes", size)
	}
	b := c.memory.add(fmt.Sprintf("mem%d", c.number("mem")), false, size)
	c.memory.used += size
	c.note("alloc %s %d", b.name, size)
	return driver.Ptr(b.base), nil
}

// Free implements driver.Card.
func (c *Card) Free(p driver.Ptr) error {
	err := c.begin("Free")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.free("Free", uintptr(p), false)
}

// AllocHost implements driver.Card.
func (c *Card) AllocHost(size int) (unsafe.Pointer, error) {
	err := c.begin("AllocHost")
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if size <= 0 {
		return nil, c.invalid("AllocHost", "%d bytes", size)
	}
	b := c.memory.add(fmt.Sprintf("host%d", c.number("host")), true, size)
	c.note("alloc %s %d", b.name, size)
	return unsafe.Pointer(&b.data[0]), nil
}

// FreeHost implements driver.Card.
func (c *Card) FreeHost(p unsafe.Pointer) error {
	err := c.begin("FreeHost")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.free("FreeHost", uintptr(p), true)
}

func (c *Card) free(call string, p uintptr, host bool) error {
	s, err := c.memory.find(p, 0, host)
	switch {
	case err != nil:
		return c.invalid(call, "%v", err)
	case s.lo != 0:
		return c.invalid(call, "%s is not the beginning of an allocation", c.memory.place(p))
	}
	b := s.b
	if o := c.pendingOn(b); o != nil {
		c.problem("%s: %s is freed while %s is queued on it", call, b.name, o)
	}
	if !b.intact() {
		c.problem("%s: bytes outside %s were written", call, b.name)
	}
	b.freed, b.accesses = true, nil
	fill(b.data, freshByte)
	if !host {
		c.memory.used -= len(b.data)
	}
	c.note("free %s", b.name)
	return nil
}
