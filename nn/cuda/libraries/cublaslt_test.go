//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// realLt returns a card of the machine's cuBLASLt, whose descriptions need no
// card, on the stub of the driver; or skips the test.
func realLt(t *testing.T) *card {
	t.Helper()
	l := newLoader(thisMachine())
	var lib *library
	for _, major := range []int{13, 12} {
		if lib = l.find(fmt.Sprintf("libcublasLt.so.%d", major), l.list); lib != nil {
			break
		}
	}
	if lib == nil {
		t.Skipf("products were NOT described to a real cuBLASLt: there is none (looked in %s)", strings.Join(l.labels(l.list), ", "))
	}
	dir := t.TempDir()
	install(t, dir, "libcuda.so.1", "cuda.c")
	b, err := loadDriver(testMachine(t, map[string]string{PathVariable: dir}))
	must(t, err)
	s := &set{ltLib: lib, ltAPI: new(cublasLtAPI)}
	must(t, lib.bind(s.ltAPI))
	info, device, err := b.describe(0)
	must(t, err)
	c := newCard(b, s, info, device)
	must(t, c.check("cuDevicePrimaryCtxRetain", c.cuDevicePrimaryCtxRetain, uintptr(unsafe.Pointer(&c.current[0])), uintptr(device)))
	version, _, _ := purego.SyscallN(s.ltAPI.cublasLtGetVersion)
	t.Logf("%s, version %d", lib.file(), version)
	if version < 120000 {
		t.Errorf("cublasLtGetVersion says %d", version)
	}
	return c
}

// readAttribute returns an attribute of one of cuBLASLt's objects, of at most 8 bytes,
// and fails if it is not of that size.
func readAttribute(t *testing.T, c *card, function string, object, attribute uintptr, size int) uint64 {
	t.Helper()
	f, err := c.ltLib.symbol(function)
	must(t, err)
	value, written := new(uint64), new(uint64)
	must(t, c.lt(function, f, object, attribute, 0, 0, uintptr(unsafe.Pointer(written))))
	if *written != uint64(size) {
		t.Errorf("%s: attribute %d has %d bytes, and we set %d", function, attribute, *written, size)
	}
	must(t, c.lt(function, f, object, attribute, uintptr(unsafe.Pointer(value)), uintptr(size), uintptr(unsafe.Pointer(written))))
	return *value
}

// TestCublasLt describes products to NVIDIA's own cuBLASLt, where there is one,
// and reads every attribute back: their numbers, sizes and values are right.
// Only what chooses and runs a kernel needs a card.
func TestCublasLt(t *testing.T) {
	c := realLt(t)
	for _, m := range []*matmul{
		{spec: driver.MatmulSpec{M: 3, N: 5, K: 7}},
		{spec: driver.MatmulSpec{M: 3, N: 5, K: 7, TransA: true, Math: driver.MathTF32, Accumulate: true}},
		{spec: driver.MatmulSpec{M: 16, N: 24, K: 32, TransB: true, AB: driver.BF16, D: driver.F32, Bias: driver.F32, Epilogue: driver.EpilogueBias}},
		{spec: driver.MatmulSpec{M: 16, N: 24, K: 32, TransA: true, TransB: true, AB: driver.BF16, D: driver.BF16, Bias: driver.BF16, Epilogue: driver.EpilogueBiasReLU}},
	} {
		m.c, m.scale = c, [2]float32{1, 0}
		must(t, m.setUp())
		checkDescription(t, c, m)
		checkLayouts(t, c, m)
		checkPreference(t, c, m)
		must(t, m.Close())
	}
	// What cuBLASLt says of an error, by our own way to it.
	m := &matmul{c: c}
	must(t, m.setUp())
	value := uint32(0)
	err := m.describe(999, unsafe.Pointer(&value), 4)
	if e, ok := err.(*driver.Error); !ok || e.Error() != "cublasLtMatmulDescSetAttribute: CUBLAS_STATUS_INVALID_VALUE (7)" {
		t.Errorf("an attribute that does not exist: %v", err)
	}
	must(t, m.Close())
}

// checkDescription expects what cublasLt.h says of the product, not our constants for it.
func checkDescription(t *testing.T, c *card, m *matmul) {
	t.Helper()
	get := func(attribute uintptr, size int) uint64 {
		t.Helper()
		return readAttribute(t, c, "cublasLtMatmulDescGetAttribute", m.desc, attribute, size)
	}
	flag := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	spec := m.spec
	compute := uint64(68) // CUBLAS_COMPUTE_32F
	if spec.Math == driver.MathTF32 {
		compute = 77 // CUBLAS_COMPUTE_32F_FAST_TF32
	}
	for _, a := range []struct {
		name      string
		attribute uintptr
		size      int
		want      uint64
	}{
		{"COMPUTE_TYPE", 0, 4, compute},
		{"SCALE_TYPE", 1, 4, 0},
		{"POINTER_MODE", 2, 4, 0}, // alpha and beta are the host's
		{"TRANSA", ltTransA, 4, flag(spec.TransB)},
		{"TRANSB", ltTransB, 4, flag(spec.TransA)},
		{"TRANSC", 5, 4, 0},
		{"EPILOGUE", ltEpilogue, 4, map[driver.Epilogue]uint64{driver.EpilogueNone: 1, driver.EpilogueBias: 4, driver.EpilogueBiasReLU: 6}[spec.Epilogue]},
	} {
		if got := get(a.attribute, a.size); got != a.want {
			t.Errorf("%+v: %s is %d, want %d", spec, a.name, got, a.want)
		}
	}
	if spec.Epilogue == driver.EpilogueNone {
		return
	}
	kind := map[driver.Type]uint64{driver.F32: 0, driver.BF16: 14}[spec.Bias]
	if p, k := get(ltBiasPointer, 8), get(ltBiasType, 4); p != alignment || k != kind {
		t.Errorf("%+v: the bias is at %#x, of type %d", spec, p, k)
	}
	must(t, m.setBias(0x7f0000001230))
	if p := get(ltBiasPointer, 8); p != 0x7f0000001230 {
		t.Errorf("%+v: the bias is at %#x", spec, p)
	}
}

// checkLayouts reads TYPE, ORDER, ROWS, COLS, LD and BATCH_COUNT: cuBLASLt's
// matrices are column-major, so that our rows are its columns.
func checkLayouts(t *testing.T, c *card, m *matmul) {
	t.Helper()
	spec := m.spec
	turned := func(rows, cols int, transposed bool) [2]int {
		if transposed {
			return [2]int{rows, cols}
		}
		return [2]int{cols, rows}
	}
	for name, l := range map[string]struct {
		layout uintptr
		t      driver.Type
		extent [2]int // of cuBLASLt
	}{
		"A": {m.a, spec.AB, turned(spec.M, spec.K, spec.TransA)},
		"B": {m.b, spec.AB, turned(spec.K, spec.N, spec.TransB)},
		"D": {m.d, spec.D, turned(spec.M, spec.N, false)},
	} {
		want := []uint64{map[driver.Type]uint64{driver.F32: 0, driver.BF16: 14}[l.t], 0, uint64(l.extent[0]), uint64(l.extent[1]), uint64(l.extent[0]), 1}
		for attribute, size := range []int{4, 4, 8, 8, 8, 4} {
			if got := readAttribute(t, c, "cublasLtMatrixLayoutGetAttribute", l.layout, uintptr(attribute), size); got != want[attribute] {
				t.Errorf("%+v: %s's attribute %d is %d, want %d", spec, name, attribute, got, want[attribute])
			}
		}
	}
}

func checkPreference(t *testing.T, c *card, m *matmul) {
	t.Helper()
	const limit = 3 << 32
	pref, err := m.preference(limit)
	must(t, err)
	for _, a := range []struct {
		attribute uintptr
		size      int
		want      uint64
	}{{ltPrefWorkspace, 8, limit}, {ltPrefReduction, 4, 1 | 2}, {ltPrefAlignA, 4, 16}, {ltPrefAlignB, 4, 16}, {ltPrefAlignC, 4, 16}, {ltPrefAlignD, 4, 16}} {
		if got := readAttribute(t, c, "cublasLtMatmulPreferenceGetAttribute", pref, a.attribute, a.size); got != a.want {
			t.Errorf("the preference's attribute %d is %d, want %d", a.attribute, got, a.want)
		}
	}
	must(t, c.lt("cublasLtMatmulPreferenceDestroy", c.ltAPI.cublasLtMatmulPreferenceDestroy, pref))
}

// TestSymbols finds every function that is used in the libraries of this machine,
// which need no card for it.
func TestSymbols(t *testing.T) {
	m := thisMachine()
	l := newLoader(m)
	driverLib := l.find("libcuda.so.1", m.driverPlaces())
	for _, c := range []struct {
		lib *library
		api any
	}{
		{driverLib, new(cudaAPI)},
		{l.find("libcublasLt.so.12", l.list), new(cublasLtAPI)}, {l.find("libcublasLt.so.13", l.list), new(cublasLtAPI)},
		{l.nvrtc(12), new(nvrtcAPI)}, {l.nvrtc(13), new(nvrtcAPI)},
	} {
		if c.lib == nil {
			continue
		}
		t.Logf("%s", c.lib.file())
		if err := c.lib.bind(c.api); err != nil {
			t.Error(err)
		}
	}
	if driverLib == nil {
		if os.Getenv("SDNN_TEST_GPU") != "" {
			t.Error("there is no libcuda.so.1")
		}
		return
	}
	// The driver names its errors before it has started, which is when most are to be told.
	b := &base{cudaAPI: new(cudaAPI)}
	must(t, driverLib.bind(b.cudaAPI))
	for code, want := range map[int32]string{100: "cuInit: CUDA_ERROR_NO_DEVICE (100)", 803: "cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)", 54321: "cuInit: unknown error (54321)"} {
		if err := b.failure("cuInit", code); err == nil || err.Error() != want {
			t.Errorf("error %d is %v, want %s", code, err, want)
		}
	}
}
