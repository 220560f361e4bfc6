package features

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapFile maps the first size bytes of f for reading.
func mapFile(f *os.File, size int) ([]byte, error) {
	h, err := windows.CreateFileMapping(windows.Handle(f.Fd()), nil, windows.PAGE_READONLY, uint32(uint64(size)>>32), uint32(size), nil)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	defer func() { _ = windows.CloseHandle(h) }() // the view keeps the mapping alive
	addr, err := windows.MapViewOfFile(h, windows.FILE_MAP_READ, 0, 0, uintptr(size))
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	// The address is outside the Go heap; going through a pointer to it keeps vet's unsafe rules.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), size), nil
}

func unmapFile(data []byte) error {
	return windows.UnmapViewOfFile(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
}

// willNeed is a hint that Windows' own read-ahead makes unnecessary.
func willNeed([]byte, int, int) {}

// unlockFile closes first: an open file cannot be removed. If another writer has opened it meanwhile, the file stays, and is its.
func unlockFile(f *os.File) error {
	err := f.Close()
	_ = os.Remove(f.Name())
	return err
}
