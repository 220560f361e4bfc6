//go:build linux

package kernel

import (
	"runtime"
	"testing"

	"sdnn/nn/cpu/pool"
)

// A step packs operands of growing sizes. What a larger one has taken the place
// of must not stay part of the process until the collector comes.
func TestPackedMemoryIsNoGarbage(t *testing.T) {
	if path == Portable {
		t.Skip("the products would take long")
	}
	for freeJobs.take() != nil { // jobs of other tests have memory already
	}
	p := pool.New(2)
	defer p.Close()
	const n, k = 3000, 1024
	b, most := make([]float32, k*n), 2000
	a, c := make([]float32, most*k), make([]float32, most*n)
	product := func(m int) {
		Gemm(p, m, n, k, Matrix{Data: a, Stride: k}, Matrix{Data: b, Stride: n}, c, n, false, nil)
	}
	for range 3 {
		product(1100) // the threads' workspaces, and memory just large enough to be mapped
	}
	var was, now runtime.MemStats
	runtime.ReadMemStats(&was)
	for m := most / 2; m <= most; m += most / 4 {
		product(m)
	}
	runtime.ReadMemStats(&now)
	j := takeJob(2)
	held := len(j.packedMemory.floats)
	j.release()
	if held < most*k {
		t.Fatalf("products of up to %d rows have packed %d values: nothing is tested", most, held)
	}
	if grown := now.TotalAlloc - was.TotalAlloc; grown > 8<<20 { // a thread may come late to its workspace
		t.Errorf("packing took %d bytes from Go's heap", grown)
	}
}
