package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sdnn/nn/cpu/pool"
)

// A convolution whose U is written past the caches ends in the bits of one whose
// U is not.
func TestStreamedWeights(t *testing.T) {
	isa := winoPaths[path]
	if isa.stream == nil {
		t.Skipf("the %v path writes no weights past the caches", path)
	}
	stream := isa.stream
	defer func() { isa.stream = stream }()
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
				conv := k.plan()
				conv.fitGroups(p.Threads())
				isa.stream = stream
				conv.layOut(path)
				if !conv.streams() {
					t.Fatalf("U of %d floats is not streamed", conv.us.size*conv.groups())
				}
				streamed := k.run(t, p)
				isa.stream = nil
				if plain := k.run(t, p); !slices.Equal(streamed, plain) {
					t.Error("the results differ")
				}
			})
		}
	}
}

// winoISA.stream copies what it is given and nothing else.
func TestStream(t *testing.T) {
	stream := winoPaths[path].stream
	if stream == nil {
		t.Skipf("the %v path writes no weights past the caches", path)
	}
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
		stream(memory[16:16+n], src)
		if !slices.Equal(memory[16:16+n], src) || memory[15] != canary || memory[16+n] != canary {
			t.Errorf("%d values: not what was to be copied", n)
		}
	}
}
