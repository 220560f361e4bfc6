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

// rtc calls a function of NVRTC, which needs no context.
//
//go:uintptrescapes
func (c *card) rtc(name string, fn uintptr, args ...uintptr) error {
	r, _, _ := purego.SyscallN(fn, args...)
	if int32(r) == rtcSuccess {
		return nil
	}
	text, _, _ := purego.SyscallN(c.rtcAPI.nvrtcGetErrorString, r)
	return &driver.Error{Call: name, Code: int(int32(r)), Text: cmp.Or(goString(text), "unknown error")}
}

// Compile implements driver.Card. A card that is newer than NVRTC gets PTX, in
// the newest form that NVRTC knows, which the driver translates when it loads it.
func (c *card) Compile(name, source string) (code []byte, log string, err error) {
	architecture, binary, err := c.architecture()
	if err != nil {
		return nil, "", err
	}
	program, cname, csource := new(uintptr), cString(name), cString(source)
	if err := c.rtc("nvrtcCreateProgram("+name+")", c.rtcAPI.nvrtcCreateProgram, uintptr(unsafe.Pointer(program)),
		uintptr(unsafe.Pointer(&csource[0])), uintptr(unsafe.Pointer(&cname[0])), 0, 0, 0); err != nil {
		return nil, "", err
	}
	defer func() {
		destroyed := c.rtc("nvrtcDestroyProgram", c.rtcAPI.nvrtcDestroyProgram, uintptr(unsafe.Pointer(program)))
		err = cmp.Or(err, destroyed)
	}()
	options := [][]byte{cString("--gpu-architecture=" + architecture), cString("--std=c++17")}
	list := make([]unsafe.Pointer, len(options))
	for i, o := range options {
		list[i] = unsafe.Pointer(&o[0])
	}
	compiled := c.rtc("nvrtcCompileProgram("+name+", "+architecture+")", c.rtcAPI.nvrtcCompileProgram, *program, uintptr(len(list)), uintptr(unsafe.Pointer(&list[0])))
	runtime.KeepAlive(options)
	text, err := c.rtcOutput(*program, "ProgramLog", c.rtcAPI.nvrtcGetProgramLogSize, c.rtcAPI.nvrtcGetProgramLog)
	if err != nil {
		return nil, "", cmp.Or(compiled, err)
	}
	log = strings.TrimRight(string(text), "\x00\n")
	if compiled != nil {
		return nil, log, compiled
	}
	if binary {
		code, err = c.rtcOutput(*program, "CUBIN", c.rtcAPI.nvrtcGetCUBINSize, c.rtcAPI.nvrtcGetCUBIN)
	} else {
		code, err = c.rtcOutput(*program, "PTX", c.rtcAPI.nvrtcGetPTXSize, c.rtcAPI.nvrtcGetPTX)
	}
	return code, log, err
}

// rtcOutput reads one of a program's results; what names it.
func (c *card) rtcOutput(program uintptr, what string, size, get uintptr) ([]byte, error) {
	n := new(uint64)
	if err := c.rtc("nvrtcGet"+what+"Size", size, program, uintptr(unsafe.Pointer(n))); err != nil || *n == 0 {
		return nil, err
	}
	out := make([]byte, *n)
	return out, c.rtc("nvrtcGet"+what, get, program, uintptr(unsafe.Pointer(&out[0])))
}

// architecture is what to compile for, and whether to machine code.
func (c *card) architecture() (name string, binary bool, err error) {
	n := new(int32)
	if err := c.rtc("nvrtcGetNumSupportedArchs", c.rtcAPI.nvrtcGetNumSupportedArchs, uintptr(unsafe.Pointer(n))); err != nil {
		return "", false, err
	}
	known := make([]int32, max(*n, 1))
	if err := c.rtc("nvrtcGetSupportedArchs", c.rtcAPI.nvrtcGetSupportedArchs, uintptr(unsafe.Pointer(&known[0]))); err != nil {
		return "", false, err
	}
	return chooseArchitecture(int32(c.info.Major*10+c.info.Minor), known[:*n])
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
