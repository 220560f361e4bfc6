package fakecard_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
)

// complaints collects what a card reports.
type complaints struct{ list []string }

func (*complaints) Helper() {}

func (c *complaints) Errorf(format string, args ...any) {
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

// bed is a card under test with two streams.
type bed struct {
	*fakecard.Card
	t    *testing.T
	said *complaints
	s, u driver.Stream
}

func newBed(t *testing.T, o fakecard.Options) *bed {
	t.Helper()
	said := &complaints{}
	o.Report = said
	b := &bed{Card: fakecard.New(o), t: t, said: said}
	b.s, b.u = must(b.NewStream()), must(b.NewStream())
	return b
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// expect checks that the card has complained once, with all the words, or not at
// all if there are none.
func (b *bed) expect(words ...string) {
	b.t.Helper()
	list := b.said.list
	b.said.list = nil
	if len(words) == 0 {
		for _, s := range list {
			b.t.Errorf("unexpected: %s", s)
		}
		return
	}
	if len(list) != 1 {
		b.t.Errorf("%d complaints, want one of %q: %q", len(list), words, list)
		return
	}
	for _, w := range words {
		if !strings.Contains(list[0], w) {
			b.t.Errorf("complaint %q does not say %q", list[0], w)
		}
	}
}

func (b *bed) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// host makes page-locked memory of n floats, each v.
func (b *bed) host(n int, v float32) []float32 {
	x := unsafe.Slice((*float32)(must(b.AllocHost(4*n))), n)
	for i := range x {
		x[i] = v
	}
	return x
}

func ptr(x []float32) unsafe.Pointer { return unsafe.Pointer(&x[0]) }

func TestCopies(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	x, y, p, q := b.host(8, 3), b.host(8, 0), must(b.Alloc(32)), must(b.Alloc(32))
	b.ok(b.CopyToCard(p, ptr(x), 32, b.s))
	b.ok(b.CopyOnCard(q, p, 32, b.s))
	b.ok(b.Zero(q.Add(4), 8, b.s))
	b.ok(b.CopyFromCard(ptr(y), q, 32, b.s))
	if y[0] == y[0] {
		t.Errorf("host memory that a copy will write holds %g before the copy is done, want NaN", y[0])
	}
	b.ok(b.SyncStream(b.s))
	if got := fmt.Sprint(y); got != "[3 0 0 3 3 3 3 3]" {
		t.Errorf("copied: %s", got)
	}
	b.expect()
	_ = b.CopyToCard(p.Add(4), ptr(x), 32, b.s)
	b.expect("mem1[4:36]", "has 32 bytes")
	_ = b.CopyToCard(p, ptr(x[4:]), 32, b.s)
	b.expect("host1[16:48]")
	_ = b.CopyOnCard(p.Add(4), p, 16, b.s)
	b.expect("overlap")
	_ = b.CopyOnCard(driver.Ptr(uintptr(ptr(x))), p, 16, b.s)
	b.expect("the other kind of memory")
	_ = b.Zero(0, 4, b.s)
	b.expect("null")
	_ = b.Zero(1<<60, 4, b.s)
	b.expect("in no allocation")
	_ = b.Zero(p, 4, 17)
	b.expect("stream 17 does not exist")
}

func TestHostMemoryReused(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	x, p, e := b.host(8, 3), must(b.Alloc(32)), must(b.NewEvent())
	b.ok(b.CopyToCard(p, ptr(x), 32, b.s))
	x[5] = 4
	b.ok(b.SyncStream(b.s))
	b.expect("host1[0:32] was changed by the host before")
	b.ok(b.CopyToCard(p, ptr(x), 32, b.s))
	b.ok(b.Record(e, b.s))
	if must(b.EventDone(e)) {
		t.Error("an event of queued work is done at once")
	}
	if !must(b.EventDone(e)) {
		t.Error("an event asked for twice is not done")
	}
	x[5] = 5
	b.ok(b.CopyToCard(p, ptr(x), 32, b.s))
	b.ok(b.Record(e, b.s))
	b.ok(b.SyncEvent(e))
	x[5] = 6
	b.ok(b.SyncStream(b.s))
	b.expect()
}

func TestRaces(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	x, p, e := b.host(8, 3), must(b.Alloc(32)), must(b.NewEvent())
	b.ok(b.CopyToCard(p, ptr(x), 32, b.s))
	b.ok(b.Zero(p.Add(28), 4, b.u))
	b.expect("race on mem1[28:32]", "stream1", "stream2", "writes")
	b.ok(b.SyncStream(b.s))
	b.ok(b.SyncStream(b.u))
	b.ok(b.Zero(p, 16, b.s))
	b.ok(b.Zero(p.Add(16), 16, b.u)) // other bytes
	b.expect()
	b.ok(b.Record(e, b.s))
	b.ok(b.Wait(b.u, e))
	b.ok(b.Zero(p, 16, b.u)) // after the event
	b.expect()
	b.ok(b.Record(e, b.u)) // the other way round
	b.ok(b.Zero(p, 16, b.s))
	b.expect("race")
	b.ok(b.SyncEvent(e)) // the host has waited for u's work
	q := must(b.Alloc(32))
	b.ok(b.Zero(q, 32, b.s))
	b.ok(b.SyncStream(b.s))
	b.ok(b.CopyOnCard(p, q, 32, b.u)) // both wait for nothing more
	b.expect()
	b.ok(b.CopyOnCard(p, q, 4, b.u)) // two readers of q
	r := must(b.Alloc(32))
	b.ok(b.CopyOnCard(r, q, 4, b.s))
	b.expect()
}

// TestRaceAcrossThree: an event hands on what its stream has waited for.
func TestRaceAcrossThree(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	w := must(b.NewStream())
	p, e, f := must(b.Alloc(32)), must(b.NewEvent()), must(b.NewEvent())
	b.ok(b.Zero(p, 32, b.s))
	b.ok(b.Record(e, b.s))
	b.ok(b.Wait(b.u, e))
	b.ok(b.Record(f, b.u))
	b.ok(b.Wait(w, f))
	b.ok(b.Zero(p, 32, w))
	b.ok(b.SyncStream(w))
	b.expect()
}

func TestLifetimes(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	p, q := must(b.Alloc(32)), must(b.Alloc(64))
	b.ok(b.Zero(p, 32, b.s))
	b.ok(b.Free(p))
	b.expect("mem1 is freed while zero of mem1[0:32]")
	b.ok(b.SyncStream(b.s))
	_ = b.Free(p)
	b.expect("mem1, which is freed")
	_ = b.Zero(p, 32, b.s)
	b.expect("mem1, which is freed")
	_ = b.Free(q.Add(32))
	b.expect("not the beginning")
	_ = b.FreeHost(*(*unsafe.Pointer)(unsafe.Pointer(&q)))
	b.expect("the other kind of memory")
	for range 20 {
		if again := must(b.Alloc(32)); again == p {
			t.Error("an address was given twice")
		}
	}
	b.said.list = nil
	b.ok(b.Close())
	if n := len(b.said.list); n != 22 { // 21 allocations, streams
		t.Errorf("%d complaints about what is left: %q", n, b.said.list)
	}
	b.said.list = nil
	_ = b.SyncStream(b.s)
	b.expect("after Close")
}

func TestMemoryLimit(t *testing.T) {
	b := newBed(t, fakecard.Options{Memory: 100})
	p := must(b.Alloc(60))
	_, err := b.Alloc(60)
	if e, ok := err.(*driver.Error); !ok || e.Code != 2 {
		t.Errorf("too much memory: %v", err)
	}
	if n := must(b.MemoryFree()); n != 40 || b.Info().Memory != 100 {
		t.Errorf("%d bytes free", n)
	}
	b.ok(b.Free(p))
	must(b.Alloc(100))
	b.expect()
}

func TestFailures(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	lost := &driver.Error{Call: "cuStreamSynchronize", Code: 214, Text: "CUDA_ERROR_ECC_UNCORRECTABLE"}
	b.Fail("Zero", 1, lost)
	p := must(b.Alloc(32))
	b.ok(b.Zero(p, 4, b.s))
	if err := b.Zero(p, 4, b.s); err != lost {
		t.Errorf("second Zero: %v", err)
	}
	b.ok(b.Zero(p, 4, b.s))
	b.FailLate("Zero", 0, lost)
	b.ok(b.Zero(p, 4, b.s))
	for range 2 {
		if err := b.SyncStream(b.s); err != lost {
			t.Errorf("after work that failed: %v", err)
		}
	}
	b.expect()
}

func TestTrace(t *testing.T) {
	b := newBed(t, fakecard.Options{Trace: true, CheckOnly: true})
	set := must(kernels.Load(b, t.TempDir()))
	p, q, x, e := must(b.Alloc(64)), must(b.Alloc(32)), b.host(8, 1), must(b.NewEvent())
	b.ok(b.CopyToCard(p, ptr(x), 32, b.s))
	b.ok(set.Launch(b.s, "relu_dropout_backward_f32", kernels.P(q), kernels.P(p), kernels.P(p.Add(32)), kernels.L(8), kernels.F(1.5)))
	b.ok(b.Record(e, b.s))
	b.ok(b.Wait(b.u, e))
	m := must(b.PlanMatmul(driver.MatmulSpec{M: 2, N: 2, K: 2}, 0))
	b.ok(m.Run(q, p, p.Add(16), 0, 0, b.u))
	b.ok(b.SyncStream(b.u))
	want := `new stream1
new stream2
alloc mem1 64
alloc mem2 32
alloc host1 32
new event1
copy stream1 mem1+0 host1+0 32
launch stream1 relu_dropout_backward_f32 1x1x1/256 (mem2+0, mem1+0, mem1+32, 8, 1.5)
record event1 stream1
wait stream2 event1
plan matmul 2x2x2 {M:2 N:2 K:2 TransA:false TransB:false AB:0 D:0 Math:0 Epilogue:0 Bias:0 Accumulate:false Candidate:0}
matmul 2x2x2 stream2 mem2+0 mem1+0 mem1+16 null null
sync stream2
`
	if got := b.Trace(); got != want {
		t.Errorf("trace:\n%s\nwant:\n%s", got, want)
	}
	b.ResetTrace()
	if b.Trace() != "" {
		t.Error("the trace is not empty after ResetTrace")
	}
	b.expect()
}
