package kernel

import (
	"math"
	"math/bits"
	"testing"

	"sdnn/nn"
)

// Every path draws the mask that nn.Hash32 defines.
func TestDropoutMask(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, n := range lengths() {
			for _, rate := range []float64{0, 0.3, 0.5, 0.99} {
				key := nn.RowKey(uint64(n), 3, 17)
				x, _ := guarded(n, n)
				y, whole := guarded(n, n+3)
				random(x, uint64(n), 1)
				if n > 2 {
					x[1] = float32(math.NaN())
				}
				threshold, scale := nn.KeepThreshold(rate), float32(1/(1-rate))
				Dropout(y, x, key, threshold, scale)
				for j, v := range x {
					want := float32(0)
					if nn.Hash32(key, uint32(j)) >= threshold {
						want = scale * v
					}
					if y[j] != want && want == want {
						t.Fatalf("n = %d, rate %g: y[%d] = %g, want %g", n, rate, j, y[j], want)
					}
				}
				if !whole() {
					t.Fatalf("n = %d: wrote outside its slices", n)
				}
			}
		}
	})
}

// The masks are even, and independent of the neighbouring element, row and
// stream: every bit pair's agreement is within five deviations of one half,
// over the keys that training uses.
func TestDropoutMasksIndependent(t *testing.T) {
	const rows, cols = 512, 1024
	const n = rows * cols
	var set, next, below, across, other [32]int
	h := make([]uint32, cols)
	last := make([]uint32, cols)
	count := func(c *[32]int, v uint32) {
		for ; v != 0; v &= v - 1 {
			c[bits.TrailingZeros32(v)]++
		}
	}
	for r := range rows {
		key := nn.RowKey(1, 0, uint64(r))
		stream := nn.StreamKey(key, 0)
		second := nn.StreamKey(key, 1)
		for j := range h {
			h[j] = nn.Hash32(stream, uint32(j))
			count(&set, h[j])
			count(&below, h[j]^last[j])
			count(&other, h[j]^nn.Hash32(second, uint32(j)))
			count(&across, h[j]^bits.RotateLeft32(h[j], 1))
			if j > 0 {
				count(&next, h[j]^h[j-1])
			}
		}
		copy(last, h)
	}
	for name, c := range map[string]*[32]int{"ones": &set, "next element": &next, "next row": &below,
		"next bit": &across, "next stream": &other} {
		for b, ones := range c {
			if z := (float64(ones) - n/2) / (math.Sqrt(n) / 2); math.Abs(z) > 6 {
				t.Errorf("%s: bit %d: %d of %d, %.1f deviations from a half", name, b, ones, n, z)
			}
		}
	}
}
