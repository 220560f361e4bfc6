//go:build (linux || darwin) && (amd64 || arm64)

package fakecard

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// canLoad says that libraries can be loaded on this system.
const canLoad = true

// library is a loaded library of kernels.
type library struct {
	handle uintptr
	run    uintptr
}

func openLibrary(path string) (*library, error) {
	h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	run, err := purego.Dlsym(h, "sdnn_run")
	if err != nil {
		return nil, err
	}
	return &library{h, run}, nil
}

func (l *library) symbol(name string) (uintptr, error) { return purego.Dlsym(l.handle, name) }

// running: a library's state is the process's.
var running sync.Mutex

// launch runs a kernel to its end; the result is sdnn_run's.
func (l *library) launch(f uintptr, args []uint64, gx, gy, gz, threads int) int {
	running.Lock()
	defer running.Unlock()
	r, _, _ := purego.SyscallN(l.run, f, uintptr(unsafe.Pointer(unsafe.SliceData(args))), uintptr(gx), uintptr(gy), uintptr(gz), uintptr(threads))
	runtime.KeepAlive(args)
	return int(int32(r))
}

// lockFile waits until no other process holds the file.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
