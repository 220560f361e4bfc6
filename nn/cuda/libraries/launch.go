//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"unsafe"

	"sdnn/nn/cuda/driver"
)

// function is what the card knows of a kernel.
type function struct {
	name   string
	module driver.Module
	shared int // bytes of dynamic shared memory it was allowed, beyond what needs no leave
}

// freeShared is the shared memory that a kernel may have without asking, on every card.
const freeShared = 48 << 10

// maxArgs is the most arguments of a kernel: more than any of ours has.
const maxArgs = 64

// arguments is a kernel's argument list as cuLaunchKernel reads it: the values,
// and the address of each. Lists are reused: a launch allocates nothing.
type arguments struct {
	values [maxArgs]uint64
	list   [maxArgs]unsafe.Pointer
}

var argumentLists = sync.Pool{New: func() any {
	a := new(arguments)
	for i := range a.list {
		a.list[i] = unsafe.Pointer(&a.values[i])
	}
	return a
}}

// Load implements driver.Card. Code is a cubin, or PTX with the 0 that ends it.
func (c *card) Load(code []byte) (driver.Module, error) {
	if len(code) == 0 {
		return 0, fmt.Errorf("libraries: no code to load")
	}
	m := new(driver.Module)
	if err := c.cuda("cuModuleLoadData", c.cuModuleLoadData, uintptr(unsafe.Pointer(m)), uintptr(unsafe.Pointer(&code[0]))); err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.modules[*m] = true
	c.mu.Unlock()
	return *m, nil
}

// Unload implements driver.Card.
func (c *card) Unload(m driver.Module) error {
	if err := drop(c, c.modules, m, "module"); err != nil {
		return err
	}
	c.mu.Lock()
	for f, of := range c.functions {
		if of.module == m {
			delete(c.functions, f)
		}
	}
	c.mu.Unlock()
	return c.cuda("cuModuleUnload", c.cuModuleUnload, uintptr(m))
}

// Function implements driver.Card.
func (c *card) Function(m driver.Module, name string) (driver.Function, error) {
	f, cname := new(driver.Function), cString(name)
	if err := c.cuda("cuModuleGetFunction("+name+")", c.cuModuleGetFunction, uintptr(unsafe.Pointer(f)), uintptr(m), uintptr(unsafe.Pointer(&cname[0]))); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.functions[*f] == nil { // asking twice must not forget what it was allowed
		c.functions[*f] = &function{name: name, module: m}
	}
	return *f, nil
}

// Launch implements driver.Card.
func (c *card) Launch(f driver.Function, grid, block driver.Dim, shared int, s driver.Stream, args []driver.Arg) error {
	if len(args) > maxArgs {
		return fmt.Errorf("libraries: %d arguments for %s; at most %d are possible", len(args), c.nameOf(f), maxArgs)
	}
	if shared > freeShared {
		if err := c.allowShared(f, shared); err != nil {
			return err
		}
	}
	values := argumentLists.Get().(*arguments)
	for i, a := range args {
		values.values[i] = a.Bits // little endian: a narrower type is at the address too
	}
	r, err := c.step(c.cuLaunchKernel, 11, list{uintptr(f),
		uintptr(grid.X), uintptr(grid.Y), uintptr(grid.Z), uintptr(block.X), uintptr(block.Y), uintptr(block.Z),
		uintptr(shared), uintptr(s), uintptr(unsafe.Pointer(&values.list[0])), 0})
	runtime.KeepAlive(values)
	argumentLists.Put(values)
	if err != nil {
		return err
	}
	if int32(r) != cudaSuccess {
		return c.failure(fmt.Sprintf("cuLaunchKernel(%s, grid %v, block %v, %d bytes shared)", c.nameOf(f), grid, block, shared), int32(r))
	}
	return nil
}

func (c *card) nameOf(f driver.Function) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if of := c.functions[f]; of != nil {
		return of.name
	}
	return "a kernel that was not looked up"
}

// allowShared lets a kernel have more shared memory than freeShared.
func (c *card) allowShared(f driver.Function, bytes int) error {
	c.mu.Lock()
	of := c.functions[f]
	enough := of != nil && of.shared >= bytes
	c.mu.Unlock()
	if enough {
		return nil
	}
	if bytes > math.MaxInt32 {
		return fmt.Errorf("libraries: %d bytes of shared memory", bytes)
	}
	if err := c.cuda("cuFuncSetAttribute(shared memory of "+c.nameOf(f)+")", c.cuFuncSetAttribute, uintptr(f), functionMaxShared, uintptr(bytes)); err != nil {
		return err
	}
	if of != nil {
		c.mu.Lock()
		of.shared = max(of.shared, bytes)
		c.mu.Unlock()
	}
	return nil
}

// BeginCapture implements driver.Card. The mode is relaxed: the other modes
// belong to a thread, which a goroutine does not have, and forbid calls of other
// goroutines that have nothing to do with the capture.
func (c *card) BeginCapture(s driver.Stream) error {
	return c.cuda("cuStreamBeginCapture", c.cuStreamBeginCapture, uintptr(s), captureRelaxed)
}

// EndCapture implements driver.Card.
func (c *card) EndCapture(s driver.Stream) (driver.Graph, error) {
	graph, exec := new(uintptr), new(driver.Graph)
	if err := c.cuda("cuStreamEndCapture", c.cuStreamEndCapture, uintptr(s), uintptr(unsafe.Pointer(graph))); err != nil {
		return 0, err
	}
	err := c.cuda("cuGraphInstantiateWithFlags", c.cuGraphInstantiateWithFlags, uintptr(unsafe.Pointer(exec)), *graph, 0)
	if destroyed := c.cuda("cuGraphDestroy", c.cuGraphDestroy, *graph); err == nil {
		err = destroyed
	}
	if *exec != 0 {
		c.mu.Lock()
		c.graphs[*exec] = true
		c.mu.Unlock()
	}
	if err != nil {
		return 0, err
	}
	return *exec, nil
}

// LaunchGraph implements driver.Card.
func (c *card) LaunchGraph(g driver.Graph, s driver.Stream) error {
	return c.cudaStep("cuGraphLaunch", c.cuGraphLaunch, 2, list{uintptr(g), uintptr(s)})
}

// DestroyGraph implements driver.Card.
func (c *card) DestroyGraph(g driver.Graph) error {
	if err := drop(c, c.graphs, g, "graph"); err != nil {
		return err
	}
	return c.cuda("cuGraphExecDestroy", c.cuGraphExecDestroy, uintptr(g))
}
