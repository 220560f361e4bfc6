//go:build !linux

package cpu

// alloc returns n zeroed float32 and what frees them.
func alloc(n int) ([]float32, func()) { return make([]float32, n), func() {} }
