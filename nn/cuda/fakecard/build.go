package fakecard

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

//go:embed shim.h
var shim string

// compiler returns the path of the host's C++ compiler, "" if there is none.
var compiler = sync.OnceValue(func() string {
	if !canLoad {
		return ""
	}
	for _, name := range []string{"c++", "g++", "clang++"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
})

// CanExecute reports whether kernels can run here, and if not, why not.
func CanExecute() (ok bool, why string) {
	switch {
	case !canLoad:
		return false, "this system's shared libraries cannot be loaded"
	case compiler() == "":
		return false, "no C++ compiler (c++, g++, clang++) is installed"
	}
	return true, ""
}

// flags: no contraction, so that results do not depend on the machine; kernels
// read memory as other types than it was written as.
var flags = []string{"-x", "c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-exceptions",
	"-fno-rtti", "-fno-stack-protector", "-w"}

// sharedVariable is a declaration of shared memory, see SDNN_SHARED of the shim.
var sharedVariable = regexp.MustCompile(`__shared__ (\w[\w ]*) (\w+)((?:\[[^\]]*\])*);`)

// build makes a shared library of a source's kernels and returns its path. It is
// made once for all tests: the file's name is a hash of what it depends on.
func build(name, source string) (path, log string, err error) {
	list, err := kernels.Parse(source)
	if err != nil {
		return "", err.Error(), err
	}
	text := shim + sharedVariable.ReplaceAllString(source, "static $1 $2$3; SDNN_SHARED($2)") + callers(list)
	h := sha256.New()
	fmt.Fprintln(h, compiler(), flags)
	h.Write([]byte(text))
	dir := buildDir()
	path = filepath.Join(dir, name+"-"+hex.EncodeToString(h.Sum(nil)[:12])+".so")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", err
	}
	unlock, err := lockFile(path + ".lock") // two test programs would compile the same
	if err != nil {
		return "", "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, "", nil
	}
	log, err = compile(text, path)
	return path, log, err
}

func compile(text, path string) (log string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return "", err
	}
	c := exec.Command(compiler(), append(flags, "-o", f.Name(), "-", "-lm")...)
	c.Stdin = strings.NewReader(text)
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), &driver.Error{Call: "nvrtcCompileProgram", Code: 6, Text: "NVRTC_ERROR_COMPILATION"}
	}
	return string(out), os.Rename(f.Name(), path)
}

// buildDir is where libraries are kept: the user's cache, else the temporary folder.
func buildDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "sdnn", "fakecard")
}

// callers writes for each kernel a function that takes its arguments as words.
func callers(list []*kernels.Signature) string {
	var b strings.Builder
	b.WriteString("\n#line 1 \"callers\"\n")
	for _, s := range list {
		fmt.Fprintf(&b, "extern \"C\" void sdnn_call_%s(const unsigned long long *a) { %s(", s.Name, s.Name)
		for i, p := range s.Params {
			if i > 0 {
				b.WriteString(", ")
			}
			switch p.Kind {
			case driver.ArgPtr:
				fmt.Fprintf(&b, "(%s *)a[%d]", p.Type, i)
			case driver.ArgF32:
				fmt.Fprintf(&b, "__uint_as_float((unsigned)a[%d])", i)
			default:
				fmt.Fprintf(&b, "(%s)a[%d]", p.Type, i)
			}
		}
		b.WriteString("); }\n")
	}
	return b.String()
}
