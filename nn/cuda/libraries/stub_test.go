//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// The stubs of testdata/stub, built by the C compiler of the machine.

// built are the stubs that were built in this process, by source and flags.
var built struct {
	sync.Mutex
	dir   string
	files map[string]string
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVariable); dir != "" {
		helper(dir)
		return
	}
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// compiler returns the C compiler, or skips the test.
func compiler(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CC"), "cc", "gcc", "clang"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	t.Skip("no C compiler: the stubs of NVIDIA's libraries cannot be built")
	return ""
}

// build compiles a stub and returns its file.
func build(t *testing.T, source string, flags ...string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	key := source + " " + strings.Join(flags, " ")
	if file := built.files[key]; file != "" {
		return file
	}
	cc := compiler(t)
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "sdnn-stub")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.files = dir, map[string]string{}
	}
	file := filepath.Join(built.dir, fmt.Sprintf("%d.so", len(built.files)))
	args := append([]string{"-O0", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", file}, flags...)
	if out, err := exec.Command(cc, append(args, "testdata/stub/"+source)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cc, err, out)
	}
	built.files[key] = file
	return file
}

// install puts a built stub into a folder under the name of a library.
func install(t *testing.T, dir, name, source string, flags ...string) {
	t.Helper()
	data, err := os.ReadFile(build(t, source, flags...))
	if err != nil {
		t.Fatal(err)
	}
	// A copy: the dynamic loader knows files by their inode, and every test has libraries of its own.
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o777); err != nil {
		t.Fatal(err)
	}
}

// complete fills a folder with all that is needed, for CUDA 12.
func complete(t *testing.T, dir string) {
	t.Helper()
	install(t, dir, "libcuda.so.1", "cuda.c")
	install(t, dir, "libcublasLt.so.12", "cublaslt.c")
	install(t, dir, "libnvrtc.so.12", "nvrtc.c")
	install(t, dir, "libcudnn.so.9", "cudnn.c")
}

// stub is one library's control.
type stub struct {
	name    string
	fail    func(function string, code, after int32)
	problem func() string
	live    func() int32
	reset   func()
	calls   func(function string) int32
	forget  func(n int32)
	handle  uintptr
}

// leak takes n objects off the count: a test made a destructor fail.
func (s *stub) leak(t *testing.T, n int32) {
	t.Helper()
	if s.live() < n {
		t.Errorf("%s: nothing leaked", s.name)
	}
	s.forget(n)
}

// stubs are the controls of the libraries of a folder.
type stubs struct{ cuda, lt, dnn, rtc *stub }

func (s *stubs) all() []*stub { return []*stub{s.cuda, s.lt, s.dnn, s.rtc} }

// check reports violated contracts.
func (s *stubs) check(t *testing.T) {
	t.Helper()
	for _, l := range s.all() {
		if p := l.problem(); p != "" {
			t.Errorf("%s: %s", l.name, p)
		}
	}
}

func control(t *testing.T, dir, name string) *stub {
	t.Helper()
	handle, err := dlopen(filepath.Join(dir, name), false)
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{name: name, handle: handle}
	purego.RegisterLibFunc(&s.fail, handle, "stub_fail")
	purego.RegisterLibFunc(&s.problem, handle, "stub_problem")
	purego.RegisterLibFunc(&s.live, handle, "stub_live")
	purego.RegisterLibFunc(&s.reset, handle, "stub_reset")
	purego.RegisterLibFunc(&s.calls, handle, "stub_calls")
	purego.RegisterLibFunc(&s.forget, handle, "stub_forget")
	return s
}

// openStub opens a card on stubs. When the test ends the card is closed, and
// nothing may be left.
func openStub(t *testing.T) (driver.Card, *stubs) {
	t.Helper()
	dir := t.TempDir()
	complete(t, dir)
	s := &stubs{control(t, dir, "libcuda.so.1"), control(t, dir, "libcublasLt.so.12"), control(t, dir, "libcudnn.so.9"), control(t, dir, "libnvrtc.so.12")}
	c, err := open(testMachine(t, map[string]string{PathVariable: dir}), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		s.check(t)
		for _, l := range s.all() {
			if n := l.live(); n != 0 {
				t.Errorf("%s: %d objects are left after Close", l.name, n)
			}
		}
	})
	return c, s
}
