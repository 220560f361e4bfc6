//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// card implements driver.Card.
type card struct {
	*base
	*set
	info   driver.Info
	device int32
	closed atomic.Bool

	current   [1]uintptr // the device's primary context, which the libraries use too: cuCtxSetCurrent's argument
	ltHandle  uintptr
	dnnHandle uintptr
	dnnMu     sync.Mutex // a handle's stream is set for the next call: both are one step

	// What is to be freed, and names for messages.
	mu        sync.Mutex
	memory    map[driver.Ptr]int
	host      map[unsafe.Pointer]int
	streams   map[driver.Stream]bool
	events    map[driver.Event]bool
	modules   map[driver.Module]bool
	functions map[driver.Function]*function
	graphs    map[driver.Graph]bool
	plans     map[interface{ Close() error }]bool
}

func newCard(b *base, s *set, info driver.Info, device int32) *card {
	return &card{
		base: b, set: s, info: info, device: device,
		memory: map[driver.Ptr]int{}, host: map[unsafe.Pointer]int{},
		streams: map[driver.Stream]bool{}, events: map[driver.Event]bool{},
		modules: map[driver.Module]bool{}, functions: map[driver.Function]*function{},
		graphs: map[driver.Graph]bool{}, plans: map[interface{ Close() error }]bool{},
	}
}

// start makes the context and the libraries' handles.
func (c *card) start() error {
	if err := c.check("cuDevicePrimaryCtxRetain", c.cuDevicePrimaryCtxRetain, uintptr(unsafe.Pointer(&c.current[0])), uintptr(c.device)); err != nil {
		return err
	}
	free, err := c.MemoryFree()
	if err != nil {
		return err
	}
	c.info.MemoryBusyByOther = max(0, c.info.Memory-free)
	if err := c.lt("cublasLtCreate", c.ltAPI.cublasLtCreate, uintptr(unsafe.Pointer(&c.ltHandle))); err != nil {
		return err
	}
	return c.dnn("cudnnCreate", c.dnnAPI.cudnnCreate, uintptr(unsafe.Pointer(&c.dnnHandle)))
}

var errClosed = errors.New("libraries: the card is closed")

// inContext calls a C function with the card's context current. A context is
// current on a thread, and a goroutine may change threads between two calls.
//
//go:uintptrescapes
func (c *card) inContext(fn uintptr, args ...uintptr) (uintptr, error) {
	if c.closed.Load() {
		return 0, errClosed
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if r, _, _ := purego.SyscallN(c.cuCtxSetCurrent, c.current[:]...); r != cudaSuccess {
		return 0, c.failure("cuCtxSetCurrent", int32(r))
	}
	r, _, _ := purego.SyscallN(fn, args...)
	return r, nil
}

// list is room for the arguments of a call.
type list [16]uintptr

var lists = sync.Pool{New: func() any { return new(list) }}

// step is inContext for the calls of a training step: it allocates nothing.
// What pointers among the arguments point to, the caller keeps alive.
func (c *card) step(fn uintptr, n int, args list) (uintptr, error) {
	l := lists.Get().(*list)
	*l = args
	r, err := c.inContext(fn, l[:n]...)
	lists.Put(l)
	return r, err
}

// cudaStep is cuda for the calls of a training step.
func (c *card) cudaStep(name string, fn uintptr, n int, args list) error {
	r, err := c.step(fn, n, args)
	if err != nil {
		return err
	}
	return c.failure(name, int32(r))
}

// cuda calls a function of the driver.
//
//go:uintptrescapes
func (c *card) cuda(name string, fn uintptr, args ...uintptr) error {
	r, err := c.inContext(fn, args...)
	if err != nil {
		return err
	}
	return c.failure(name, int32(r))
}

// Info implements driver.Card.
func (c *card) Info() driver.Info { return c.info }

// MemoryFree implements driver.Card.
func (c *card) MemoryFree() (int, error) {
	sizes := new([2]uint64)
	err := c.cuda("cuMemGetInfo", c.cuMemGetInfo, uintptr(unsafe.Pointer(&sizes[0])), uintptr(unsafe.Pointer(&sizes[1])))
	return int(sizes[0]), err
}

// outOfMemory adds to an error what was asked for and what there is.
func (c *card) outOfMemory(err error, call string, bytes int) error {
	e, ok := err.(*driver.Error)
	if !ok {
		return err
	}
	e.Call = fmt.Sprintf("%s(%d bytes)", call, bytes)
	if e.Code != cudaOutOfMemory {
		return e
	}
	if free, err := c.MemoryFree(); err == nil {
		e.Call = fmt.Sprintf("%s(%d bytes; %d of the card's %d are free)", call, bytes, free, c.info.Memory)
	}
	return e
}

// Alloc implements driver.Card.
func (c *card) Alloc(bytes int) (driver.Ptr, error) {
	if bytes <= 0 {
		return 0, fmt.Errorf("libraries: an allocation of %d bytes", bytes)
	}
	p := new(driver.Ptr)
	if err := c.cuda("cuMemAlloc", c.cuMemAlloc, uintptr(unsafe.Pointer(p)), uintptr(bytes)); err != nil {
		return 0, c.outOfMemory(err, "cuMemAlloc", bytes)
	}
	c.mu.Lock()
	c.memory[*p] = bytes
	c.mu.Unlock()
	return *p, nil
}

// drop removes k from m, if it is there.
func drop[K comparable, V any](c *card, m map[K]V, k K, what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := m[k]; !ok {
		return fmt.Errorf("libraries: freeing %s %v that the card does not have", what, k)
	}
	delete(m, k)
	return nil
}

// Free implements driver.Card.
func (c *card) Free(p driver.Ptr) error {
	if err := drop(c, c.memory, p, "memory"); err != nil {
		return err
	}
	return c.cuda("cuMemFree", c.cuMemFree, uintptr(p))
}

// AllocHost implements driver.Card.
func (c *card) AllocHost(bytes int) (unsafe.Pointer, error) {
	if bytes <= 0 {
		return nil, fmt.Errorf("libraries: an allocation of %d bytes", bytes)
	}
	p := new(unsafe.Pointer) // it will point outside Go's heap
	if err := c.cuda("cuMemHostAlloc", c.cuMemHostAlloc, uintptr(unsafe.Pointer(p)), uintptr(bytes), hostPortable); err != nil {
		return nil, c.outOfMemory(err, "cuMemHostAlloc", bytes)
	}
	c.mu.Lock()
	c.host[*p] = bytes
	c.mu.Unlock()
	return *p, nil
}

// FreeHost implements driver.Card.
func (c *card) FreeHost(p unsafe.Pointer) error {
	if err := drop(c, c.host, p, "host memory"); err != nil {
		return err
	}
	return c.cuda("cuMemFreeHost", c.cuMemFreeHost, uintptr(p))
}

// NewStream implements driver.Card. The stream does not wait for the null
// stream, which nothing here uses.
func (c *card) NewStream() (driver.Stream, error) {
	_, greatest, err := c.priorities()
	if err != nil {
		return 0, err
	}
	return c.newStream(greatest)
}

// NewYieldingStream implements driver.Card.
func (c *card) NewYieldingStream() (driver.Stream, error) {
	least, _, err := c.priorities()
	if err != nil {
		return 0, err
	}
	return c.newStream(least)
}

// priorities are those that streams can have; the greatest is the lowest number.
func (c *card) priorities() (least, greatest int32, err error) {
	p := new([2]int32)
	err = c.cuda("cuCtxGetStreamPriorityRange", c.cuCtxGetStreamPriorityRange, uintptr(unsafe.Pointer(&p[0])), uintptr(unsafe.Pointer(&p[1])))
	return p[0], p[1], err
}

func (c *card) newStream(priority int32) (driver.Stream, error) {
	s := new(driver.Stream)
	if err := c.cuda("cuStreamCreateWithPriority", c.cuStreamCreateWithPriority, uintptr(unsafe.Pointer(s)), streamNonBlocking, uintptr(priority)); err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.streams[*s] = true
	c.mu.Unlock()
	return *s, nil
}

// DestroyStream implements driver.Card.
func (c *card) DestroyStream(s driver.Stream) error {
	if err := drop(c, c.streams, s, "stream"); err != nil {
		return err
	}
	return c.cuda("cuStreamDestroy", c.cuStreamDestroy, uintptr(s))
}

// SyncStream implements driver.Card.
func (c *card) SyncStream(s driver.Stream) error {
	return c.cudaStep("cuStreamSynchronize", c.cuStreamSynchronize, 1, list{uintptr(s)})
}

// NewEvent implements driver.Card. Events only order: they take no times.
func (c *card) NewEvent() (driver.Event, error) { return c.newEvent(eventNoTiming) }

// NewTimedEvent makes an event that takes the time when it is reached.
func (c *card) NewTimedEvent() (driver.Event, error) { return c.newEvent(eventDefault) }

// Elapsed is the time between two timed events, both of which are over.
func (c *card) Elapsed(from, to driver.Event) (time.Duration, error) {
	ms := new(float32)
	err := c.cuda("cuEventElapsedTime", c.cuEventElapsedTime, uintptr(unsafe.Pointer(ms)), uintptr(from), uintptr(to))
	return time.Duration(float64(*ms) * float64(time.Millisecond)), err
}

func (c *card) newEvent(flags uintptr) (driver.Event, error) {
	e := new(driver.Event)
	if err := c.cuda("cuEventCreate", c.cuEventCreate, uintptr(unsafe.Pointer(e)), flags); err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.events[*e] = true
	c.mu.Unlock()
	return *e, nil
}

// DestroyEvent implements driver.Card.
func (c *card) DestroyEvent(e driver.Event) error {
	if err := drop(c, c.events, e, "event"); err != nil {
		return err
	}
	return c.cuda("cuEventDestroy", c.cuEventDestroy, uintptr(e))
}

// Record implements driver.Card.
func (c *card) Record(e driver.Event, s driver.Stream) error {
	return c.cudaStep("cuEventRecord", c.cuEventRecord, 2, list{uintptr(e), uintptr(s)})
}

// Wait implements driver.Card.
func (c *card) Wait(s driver.Stream, e driver.Event) error {
	return c.cudaStep("cuStreamWaitEvent", c.cuStreamWaitEvent, 3, list{uintptr(s), uintptr(e), 0})
}

// SyncEvent implements driver.Card.
func (c *card) SyncEvent(e driver.Event) error {
	return c.cudaStep("cuEventSynchronize", c.cuEventSynchronize, 1, list{uintptr(e)})
}

// EventDone implements driver.Card.
func (c *card) EventDone(e driver.Event) (bool, error) {
	r, err := c.step(c.cuEventQuery, 1, list{uintptr(e)})
	if err != nil {
		return false, err
	}
	if int32(r) == cudaNotReady {
		return false, nil
	}
	err = c.failure("cuEventQuery", int32(r))
	return err == nil, err
}

// CopyToCard implements driver.Card.
func (c *card) CopyToCard(dst driver.Ptr, src unsafe.Pointer, bytes int, s driver.Stream) error {
	return c.cudaStep("cuMemcpyHtoDAsync", c.cuMemcpyHtoDAsync, 4, list{uintptr(dst), uintptr(src), uintptr(bytes), uintptr(s)})
}

// CopyFromCard implements driver.Card.
func (c *card) CopyFromCard(dst unsafe.Pointer, src driver.Ptr, bytes int, s driver.Stream) error {
	return c.cudaStep("cuMemcpyDtoHAsync", c.cuMemcpyDtoHAsync, 4, list{uintptr(dst), uintptr(src), uintptr(bytes), uintptr(s)})
}

// CopyOnCard implements driver.Card.
func (c *card) CopyOnCard(dst, src driver.Ptr, bytes int, s driver.Stream) error {
	return c.cudaStep("cuMemcpyDtoDAsync", c.cuMemcpyDtoDAsync, 4, list{uintptr(dst), uintptr(src), uintptr(bytes), uintptr(s)})
}

// Zero implements driver.Card.
func (c *card) Zero(dst driver.Ptr, bytes int, s driver.Stream) error {
	return c.cudaStep("cuMemsetD8Async", c.cuMemsetD8Async, 4, list{uintptr(dst), 0, uintptr(bytes), uintptr(s)})
}

// keep has a plan closed with the card, unless it is closed before.
func (c *card) keep(p interface{ Close() error }) {
	c.mu.Lock()
	c.plans[p] = true
	c.mu.Unlock()
}

// keys copies the keys of a map, for freeing them one by one.
func keys[K comparable, V any](c *card, m map[K]V) []K {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]K, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	return all
}

// Close implements driver.Card. It frees all that is left, goes on where
// something fails, and returns the first error.
func (c *card) Close() error {
	if c.closed.Load() || c.current[0] == 0 {
		return nil
	}
	var first error
	note := func(err error) {
		if err != nil && first == nil {
			first = err
		}
	}
	note(c.cuda("cuCtxSynchronize", c.cuCtxSynchronize))
	for _, p := range keys(c, c.plans) {
		note(p.Close())
	}
	if c.dnnHandle != 0 {
		note(c.dnn("cudnnDestroy", c.dnnAPI.cudnnDestroy, c.dnnHandle))
	}
	if c.ltHandle != 0 {
		note(c.lt("cublasLtDestroy", c.ltAPI.cublasLtDestroy, c.ltHandle))
	}
	for _, g := range keys(c, c.graphs) {
		note(c.DestroyGraph(g))
	}
	for _, m := range keys(c, c.modules) {
		note(c.Unload(m))
	}
	for _, e := range keys(c, c.events) {
		note(c.DestroyEvent(e))
	}
	for _, s := range keys(c, c.streams) {
		note(c.DestroyStream(s))
	}
	for _, p := range keys(c, c.memory) {
		note(c.Free(p))
	}
	for _, p := range keys(c, c.host) {
		note(c.FreeHost(p))
	}
	c.closed.Store(true)
	note(c.check("cuDevicePrimaryCtxRelease", c.cuDevicePrimaryCtxRelease, uintptr(c.device)))
	return first
}
