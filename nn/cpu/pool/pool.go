// Package pool owns the threads of the cpu engine: persistent workers that
// share the tasks of one call after another.
//
// A call of Run is a generation. The pool's whole state is one word, so that a
// worker joins a generation, or finds that it came too late, by one
// compare-and-swap:
//
//	 63           32 31  30                 0
//	+---------------+---+--------------------+
//	| generation    | o | workers inside     |   o: the generation is open
//	+---------------+---+--------------------+
//
//	Run:     set the function and the task count, open, wake sleepers, claim
//	         tasks until none is left, close, wait for "inside" to fall to 0
//	worker:  wait for an open generation that it has not seen, enter, claim
//	         tasks until none is left, leave
//
// A worker that the operating system has not scheduled does not hold a
// generation up, for only those inside are waited for. Waiting spins for some
// tens of microseconds, so that consecutive small layers synchronise in about
// a microsecond, and then parks on a channel, so that an idle pool costs
// nothing.
//
// Which worker runs which task is decided by who is free; a result must
// therefore depend on the task alone, never on the worker.
package pool

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	openBit    = 1 << 31
	insideMask = openBit - 1
	genShift   = 32
)

// A waiter spins spinRounds times spinPauses pause instructions, about 30 us
// on a machine of today, before it parks. Each round gives way to other
// goroutines (the one that gathers the next batch) when there are some.
const (
	spinRounds = 120
	spinPauses = 8
)

// Pool is a set of threads. Run may be called by one goroutine at a time.
type Pool struct {
	state atomic.Uint64
	_     [56]byte // the words that threads fight for have cache lines of their own
	next  atomic.Int64
	_     [56]byte

	// Written by Run while nobody is inside, read by those inside.
	f     func(task, worker int)
	tasks int64

	running atomic.Bool   // a Run is in progress; guards against misuse
	asleep  atomic.Bool   // Run is parked on idle
	idle    chan struct{} // tells a parked Run that the last worker left

	workers []worker       // those beside the caller: worker i+1 is workers[i]
	scratch []scratch      // a workspace each worker, caller first
	closed  atomic.Bool    // Close was called
	exited  sync.WaitGroup // counts the workers' goroutines
	spin    bool           // whether waiting may spin: not when threads outnumber processors
}

// worker is a goroutine that waits for work.
type worker struct {
	asleep atomic.Bool   // parked on wake
	wake   chan struct{} // of capacity 1: a token each time asleep goes from true to false by another's hand
	_      [40]byte
}

// New returns a pool of the given number of threads, at least 1. The caller of
// Run is one of them, so New starts threads-1 goroutines; they end at Close.
func New(threads int) *Pool {
	if threads < 1 {
		panic(fmt.Sprintf("pool: %d threads", threads))
	}
	p := &Pool{
		idle:    make(chan struct{}, 1),
		workers: make([]worker, threads-1),
		scratch: make([]scratch, threads),
		spin:    threads <= runtime.GOMAXPROCS(0),
	}
	p.exited.Add(threads - 1)
	for i := range p.workers {
		p.workers[i].wake = make(chan struct{}, 1)
		go p.work(i)
	}
	return p
}

// Threads returns the number of threads, the caller of Run among them.
func (p *Pool) Threads() int { return len(p.workers) + 1 }

// hugePage is the size in bytes of a huge page where Go runs most; elsewhere
// the alignment to it does no harm.
const hugePage = 2 << 20

// Scratch returns at least n bytes, aligned to a cache line, for worker to use
// during the task that it runs. Their content does not survive to the next
// task. It allocates only when worker asks for more than ever before; what the
// task was given earlier stays valid until Close.
func (p *Pool) Scratch(worker, n int) []byte {
	s := &p.scratch[worker]
	if len(s.bytes) < n {
		b, free := allocPages((n + hugePage - 1) / hugePage * hugePage)
		s.bytes, s.free = b, append(s.free, free)
	}
	return s.bytes
}

// scratch is a worker's memory, and what gives it and those before it back.
type scratch struct {
	bytes []byte
	free  []func()
	_     [16]byte // each worker writes its own cache line
}

// cacheLine is the size in bytes of a line of the processor's caches.
const cacheLine = 64

// allocLines returns n bytes of Go's heap, aligned to a cache line.
func allocLines(n int) []byte { return aligned(make([]byte, n+cacheLine), n, cacheLine) }

// aligned returns the first n bytes of b at a multiple of the given power of two.
func aligned(b []byte, n, to int) []byte {
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (to - 1)
	return b[skip : skip+n : skip+n]
}

// Run calls f(task, worker) once for every task in [0, tasks) and returns when
// all calls have returned. Tasks are claimed in ascending order; worker, in
// [0, Threads()), is the same for calls that follow one another on one thread
// and tells scratch memory apart. Run allocates nothing; pass an f that was
// built beforehand to keep the call free of allocation.
//
// f must not call Run on the same pool, and two goroutines must not call Run
// at once: both panic.
func (p *Pool) Run(tasks int, f func(task, worker int)) {
	if !p.running.CompareAndSwap(false, true) {
		panic("pool: Run called while another Run is in progress")
	}
	if len(p.workers) == 0 || tasks <= 1 {
		defer p.running.Store(false)
		for task := range tasks {
			f(task, 0)
		}
		return
	}
	if p.closed.Load() {
		panic("pool: Run called after Close")
	}
	p.f, p.tasks = f, int64(tasks)
	p.next.Store(0)
	gen := uint64(uint32(p.state.Load()>>genShift) + 1)
	p.state.Store(gen<<genShift | openBit)
	defer p.finish() // on a panic of f too
	p.rouse(tasks - 1)
	p.claim(0)
}

// claim runs tasks until none is left.
func (p *Pool) claim(worker int) {
	f, tasks := p.f, p.tasks
	for {
		task := p.next.Add(1) - 1
		if task >= tasks {
			return
		}
		f(int(task), worker)
	}
}

// rouse wakes at most n parked workers.
func (p *Pool) rouse(n int) {
	for i := range p.workers {
		if n == 0 {
			return
		}
		w := &p.workers[i]
		if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
		n-- // a worker that spins counts as woken
	}
}

// finish closes the generation and waits until nobody is inside.
func (p *Pool) finish() {
	p.next.Store(p.tasks) // after a panic: no further task
	s := p.state.And(^uint64(openBit))
	if s&insideMask != 0 {
		p.awaitEmpty()
	}
	p.f = nil
	p.running.Store(false)
}

// awaitEmpty returns when no worker is inside the closed generation.
func (p *Pool) awaitEmpty() {
	for round := 0; p.spin && round < spinRounds; round++ {
		if p.state.Load()&insideMask == 0 {
			return
		}
		relax(round)
	}
	// A worker that left an earlier generation and was held up since may wake
	// us early, hence the loop.
	for p.state.Load()&insideMask != 0 {
		p.asleep.Store(true)
		if p.state.Load()&insideMask == 0 && p.asleep.CompareAndSwap(true, false) {
			return
		}
		<-p.idle // sent by whoever set asleep to false
	}
}

// work is the life of a worker goroutine.
func (p *Pool) work(i int) {
	defer p.exited.Done()
	w := &p.workers[i]
	seen := uint64(0)
	for p.await(w, seen) {
		s := p.state.Load()
		if s&openBit == 0 || s>>genShift == seen {
			continue
		}
		if !p.state.CompareAndSwap(s, s+1) {
			continue
		}
		seen = s >> genShift
		p.claim(i + 1)
		// Closed and nobody left inside: a parked Run waits for us.
		if p.state.Add(^uint64(0))&(openBit|insideMask) == 0 && p.asleep.CompareAndSwap(true, false) {
			p.idle <- struct{}{}
		}
	}
}

// await returns true when there may be an open generation other than seen, and
// false when the pool is closed.
func (p *Pool) await(w *worker, seen uint64) bool {
	ready := func() bool {
		s := p.state.Load()
		return s&openBit != 0 && s>>genShift != seen || p.closed.Load()
	}
	for round := 0; p.spin && round < spinRounds; round++ {
		if ready() {
			return !p.closed.Load()
		}
		relax(round)
	}
	w.asleep.Store(true)
	if ready() && w.asleep.CompareAndSwap(true, false) {
		return !p.closed.Load()
	}
	<-w.wake
	return !p.closed.Load()
}

// relax is one round of waiting.
func relax(round int) {
	pause(spinPauses)
	if round&7 == 7 {
		runtime.Gosched()
	}
}

// Close ends the workers and waits for them. It must not be called during a
// Run; calling it again does nothing.
func (p *Pool) Close() {
	if p.running.Load() {
		panic("pool: Close called while a Run is in progress")
	}
	p.closed.Store(true)
	p.rouse(len(p.workers))
	p.exited.Wait()
	for i := range p.scratch {
		for _, free := range p.scratch[i].free {
			free()
		}
		p.scratch[i] = scratch{}
	}
}
