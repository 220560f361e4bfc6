//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"errors"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

func TestMatmul(t *testing.T) {
	c, _ := openStub(t)
	s := newStream(t, c)
	for _, spec := range matmulSpecs(3, 5, 7) {
		checkMatmul(t, c, s, spec)
	}
}

// The stub rounds the factors when TF32 is asked for, which f32 must not.
func TestMathOfProducts(t *testing.T) {
	c, _ := openStub(t)
	s := newStream(t, c)
	const fine = 1 + 1.0/(1<<20)
	one, x := upload(t, c, s, []float32{1}), upload(t, c, s, []float32{fine})
	d := upload(t, c, s, []float32{0})
	for math, want := range map[driver.Math]float32{driver.MathF32: fine, driver.MathTF32: 1} {
		m, err := c.PlanMatmul(driver.MatmulSpec{M: 1, N: 1, K: 1, Math: math}, 0)
		must(t, err)
		must(t, m.Run(d, one, x, 0, 0, s))
		if got := download[float32](t, c, s, d, 1); got[0] != want {
			t.Errorf("math %d: %g, want %g", math, got[0], want)
		}
	}
}

func TestMatmulRefuses(t *testing.T) {
	c, stubs := openStub(t)
	s := newStream(t, c)
	for what, spec := range map[string]driver.MatmulSpec{
		"no rows":                     {M: 0, N: 1, K: 1},
		"a bias of another type":      {M: 1, N: 1, K: 1, AB: driver.BF16, D: driver.BF16, Epilogue: driver.EpilogueBias, Bias: driver.F32},
		"what cuBLASLt does not have": {M: 1, N: 1, K: 1, AB: driver.F32, D: driver.BF16},
	} {
		if m, err := c.PlanMatmul(spec, 0); err == nil || m != nil {
			t.Errorf("%s: planned", what)
		}
	}
	spec := driver.MatmulSpec{M: 1, N: 1, K: 1, Epilogue: driver.EpilogueBias}
	for _, name := range []string{"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate",
		"cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceSetAttribute", "cublasLtMatmulAlgoGetHeuristic"} {
		for after := range int32(3) {
			stubs.lt.reset()
			stubs.lt.fail(name, 15, after)
			if _, err := c.PlanMatmul(spec, 0); after < stubs.lt.calls(name) && (err == nil || !strings.HasPrefix(err.Error(), "product of 1 x 1 x 1: "+name+": CUBLAS_STATUS_NOT_SUPPORTED (15)")) {
				t.Errorf("%s, call %d: %v", name, after, err)
			}
			stubs.lt.fail("", 0, 0)
		}
	}
	m, err := c.PlanMatmul(spec, 100)
	must(t, err)
	if m.Workspace() != 50 {
		t.Errorf("workspace %d, the stub wants half of 100", m.Workspace())
	}
	p, err := c.Alloc(256)
	must(t, err)
	if err := m.Run(p, p.Add(8), p, p, p, s); err == nil || !strings.Contains(err.Error(), "not aligned to 16 bytes") {
		t.Errorf("an operand that is not aligned: %v", err)
	}
	must(t, m.Close())
	must(t, m.Close())
}

func TestConv(t *testing.T) {
	c, _ := openStub(t)
	s := newStream(t, c)
	for _, shape := range [][8]int{{2, 5, 6, 3, 4, 3, 1, 1}, {1, 7, 6, 2, 3, 3, 2, 1}, {2, 4, 4, 2, 2, 1, 1, 0}} {
		for _, spec := range convSpecs(shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7]) {
			checkConv(t, c, s, spec)
		}
	}
}

// The stub has engines of all kinds; the first that fits must be taken.
func TestChoiceOfTheEngine(t *testing.T) {
	c, stubs := openStub(t)
	s := newStream(t, c)
	var engine func() int32
	purego.RegisterLibFunc(&engine, stubs.dnn.handle, "stub_engine")
	p, err := c.Alloc(1024)
	must(t, err)
	for _, want := range []struct {
		spec   driver.ConvSpec
		engine int32
	}{
		{driver.ConvSpec{Type: driver.BF16, WorkspaceLimit: 1000}, 0},
		{driver.ConvSpec{Type: driver.BF16, WorkspaceLimit: 1000, Deterministic: true}, 4}, // 1 wants more workspace, 2 cannot be planned
		{driver.ConvSpec{Type: driver.BF16, WorkspaceLimit: 2 << 20, Deterministic: true}, 1},
		{driver.ConvSpec{Type: driver.F32, Math: driver.MathTF32, WorkspaceLimit: 1000, Deterministic: true}, 3},
		{driver.ConvSpec{Type: driver.F32, WorkspaceLimit: 1000}, 6}, // of the list of those that run always
	} {
		spec := want.spec
		spec.N, spec.H, spec.W, spec.C, spec.O, spec.K, spec.Stride = 1, 2, 2, 1, 1, 1, 1
		v, err := c.PlanConv(spec)
		must(t, err)
		must(t, v.Run(p, p.Add(64), p.Add(128), workspace(t, c, s, v.Workspace()), s))
		if got := engine(); got != want.engine {
			t.Errorf("%+v: engine %d, want %d", spec, got, want.engine)
		}
	}
	_, err = c.PlanConv(driver.ConvSpec{N: 1, H: 2, W: 2, C: 1, O: 1, K: 1, Stride: 1, WorkspaceLimit: 10})
	if err == nil || !strings.Contains(err.Error(), "cuDNN has no engine") {
		t.Errorf("with too little workspace: %v", err)
	}
}

// Candidates are those of the library's list that compute what is asked for, in
// its order, until there are no more; one that cannot be planned leaves nothing.
func TestCandidates(t *testing.T) {
	c, stubs := openStub(t)
	for candidate, want := range []int{50, 25, -1} {
		m, err := c.PlanMatmul(driver.MatmulSpec{M: 1, N: 1, K: 1, Candidate: candidate}, 100)
		if want < 0 {
			if !errors.Is(err, driver.ErrNoCandidate) {
				t.Errorf("product: got %v, want ErrNoCandidate", err)
			}
			continue
		}
		must(t, err)
		if m.Workspace() != want {
			t.Errorf("candidate %d wants a workspace of %d, want %d", candidate, m.Workspace(), want)
		}
	}
	s := newStream(t, c)
	var engine func() int32
	purego.RegisterLibFunc(&engine, stubs.dnn.handle, "stub_engine")
	p, err := c.Alloc(1024)
	must(t, err)
	clean := stubs.dnn.live()
	seen, refused := 0, 0
	for candidate := range 20 {
		spec := driver.ConvSpec{N: 1, H: 2, W: 2, C: 1, O: 1, K: 1, Stride: 1, Type: driver.BF16, WorkspaceLimit: 1000, Candidate: candidate}
		v, err := c.PlanConv(spec)
		if errors.Is(err, driver.ErrNoCandidate) {
			break
		}
		if err != nil && candidate > 0 {
			refused++ // 1 wants more workspace, 2 cannot be planned
			if n := stubs.dnn.live(); n != clean {
				t.Fatalf("candidate %d, refused, leaves %d objects", candidate, n-clean)
			}
			continue
		}
		must(t, err)
		must(t, v.Run(p, p.Add(64), p.Add(128), workspace(t, c, s, v.Workspace()), s))
		if first := engine(); candidate == 0 && first != 0 {
			t.Errorf("candidate 0 is engine %d", first)
		}
		must(t, v.Close())
		if n := stubs.dnn.live(); n != clean {
			t.Fatalf("candidate %d leaves %d objects", candidate, n-clean)
		}
		seen++
	}
	if seen < 3 || refused != 2 || seen+refused == 20 {
		t.Errorf("%d candidates of a convolution, %d refused", seen, refused)
	}
}

func TestConvErrorsLeaveNothing(t *testing.T) {
	c, stubs := openStub(t)
	s := newStream(t, c)
	spec := driver.ConvSpec{N: 1, H: 2, W: 2, C: 1, O: 1, K: 1, Stride: 1, WorkspaceLimit: 10000}
	if _, err := c.PlanConv(driver.ConvSpec{N: 1, H: 2, W: 2, C: 1, O: 1, K: 3, Stride: 1}); err == nil {
		t.Error("a convolution without a result is planned")
	}
	clean := stubs.dnn.live()
	for _, name := range []string{"cudnnBackendCreateDescriptor", "cudnnBackendSetAttribute", "cudnnBackendFinalize"} {
		for after := range int32(5) {
			stubs.dnn.fail(name, 2000, after)
			if _, err := c.PlanConv(spec); err == nil || !strings.Contains(err.Error(), name+": CUDNN_STATUS_BAD_PARAM") {
				t.Errorf("%s, call %d: %v", name, after, err)
			}
			if n := stubs.dnn.live(); n != clean {
				t.Fatalf("%s, call %d: %d objects are left", name, after, n-clean)
			}
		}
	}
	v, err := c.PlanConv(spec)
	must(t, err)
	p, err := c.Alloc(256)
	must(t, err)
	ws := workspace(t, c, s, v.Workspace())
	for _, name := range []string{"cudnnBackendSetAttribute", "cudnnSetStream", "cudnnBackendExecute"} {
		stubs.dnn.fail(name, 2000, 0)
		if err := v.Run(p, p.Add(16), p.Add(32), ws, s); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, v.Run(p, p.Add(16), p.Add(32), ws, s))
	must(t, v.Run(p.Add(48), p.Add(16), p.Add(32), ws, s)) // other addresses
	must(t, v.Close())
	must(t, v.Close())
	if n := stubs.dnn.live(); n != clean {
		t.Errorf("%d objects are left of a closed convolution", n-clean)
	}
}

// Functions of many arguments get all of them, in order: registers first, then
// the stack. cublasLtMatmul has 16.
func TestManyArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "many.so")
	var params, sum []string
	for i := range 32 {
		name := "a" + string(rune('A'+i))
		if i >= 26 {
			name = "b" + string(rune('A'+i-26))
		}
		params, sum = append(params, "unsigned long "+name), append(sum, name)
	}
	fold := func(n int) string {
		return "unsigned long f" + map[int]string{16: "16", 32: "32"}[n] + "(" + strings.Join(params[:n], ",") + "){unsigned long h=0;" +
			"unsigned long v[]={" + strings.Join(sum[:n], ",") + "};for(int i=0;i<" + map[int]string{16: "16", 32: "32"}[n] + ";i++)h=h*31+v[i];return h;}"
	}
	cmd := exec.Command(compiler(t), "-shared", "-fPIC", "-x", "c", "-o", file, "-")
	cmd.Stdin = strings.NewReader(fold(16) + "\n" + fold(32))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	handle, err := dlopen(file, false)
	must(t, err)
	for name, n := range map[string]int{"f16": 16, "f32": 32} {
		f, err := purego.Dlsym(handle, name)
		must(t, err)
		args, want := make([]uintptr, n), uintptr(0)
		for i := range args {
			args[i] = uintptr(math.MaxUint32)*uintptr(i+1) + 7
			want = want*31 + args[i]
		}
		if got, _, _ := purego.SyscallN(f, args...); got != want {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
}
