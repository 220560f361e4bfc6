//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// Open opens a card, 0 being the first, and loads the libraries. It fails with
// a *MissingError, an *UnfitError, or a *driver.Error of the driver.
func Open(index int) (driver.Card, error) { return open(thisMachine(), index) }

// Survey lists cards and libraries without opening a card.
func Survey() Report { return survey(thisMachine()) }

// Present reports whether the machine seems to have an NVIDIA card, without
// loading anything, or SDNN_CUDA_PATH says that one is expected: who has a card,
// or thinks so, wants to hear why it is not used.
func Present() bool { return thisMachine().present() }

func (m machine) present() bool {
	if m.env(PathVariable) != "" {
		return true
	}
	for _, pattern := range []string{"/dev/nvidia[0-9]*", "/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1"} {
		if found, _ := filepath.Glob(m.root + pattern); len(found) > 0 {
			return true
		}
	}
	return false
}

// base is the driver, without a card.
type base struct {
	*cudaAPI
	version int
}

// loadDriver loads and starts libcuda.so.1.
func loadDriver(m machine) (*base, error) {
	const name = "libcuda.so.1"
	l := newLoader(m)
	lib := l.find(name, m.driverPlaces())
	if lib == nil {
		return nil, &MissingError{Names: []string{name + " (the NVIDIA driver)"}, Looked: l.labels(l.list), Failed: l.failed,
			Install: "install the NVIDIA driver, 525 or newer"}
	}
	b := &base{cudaAPI: new(cudaAPI)}
	if err := lib.bind(b.cudaAPI); err != nil {
		return nil, err
	}
	if err := b.check("cuInit", b.cuInit, 0); err != nil {
		if e, ok := err.(*driver.Error); ok && e.Code == cudaNoDevice {
			return nil, m.noCard()
		}
		return nil, &UnfitError{What: "the NVIDIA driver does not start (" + err.Error() + ")", Install: "see whether nvidia-smi works"}
	}
	version := new(int32)
	if err := b.check("cuDriverGetVersion", b.cuDriverGetVersion, uintptr(unsafe.Pointer(version))); err != nil {
		return nil, err
	}
	b.version = int(*version)
	if b.version < 12000 {
		return nil, &UnfitError{What: "the NVIDIA driver supports CUDA " + cudaVersion(b.version) + " only", Install: "install driver 525 or newer, for CUDA 12"}
	}
	return b, nil
}

// noCard says why the driver finds no card. Its library starts without the
// kernel module too, and in a container that was not given a card.
func (m machine) noCard() error {
	const module = "/proc/driver/nvidia/version"
	if _, err := os.Stat(m.root + module); err == nil {
		return &UnfitError{What: "the NVIDIA driver finds no card" + hidden(m), Install: "see whether nvidia-smi lists one"}
	}
	if _, err := os.Stat(m.root + "/usr/lib/wsl/lib"); err == nil {
		return &UnfitError{What: "the NVIDIA driver finds no card" + hidden(m), Install: "see whether nvidia-smi works in Windows and here"}
	}
	return &UnfitError{What: "the NVIDIA driver's library is here, but its kernel module is not loaded (there is no " + module + ")",
		Install: "on a machine with a card see whether nvidia-smi works; a container must be given the card (docker run --gpus all)"}
}

// hidden says whether the environment hides cards.
func hidden(m machine) string {
	const name = "CUDA_VISIBLE_DEVICES"
	if v, set := os.LookupEnv(name); set && m.env(name) == v {
		return fmt.Sprintf(" (%s is %q)", name, v)
	}
	return ""
}

// cudaVersion writes 12060 as 12.6.
func cudaVersion(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// check calls a function of the driver that needs no context.
//
//go:uintptrescapes
func (b *base) check(name string, fn uintptr, args ...uintptr) error {
	r, _, _ := purego.SyscallN(fn, args...)
	return b.failure(name, int32(r))
}

// failure is the error of a call; nil if there is none.
func (b *base) failure(name string, code int32) error {
	if code == cudaSuccess {
		return nil
	}
	text := new(uintptr)
	if r, _, _ := purego.SyscallN(b.cuGetErrorName, uintptr(uint32(code)), uintptr(unsafe.Pointer(text))); r != cudaSuccess {
		*text = 0
	}
	return &driver.Error{Call: name, Code: int(code), Text: cmp.Or(goString(*text), "unknown error")}
}

// describe reads what a card is.
func (b *base) describe(index int) (info driver.Info, device int32, err error) {
	handle := new(int32)
	if err := b.check("cuDeviceGet", b.cuDeviceGet, uintptr(unsafe.Pointer(handle)), uintptr(index)); err != nil {
		return info, 0, err
	}
	device = *handle
	info = driver.Info{Index: index, Driver: b.version}
	name := make([]byte, 256)
	if err := b.check("cuDeviceGetName", b.cuDeviceGetName, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)), uintptr(device)); err != nil {
		return info, 0, err
	}
	info.Name, _, _ = strings.Cut(string(name), "\x00")
	bytes := new(uint64)
	if err := b.check("cuDeviceTotalMem", b.cuDeviceTotalMem, uintptr(unsafe.Pointer(bytes)), uintptr(device)); err != nil {
		return info, 0, err
	}
	info.Memory = int(*bytes)
	for _, a := range []struct {
		attribute uintptr
		to        *int
	}{{deviceMajor, &info.Major}, {deviceMinor, &info.Minor}, {deviceMultiprocs, &info.Multiprocessors}, {deviceSharedPerBlock, &info.SharedPerBlock}} {
		value := new(int32)
		if err := b.check("cuDeviceGetAttribute", b.cuDeviceGetAttribute, uintptr(unsafe.Pointer(value)), a.attribute, uintptr(device)); err != nil {
			return info, 0, err
		}
		*a.to = int(*value)
	}
	info.SupportsBF16 = info.Major >= 8
	return info, device, nil
}

func (b *base) count() (int, error) {
	n := new(int32)
	err := b.check("cuDeviceGetCount", b.cuDeviceGetCount, uintptr(unsafe.Pointer(n)))
	return int(*n), err
}

// oldest is the least compute capability, that of the Volta cards: the libraries for CUDA 13 begin with 7.5.
const oldestMajor = 7

// open opens a card on a machine.
func open(m machine, index int) (driver.Card, error) {
	b, err := loadDriver(m)
	if err != nil {
		return nil, err
	}
	n, err := b.count()
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= n {
		return nil, &UnfitError{What: fmt.Sprintf("there is no card %d: the driver finds %d%s", index, n, hidden(m))}
	}
	s, err := newLoader(m).load(b.version)
	if err != nil {
		return nil, err
	}
	info, device, err := b.describe(index)
	if err != nil {
		return nil, err
	}
	if info.Major < oldestMajor {
		return nil, &UnfitError{What: fmt.Sprintf("%s has compute capability %d.%d; %d.0 is needed", info.Name, info.Major, info.Minor, oldestMajor)}
	}
	info.Libraries = s.versions()
	c := newCard(b, s, info, device)
	if err := c.start(); err != nil {
		_ = c.Close() // the error that stopped it matters more
		return nil, err
	}
	return c, nil
}

// survey lists cards and libraries.
func survey(m machine) (r Report) {
	b, err := loadDriver(m)
	if err != nil {
		r.Missing = err
		return r
	}
	r.Driver = b.version
	n, err := b.count()
	for i := 0; i < n && err == nil; i++ {
		var info driver.Info
		if info, _, err = b.describe(i); err == nil {
			r.Cards = append(r.Cards, info)
		}
	}
	if err != nil {
		r.Missing = err
		return r
	}
	s, err := newLoader(m).load(b.version)
	if err != nil {
		r.Missing = err
		return r
	}
	v := s.versions()
	lt, dnn, rtc := v["cublasLt"], v["cudnn"], v["nvrtc"]
	r.Libraries = []Library{
		{"cublasLt", fmt.Sprintf("%d.%d.%d", lt/10000, lt/100%100, lt%100), s.ltLib.file()},
		{"cudnn", fmt.Sprintf("%d.%d.%d", dnn/10000, dnn/100%100, dnn%100), s.dnnLib.file()},
		{"nvrtc", fmt.Sprintf("%d.%d", rtc/1000, rtc%1000/10), s.compiler.lib.file()},
	}
	return r
}

// versions are the libraries' own numbers; NVRTC's in the manner of CUDA's, 12060 for 12.6.
func (s *set) versions() map[string]int {
	lt, _, _ := purego.SyscallN(s.ltAPI.cublasLtGetVersion)
	return map[string]int{"cublasLt": int(lt), "cudnn": s.dnnVersion, "nvrtc": s.compiler.Version()}
}
