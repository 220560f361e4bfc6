package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"sdnn/nn/cpu/pool"
)

// streamingPath makes t run on the code path that streams weights, and counts the calls.
func streamingPath(t *testing.T) (isa *winoISA, calls *atomic.Int64) {
	usePath(t, AVX2)
	isa, calls = winoPaths[path], new(atomic.Int64)
	stream := isa.stream
	t.Cleanup(func() { isa.stream = stream })
	isa.stream = func(dst, src []float32) {
		calls.Add(1)
		stream(dst, src)
	}
	return isa, calls
}

// A convolution whose U is written past the caches ends in the bits of one whose
// U is not, also in memory that does not begin with a cache line.
func TestStreamedWeights(t *testing.T) {
	isa, calls := streamingPath(t)
	counted := isa.stream
	p := pool.New(2)
	defer p.Close()
	for _, s := range []struct{ batch, size, c, o, stride int }{
		{2, 4, 384, 400, 1},  // one chunk of tiles: a group's U is the worker's
		{70, 4, 320, 384, 1}, // several: all of U is kept
		{2, 2, 720, 720, 1},  // 2x2 maps
		{2, 8, 368, 384, 2},
	} {
		for _, kind := range []ConvKind{ConvForward, ConvData} {
			t.Run(fmt.Sprintf("%v/%s", s, kindNames[kind]), func(t *testing.T) {
				k := newStridedCase(kind, s.stride, s.batch, s.batch, s.size, s.size, s.c, s.o, rand.New(rand.NewPCG(1, 2)))
				isa.stream = nil
				plain := k.run(t, p)
				isa.stream = counted
				for _, k.shift = range []int{0, 1} {
					calls.Store(0)
					if !slices.Equal(k.run(t, p), plain) {
						t.Errorf("workspace moved by %d: the results differ", k.shift)
					}
					if streamed := calls.Load() > 0; streamed != (k.shift == 0) {
						t.Errorf("workspace moved by %d: streamed %v", k.shift, streamed)
					}
				}
			})
		}
	}
}

// winoISA.stream copies what it is given and nothing else.
func TestStream(t *testing.T) {
	isa, _ := streamingPath(t)
	memory, free := pool.Alloc(1 << 21) // starts with a page
	defer free()
	for _, n := range []int{0, 16, 32, 1024} {
		src := make([]float32, n)
		for i := range src {
			src[i] = float32(i + 1)
		}
		for i := range memory[:n+32] {
			memory[i] = canary
		}
		isa.stream(memory[16:16+n], src)
		if !slices.Equal(memory[16:16+n], src) || memory[15] != canary || memory[16+n] != canary {
			t.Errorf("%d values: not what was to be copied", n)
		}
	}
}
