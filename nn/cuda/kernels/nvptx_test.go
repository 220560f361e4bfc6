package kernels

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNVPTX compiles every source for NVIDIA's machine by clang, where there is
// one that can: a second opinion on syntax and types, device code without
// headers. It also looks at the code: no kernel may keep an array in memory that
// belongs in registers, and the busiest ones must have 16-byte accesses.
func TestNVPTX(t *testing.T) {
	clang, err := exec.LookPath("clang++")
	if err != nil {
		t.Skip("the sources were NOT compiled for nvptx64: no clang++")
	}
	header, err := filepath.Abs("testdata/nvptx.h")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := func(name, include, text string) (ptx []byte, log []byte, err error) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(clang, "-x", "cuda", "-std=c++17", "--cuda-device-only", "--cuda-gpu-arch=sm_80", "-nocudainc", "-nocudalib", "-include", include,
			"-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-unknown-cuda-version",
			"-Wno-pass-failed", "-O2", "-S", "-o", path+".ptx", path)
		log, err = c.CombinedOutput()
		if err == nil {
			ptx, err = os.ReadFile(path + ".ptx")
		}
		return ptx, log, err
	}
	if _, log, err := build("probe.cu", os.DevNull, "extern \"C\" __attribute__((global)) void f(int *y) { *y = 0; }\n"); err != nil {
		t.Skipf("the sources were NOT compiled for nvptx64: this clang cannot: %s", log)
	}
	for _, src := range Sources() {
		t.Run(src.Name, func(t *testing.T) {
			t.Parallel()
			ptx, log, err := build(src.Name, header, src.Text)
			if err != nil {
				t.Fatalf("%s", log)
			}
			checkPTX(t, src, ptx)
		})
	}
}

// wide are kernels that move whole tensors through 16-byte accesses, but for
// what narrow names.
var (
	wide    = regexp.MustCompile(`^(relu_|sigmoid_|add_|bias_|batchnorm_|dropout_|maxpool|avgpool|column_sum_|conv1d_relu_)`)
	tensors = regexp.MustCompile(`^(x|y|dx|dy|a|b|residual)$`)
	narrow  = map[string]bool{"conv1d_relu_maxpool_forward x": true, "conv1d_relu_maxpool_backward x": true, "column_sum y": true}
)

// moved returns how many tensors a kernel reads and writes by 16-byte accesses;
// false if it is not one that moves whole tensors.
func moved(s *Signature) (loads, stores int, ok bool) {
	if !wide.MatchString(s.Name) || strings.Contains(s.Name, "finish") || strings.Contains(s.Name, "coef") {
		return 0, 0, false
	}
	for _, p := range s.Params {
		switch {
		case p.Size == 0 || !tensors.MatchString(p.Name) || narrow[strings.Replace(base(s.Name), "_dropout", "", 1)+" "+p.Name]:
		case p.Const:
			loads++
		default:
			stores++
		}
	}
	return loads, stores, true
}

// checkPTX looks at the machine code: as many different 16-byte loads and stores
// as there are tensors, and no arrays outside registers.
func checkPTX(t *testing.T, src Source, ptx []byte) {
	found := 0
	for _, entry := range bytes.Split(ptx, []byte(".visible .entry "))[1:] {
		name, body, _ := strings.Cut(string(entry), "(")
		found++
		if strings.Contains(body, "__local_depot") && !strings.HasPrefix(name, "noise") { // sincos writes through pointers
			t.Errorf("%s keeps an array in local memory", name)
		}
		s, ok := Lookup(name)
		if !ok {
			t.Errorf("%s is not declared", name)
			continue
		}
		loads, stores, ok := moved(s)
		if !ok {
			continue
		}
		wideLoads := strings.Count(body, "ld.global.v4") + strings.Count(body, "ld.global.nc.v4")
		if strings.HasPrefix(name, "conv1d_relu_maxpool_") && strings.Contains(name, "backward") {
			wideLoads += strings.Count(body, "ld.global.u64") + strings.Count(body, "ld.global.nc.u64") // four bf16
		}
		if got := strings.Count(body, "st.global.v4"); wideLoads < loads || got < stores {
			t.Errorf("%s has %d 16-byte loads and %d stores for %d tensors read and %d written", name, wideLoads, got, loads, stores)
		}
	}
	if list, err := Parse(src.Text); err != nil || found != len(list) {
		t.Errorf("%d kernels in the machine code, %d declared (%v)", found, len(list), err)
	}
}
