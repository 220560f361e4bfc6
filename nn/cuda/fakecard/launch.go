package fakecard

import (
	"fmt"
	"math"
	"strings"
	"unsafe"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// module is a loaded source.
type module struct {
	name    string
	list    []*kernels.Signature
	library *library // nil: check only
}

type function struct {
	*kernels.Signature
	of   *module
	addr uintptr
}

// codeMagic begins what Compile returns: then the name, a line feed, the path of
// the library (empty: check only), a line feed and the source.
const codeMagic = "fakecard\n"

// Compile implements driver.Card. The code is the source itself with the path of
// its library.
func (c *Card) Compile(name, source string) (code []byte, log string, err error) {
	err = c.begin("Compile")
	c.mu.Unlock()
	if err != nil {
		return nil, "made to fail", err
	}
	path := ""
	if !c.options.CheckOnly { // without the lock: it takes seconds
		if path, log, err = build(name, source); err != nil {
			return nil, log, err
		}
	} else if _, err := kernels.Parse(source); err != nil {
		return nil, err.Error(), &driver.Error{Call: "nvrtcCompileProgram", Code: 6, Text: "NVRTC_ERROR_COMPILATION"}
	}
	return []byte(codeMagic + name + "\n" + path + "\n" + source), log, nil
}

// Load implements driver.Card.
func (c *Card) Load(code []byte) (driver.Module, error) {
	err := c.begin("Load")
	defer c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	bad := &driver.Error{Call: "cuModuleLoadData", Code: 200, Text: "CUDA_ERROR_INVALID_IMAGE"}
	text, ok := strings.CutPrefix(string(code), codeMagic)
	part := strings.SplitN(text, "\n", 3)
	if !ok || len(part) != 3 {
		return 0, bad
	}
	m := &module{name: part[0]}
	if m.list, err = kernels.Parse(part[2]); err != nil {
		return 0, bad
	}
	if !c.options.CheckOnly {
		if m.library, err = openLibrary(part[1]); err != nil {
			return 0, bad
		}
	}
	n := c.number("module")
	c.modules[driver.Module(n)] = m
	return driver.Module(n), nil
}

// Unload implements driver.Card.
func (c *Card) Unload(h driver.Module) error {
	err := c.begin("Unload")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	m := c.modules[h]
	if m == nil {
		return c.invalid("Unload", "module %d does not exist", h)
	}
	for f := range c.funcs {
		if c.funcs[f].of == m {
			delete(c.funcs, f)
		}
	}
	delete(c.modules, h)
	return nil
}

// Function implements driver.Card.
func (c *Card) Function(h driver.Module, name string) (driver.Function, error) {
	err := c.begin("Function")
	defer c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	m := c.modules[h]
	if m == nil {
		return 0, c.invalid("Function", "module %d does not exist", h)
	}
	for _, s := range m.list {
		if s.Name != name {
			continue
		}
		f := &function{Signature: s, of: m}
		if m.library != nil {
			if f.addr, err = m.library.symbol("sdnn_call_" + name); err != nil {
				return 0, err
			}
		}
		n := driver.Function(c.number("function"))
		c.funcs[n] = f
		return n, nil
	}
	return 0, &driver.Error{Call: "cuModuleGetFunction(" + name + ")", Code: 500, Text: "CUDA_ERROR_NOT_FOUND"}
}

// Launch implements driver.Card.
func (c *Card) Launch(h driver.Function, grid, block driver.Dim, shared int, hs driver.Stream, args []driver.Arg) error {
	err := c.begin("Launch")
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	s, err := c.stream("Launch", hs)
	if err != nil {
		return err
	}
	f := c.funcs[h]
	if f == nil {
		return c.invalid("Launch", "function %d does not exist", h)
	}
	if err := f.Check(args); err != nil {
		return c.invalid("Launch", "%v", err)
	}
	c.note("launch %s %s %s (%s)", s.name, f.Name, dims(grid, block), c.arguments(args))
	if !fits(grid) || block.X < 1 || block.X*block.Y*block.Z > 1024 || shared > c.options.Info.SharedPerBlock {
		return c.invalid("Launch", "%s with grid %v, block %v and %d bytes", f.Name, grid, block, shared)
	}
	o := &op{name: f.Name}
	var guards []*allocation
	for i := range f.Params {
		b, err := c.operand(o, f, i, args)
		if err != nil {
			return err
		}
		if b != nil {
			guards = append(guards, b)
		}
	}
	if err := c.indirect(o, f, args); err != nil {
		return err
	}
	words := make([]uint64, len(args))
	for i, a := range args {
		words[i] = a.Bits
	}
	o.run = func() error { return c.runKernel(f, words, guards, grid, block) }
	return c.enqueue(s, o)
}

// fits says that a grid is one that a card has.
func fits(g driver.Dim) bool {
	return g.X >= 1 && g.X <= math.MaxInt32 && g.Y >= 1 && g.Y <= 65535 && g.Z >= 1 && g.Z <= 65535
}

// operand checks a pointer argument and adds what it stands for to the operation.
func (c *Card) operand(o *op, f *function, i int, args []driver.Arg) (*allocation, error) {
	p := &f.Params[i]
	if p.Kind != driver.ArgPtr || args[i].Bits == 0 {
		return nil, nil
	}
	size, known := f.Extent(i, args)
	if !known {
		size = 1
	}
	r, err := c.memory.find(uintptr(args[i].Bits), size, false)
	if err != nil {
		return nil, c.invalid("Launch", "%s: %s is %v", f.Name, p.Name, err)
	}
	if int(args[i].Bits)%p.Size != 0 {
		return nil, c.invalid("Launch", "%s: %s at %s is not aligned to %d bytes", f.Name, p.Name, c.memory.place(uintptr(args[i].Bits)), p.Size)
	}
	if p.Const {
		o.reads = append(o.reads, r)
	} else {
		o.writes = append(o.writes, r)
	}
	return r.b, nil
}

// runKernel computes a launch and looks whether it wrote outside its operands.
func (c *Card) runKernel(f *function, words []uint64, guards []*allocation, grid, block driver.Dim) error {
	if f.of.library == nil {
		return nil
	}
	if block.Y != 1 || block.Z != 1 {
		return c.invalid("Launch", "%s: blocks of one dimension only", f.Name)
	}
	if r := f.of.library.launch(f.addr, words, grid.X, grid.Y, grid.Z, block.X); r != 0 {
		c.problem("%s: %s", f.Name, []string{"", "some threads of a block wait at a barrier that others do not reach", "a block of that size cannot run"}[r])
		return &driver.Error{Call: "cuLaunchKernel(" + f.Name + ")", Code: 719, Text: "CUDA_ERROR_LAUNCH_FAILED"}
	}
	for _, b := range guards {
		if !b.intact() {
			c.problem("%s wrote outside %s", f.Name, b.name)
		}
	}
	return nil
}

// indirect adds what the optimisers reach through their table. The table is on
// the card, so it must have been copied there before the launch is queued.
func (c *Card) indirect(o *op, f *function, args []driver.Arg) error {
	if !strings.HasPrefix(f.Name, "sgd_") && !strings.HasPrefix(f.Name, "adam_") {
		return nil
	}
	r := o.reads[0] // table
	if p := c.pendingOn(r.b); p != nil && c.queued > 0 {
		_ = c.drainAll() // the table is what has been queued
	}
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&r.bytes()[0])), (r.hi-r.lo)/8)
	for t := 0; t+7 <= len(words); t += 7 {
		row := words[t : t+7]
		n := int(row[5] &^ (1 << 63))
		gradient := 4
		if row[5]>>63 != 0 {
			gradient = 2
		}
		for i, size := range []int{4, gradient, 4, 4, 2} {
			if row[i] == 0 && i > 2 {
				continue
			}
			s, err := c.memory.find(uintptr(row[i]), n*size, false)
			if err != nil {
				return c.invalid("Launch", "%s: word %d of tensor %d is %v", f.Name, i, t/7, err)
			}
			if i == 1 {
				o.reads = append(o.reads, s)
			} else {
				o.writes = append(o.writes, s)
			}
		}
	}
	return nil
}

func dims(grid, block driver.Dim) string {
	return fmt.Sprintf("%dx%dx%d/%d", grid.X, grid.Y, grid.Z, block.X*block.Y*block.Z)
}

// arguments writes a launch's arguments for the trace.
func (c *Card) arguments(args []driver.Arg) string {
	var list []string
	for _, a := range args {
		switch a.Kind {
		case driver.ArgPtr:
			list = append(list, c.memory.place(uintptr(a.Bits)))
		case driver.ArgF32:
			list = append(list, fmt.Sprint(math.Float32frombits(uint32(a.Bits))))
		default:
			list = append(list, fmt.Sprint(kernels.Int(a)))
		}
	}
	return strings.Join(list, ", ")
}
