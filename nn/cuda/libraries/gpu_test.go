//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"os"
	"strings"
	"testing"
	"time"

	"sdnn/nn/cuda/driver"
)

// Tests on a real card. Without one they are skipped, unless SDNN_TEST_GPU is
// set: then there must be one (make test-gpu).

func openGPU(t *testing.T) (driver.Card, driver.Stream) {
	t.Helper()
	c, err := Open(0)
	if err != nil {
		if os.Getenv("SDNN_TEST_GPU") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, newStream(t, c)
}

func TestGPUSurvey(t *testing.T) {
	c, _ := openGPU(t)
	r := Survey()
	if r.Missing != nil || len(r.Cards) == 0 || len(r.Libraries) != 3 {
		t.Fatalf("%+v", r)
	}
	t.Logf("%+v", c.Info())
	for _, l := range r.Libraries {
		t.Logf("%+v", l)
		if l.Path == "" {
			t.Errorf("%s: its file is not known", l.Name)
		}
	}
	if r.Cards[0].Name != c.Info().Name || c.Info().Memory < 1<<30 || c.Info().Multiprocessors < 1 {
		t.Errorf("%+v, %+v", r.Cards[0], c.Info())
	}
}

func TestGPULaunch(t *testing.T) {
	c, _ := openGPU(t)
	checkLaunch(t, c)
}

func TestGPUCapture(t *testing.T) {
	c, _ := openGPU(t)
	checkCapture(t, c)
}

func TestGPUCompilerErrors(t *testing.T) {
	c, _ := openGPU(t)
	_, log, err := c.Compile("broken.cu", `extern "C" __global__ void f() { int x = ; }`)
	if err == nil || !strings.Contains(log, "broken.cu(1)") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestGPUSharedMemory(t *testing.T) {
	c, s := openGPU(t)
	code, log, err := c.Compile("shared.cu", `extern "C" __global__ void last(float *y, int n) {
		extern __shared__ float big[];
		for (int i = threadIdx.x; i < n; i += blockDim.x) big[i] = i;
		__syncthreads();
		if (threadIdx.x == 0) *y = big[n - 1];
	}`)
	if err != nil {
		t.Fatal(err, log)
	}
	m, err := c.Load(code)
	must(t, err)
	f, err := c.Function(m, "last")
	must(t, err)
	y := upload(t, c, s, []float32{0})
	const n = 15000 // 60000 bytes, more than a kernel has without asking
	must(t, c.Launch(f, driver.Dim{X: 1, Y: 1, Z: 1}, driver.Dim{X: 128, Y: 1, Z: 1}, 4*n, s,
		[]driver.Arg{{Kind: driver.ArgPtr, Bits: uint64(y)}, {Kind: driver.ArgI32, Bits: n}}))
	if got := download[float32](t, c, s, y, 1); got[0] != n-1 {
		t.Errorf("%g, want %d", got[0], n-1)
	}
}

// Streams are ordered by events alone: the second waits for the first's slow kernel.
func TestGPUEvents(t *testing.T) {
	c, s := openGPU(t)
	other := newStream(t, c)
	code, log, err := c.Compile("slow.cu", `extern "C" __global__ void slow(float *y, unsigned long long ticks) {
		long long end = clock64() + ticks;
		while (clock64() < end) {}
		*y = 1;
	}`)
	if err != nil {
		t.Fatal(err, log)
	}
	m, err := c.Load(code)
	must(t, err)
	f, err := c.Function(m, "slow")
	must(t, err)
	e, err := c.NewEvent()
	must(t, err)
	y := upload(t, c, s, []float32{0, 0})
	must(t, c.Launch(f, driver.Dim{X: 1, Y: 1, Z: 1}, driver.Dim{X: 1, Y: 1, Z: 1}, 0, s,
		[]driver.Arg{{Kind: driver.ArgPtr, Bits: uint64(y)}, {Kind: driver.ArgU64, Bits: 200e6}}))
	must(t, c.Record(e, s))
	must(t, c.Wait(other, e))
	must(t, c.CopyOnCard(y.Add(4), y, 4, other))
	must(t, c.SyncStream(other))
	if got := download[float32](t, c, s, y, 2); got[1] != 1 {
		t.Errorf("the second stream did not wait: %v", got)
	}
	must(t, c.SyncEvent(e))
	if done, err := c.EventDone(e); !done || err != nil {
		t.Errorf("a past event: %v, %v", done, err)
	}
}

func TestGPUOutOfMemory(t *testing.T) {
	c, _ := openGPU(t)
	_, err := c.Alloc(1 << 50)
	if err == nil || !strings.Contains(err.Error(), "are free): CUDA_ERROR_OUT_OF_MEMORY") {
		t.Error(err)
	}
}

func TestGPUMatmul(t *testing.T) {
	c, s := openGPU(t)
	for _, shape := range [][3]int{{16, 24, 32}, {128, 10, 512}, {127, 33, 65}, {256, 256, 1024}} {
		for _, spec := range matmulSpecs(shape[0], shape[1], shape[2]) {
			if spec.AB == driver.BF16 && !c.Info().SupportsBF16 {
				continue
			}
			checkMatmul(t, c, s, spec)
		}
	}
}

func TestGPUConv(t *testing.T) {
	c, s := openGPU(t)
	for _, shape := range [][8]int{
		{4, 16, 16, 3, 64, 3, 1, 1},  // an image net's first layer
		{4, 16, 16, 64, 64, 3, 1, 1}, // VGG16
		{4, 8, 8, 64, 160, 3, 2, 1},  // where a wide ResNet halves
		{4, 8, 8, 160, 320, 1, 2, 0}, // its shortcut
		{3, 7, 5, 24, 40, 3, 1, 1},   // odd extents
	} {
		for _, spec := range convSpecs(shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7]) {
			if spec.Type == driver.BF16 && !c.Info().SupportsBF16 {
				continue
			}
			checkConv(t, c, s, spec)
		}
	}
}

// A graph of all three libraries' work runs as the eager calls do.
func TestGPUCaptureOfLibraries(t *testing.T) {
	c, s := openGPU(t)
	spec := driver.ConvSpec{N: 8, H: 16, W: 16, C: 64, O: 64, K: 3, Stride: 1, Pad: 1, Type: driver.F32, Math: driver.MathTF32, Deterministic: true, WorkspaceLimit: 64 << 20}
	conv, err := c.PlanConv(spec)
	must(t, err)
	product, err := c.PlanMatmul(driver.MatmulSpec{M: 8 * 256, N: 32, K: 64, Epilogue: driver.EpilogueBiasReLU}, 32<<20)
	must(t, err)
	x, w := upload(t, c, s, noise(8*256*64, 1)), upload(t, c, s, noise(64*9*64, 2))
	w2, bias := upload(t, c, s, noise(64*32, 3)), upload(t, c, s, noise(32, 4))
	y, z := upload(t, c, s, noise(8*256*64, 5)), upload(t, c, s, noise(8*256*32, 6))
	ws := workspace(t, c, s, max(16, conv.Workspace(), product.Workspace()))
	run := func() {
		t.Helper()
		must(t, conv.Run(y, x, w, ws, s))
		must(t, product.Run(z, y, w2, bias, ws, s))
	}
	run()
	eager := download[float32](t, c, s, z, 8*256*32)
	must(t, c.Zero(z, 8*256*32*4, s))
	must(t, c.BeginCapture(s))
	run()
	g, err := c.EndCapture(s)
	must(t, err)
	begun := time.Now()
	must(t, c.LaunchGraph(g, s))
	must(t, c.SyncStream(s))
	t.Logf("the graph took %v", time.Since(begun))
	for i, v := range download[float32](t, c, s, z, 8*256*32) {
		if v != eager[i] {
			t.Fatalf("element %d: %g from the graph, %g without", i, v, eager[i])
		}
	}
}
