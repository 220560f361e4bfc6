//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// Compiler is NVRTC: CUDA C to machine code. It needs no card and no driver. Its
// methods may be called by any goroutine.
type Compiler struct {
	lib *library
	api *nvrtcAPI
}

// OpenCompiler loads the NVRTC that is found first, of the newest major version
// of CUDA. It fails with a *MissingError or an *UnfitError.
func OpenCompiler() (*Compiler, error) { return openCompiler(thisMachine()) }

func openCompiler(m machine) (*Compiler, error) {
	l := newLoader(m)
	for _, major := range []int{13, 12} {
		if lib := l.nvrtc(major); lib != nil {
			return newCompiler(lib)
		}
	}
	return nil, l.missing(12, "libnvrtc.so.12")
}

func newCompiler(lib *library) (*Compiler, error) {
	c := &Compiler{lib, new(nvrtcAPI)}
	return c, lib.bind(c.api)
}

// Version is NVRTC's, in the manner of CUDA's: 12060 for 12.6.
func (c *Compiler) Version() int {
	major, minor := new(int32), new(int32)
	_, _, _ = purego.SyscallN(c.api.nvrtcVersion, uintptr(unsafe.Pointer(major)), uintptr(unsafe.Pointer(minor)))
	return int(*major)*1000 + int(*minor)*10
}

// call calls a function of NVRTC, which needs no context.
//
//go:uintptrescapes
func (c *Compiler) call(name string, fn uintptr, args ...uintptr) error {
	r, _, _ := purego.SyscallN(fn, args...)
	if int32(r) == rtcSuccess {
		return nil
	}
	text, _, _ := purego.SyscallN(c.api.nvrtcGetErrorString, r)
	return &driver.Error{Call: name, Code: int(int32(r)), Text: cmp.Or(goString(text), "unknown error")}
}

// Compile implements driver.Card.
func (c *card) Compile(name, source string) (code []byte, log string, err error) {
	return c.compiler.Compile(c.info.Major, c.info.Minor, name, source)
}

// Compile compiles for cards of a compute capability. One that is newer than
// NVRTC gets PTX, in the newest form that NVRTC knows, which the driver translates
// when it loads it; for one that is older there is an *UnfitError. The log has the
// compiler's messages, also when it fails, which is a *driver.Error.
func (c *Compiler) Compile(major, minor int, name, source string) (code []byte, log string, err error) {
	architecture, binary, err := c.architecture(major, minor)
	if err != nil {
		return nil, "", err
	}
	program, cname, csource := new(uintptr), cString(name), cString(source)
	if err := c.call("nvrtcCreateProgram("+name+")", c.api.nvrtcCreateProgram, uintptr(unsafe.Pointer(program)),
		uintptr(unsafe.Pointer(&csource[0])), uintptr(unsafe.Pointer(&cname[0])), 0, 0, 0); err != nil {
		return nil, "", err
	}
	defer func() {
		destroyed := c.call("nvrtcDestroyProgram", c.api.nvrtcDestroyProgram, uintptr(unsafe.Pointer(program)))
		err = cmp.Or(err, destroyed)
	}()
	options := [][]byte{cString("--gpu-architecture=" + architecture), cString("--std=c++17")}
	list := make([]unsafe.Pointer, len(options))
	for i, o := range options {
		list[i] = unsafe.Pointer(&o[0])
	}
	compiled := c.call("nvrtcCompileProgram("+name+", "+architecture+")", c.api.nvrtcCompileProgram, *program, uintptr(len(list)), uintptr(unsafe.Pointer(&list[0])))
	runtime.KeepAlive(options)
	text, err := c.output(*program, "ProgramLog", c.api.nvrtcGetProgramLogSize, c.api.nvrtcGetProgramLog)
	if err != nil {
		return nil, "", cmp.Or(compiled, err)
	}
	log = strings.TrimRight(string(text), "\x00\n")
	if compiled != nil {
		return nil, log, compiled
	}
	if binary {
		code, err = c.output(*program, "CUBIN", c.api.nvrtcGetCUBINSize, c.api.nvrtcGetCUBIN)
	} else {
		code, err = c.output(*program, "PTX", c.api.nvrtcGetPTXSize, c.api.nvrtcGetPTX)
	}
	return code, log, err
}

// output reads one of a program's results; what names it.
func (c *Compiler) output(program uintptr, what string, size, get uintptr) ([]byte, error) {
	n := new(uint64)
	if err := c.call("nvrtcGet"+what+"Size", size, program, uintptr(unsafe.Pointer(n))); err != nil || *n == 0 {
		return nil, err
	}
	out := make([]byte, *n)
	return out, c.call("nvrtcGet"+what, get, program, uintptr(unsafe.Pointer(&out[0])))
}

// architecture is what to compile for, and whether to machine code.
func (c *Compiler) architecture(major, minor int) (name string, binary bool, err error) {
	n := new(int32)
	if err := c.call("nvrtcGetNumSupportedArchs", c.api.nvrtcGetNumSupportedArchs, uintptr(unsafe.Pointer(n))); err != nil {
		return "", false, err
	}
	known := make([]int32, max(*n, 1))
	if err := c.call("nvrtcGetSupportedArchs", c.api.nvrtcGetSupportedArchs, uintptr(unsafe.Pointer(&known[0]))); err != nil {
		return "", false, err
	}
	return chooseArchitecture(int32(major*10+minor), known[:*n])
}

// chooseArchitecture picks what to compile for a card of compute capability
// card (90 for 9.0) from what the compiler knows.
func chooseArchitecture(card int32, known []int32) (name string, binary bool, err error) {
	if slices.Contains(known, card) {
		return fmt.Sprintf("sm_%d", card), true, nil
	}
	best := int32(0)
	for _, k := range known {
		if k < card {
			best = max(best, k)
		}
	}
	if best == 0 {
		return "", false, &UnfitError{What: fmt.Sprintf("NVRTC no longer compiles for this card's compute capability %d.%d", card/10, card%10), Install: "install the libraries of an older CUDA"}
	}
	return fmt.Sprintf("compute_%d", best), false, nil
}
