//go:build !linux

package pool

// Alloc returns n zeroed float32 and what frees them.
func Alloc(n int) ([]float32, func()) { return make([]float32, n), func() {} }

// allocPages returns n zeroed bytes, aligned to a cache line, and what frees them.
func allocPages(n int) ([]byte, func()) { return allocLines(n), func() {} }
