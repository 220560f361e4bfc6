package pool

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeFrom is the size in bytes from which huge pages pay.
const hugeFrom = 4 << 20

// Alloc returns n zeroed float32 and what frees them. Large ones are mapped
// apart from Go's heap and asked for in huge pages: a matrix product walks
// over hundreds of megabytes and would otherwise wait for the TLB; and closing
// a session gives the memory back at once instead of at some later collection.
func Alloc(n int) ([]float32, func()) {
	if n*4 < hugeFrom {
		return make([]float32, n), func() {}
	}
	b, err := unix.Mmap(-1, 0, n*4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]float32, n), func() {}
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // advice: without it the same result, slower
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n), func() { _ = unix.Munmap(b) }
}
