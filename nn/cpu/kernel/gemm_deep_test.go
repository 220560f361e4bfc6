package kernel

import (
	"math"
	"testing"

	"sdnn/nn/cpu/pool"
)

// The work of a whole batch is handed to a smaller one too: what is left in it
// must not reach the result.
func TestGemmDeepLeavesTheRestOfWorkAlone(t *testing.T) {
	const m, n, part = 5, 7, 2 * gemmKC
	for _, threads := range []int{1, 2, 5} {
		p := pool.New(threads)
		for _, k := range []int{part / 2, part, part + 1, 3*part - 8} {
			a, b := make([]float32, m*k), make([]float32, k*n)
			for i := range a {
				a[i] = float32(i%11) - 5
			}
			for i := range b {
				b[i] = float32(i%7) - 3
			}
			work := make([]float32, GemmDeepWork(m, n, 4*part, part))
			for i := range work {
				work[i] = float32(math.NaN())
			}
			c := make([]float32, m*n)
			GemmDeep(p, m, n, k, part, Matrix{Data: a, Stride: k}, Matrix{Data: b, Stride: n}, c, work)
			for i := range m {
				for j := range n {
					want := 0.0
					for l := range k {
						want += float64(a[i*k+l]) * float64(b[l*n+j])
					}
					if float64(c[i*n+j]) != want { // small integers: no rounding
						t.Fatalf("%d threads, k %d: C[%d,%d] = %g, want %g", threads, k, i, j, c[i*n+j], want)
					}
				}
			}
		}
		p.Close()
	}
}
