package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"sdnn/nn/cpu/pool"
)

// product is a random case of Gemm with memory around everything it may touch.
type product struct {
	m, n, k          int
	a, b             Matrix
	c                []float32 // guards and C's old values
	offset, ldc      int       // of C in c
	accumulate, relu bool
	bias             []float32
}

// guard surrounds C; the kernels must leave it alone.
const guard = float32(-12345.5)

// randomMatrix returns an operand of the given sizes, its values in [-1, 1),
// NaN in the memory between its rows and none after the last value.
func randomMatrix(r *rand.Rand, rows, cols int, trans bool) Matrix {
	if trans {
		rows, cols = cols, rows
	}
	stride := cols + r.IntN(3)*r.IntN(20)
	x := Matrix{Stride: max(stride, 1), Trans: trans}
	if rows == 0 || cols == 0 {
		return x
	}
	x.Data = make([]float32, (rows-1)*x.Stride+cols)
	for i := range x.Data {
		x.Data[i] = float32(math.NaN())
		if i%x.Stride < cols {
			x.Data[i] = 2*r.Float32() - 1
		}
	}
	return x
}

// randomProduct draws a case of the given sizes.
func randomProduct(r *rand.Rand, m, n, k int) *product {
	p := &product{m: m, n: n, k: k,
		a: randomMatrix(r, m, k, r.IntN(2) == 0), b: randomMatrix(r, k, n, r.IntN(2) == 0),
		ldc: n + r.IntN(20), offset: 64 + r.IntN(16), accumulate: r.IntN(2) == 0, relu: r.IntN(2) == 0}
	p.c = make([]float32, p.offset+m*p.ldc+64)
	for i := range p.c {
		p.c[i] = guard
	}
	for i := range m {
		for j := range n {
			p.c[p.offset+i*p.ldc+j] = 2*r.Float32() - 1
		}
	}
	if r.IntN(2) == 0 {
		p.bias = make([]float32, n)
		for j := range p.bias {
			p.bias[j] = 2*r.Float32() - 1
		}
	}
	return p
}

// run computes the case on a pool and returns the memory that holds C.
func (p *product) run(threads *pool.Pool) []float32 { return p.runBy(Gemm, threads) }

// gemmFunc is Gemm or GemmBF16.
type gemmFunc func(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue)

// runBy is run by the given function.
func (p *product) runBy(gemm gemmFunc, threads *pool.Pool) []float32 {
	c := append([]float32(nil), p.c...)
	e := &Epilogue{Bias: p.bias, ReLU: p.relu}
	if e.Bias == nil && !e.ReLU {
		e = nil
	}
	gemm(threads, p.m, p.n, p.k, p.a, p.b, c[p.offset:p.offset+max(0, (p.m-1)*p.ldc+p.n)], p.ldc, p.accumulate, e)
	return c
}

// at returns value (i, j) of op(x).
func at(x Matrix, i, j int) float64 {
	if x.Trans {
		i, j = j, i
	}
	return float64(x.Data[i*x.Stride+j])
}

// check compares c with the sums in float64: the error of a sum of k products
// is at most about k eps sum |a||b| (Higham, Accuracy and Stability of
// Numerical Algorithms, 2nd ed., section 3.1). It also checks the guards.
func (p *product) check(t *testing.T, c []float32) {
	t.Helper()
	seen := make([]bool, len(c))
	for i := range p.m {
		for j := range p.n {
			var sum, size float64
			for k := range p.k {
				x := at(p.a, i, k) * at(p.b, k, j)
				sum += x
				size += math.Abs(x)
			}
			at := p.offset + i*p.ldc + j
			seen[at] = true
			if p.accumulate {
				sum += float64(p.c[at])
				size += math.Abs(float64(p.c[at]))
			}
			if p.bias != nil {
				sum += float64(p.bias[j])
				size += math.Abs(float64(p.bias[j]))
			}
			if p.relu {
				sum = max(sum, 0)
			}
			bound := float64(p.k+2) * 0x1p-24 * size
			if diff := math.Abs(float64(c[at]) - sum); !(diff <= bound) {
				t.Fatalf("%v: C[%d,%d] = %v, want %v within %v", p, i, j, c[at], sum, bound)
			}
		}
	}
	for i, v := range c {
		if !seen[i] && v != guard {
			t.Fatalf("%v: value %d of C's memory, outside C, became %v", p, i, v)
		}
	}
}

func (p *product) String() string {
	return fmt.Sprintf("m=%d n=%d k=%d A.Trans=%v,%d B.Trans=%v,%d ldc=%d accumulate=%v bias=%v relu=%v",
		p.m, p.n, p.k, p.a.Trans, p.a.Stride, p.b.Trans, p.b.Stride, p.ldc, p.accumulate, p.bias != nil, p.relu)
}

// randomSizes draws sizes that are mostly small, often at the edges of blocks.
func randomSizes(r *rand.Rand) (m, n, k int) {
	size := func(edges ...int) int {
		if r.IntN(2) == 0 {
			return max(0, edges[r.IntN(len(edges))]+r.IntN(3)-1)
		}
		return r.IntN(70)
	}
	return size(1, 6, 12, 14, 28, 56, 112), size(1, 8, 16, 32, 64, 256), size(0, 1, 8, 16, 128, gemmKC, 2*gemmKC)
}

func TestGemmAgainstFloat64(t *testing.T) {
	one, three := pool.New(1), pool.New(3)
	defer one.Close()
	defer three.Close()
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 60 {
			m, n, k := randomSizes(r)
			p := randomProduct(r, m, n, k)
			p.check(t, p.run(one))
			p.check(t, p.run(three))
		}
	})
}

// TestGemmSpecialValues: NaN and infinity reach exactly the values of C that
// depend on them, through ReLU too.
func TestGemmSpecialValues(t *testing.T) {
	threads := pool.New(2)
	defer threads.Close()
	const m, n, k = 33, 70, 500
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	everyPath(t, func(t *testing.T) {
		a := Matrix{Data: make([]float32, m*k), Stride: k}
		b := Matrix{Data: make([]float32, k*n), Stride: n}
		for i := range a.Data {
			a.Data[i] = 1
		}
		for i := range b.Data {
			b.Data[i] = 1
		}
		a.Data[5*k+400] = nan
		b.Data[3*n+64] = inf  // with 1: inf
		b.Data[499*n+7] = inf // with 0 in row 8: NaN
		a.Data[8*k+499] = 0
		a.Data[9*k+3] = -1 // -inf, 0 after ReLU
		c := make([]float32, m*n)
		Gemm(threads, m, n, k, a, b, c, n, false, &Epilogue{ReLU: true})
		for i := range m {
			for j := range n {
				want := float32(k)
				switch {
				case i == 5 || i == 8 && j == 7:
					want = nan
				case j == 64 && i == 9:
					want = 0
				case j == 64 || j == 7:
					want = inf
				case i == 8:
					want = k - 1
				case i == 9:
					want = k - 2
				}
				if got := c[i*n+j]; got != want && !(got != got && want != want) {
					t.Fatalf("C[%d,%d] = %v, want %v", i, j, got, want)
				}
			}
		}
	})
}

// TestGemmTiles: the parts handed to Epilogue.Tile are a partition of C and
// hold final values, whether C is stored or not.
func TestGemmTiles(t *testing.T) {
	threads := pool.New(3)
	defer threads.Close()
	everyPath(t, func(t *testing.T) {
		testTiles(t, Gemm, threads)
		if Path() == AVX512 && BF16Err() == nil {
			testTiles(t, GemmBF16, threads)
		}
	})
}

func testTiles(t *testing.T, gemm gemmFunc, threads *pool.Pool) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, s := range [][3]int{{1, 1, 1}, {130, 600, 1000}, {257, 33, 384}, {5, 900, 0}, {40, 2900, 30}, {1030, 40, 1030}} {
		m, n, k := s[0], s[1], s[2]
		a, b := randomMatrix(r, m, k, true), randomMatrix(r, k, n, false)
		want := make([]float32, m*n)
		gemm(threads, m, n, k, a, b, want, n, false, nil)
		for _, c := range [][]float32{make([]float32, m*n), nil} {
			got, seen := make([]float32, m*n), make([]int32, m*n)
			gemm(threads, m, n, k, a, b, c, n, false, &Epilogue{Beside: []Matrix{{Data: got, Stride: n}}, Tile: func(row, rows, col, cols int, c []float32, ldc, worker int) {
				for i := range rows {
					for j := range cols {
						seen[(row+i)*n+col+j]++
						got[(row+i)*n+col+j] = c[i*ldc+j]
					}
				}
			}})
			for i := range want {
				if seen[i] != 1 || got[i] != want[i] {
					t.Fatalf("%v, stored %v: value %d was handed over %d times as %v, want once as %v", s, c != nil, i, seen[i], got[i], want[i])
				}
			}
		}
	}
}

func TestGemmAllocatesNothing(t *testing.T) {
	for _, n := range []int{1, 3} {
		threads := pool.New(n)
		everyPath(t, func(t *testing.T) {
			p := randomProduct(rand.New(rand.NewPCG(11, 12)), 100, 300, 500)
			e := &Epilogue{ReLU: true}
			f := func() { Gemm(threads, p.m, p.n, p.k, p.a, p.b, p.c, p.ldc, false, e) }
			for w := range n { // which worker packs is chance: give all their memory
				workBuffers(threads, w, gemmPaths[Path()], 0)
			}
			if a := testing.AllocsPerRun(20, f); a != 0 {
				t.Errorf("%d threads: %v allocations a call", n, a)
			}
		})
		threads.Close()
	}
}

func TestGemmMisusePanics(t *testing.T) {
	threads := pool.New(1)
	x := make([]float32, 100)
	ok := Matrix{Data: x, Stride: 10}
	for name, f := range map[string]func(){
		"a negative size": func() { Gemm(threads, -1, 5, 5, ok, ok, x, 10, false, nil) },
		"a short A":       func() { Gemm(threads, 11, 5, 5, ok, ok, make([]float32, 200), 10, false, nil) },
		"a small stride":  func() { Gemm(threads, 5, 5, 11, ok, ok, x, 10, false, nil) },
		"a short B":       func() { Gemm(threads, 5, 11, 5, ok, Matrix{Data: x, Stride: 10, Trans: true}, x, 11, false, nil) },
		"a short C":       func() { Gemm(threads, 10, 10, 10, ok, ok, x[:99], 10, false, nil) },
		"a missing C":     func() { Gemm(threads, 10, 10, 10, ok, ok, nil, 10, false, nil) },
		"a C to add to": func() {
			Gemm(threads, 10, 10, 10, ok, ok, nil, 10, true, &Epilogue{Tile: func(_, _, _, _ int, _ []float32, _, _ int) {}})
		},
		"a short matrix": func() {
			Gemm(threads, 10, 10, 10, ok, ok, x, 10, false, &Epilogue{Beside: []Matrix{{Data: x[:99], Stride: 10}}})
		},
		"a short bias": func() { Gemm(threads, 5, 5, 5, ok, ok, x, 10, false, &Epilogue{Bias: x[:4]}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}
