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

// wide are kernels whose inner loop must move 16 bytes an access.
var wide = regexp.MustCompile(`^(relu_|add_|bias|batchnorm_(stats|add|apply|backward_(reduce|apply))|dropout|maxpool|conv1d_relu|column_sum_(f|b)|convert)`)

func checkPTX(t *testing.T, src Source, ptx []byte) {
	found := 0
	for _, entry := range bytes.Split(ptx, []byte(".visible .entry "))[1:] {
		name, body, _ := strings.Cut(string(entry), "(")
		found++
		if strings.Contains(body, "__local_depot") {
			// sincos writes through pointers.
			if !strings.HasPrefix(name, "noise") {
				t.Errorf("%s keeps an array in local memory", name)
			}
		}
		if wide.MatchString(name) && !strings.Contains(name, "finish") && !strings.Contains(body, "ld.global.v4") && !strings.Contains(body, "st.global.v4") {
			t.Errorf("%s has no 16-byte access", name)
		}
	}
	declared, err := Parse(src.Text)
	if err != nil || found != len(declared) {
		t.Errorf("%d kernels in the machine code, %d declared (%v)", found, len(declared), err)
	}
}
