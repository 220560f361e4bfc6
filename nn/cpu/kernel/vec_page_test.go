//go:build linux || darwin

package kernel

import (
	"syscall"
	"testing"
	"unsafe"
)

// beforePage returns n elements that end where readable memory ends.
func beforePage(t *testing.T, n int) []float32 {
	t.Helper()
	page := syscall.Getpagesize()
	size := (4*n+page-1)/page*page + page
	m, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(m) })
	if err := syscall.Mprotect(m[size-page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	all := unsafe.Slice((*float32)(unsafe.Pointer(&m[0])), (size-page)/4)
	return all[len(all)-n:]
}

// No kernel touches memory behind its slices, not even to read: a mapped file
// ends with a page that is not there.
func TestReadsNothingBehindSlices(t *testing.T) {
	const most = 80
	var s [6][]float32
	for i := range s {
		s[i] = beforePage(t, most)
	}
	idx := make([]int32, most)
	eachPath(t, func(t *testing.T) {
		for n := range most + 1 {
			var a [len(s)][]float32
			for i := range s {
				a[i] = random(s[i][most-n:], uint64(i), 1)
			}
			for _, e := range elementwiseKernels {
				if e.inPlace {
					e.run(a[:e.out], a[e.out:])
				} else {
					e.run(a[e.in:], a[:e.in])
				}
				for i := range s {
					random(a[i], uint64(i), 1)
				}
			}
			for _, r := range reductions {
				r.run(a[0], a[1])
				CELogits(a[1], a[2], a[3], 1)
				CEProbs(a[1], a[2], a[3], 1)
			}
			GreaterIndices(a[0], 0.5, idx)
		}
		for n := range 40 {
			x := random(s[0][most-n:], 4, 1)
			y, taps, bias := beforePage(t, n/2*16), beforePage(t, 48), beforePage(t, 16)
			ConvPool(y, x, taps, bias)
			ConvPoolGrad(taps, bias, y, x, taps, bias)
		}
	})
}
