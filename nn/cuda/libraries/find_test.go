package libraries

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testMachine is one whose system is an empty folder.
func testMachine(t *testing.T, env map[string]string) machine {
	return machine{root: t.TempDir(), env: func(name string) string { return env[name] }, arch: "amd64", isolated: true}
}

// folder makes a folder below root.
func folder(t *testing.T, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPlacesInOrder(t *testing.T) {
	env := map[string]string{}
	m := testMachine(t, env)
	m.isolated = false
	given, toolkit, wheelsOf := folder(t, m.root, "gi*ven"), folder(t, m.root, "kit"), folder(t, m.root, "site")
	env["SDNN_CUDA_PATH"] = strings.Join([]string{given, "", toolkit, wheelsOf}, ":")
	env["VIRTUAL_ENV"], env["HOME"] = folder(t, m.root, "venv"), folder(t, m.root, "home")
	want := []string{
		given,
		toolkit, folder(t, toolkit, "lib64"),
		wheelsOf, folder(t, wheelsOf, "nvidia/cudnn/lib"), folder(t, wheelsOf, "nvidia/cublas/lib"),
		"", // the loader
		folder(t, m.root, "usr/local/cuda/lib64"), folder(t, m.root, "usr/local/cuda-13.0/lib64"), folder(t, m.root, "usr/local/cuda-12.6/lib64"),
		folder(t, m.root, "usr/lib/x86_64-linux-gnu"),
		folder(t, m.root, "venv/lib/python3.12/site-packages/nvidia/cu13/lib"),
		folder(t, m.root, "usr/lib/python3/dist-packages/nvidia/cudnn/lib"),
		folder(t, m.root, "home/.local/lib/python3.11/site-packages/nvidia/cudnn/lib"),
	}
	folder(t, m.root, "usr/lib/aarch64-linux-gnu") // another processor's
	folder(t, m.root, "given")                     // the star of gi*ven is none
	var got []string
	for _, p := range m.places() {
		got = append(got, p.dir)
	}
	// What usr/local/lib and the like are for is not the point here.
	got = slices.DeleteFunc(got, func(dir string) bool { return strings.HasSuffix(dir, "/usr/local/lib") })
	if !slices.Equal(got, want) {
		t.Errorf("places\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRelativePathIsFromTheWorkingFolder(t *testing.T) {
	m := testMachine(t, map[string]string{"SDNN_CUDA_PATH": "cuda"})
	here := t.TempDir()
	t.Chdir(here)
	want := folder(t, here, "cuda")
	if got := m.places(); len(got) != 1 || got[0].dir != want {
		t.Errorf("places %v, want %s", got, want)
	}
}

// A line that names where was looked must say so also of what does not exist:
// that is where a person would install.
func TestLabelsNameTheUsualPlaces(t *testing.T) {
	m := testMachine(t, map[string]string{})
	got := strings.Join(m.labels(m.places()), ", ")
	for _, want := range []string{"SDNN_CUDA_PATH, which is not set", "/usr/local/cuda*/lib64", "Python's nvidia packages"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not name %s", got, want)
		}
	}
}

func TestMissingErrorIsOneLine(t *testing.T) {
	e := &MissingError{Names: []string{"liba.so", "libb.so"}, Looked: []string{"here", "there"}, Failed: []string{"libc.so: no such thing"}, Install: "install them"}
	const want = "liba.so, libb.so not found (looked in here, there); libc.so: no such thing: install them"
	if e.Error() != want {
		t.Errorf("%q, want %q", e, want)
	}
}
