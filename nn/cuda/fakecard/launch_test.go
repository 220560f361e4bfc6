package fakecard_test

import (
	"strings"
	"testing"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
)

// TestLaunchChecks needs no compiler: nothing is computed.
func TestLaunchChecks(t *testing.T) {
	b := newBed(t, fakecard.Options{CheckOnly: true})
	set := must(kernels.Load(b, t.TempDir()))
	p, q := must(b.Alloc(64)), must(b.Alloc(32))
	relu := func(s driver.Stream, y, x driver.Ptr, n uint64) error {
		return set.Launch(s, "relu_forward_f32", kernels.P(y), kernels.P(x), kernels.L(n))
	}
	b.ok(relu(b.s, q, p, 8))
	b.ok(relu(b.s, q, p.Add(32), 8))
	b.expect()
	_ = relu(b.s, q, p, 9)
	b.expect("relu_forward_f32: y is mem2[0:36]")
	_ = relu(b.s, q, p.Add(36), 8)
	b.expect("x is mem1[36:68]")
	_ = relu(b.s, q.Add(2), p, 2)
	b.expect("not aligned to 4 bytes")
	b.ok(relu(b.u, q, p, 1))
	b.expect("race on mem2[0:4]", "relu_forward_f32 (stream1)", "relu_forward_f32 (stream2)")
	b.ok(b.SyncStream(b.s))
	b.ok(b.SyncStream(b.u))
	b.ok(b.Free(p))
	_ = relu(b.s, q, p, 1)
	b.expect("x is mem1, which is freed")
	_ = b.Launch(9999, driver.Dim{X: 1, Y: 1, Z: 1}, driver.Dim{X: 1, Y: 1, Z: 1}, 0, b.s, nil)
	b.expect("function 9999 does not exist")
	m := must(b.Load(must(compile(b, "a.cu", "KERNEL one(int *y, int n) {}\n"))))
	f := must(b.Function(m, "one"))
	one := driver.Dim{X: 1, Y: 1, Z: 1}
	_ = b.Launch(f, one, one, 0, b.s, []driver.Arg{kernels.P(q), kernels.F(1)})
	b.expect("argument 1 (n) is of kind")
	_ = b.Launch(f, driver.Dim{X: 1, Y: 70000, Z: 1}, one, 0, b.s, []driver.Arg{kernels.P(q), kernels.I(1)})
	b.expect("grid {1 70000 1}")
	_ = b.Launch(f, one, driver.Dim{X: 1025, Y: 1, Z: 1}, 0, b.s, []driver.Arg{kernels.P(q), kernels.I(1)})
	b.expect("block {1025 1 1}")
	if _, err := b.Function(m, "two"); err == nil {
		t.Error("a function that is not there is found")
	}
	b.ok(b.Unload(m))
	_ = b.Launch(f, one, one, 0, b.s, []driver.Arg{kernels.P(q), kernels.I(1)})
	b.expect("does not exist")
	if _, err := b.Load([]byte("no code")); err == nil {
		t.Error("what is no code is loaded")
	}
	if _, err := b.Load(nil); err == nil {
		t.Error("no code is loaded")
	}
	b.expect()
}

func compile(b *bed, name, source string) ([]byte, error) {
	code, _, err := b.Compile(name, source)
	return code, err
}

// TestOptimizerTable: what an optimiser reaches through its table is checked too.
func TestOptimizerTable(t *testing.T) {
	b := newBed(t, fakecard.Options{CheckOnly: true})
	set := must(kernels.Load(b, t.TempDir()))
	w, g, u := must(b.Alloc(40)), must(b.Alloc(40)), must(b.Alloc(36))
	table, chunks := kernels.OptimizerTable([]kernels.OptimizerTensor{{Weight: w, Gradient: g, State: [2]driver.Ptr{u}, Elements: 9}})
	h, d := b.host(18, 0), must(b.Alloc(72))
	copy(words(h), table)
	copy(ints(h[14:]), chunks)
	b.ok(b.CopyToCard(d, ptr(h), 72, b.s))
	args := []driver.Arg{kernels.P(d), kernels.P(d.Add(56)), kernels.P(d.Add(64)), kernels.I(1), kernels.I(1), kernels.F(0.9), kernels.F(0)}
	b.ok(set.Launch(b.s, "sgd_f32", args...))
	b.expect()
	b.ok(b.Zero(w, 4, b.u))
	b.expect("race on mem1[0:4]", "sgd_f32")
	words(h)[5] = 10
	b.ok(b.SyncStream(b.u))
	b.ok(b.CopyToCard(d, ptr(h), 72, b.s))
	_ = set.Launch(b.s, "sgd_f32", args...)
	b.expect("word 2 of tensor 0 is mem3[0:40]")
}

// rules are kernels that break some.
const rules = `
//@ y[n]
KERNEL beyond(float *y, int n) { if (threadIdx.x == 0) y[n] = 1; }
//@ y[n]
KERNEL before(float *y, int n) { if (threadIdx.x == 0) y[-1] = 1; }
//@ y[n]
KERNEL half_barrier(float *y, int n) { if (threadIdx.x < 128) __syncthreads(); y[0] = 1; }
//@ y[n]
KERNEL half_warp(float *y, int n) { if (threadIdx.x % 32 < 16) y[0] = __shfl_xor_sync(0xffffffffu, 1.0f, 1); }
// Lanes and blocks each see their own numbers.
//@ y[n]
KERNEL numbers(float *y, int n) {
	__shared__ float s[256];
	float v = __shfl_xor_sync(0xffffffffu, (float)threadIdx.x, 1) + 1000 * blockIdx.x + 10000 * gridDim.x;
	s[255 - threadIdx.x] = v;
	__syncthreads();
	y[blockIdx.x * 256 + threadIdx.x] = s[threadIdx.x];
}
`

func TestKernelRules(t *testing.T) {
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skip("kernels were NOT executed: " + why)
	}
	b := newBed(t, fakecard.Options{})
	source := kernels.Sources()[0].Text + rules
	m := must(b.Load(must(compile(b, "rules.cu", source))))
	p := must(b.Alloc(4 * 512))
	run := func(name string, grid int) error {
		f := must(b.Function(m, name))
		b.ok(b.Launch(f, driver.Dim{X: grid, Y: 1, Z: 1}, driver.Dim{X: 256, Y: 1, Z: 1}, 0, b.s, []driver.Arg{kernels.P(p), kernels.I(512)}))
		return b.SyncStream(b.s)
	}
	b.ok(run("numbers", 2))
	y := b.host(512, 0)
	b.ok(b.CopyFromCard(ptr(y), p, 4*512, b.s))
	b.ok(b.SyncStream(b.s))
	for i, v := range y {
		if want := float32((255 - i%256) ^ 1 + 1000*(i/256) + 20000); v != want {
			t.Fatalf("element %d is %g, want %g", i, v, want)
		}
	}
	b.expect()
	b.ok(run("beyond", 1))
	b.expect("beyond wrote outside mem1")
	b2 := newBed(t, fakecard.Options{})
	m, p, b = must(b2.Load(must(compile(b2, "rules.cu", source)))), must(b2.Alloc(4*512)), b2
	b.ok(run("before", 1))
	b.expect("before wrote outside mem1")
	for _, name := range []string{"half_barrier", "half_warp"} {
		b = newBed(t, fakecard.Options{})
		m, p = must(b.Load(must(compile(b, "rules.cu", source)))), must(b.Alloc(4*512))
		if err := run(name, 1); err == nil {
			t.Errorf("%s succeeds", name)
		}
		b.expect(name, "wait at a barrier")
	}
}

const ordered = `
//@ y[n]
KERNEL barrier(float *y, int n) {
	__shared__ int at[THREADS];
	at[threadIdx.x] = threadIdx.x;
	__syncthreads();
	y[blockIdx.x * THREADS + threadIdx.x] = at[threadIdx.x ^ 85];
}
//@ y[n]
KERNEL none(float *y, int n) {
	__shared__ int at[THREADS];
	at[threadIdx.x] = threadIdx.x;
	y[blockIdx.x * THREADS + threadIdx.x] = at[threadIdx.x ^ 85];
}
//@ y[n]
KERNEL left(float *y, int n) {
	__shared__ int at[2][THREADS / 2];
	y[blockIdx.x * THREADS + threadIdx.x] = at[threadIdx.x / 128][threadIdx.x % 128];
	__syncthreads();
	at[threadIdx.x / 128][threadIdx.x % 128] = 7;
}
`

// TestOrderOfThreads: who comes first changes, so that a kernel that lacks a
// barrier is noticed; and shared memory is never that of another block.
func TestOrderOfThreads(t *testing.T) {
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skip("kernels were NOT executed: " + why)
	}
	b := newBed(t, fakecard.Options{})
	m := must(b.Load(must(compile(b, "ordered.cu", kernels.Sources()[0].Text+ordered))))
	p, y := must(b.Alloc(4*512)), b.host(512, 0)
	run := func(name string) []float32 {
		f := must(b.Function(m, name))
		b.ok(b.Launch(f, driver.Dim{X: 2, Y: 1, Z: 1}, driver.Dim{X: 256, Y: 1, Z: 1}, 0, b.s, []driver.Arg{kernels.P(p), kernels.I(512)}))
		b.ok(b.CopyFromCard(ptr(y), p, 4*512, b.s))
		b.ok(b.SyncStream(b.s))
		return y
	}
	right := func(name string) int {
		n := 0
		for i, v := range run(name) {
			if v == float32(i%256^85) {
				n++
			}
		}
		return n
	}
	for range 3 {
		if n := right("barrier"); n != 512 {
			t.Errorf("%d of 512 threads are right behind a barrier", n)
		}
		if n := right("none"); n > 400 {
			t.Errorf("%d of 512 threads are right without a barrier", n)
		}
		for i, v := range run("left") {
			if v != -1 {
				t.Fatalf("thread %d finds %g in shared memory", i, v)
			}
		}
	}
}

func TestCompileError(t *testing.T) {
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skip("nothing was compiled: " + why)
	}
	b := newBed(t, fakecard.Options{})
	_, log, err := b.Compile("bad.cu", kernels.Sources()[0].Text+"//@ y[n]\nKERNEL bad(int *y, int n) { y[0] = no_such_thing; }\n")
	if err == nil || !strings.Contains(log, "no_such_thing") {
		t.Errorf("a source with a mistake: %v, log %q", err, log)
	}
}
