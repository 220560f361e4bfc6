//go:build !linux

package pool

// Alloc returns n zeroed float32 and what frees them.
func Alloc(n int) ([]float32, func()) { return make([]float32, n), func() {} }
