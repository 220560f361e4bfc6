//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/internal/race"
	"sdnn/nn/cuda/driver"
)

// must stops a test at an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newStream makes a stream; the card's Close destroys it.
func newStream(t testing.TB, c driver.Card) driver.Stream {
	t.Helper()
	s, err := c.NewStream()
	must(t, err)
	return s
}

// upload brings data to the card. The memory is the card's until it is closed.
func upload[T any](t testing.TB, c driver.Card, s driver.Stream, data []T) driver.Ptr {
	t.Helper()
	bytes := len(data) * int(unsafe.Sizeof(data[0]))
	p, err := c.Alloc(bytes)
	must(t, err)
	h, err := c.AllocHost(bytes)
	must(t, err)
	copy(unsafe.Slice((*T)(h), len(data)), data)
	must(t, c.CopyToCard(p, h, bytes, s))
	must(t, c.SyncStream(s))
	must(t, c.FreeHost(h))
	return p
}

// download fetches n elements.
func download[T any](t testing.TB, c driver.Card, s driver.Stream, p driver.Ptr, n int) []T {
	t.Helper()
	data := make([]T, n)
	bytes := n * int(unsafe.Sizeof(data[0]))
	h, err := c.AllocHost(bytes)
	must(t, err)
	must(t, c.CopyFromCard(h, p, bytes, s))
	must(t, c.SyncStream(s))
	copy(data, unsafe.Slice((*T)(h), n))
	must(t, c.FreeHost(h))
	return data
}

// probeSource is a kernel that shows its arguments and the place of its threads.
const probeSource = `extern "C" __global__ void probe_f32(float *y, const float *x, int n, unsigned u, unsigned long long k, float a) {
	int i = threadIdx.x + 32 * (threadIdx.y + 2 * threadIdx.z);
	if (blockIdx.x == 4 && blockIdx.y == 5 && blockIdx.z == 6 && i < n) y[i] = a * x[i] + n + u + k;
}`

// probe compiles and finds the kernel of the stub.
func probe(t testing.TB, c driver.Card) driver.Function {
	t.Helper()
	code, _, err := c.Compile("probe.cu", probeSource)
	must(t, err)
	m, err := c.Load(code)
	must(t, err)
	f, err := c.Function(m, "probe_f32")
	must(t, err)
	return f
}

var (
	probeGrid  = driver.Dim{X: 5, Y: 6, Z: 7}
	probeBlock = driver.Dim{X: 32, Y: 2, Z: 3}
)

// probeArgs are y[i] = a*x[i] + n + u + k.
func probeArgs(y, x driver.Ptr, n int32, u uint32, k uint64, a float32) []driver.Arg {
	return []driver.Arg{
		{Kind: driver.ArgPtr, Bits: uint64(y)}, {Kind: driver.ArgPtr, Bits: uint64(x)}, {Kind: driver.ArgI32, Bits: uint64(uint32(n))},
		{Kind: driver.ArgU32, Bits: uint64(u)}, {Kind: driver.ArgU64, Bits: k}, {Kind: driver.ArgF32, Bits: uint64(math.Float32bits(a))},
	}
}

func TestCopiesZeroAndLaunch(t *testing.T) {
	c, _ := openStub(t)
	checkLaunch(t, c)
}

// checkLaunch copies, clears and launches.
func checkLaunch(t *testing.T, c driver.Card) {
	t.Helper()
	s := newStream(t, c)
	x := upload(t, c, s, []float32{1, 2, 3, 4})
	y, err := c.Alloc(20)
	must(t, err)
	f := probe(t, c)
	for _, by := range []struct {
		u uint32
		k uint64
		a float32
	}{{0, 0, 0.5}, {math.MaxUint32 - 7, 0, -1}, {5, 3 << 33, 1}} {
		must(t, c.Zero(y, 20, s))
		must(t, c.Launch(f, probeGrid, probeBlock, 0, s, probeArgs(y, x, 3, by.u, by.k, by.a)))
		got := download[float32](t, c, s, y, 5)
		for i, xi := range []float32{1, 2, 3} {
			if want := by.a*xi + 3 + float32(by.u) + float32(by.k); got[i] != want {
				t.Errorf("%+v: y[%d] = %g, want %g", by, i, got[i], want)
			}
		}
		if got[3] != 0 || got[4] != 0 {
			t.Errorf("%+v: y = %v beyond n", by, got)
		}
	}
	must(t, c.CopyOnCard(y.Add(4), x.Add(8), 8, s))
	if got := download[float32](t, c, s, y.Add(4), 2); got[0] != 3 || got[1] != 4 {
		t.Errorf("copied %v on the card, want 3 4", got)
	}
}

func TestSharedMemoryIsAskedForOnce(t *testing.T) {
	c, stubs := openStub(t)
	s, f := newStream(t, c), probe(t, c)
	p, err := c.Alloc(16)
	must(t, err)
	for _, shared := range []int{48 << 10, 100 << 10, 60 << 10, 100 << 10} {
		must(t, c.Launch(f, probeGrid, probeBlock, shared, s, probeArgs(p, p, 1, 0, 0, 0)))
	}
	if n := stubs.cuda.calls("cuFuncSetAttribute"); n != 1 {
		t.Errorf("cuFuncSetAttribute was called %d times, want once", n)
	}
}

func TestEvents(t *testing.T) {
	c, _ := openStub(t)
	s, other := newStream(t, c), newStream(t, c)
	e, err := c.NewEvent()
	must(t, err)
	must(t, c.Record(e, s))
	must(t, c.Wait(other, e))
	if done, err := c.EventDone(e); done || err != nil {
		t.Errorf("the stub's event is done after one record: %v, %v", done, err)
	}
	must(t, c.SyncEvent(e))
	must(t, c.Record(e, s))
	if done, err := c.EventDone(e); !done || err != nil {
		t.Errorf("the stub's event is not done after two records: %v, %v", done, err)
	}
	must(t, c.DestroyEvent(e))
	if err := c.DestroyEvent(e); err == nil {
		t.Error("an event is destroyed twice")
	}
	must(t, c.DestroyStream(other))
}

func TestTimedEvents(t *testing.T) {
	c, _ := openStub(t)
	s := newStream(t, c)
	timer := c.(interface {
		NewTimedEvent() (driver.Event, error)
		Elapsed(from, to driver.Event) (time.Duration, error)
	})
	from, err := timer.NewTimedEvent()
	must(t, err)
	to, err := timer.NewTimedEvent()
	must(t, err)
	plain, err := c.NewEvent()
	must(t, err)
	for _, e := range []driver.Event{from, to, to, plain} {
		must(t, c.Record(e, s))
	}
	if d, err := timer.Elapsed(from, to); d != 1500*time.Microsecond || err != nil {
		t.Errorf("%v, %v; the stub's clock says 1.5 ms", d, err)
	}
	if _, err := timer.Elapsed(from, plain); err == nil {
		t.Error("an event without a time has one")
	}
}

func TestCapture(t *testing.T) {
	c, _ := openStub(t)
	checkCapture(t, c)
	s := newStream(t, c)
	must(t, c.BeginCapture(s))
	if err := c.SyncStream(s); err == nil {
		t.Error("a stream that is captured can be waited for")
	}
	g, err := c.EndCapture(s)
	must(t, err)
	must(t, c.DestroyGraph(g))
}

// checkCapture captures a graph: it runs when it is launched, not before, with
// the arguments of the capture and the data of the launch.
func checkCapture(t *testing.T, c driver.Card) {
	t.Helper()
	s, f := newStream(t, c), probe(t, c)
	x := upload(t, c, s, []float32{1, 2})
	y := upload(t, c, s, []float32{7, 7})
	must(t, c.BeginCapture(s))
	must(t, c.Launch(f, probeGrid, probeBlock, 0, s, probeArgs(y, x, 2, 0, 0, 1)))
	must(t, c.CopyOnCard(x, y, 8, s))
	g, err := c.EndCapture(s)
	must(t, err)
	if got := download[float32](t, c, s, y, 2); got[0] != 7 {
		t.Errorf("the capture ran: y = %v", got)
	}
	for range 3 {
		must(t, c.LaunchGraph(g, s))
	}
	if got := download[float32](t, c, s, y, 2); got[0] != 7 || got[1] != 8 {
		t.Errorf("after three launches y = %v, want 7 8", got)
	}
	if _, err := c.EndCapture(s); err == nil {
		t.Error("a capture ends twice")
	}
	must(t, c.DestroyGraph(g))
}

func TestCompile(t *testing.T) {
	c, _ := openStub(t)
	code, log, err := c.Compile("probe.cu", probeSource)
	if err != nil || !strings.HasPrefix(string(code), "CUBIN sm_90\n") || log != "probe.cu(1): warning: a stub compiled this" {
		t.Errorf("code %.20q, log %q, %v", code, log, err)
	}
	code, log, err = c.Compile("probe.cu", "syntax error")
	if e, ok := errors.AsType[*driver.Error](err); !ok || e.Code != rtcCompilation || code != nil || log != "probe.cu(1): error: expected a declaration" {
		t.Errorf("of an error: code %q, log %q, %v", code, log, err)
	}
	if _, err := c.Load([]byte("no code\x00")); err == nil {
		t.Error("nonsense was loaded")
	}
	m, err := c.Load([]byte("PTX compute_80\nprobe_f32\x00"))
	must(t, err)
	if _, err := c.Function(m, "absent"); err == nil || !strings.Contains(err.Error(), "cuModuleGetFunction(absent)") {
		t.Errorf("of a kernel that is not there: %v", err)
	}
}

func TestArchitecture(t *testing.T) {
	known := []int32{75, 80, 86, 90}
	for card, want := range map[int32]string{90: "sm_90", 75: "sm_75", 100: "compute_90", 87: "compute_86", 70: ""} {
		name, binary, err := chooseArchitecture(card, known)
		if name != want || binary != strings.HasPrefix(want, "sm_") || (err != nil) != (want == "") {
			t.Errorf("card %d: %q, %v, %v; want %q", card, name, binary, err, want)
		}
	}
}

func TestOutOfMemoryCarriesSizes(t *testing.T) {
	c, _ := openStub(t)
	_, err := c.Alloc(1 << 30)
	const want = "cuMemAlloc(1073741824 bytes; 968884224 of the card's 1073741824 are free): CUDA_ERROR_OUT_OF_MEMORY (2)"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := c.Alloc(0); err == nil {
		t.Error("0 bytes were allocated")
	}
	if err := c.Free(12345); err == nil {
		t.Error("memory was freed that there is not")
	}
}

// Whatever call of C fails, the error names it and its code, and nothing leaks.
func TestErrorsOfEachCall(t *testing.T) {
	c, stubs := openStub(t)
	s, f := newStream(t, c), probe(t, c)
	p, err := c.Alloc(64)
	must(t, err)
	h, err := c.AllocHost(64)
	must(t, err)
	e, err := c.NewEvent()
	must(t, err)
	ignored := func(_ any, err error) error { return err }
	for name, call := range map[string]func() error{
		"cuCtxSetCurrent":             func() error { return c.Zero(p, 4, s) },
		"cuMemGetInfo_v2":             func() error { return ignored(c.MemoryFree()) },
		"cuMemAlloc_v2":               func() error { return ignored(c.Alloc(16)) },
		"cuMemHostAlloc":              func() error { return ignored(c.AllocHost(16)) },
		"cuStreamCreateWithPriority":  func() error { return ignored(c.NewStream()) },
		"cuCtxGetStreamPriorityRange": func() error { return ignored(c.NewYieldingStream()) },
		"cuStreamSynchronize":         func() error { return c.SyncStream(s) },
		"cuStreamWaitEvent":           func() error { return c.Wait(s, e) },
		"cuEventCreate":               func() error { return ignored(c.NewEvent()) },
		"cuEventRecord":               func() error { return c.Record(e, s) },
		"cuEventSynchronize":          func() error { return c.SyncEvent(e) },
		"cuEventQuery":                func() error { return ignored(c.EventDone(e)) },
		"cuMemcpyHtoDAsync_v2": func() error {
			return c.CopyToCard(p, h, 64, s)
		},
		"cuMemcpyDtoHAsync_v2":    func() error { return c.CopyFromCard(h, p, 64, s) },
		"cuMemcpyDtoDAsync_v2":    func() error { return c.CopyOnCard(p, p.Add(32), 32, s) },
		"cuMemsetD8Async":         func() error { return c.Zero(p, 64, s) },
		"cuModuleLoadData":        func() error { return ignored(c.Load([]byte("CUBIN sm_90\n\x00"))) },
		"cuFuncSetAttribute":      func() error { return c.Launch(f, probeGrid, probeBlock, 64<<10, s, probeArgs(p, p, 1, 0, 0, 0)) },
		"cuLaunchKernel":          func() error { return c.Launch(f, probeGrid, probeBlock, 0, s, probeArgs(p, p, 1, 0, 0, 0)) },
		"cuStreamBeginCapture_v2": func() error { return c.BeginCapture(s) },
	} {
		stubs.cuda.fail(name, 719, 0)
		err := call()
		plain := strings.TrimSuffix(name, "_v2")
		if e, ok := errors.AsType[*driver.Error](err); !ok || e.Code != 719 || e.Text != "CUDA_ERROR_719" || !strings.HasPrefix(e.Call, plain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy"} {
		must(t, c.BeginCapture(s))
		stubs.cuda.fail(name, 719, 0)
		if g, err := c.EndCapture(s); err == nil || g != 0 {
			t.Errorf("%s: graph %d, %v", name, g, err)
		}
		if name == "cuStreamEndCapture" { // the stub's stream is captured still
			g, err := c.EndCapture(s)
			must(t, err)
			must(t, c.DestroyGraph(g))
		}
		if name == "cuGraphDestroy" {
			stubs.cuda.leak(t, 1)
		}
	}
	for name, want := range map[string]string{"nvrtcCreateProgram": "nvrtcCreateProgram(probe.cu)", "nvrtcCompileProgram": "nvrtcCompileProgram(probe.cu, sm_90)", "nvrtcGetCUBIN": "nvrtcGetCUBIN", "nvrtcGetProgramLog": "nvrtcGetProgramLog"} {
		stubs.rtc.fail(name, 11, 0)
		if _, _, err := c.Compile("probe.cu", probeSource); err == nil || !strings.HasPrefix(err.Error(), want+": NVRTC_ERROR (11)") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Opening that fails half way leaves nothing.
func TestFailedOpenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	complete(t, dir)
	m := testMachine(t, map[string]string{PathVariable: dir})
	cuda, lt, dnn := control(t, dir, "libcuda.so.1"), control(t, dir, "libcublasLt.so.12"), control(t, dir, "libcudnn.so.9")
	for _, f := range []struct {
		in   *stub
		name string
	}{{cuda, "cuDriverGetVersion"}, {cuda, "cuDeviceGetCount"}, {cuda, "cuDeviceGetName"}, {cuda, "cuDeviceGetAttribute"},
		{cuda, "cuDevicePrimaryCtxRetain"}, {cuda, "cuMemGetInfo_v2"}, {lt, "cublasLtCreate"}, {dnn, "cudnnCreate"}} {
		f.in.fail(f.name, 1, 0)
		if c, err := open(m, 0); err == nil || c != nil {
			t.Errorf("%s failed and the card opened: %v", f.name, err)
		}
		if cuda.live() != 0 || lt.live() != 0 || dnn.live() != 0 {
			t.Errorf("%s: %d, %d, %d objects are left", f.name, cuda.live(), lt.live(), dnn.live())
		}
	}
}

func TestClosedCardRefuses(t *testing.T) {
	c, _ := openStub(t)
	s := newStream(t, c)
	p, err := c.Alloc(16)
	must(t, err)
	m, err := c.PlanMatmul(driver.MatmulSpec{M: 1, N: 1, K: 1}, 0)
	must(t, err)
	must(t, c.Close())
	must(t, c.Close())
	must(t, m.Close())
	for what, err := range map[string]error{"Zero": c.Zero(p, 16, s), "SyncStream": c.SyncStream(s), "Run": m.Run(p, p, p, 0, 0, s)} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%s on a closed card: %v", what, err)
		}
	}
}

// What a step does allocates nothing.
func TestStepAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	c, _ := openStub(t)
	s, f := newStream(t, c), probe(t, c)
	p := upload(t, c, s, make([]float32, 64))
	h, err := c.AllocHost(64)
	must(t, err)
	e, err := c.NewEvent()
	must(t, err)
	must(t, c.BeginCapture(s))
	g, err := c.EndCapture(s)
	must(t, err)
	product, err := c.PlanMatmul(driver.MatmulSpec{M: 2, N: 2, K: 2, Epilogue: driver.EpilogueBias}, 0)
	must(t, err)
	conv, err := c.PlanConv(driver.ConvSpec{N: 1, H: 2, W: 2, C: 1, O: 1, K: 1, Stride: 1, Type: driver.BF16, Deterministic: true})
	must(t, err)
	args := probeArgs(p, p, 1, 0, 0, 0)
	for name, call := range map[string]func() error{
		"LaunchGraph":  func() error { return c.LaunchGraph(g, s) },
		"Launch":       func() error { return c.Launch(f, probeGrid, probeBlock, 0, s, args) },
		"CopyToCard":   func() error { return c.CopyToCard(p, h, 64, s) },
		"CopyFromCard": func() error { return c.CopyFromCard(h, p, 64, s) },
		"Record":       func() error { return c.Record(e, s) },
		"Wait":         func() error { return c.Wait(s, e) },
		"EventDone":    func() error { _, err := c.EventDone(e); return err },
		"Matmul.Run":   func() error { return product.Run(p, p.Add(64), p.Add(128), p.Add(192), 0, s) },
		"Conv.Run":     func() error { return conv.Run(p, p.Add(64), p.Add(128), 0, s) },
	} {
		must(t, call())
		if n := testing.AllocsPerRun(100, func() { must(t, call()) }); n != 0 {
			t.Errorf("%s allocates %g times", name, n)
		}
	}
}

// Streams go before those that yield.
func TestPriorities(t *testing.T) {
	c, stubs := openStub(t)
	var priority func() int32
	purego.RegisterLibFunc(&priority, stubs.cuda.handle, "stub_priority")
	for _, k := range []struct {
		make func() (driver.Stream, error)
		want int32
	}{{c.NewStream, -5}, {c.NewYieldingStream, 0}} {
		s, err := k.make()
		must(t, err)
		if got := priority(); got != k.want {
			t.Errorf("priority %d, want %d", got, k.want)
		}
		must(t, c.DestroyStream(s))
	}
}
