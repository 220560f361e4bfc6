package pool

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

func TestRunCoversEveryTaskOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 5, 8} {
		p := New(threads)
		if p.Threads() != threads {
			t.Fatalf("Threads() = %d, want %d", p.Threads(), threads)
		}
		for _, tasks := range []int{0, 1, 2, 3, 7, 100, 1000} {
			for range 50 {
				counts := make([]int32, tasks)
				busy := make([]int32, threads)
				p.Run(tasks, func(task, worker int) {
					if atomic.AddInt32(&busy[worker], 1) != 1 {
						t.Errorf("worker %d runs two tasks at once", worker)
					}
					counts[task]++ // plain: the race detector checks that Run orders it
					atomic.AddInt32(&busy[worker], -1)
				})
				for task, n := range counts {
					if n != 1 {
						t.Fatalf("%d threads, %d tasks: task %d ran %d times", threads, tasks, task, n)
					}
				}
			}
		}
		p.Close()
	}
}

// TestGenerationsDoNotMix runs many short generations with different functions
// and lets the workers fall asleep at odd moments.
func TestGenerationsDoNotMix(t *testing.T) {
	p := New(4)
	defer p.Close()
	var current atomic.Int64
	for gen := int64(1); gen <= 5000; gen++ {
		current.Store(gen)
		sum := make([]int64, 9)
		p.Run(len(sum), func(task, _ int) {
			if current.Load() != gen {
				t.Errorf("a task of generation %d ran in generation %d", gen, current.Load())
			}
			sum[task] = gen
		})
		for task, v := range sum {
			if v != gen {
				t.Fatalf("generation %d: task %d left %d", gen, task, v)
			}
		}
		if gen%1000 == 0 {
			time.Sleep(time.Millisecond) // long enough to park
		}
	}
}

// TestUnevenTasks makes the caller wait, parked, for a worker.
func TestUnevenTasks(t *testing.T) {
	p := New(2)
	defer p.Close()
	for range 5 {
		var done [2]bool
		p.Run(2, func(task, worker int) {
			if worker != 0 {
				time.Sleep(2 * time.Millisecond)
			}
			done[task] = true
		})
		if done != [2]bool{true, true} {
			t.Fatal("Run returned before its tasks")
		}
	}
}

func TestPanicOfATaskLeavesThePoolUsable(t *testing.T) {
	for _, threads := range []int{1, 3} {
		p := New(threads)
		func() {
			defer func() {
				if r := recover(); r != "boom" {
					t.Errorf("recovered %v, want boom", r)
				}
			}()
			// Only the caller panics: a panic of a worker ends the program.
			p.Run(100, func(_, worker int) {
				if worker == 0 {
					panic("boom")
				}
				runtime.Gosched()
			})
		}()
		var n atomic.Int64
		p.Run(10, func(int, int) { n.Add(1) })
		if n.Load() != 10 {
			t.Errorf("%d threads: %d tasks ran after a panic, want 10", threads, n.Load())
		}
		p.Close()
	}
}

func TestMisusePanics(t *testing.T) {
	mustPanic := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", what)
			}
		}()
		f()
	}
	mustPanic("New(0)", func() { New(0) })
	p := New(1)
	mustPanic("a nested Run", func() { p.Run(1, func(int, int) { p.Run(1, func(int, int) {}) }) })
	mustPanic("Close in a Run", func() { p.Run(1, func(int, int) { p.Close() }) })
	q := New(2)
	q.Close()
	q.Close()
	mustPanic("Run after Close", func() { q.Run(5, func(int, int) {}) })
}

func TestCloseEndsTheWorkers(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		p := New(6)
		p.Run(12, func(int, int) {})
		p.Close()
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after Close", before, after)
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	for _, threads := range []int{1, 3} {
		p := New(threads)
		var n atomic.Int64
		f := func(_, worker int) {
			p.Scratch(worker, 1000)
			n.Add(1)
		}
		p.Scratch(0, 1000)
		for w := range threads {
			p.Scratch(w, 1000)
		}
		if a := testing.AllocsPerRun(200, func() { p.Run(8, f) }); a != 0 {
			t.Errorf("%d threads: %v allocations a Run", threads, a)
		}
		p.Close()
	}
}

func TestScratch(t *testing.T) {
	p := New(2)
	defer p.Close()
	for _, n := range []int{1, 10, 100, 5, 100000} {
		for w := range 2 {
			b := p.Scratch(w, n)
			if len(b) < n || uintptr(unsafe.Pointer(&b[0]))%64 != 0 {
				t.Errorf("Scratch(%d, %d): %d bytes at %p", w, n, len(b), &b[0])
			}
		}
	}
	// Memory that a task was given stays its own when it asks for more.
	first := p.Scratch(0, 1)
	first[0] = 7
	more := p.Scratch(0, len(first)+1)
	more[0] = 8
	if first[0] != 7 {
		t.Error("asking for more changed what was given before")
	}
	a, b := p.Scratch(0, 10), p.Scratch(1, 10)
	a[0], b[0] = 1, 2
	if a[0] != 1 {
		t.Error("two workers share scratch memory")
	}
}

// BenchmarkRun is the cost of a Run of empty tasks: what a small layer pays to
// synchronise.
func BenchmarkRun(b *testing.B) {
	for threads := 1; threads <= runtime.GOMAXPROCS(0); threads *= 2 {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			p := New(threads)
			defer p.Close()
			f := func(int, int) {}
			b.ReportAllocs()
			for b.Loop() {
				p.Run(threads, f)
			}
		})
	}
}

// BenchmarkRunParked is the same for workers that sleep: the first layer after
// a pause.
func BenchmarkRunParked(b *testing.B) {
	p := New(2)
	defer p.Close()
	var spent time.Duration
	f := func(int, int) {}
	for b.Loop() {
		time.Sleep(300 * time.Microsecond)
		start := time.Now()
		p.Run(2, f)
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/run")
}
