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
	b, free := allocPages(n * 4)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n), free
}

// allocPages returns n zeroed bytes, aligned to a huge page and in huge pages
// if the system grants them, and what frees them. Besides the TLB, the caches
// gain: what fits in a second-level cache stays there only if its addresses
// fall evenly on the cache's sets, as those of a huge page do.
func allocPages(n int) ([]byte, func()) {
	all, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return allocLines(n), func() {}
	}
	b := aligned(all, n, hugePage)
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // advice: without it the same result, slower
	return b, func() { _ = unix.Munmap(all) }
}
