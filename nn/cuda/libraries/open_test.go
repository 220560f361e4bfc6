//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOpenSaysWhatTheCardIs(t *testing.T) {
	c, _ := openStub(t)
	info := c.Info()
	if info.Name != "Stub H100 0" || info.Memory != 1<<30 || info.Major != 9 || info.Minor != 0 || info.Multiprocessors != 132 ||
		info.SharedPerBlock != 49152 || info.Driver != 12060 || !info.SupportsBF16 || info.MemoryBusyByOther != 100<<20 {
		t.Errorf("%+v", info)
	}
	for name, want := range map[string]int{"cublasLt": 120604, "cudnn": 90600, "nvrtc": 12060} {
		if got := info.Libraries[name]; got != want {
			t.Errorf("%s is version %d, want %d", name, got, want)
		}
	}
}

// Each library that is not there is named, with what to install.
func TestMissingLibraries(t *testing.T) {
	for _, names := range [][]string{{"libcublasLt.so.12"}, {"libcudnn.so.9"}, {"libnvrtc.so.12"}, {"libcublasLt.so.12", "libnvrtc.so.12", "libcudnn.so.9"}} {
		dir := t.TempDir()
		complete(t, dir)
		for _, name := range names {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := open(testMachine(t, map[string]string{PathVariable: dir}), 0)
		missing, ok := errors.AsType[*MissingError](err)
		if !ok || !slices.Equal(missing.Names, names) {
			t.Errorf("without %v: %v", names, err)
			continue
		}
		if !strings.Contains(err.Error(), "pip install nvidia-cublas-cu12 nvidia-cudnn-cu12 nvidia-cuda-nvrtc-cu12") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q does not say in one line what to install", err)
		}
	}
}

func TestMissingDriver(t *testing.T) {
	m := testMachine(t, map[string]string{})
	_, err := open(m, 0)
	if missing, ok := errors.AsType[*MissingError](err); !ok || !strings.Contains(missing.Install, "driver") {
		t.Errorf("without a driver: %v", err)
	}
	if r := survey(m); r.Missing == nil || r.Driver != 0 || len(r.Cards) != 0 {
		t.Errorf("survey without a driver: %+v", r)
	}
}

// replaced opens a card where one library is another than in the complete set.
func replaced(t *testing.T, name, source string, flags ...string) error {
	t.Helper()
	dir := t.TempDir()
	complete(t, dir)
	install(t, dir, name, source, flags...)
	c, err := open(testMachine(t, map[string]string{PathVariable: dir}), 0)
	if err == nil {
		c.Close()
	}
	return err
}

func TestUnfitDriversAndLibraries(t *testing.T) {
	for _, c := range []struct {
		what string
		err  error
		says string
	}{
		{"driver of CUDA 11.8", replaced(t, "libcuda.so.1", "cuda.c", "-DSTUB_VERSION=11080"), "supports CUDA 11.8 only: install driver 525 or newer"},
		{"no kernel module", replaced(t, "libcuda.so.1", "cuda.c", "-DSTUB_CARDS=0"), "its kernel module is not loaded (there is no /proc/driver/nvidia/version): on a machine with a card see whether nvidia-smi works; a container must be given the card"},
		{"a library that is something else", replaced(t, "libnvrtc.so.12", "sublibrary.c", "-DSUBLIBRARY=x"), "has no function nvrtcVersion"},
		{"a driver that is something else", replaced(t, "libcuda.so.1", "sublibrary.c", "-DSUBLIBRARY=x"), "has no function cuInit"},
		{"cuDNN for CUDA 13", replaced(t, "libcudnn.so.9", "cudnn.c", "-DSTUB_CUDART=13000"), "libcudnn.so.9 is for CUDA 13: install CUDA 12's libraries"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.says) || strings.Contains(c.err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.what, c.err, c.says)
		}
	}
}

// A driver that is loaded and has no card says so; on Windows' Linux there is no module to look for.
func TestNoCard(t *testing.T) {
	for file, says := range map[string]string{
		"proc/driver/nvidia/version": "the NVIDIA driver finds no card: see whether nvidia-smi lists one",
		"usr/lib/wsl/lib/x":          "the NVIDIA driver finds no card: see whether nvidia-smi works in Windows and here",
	} {
		dir := t.TempDir()
		install(t, dir, "libcuda.so.1", "cuda.c", "-DSTUB_CARDS=0")
		m := testMachine(t, map[string]string{PathVariable: dir})
		folder(t, m.root, file)
		if _, err := open(m, 0); err == nil || err.Error() != says {
			t.Errorf("with %s: %v", file, err)
		}
	}
}

func TestNoSuchCard(t *testing.T) {
	dir := t.TempDir()
	complete(t, dir)
	for _, index := range []int{-1, 2} {
		_, err := open(testMachine(t, map[string]string{PathVariable: dir}), index)
		if _, ok := errors.AsType[*UnfitError](err); !ok || !strings.Contains(err.Error(), "the driver finds 2") {
			t.Errorf("card %d: %v", index, err)
		}
	}
}

// The compiler needs neither a driver nor the other libraries.
func TestOpenCompiler(t *testing.T) {
	dir := t.TempDir()
	m := testMachine(t, map[string]string{PathVariable: dir})
	_, err := openCompiler(m)
	if missing, ok := errors.AsType[*MissingError](err); !ok || !slices.Equal(missing.Names, []string{"libnvrtc.so.12"}) || !strings.Contains(missing.Install, "nvidia-cuda-nvrtc-cu12") {
		t.Errorf("without NVRTC: %v", err)
	}
	install(t, dir, "libnvrtc.so.12", "nvrtc.c")
	c, err := openCompiler(m)
	must(t, err)
	if v := c.Version(); v != 12060 {
		t.Errorf("version %d", v)
	}
	for capability, want := range map[int]string{75: "CUBIN sm_75\n", 90: "CUBIN sm_90\n", 120: "PTX compute_90\n"} {
		if code, _, err := c.Compile(capability/10, capability%10, "probe.cu", probeSource); err != nil || !strings.HasPrefix(string(code), want) {
			t.Errorf("for %d: %.30q, %v", capability, code, err)
		}
	}
	if _, _, err := c.Compile(7, 0, "probe.cu", probeSource); err == nil || !strings.Contains(err.Error(), "compute capability 7.0") {
		t.Errorf("for a card that NVRTC does not know any more: %v", err)
	}
	install(t, dir, "libnvrtc.so.13", "sublibrary.c", "-DSUBLIBRARY=x")
	if _, err := openCompiler(m); err == nil || !strings.Contains(err.Error(), "libnvrtc.so.13 has no function nvrtcVersion") {
		t.Errorf("with something else: %v", err)
	}
	if s := control(t, dir, "libnvrtc.so.12"); s.live() != 0 || s.problem() != "" {
		t.Errorf("%d programs are left; %s", s.live(), s.problem())
	}
}

// A file that is there and does not load is told with the loader's reason, and
// the next place is searched.
func TestDamagedFile(t *testing.T) {
	bad, good := t.TempDir(), t.TempDir()
	complete(t, good)
	for _, name := range []string{"libcudnn.so.9", "libcublasLt.so.12"} {
		if err := os.WriteFile(filepath.Join(bad, name), []byte("not a library"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := open(testMachine(t, map[string]string{PathVariable: bad + ":" + good}), 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := os.Remove(filepath.Join(good, "libcudnn.so.9")); err != nil {
		t.Fatal(err)
	}
	_, err = open(testMachine(t, map[string]string{PathVariable: bad + ":" + good}), 0)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(bad, "libcudnn.so.9")+": ") {
		t.Errorf("with a damaged cuDNN: %v", err)
	}
}

// A driver of CUDA 13 takes the set that is complete, be it of 12, and cuDNN
// decides between two complete ones.
func TestChoiceOfTheMajorVersion(t *testing.T) {
	dir := t.TempDir()
	complete(t, dir)
	install(t, dir, "libcuda.so.1", "cuda.c", "-DSTUB_VERSION=13000")
	m := testMachine(t, map[string]string{PathVariable: dir})
	choose := func() int {
		s, err := newLoader(m).load(13000)
		if err != nil {
			t.Fatal(err)
		}
		return s.major
	}
	if got := choose(); got != 12 {
		t.Errorf("with libraries of 12 alone: %d", got)
	}
	install(t, dir, "libcublasLt.so.13", "cublaslt.c")
	install(t, dir, "libnvrtc.so.13", "nvrtc.c")
	if got := choose(); got != 12 {
		t.Errorf("with cuDNN for 12: %d", got)
	}
	other := t.TempDir()
	install(t, other, "libcudnn.so.9", "cudnn.c", "-DSTUB_CUDART=13000")
	m.env = func(name string) string { return map[string]string{PathVariable: dir + ":" + other}[name] }
	if got := choose(); got != 13 {
		t.Errorf("with cuDNN for 12 and 13: %d", got)
	}
	if _, err := newLoader(m).load(12060); err != nil {
		t.Errorf("with a driver of 12.6: %v", err)
	}
}

func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	complete(t, dir)
	m := testMachine(t, map[string]string{PathVariable: dir})
	r := survey(m)
	if r.Missing != nil || r.Driver != 12060 || len(r.Cards) != 2 || r.Cards[1].Name != "Stub H100 1" || r.Cards[1].Memory != 1<<30 {
		t.Fatalf("%+v", r)
	}
	want := []Library{
		{"cublasLt", "12.6.4", filepath.Join(dir, "libcublasLt.so.12")},
		{"cudnn", "9.6.0", filepath.Join(dir, "libcudnn.so.9")},
		{"nvrtc", "12.6", filepath.Join(dir, "libnvrtc.so.12")},
	}
	if !slices.Equal(r.Libraries, want) {
		t.Errorf("libraries %v, want %v", r.Libraries, want)
	}
	if s := control(t, dir, "libcuda.so.1"); s.live() != 0 {
		t.Errorf("a survey opened a card")
	}
}

func TestPresent(t *testing.T) {
	m := testMachine(t, map[string]string{})
	if m.present() {
		t.Error("an empty machine has a card")
	}
	folder(t, m.root, "dev/nvidia0")
	if !m.present() {
		t.Error("/dev/nvidia0 is no card")
	}
	if m := testMachine(t, map[string]string{PathVariable: "/opt/cuda/lib64"}); !m.present() {
		t.Error("who names the folder of the libraries does not hear why no card is used")
	}
}

// helperVariable makes the test's binary open a card in another process, on the
// system of that folder: a process knows libraries that another test loaded.
const helperVariable = "SDNN_LIBRARIES_HELPER"

func helper(root string) {
	m := machine{root: root, env: os.Getenv, arch: "amd64", isolated: true}
	c, err := open(m, 0)
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("opened", c.Info().Name)
}

// NVIDIA's wheels put every library in a folder of its own, which the dynamic
// loader does not search, and cuDNN opens its parts by name. The stub does too.
func TestWheelsWithCudnnInParts(t *testing.T) {
	root := t.TempDir()
	site := filepath.Join(root, "usr/local/lib/python3.12/site-packages/nvidia")
	install(t, folder(t, root, "usr/lib/x86_64-linux-gnu"), "libcuda.so.1", "cuda.c")
	install(t, folder(t, site, "cublas/lib"), "libcublasLt.so.12", "cublaslt.c", "-Wl,-soname,libcublasLt.so.12")
	install(t, folder(t, site, "cuda_nvrtc/lib"), "libnvrtc.so.12", "nvrtc.c", "-Wl,-soname,libnvrtc.so.12")
	dnn := folder(t, site, "cudnn/lib")
	install(t, dnn, "libcudnn.so.9", "cudnn.c", "-DSTUB_SUBLIBRARIES")
	install(t, dnn, "libcudnn_graph.so.9", "sublibrary.c", "-DSUBLIBRARY=graph", "-Wl,-soname,libcudnn_graph.so.9")
	run := func() (string, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), helperVariable+"="+root, PathVariable+"=", "HOME="+root, "VIRTUAL_ENV=", "CONDA_PREFIX=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run()
	if err == nil || !strings.Contains(out, "cudnnCreate: CUDNN_STATUS_STUB: libcudnn_engines_precompiled.so.9: cannot open") {
		t.Errorf("without a part of cuDNN: %v, %s", err, out)
	}
	install(t, dnn, "libcudnn_engines_precompiled.so.9", "sublibrary.c", "-DSUBLIBRARY=engines", "-Wl,-soname,libcudnn_engines_precompiled.so.9")
	if out, err := run(); err != nil || out != "opened Stub H100 0\n" {
		t.Errorf("with all of cuDNN: %v, %s", err, out)
	}
}
