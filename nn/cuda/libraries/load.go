//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebitengine/purego"
)

// loader finds and loads libraries, and remembers what did not load.
type loader struct {
	machine
	list   []place
	failed []string
	seen   map[string]bool // files that are in failed
	cudnns []cudnnFound    // every cuDNN that was loaded: it says which CUDA it is for only when it is
}

type cudnnFound struct {
	*library
	api   *cudnnAPI
	major int // of CUDA
}

func newLoader(m machine) *loader {
	return &loader{machine: m, list: m.places(), seen: map[string]bool{}}
}

// find loads the first file of that name that loads, or returns nil.
func (l *loader) find(name string, list []place) *library {
	for _, p := range list {
		if lib := l.try(p, name, false); lib != nil {
			return lib
		}
	}
	return nil
}

// try loads name from a place, if it is there. A file that is there and does
// not load is remembered: its reason is worth more than "not found".
func (l *loader) try(p place, name string, visible bool) *library {
	path := name
	if p.dir != "" {
		path = filepath.Join(p.dir, name)
		if _, err := os.Stat(path); err != nil {
			return nil
		}
	}
	handle, err := dlopen(path, visible)
	if err == nil {
		return &library{name, p.dir, handle}
	}
	// What the loader does not find on its own path is not worth a word, but a library that another one needs is.
	if text := strings.TrimSpace(err.Error()); p.dir != "" || !strings.HasPrefix(text, name+": cannot open shared object file") {
		if !l.seen[path] {
			l.seen[path] = true
			l.failed = append(l.failed, text)
		}
	}
	return nil
}

// companions loads files beside lib that it would look for by name later, where
// the dynamic loader does not know the folder: a library of that name that is
// loaded already is found. Failures are left to the library, which may not need them.
func (l *loader) companions(lib *library, visible bool, patterns ...string) {
	if lib.dir == "" {
		return
	}
	for _, file := range beside(lib.dir, patterns...) {
		_, _ = dlopen(file, visible)
	}
}

// set is one major version of CUDA, complete.
type set struct {
	major      int
	compiler   *Compiler
	ltLib      *library
	dnnLib     *library
	ltAPI      *cublasLtAPI
	dnnAPI     *cudnnAPI
	dnnVersion int
}

// load finds a complete set that a driver of this CUDA version runs, the newest
// first. The error is about the set that lacks least.
func (l *loader) load(driverVersion int) (*set, error) {
	majors := []int{13, 12}
	if driverVersion < 13000 {
		majors = majors[1:]
	}
	var first error
	fewest := 0
	for _, major := range majors {
		s, lacks, err := l.loadMajor(major)
		if err == nil {
			return s, nil
		}
		if first == nil || lacks < fewest {
			first, fewest = err, lacks
		}
	}
	return nil, first
}

// loadMajor loads the set of one major version, or says what of it is missing,
// and how many libraries that are.
func (l *loader) loadMajor(major int) (*set, int, error) {
	s := &set{major: major}
	var missing []string
	name := fmt.Sprintf("libcublasLt.so.%d", major)
	if s.ltLib = l.find(name, l.list); s.ltLib == nil {
		missing = append(missing, name)
	} else {
		l.companions(s.ltLib, false, fmt.Sprintf("libcublas.so.%d", major))
	}
	rtc := l.nvrtc(major)
	if rtc == nil {
		missing = append(missing, fmt.Sprintf("libnvrtc.so.%d", major))
	}
	dnn, other, err := l.cudnn(major)
	if err != nil {
		return nil, 1, err
	}
	if dnn == nil {
		missing = append(missing, "libcudnn.so.9")
	}
	if len(missing) > 0 {
		if other != "" {
			l.note(other)
		}
		return nil, len(missing), l.missing(major, missing...)
	}
	s.dnnLib, s.dnnAPI, s.ltAPI = dnn.library, dnn.api, new(cublasLtAPI)
	if err := s.ltLib.bind(s.ltAPI); err != nil {
		return nil, 1, err
	}
	if s.compiler, err = newCompiler(rtc); err != nil {
		return nil, 1, err
	}
	version, _, _ := purego.SyscallN(s.dnnAPI.cudnnGetVersion)
	s.dnnVersion = int(version)
	return s, 0, nil
}

// nvrtc finds the compiler of a major version, with its library of built-in functions.
func (l *loader) nvrtc(major int) *library {
	lib := l.find(fmt.Sprintf("libnvrtc.so.%d", major), l.list)
	if lib != nil {
		l.companions(lib, false, fmt.Sprintf("libnvrtc-builtins.so.%d*", major))
	}
	return lib
}

// missing is the error of libraries of a major version that were not found.
func (l *loader) missing(major int, names ...string) error {
	return &MissingError{
		Names: names, Looked: l.labels(l.list), Failed: slices.Clone(l.failed),
		Install: fmt.Sprintf("install CUDA %d's libraries (pip install %s) or name their folders in %s", major, packages(major), PathVariable),
	}
}

func (l *loader) note(text string) {
	if !l.seen[text] {
		l.seen[text] = true
		l.failed = append(l.failed, text)
	}
}

// cudnn finds the cuDNN 9 for a major version of CUDA. other says which was
// found that is for another.
func (l *loader) cudnn(major int) (found *cudnnFound, other string, err error) {
	for i := range l.cudnns {
		if l.cudnns[i].major == major {
			return &l.cudnns[i], "", nil
		}
	}
	for _, p := range l.list {
		if slices.ContainsFunc(l.cudnns, func(c cudnnFound) bool { return c.dir == p.dir }) {
			continue
		}
		lib := l.openCudnn(p)
		if lib == nil {
			continue
		}
		c := cudnnFound{library: lib, api: new(cudnnAPI)}
		if err := lib.bind(c.api); err != nil {
			return nil, "", err
		}
		cuda, _, _ := purego.SyscallN(c.api.cudnnGetCudartVersion)
		c.major = int(cuda) / 1000
		l.cudnns = append(l.cudnns, c)
		if c.major == major {
			return &l.cudnns[len(l.cudnns)-1], "", nil
		}
	}
	for _, c := range l.cudnns {
		other = fmt.Sprintf("%s is for CUDA %d", c.where(), c.major)
	}
	return nil, other, nil
}

// openCudnn loads the cuDNN of a place. Its libcudnn.so.9 opens the libraries
// that do the work by their names when they are needed; where the dynamic loader
// would not find them they are loaded here, in the order they depend on each other.
// libcudnn_adv (attention, recurrent nets) is left out.
func (l *loader) openCudnn(p place) *library {
	const name = "libcudnn.so.9"
	if p.dir != "" {
		if _, err := os.Stat(filepath.Join(p.dir, name)); err != nil {
			return nil
		}
		l.companions(&library{dir: p.dir}, true,
			"libcudnn_graph.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9", "libcudnn_heuristic.so.9",
			"libcudnn_engines_precompiled.so.9", "libcudnn_engines_runtime_compiled.so.9", "libcudnn_engines_*.so.9", "libcudnn_ext.so.9")
	}
	return l.try(p, name, false)
}
