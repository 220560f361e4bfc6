package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sdnn/nn/cpu/pool"
)

// thin sets values to 0 or -0 so that about the given part is left, and none of some of the stored rows and columns.
func thin(r *rand.Rand, x Matrix, rows, cols int, density float64) {
	if x.Trans {
		rows, cols = cols, rows
	}
	empty := make([]bool, cols)
	for j := range empty {
		empty[j] = r.IntN(12) == 0
	}
	for i := range rows {
		none := r.IntN(12) == 0
		for j := range cols {
			if none || empty[j] || r.Float64() >= density {
				x.Data[i*x.Stride+j] = float32(math.Copysign(0, r.Float64()-0.5))
			}
		}
	}
}

// sparseSizes draws sizes at the edges of panels and tiles.
func sparseSizes(r *rand.Rand) (m, n, k int) {
	size := func(edges ...int) int { return max(1, edges[r.IntN(len(edges))]+r.IntN(5)-2) }
	return size(1, 20, 64, 130, 256, 390, 800), size(1, 30, 64, 96, 192, 250), size(1, 64, 100, 384, 448, 800)
}

// TestGemmSparseBits: skipping zeros gives the bits of Gemm, and sums that are right, of any sizes and densities and on any
// number of threads, with NaN and infinity among the values that are not zero.
func TestGemmSparseBits(t *testing.T) {
	defer UseZeros(UseZeros(ZerosSkipped))
	pools := []*pool.Pool{pool.New(1), pool.New(2), pool.New(3), pool.New(5)}
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for i := range 160 {
			m, n, k := randomSizes(r)
			if i%4 == 0 {
				m, n, k = sparseSizes(r)
			}
			p := randomProduct(r, m, n, k)
			density := 1.2*r.Float64() - 0.1
			thin(r, p.a, m, k, density)
			if i%2 == 0 {
				thin(r, p.b, k, n, 1.2*r.Float64()-0.1)
			}
			special := i%8 == 1 && len(p.a.Data) > 0
			if special {
				p.a.Data[0], p.a.Data[len(p.a.Data)-1] = float32(math.NaN()), float32(math.Inf(-1))
			}
			threads := pools[r.IntN(len(pools))]
			got := p.runBy(GemmSparse, threads)
			if !slices.Equal(gemmBits(got), gemmBits(p.run(pools[1]))) {
				t.Fatalf("%v, density %.2f, %d threads: not the bits of Gemm", p, density, threads.Threads())
			}
			if m*n*k < 1<<22 && !special {
				p.check(t, got)
			}
		}
	})
	for _, p := range pools {
		p.Close()
	}
}

// TestGemmSparseTiles is TestGemmTiles for either operand's zeros.
func TestGemmSparseTiles(t *testing.T) {
	defer UseZeros(UseZeros(ZerosSkipped))
	threads := pool.New(3)
	defer threads.Close()
	everyPath(t, func(t *testing.T) {
		testTiles(t, GemmSparse, threads)
		turned := func(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
			thin(rand.New(rand.NewPCG(1, 2)), b, k, n, 0.4) // the same every time
			GemmSparse(p, m, n, k, a, b, c, ldc, accumulate, e)
		}
		testTiles(t, turned, threads)
	})
}

// TestGemmSparseChoice: zeros are skipped, of the operand that has them, where there are many and the product is large.
func TestGemmSparseChoice(t *testing.T) {
	defer UseZeros(UseZeros(ZerosSampled))
	everyPath(t, func(t *testing.T) {
		const large = 1024
		r := rand.New(rand.NewPCG(23, 24))
		full, third := filled(large, large, false), filled(large, large, false)
		for i := range full.Data {
			full.Data[i], third.Data[i] = 1, 0
			if r.IntN(3) == 0 {
				third.Data[i] = float32(math.NaN())
			}
		}
		fullT, thirdT := full, third
		fullT.Trans, thirdT.Trans = true, true
		tile := &Epilogue{Tile: func(int, int, int, int, []float32, int, int) {}}
		for _, c := range []struct {
			what         string
			n            int
			a, b         Matrix
			accumulate   bool
			e            *Epilogue
			skip, turned bool
		}{
			{"zeros in A", large, third, full, true, &Epilogue{ReLU: true}, true, false},
			{"zeros in both", large, thirdT, third, false, tile, true, false},
			{"zeros in B", large, fullT, third, false, tile, true, true},
			{"zeros in weights", large, full, third, false, nil, false, false},
			{"zeros in B and an epilogue of columns", large, fullT, third, false, &Epilogue{ReLU: true}, false, false},
			{"zeros in B of a sum", large, fullT, third, true, nil, false, false},
			{"no zeros", large, fullT, full, false, tile, false, false},
			{"few columns", 100, third, full, false, nil, false, false},
			{"windows of images", large, third, Matrix{Data: full.Data, Patches: &Patches{}}, false, nil, false, false},
		} {
			skip, turned := chooseZeros(2, large, c.n, large, c.a, c.b, c.accumulate, c.e)
			if want := c.skip && Path() != Portable; skip != want || skip && turned != c.turned {
				t.Errorf("%s: skipped %v, turned %v; want %v, %v", c.what, skip, turned, want, c.turned)
			}
		}
	})
}

func TestDensity(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	for _, want := range []float64{0, 0.1, 0.5, 0.6, 0.9, 1} {
		for _, s := range [][2]int{{128, 4096}, {4096, 128}, {2000, 30}, {1, 1}} {
			x := filled(s[0], s[1], r.IntN(2) == 0)
			for i := range x.Data {
				x.Data[i] = float32(math.Copysign(0, r.Float64()-0.5))
				if r.Float64() < want {
					x.Data[i] = 1
				}
			}
			// 4.5 standard deviations of a thousand values, or of the few there are
			bound := 4.5 * math.Sqrt(want*(1-want)/float64(min(16*64, 16*min(s[0], s[1]))))
			if got := density(x, s[0], s[1]); math.Abs(got-want) > bound && s[0] > 1 {
				t.Errorf("%v: density %v, want %v", s, got, want)
			}
		}
	}
}

func TestGemmSparseAllocatesNothing(t *testing.T) {
	defer UseZeros(UseZeros(ZerosSkipped))
	for _, n := range []int{1, 3} {
		threads := pool.New(n)
		everyPath(t, func(t *testing.T) {
			p := randomProduct(rand.New(rand.NewPCG(11, 12)), 100, 300, 500)
			e := &Epilogue{ReLU: true}
			for w := range n { // which worker takes a tile is chance: give all their memory
				workBuffers(threads, w, gemmPaths[Path()], 0)
				threads.Scratch(w, 1<<21)
			}
			if a := testing.AllocsPerRun(20, func() { GemmSparse(threads, p.m, p.n, p.k, p.a, p.b, p.c, p.ldc, false, e) }); a != 0 {
				t.Errorf("%d threads: %v allocations a call", n, a)
			}
		})
		threads.Close()
	}
}
