package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sdnn/internal/race"
	"sdnn/nn/cpu/pool"
)

// runStrassen computes the case, whose sizes are even, by Strassen's algorithm
// and returns the memory that holds C. With tile the result is not stored by the
// product but by Epilogue.Tile.
func (p *product) runStrassen(threads *pool.Pool, tile bool) []float32 {
	c := append([]float32(nil), p.c...)
	inner := c[p.offset : p.offset+(p.m-1)*p.ldc+p.n]
	e := &Epilogue{Bias: p.bias, ReLU: p.relu}
	if !tile {
		gemmStrassen(threads, gemmPaths[path], p.m, p.n, p.k, p.a, p.b, inner, p.ldc, e)
		return c
	}
	e.Tile = func(row, rows, col, cols int, part []float32, ldc, worker int) {
		for r := range rows {
			copy(inner[(row+r)*p.ldc+col:][:cols], part[r*ldc:])
		}
	}
	e.Beside = []Matrix{{Data: inner, Stride: p.ldc}, {Data: inner, Stride: p.ldc}}
	gemmStrassen(threads, gemmPaths[path], p.m, p.n, p.k, p.a, p.b, nil, 0, e)
	return c
}

// strassenInOrder computes the case as it is documented: parts of the depth, in each
// matrices of sums, seven products in Gemm's order, and sums of those.
func (p *product) strassenInOrder() []float32 {
	c := append([]float32(nil), p.c...)
	for k0 := 0; k0 < p.k; k0 += strassenDepth {
		part := p.strassenPart(k0, min(strassenDepth, p.k-k0))
		for i := range p.m {
			for j := range p.n {
				v := &c[p.offset+i*p.ldc+j]
				if k0 > 0 {
					*v += part[i*p.n+j]
				} else {
					*v = part[i*p.n+j]
				}
				if k0+strassenDepth < p.k {
					continue
				}
				if p.bias != nil {
					*v += p.bias[j]
				}
				if p.relu && *v < 0 {
					*v = 0
				}
			}
		}
	}
	return c
}

// strassenPart computes the products [k0, k0+depth) of the case, without gaps.
func (p *product) strassenPart(k0, depth int) []float32 {
	m, n, k := p.m/2, p.n/2, depth/2
	add := func(x, y []float32, sign float32) []float32 {
		sum := make([]float32, len(x))
		for i := range x {
			sum[i] = x[i] + sign*y[i]
		}
		return sum
	}
	quarterOf := func(x Matrix, row, col, rows, cols int) []float32 {
		var q []float32
		for r := range rows {
			for c := range cols {
				q = append(q, float32(at(x, row+r, col+c)))
			}
		}
		return q
	}
	var a, b [2][2][]float32
	for i := range 2 {
		for j := range 2 {
			a[i][j], b[i][j] = quarterOf(p.a, i*m, k0+j*k, m, k), quarterOf(p.b, k0+i*k, j*n, k, n)
		}
	}
	times := func(x, y []float32) []float32 {
		q := product{m: m, n: n, k: k, a: Matrix{Data: x, Stride: k}, b: Matrix{Data: y, Stride: n}, c: make([]float32, m*n), ldc: n}
		return q.inOrder()
	}
	m1 := times(add(a[0][0], a[1][1], 1), add(b[0][0], b[1][1], 1))
	m2 := times(add(a[1][0], a[1][1], 1), b[0][0])
	m3 := times(a[0][0], add(b[0][1], b[1][1], -1))
	m4 := times(a[1][1], add(b[1][0], b[0][0], -1))
	m5 := times(add(a[0][0], a[0][1], 1), b[1][1])
	m6 := times(add(a[1][0], a[0][0], -1), add(b[0][0], b[0][1], 1))
	m7 := times(add(a[0][1], a[1][1], -1), add(b[1][0], b[1][1], 1))
	quarters := [2][2][]float32{
		{add(add(add(m7, m1, 1), m4, 1), m5, -1), add(m3, m5, 1)},
		{add(m4, m2, 1), add(add(add(m6, m3, 1), m1, 1), m2, -1)},
	}
	c := make([]float32, p.m*p.n)
	for i := range p.m {
		for j := range p.n {
			c[i*p.n+j] = quarters[i/m][j/n][i%m*n+j%n]
		}
	}
	return c
}

// evenProduct draws a case of even sizes that overwrites C.
func evenProduct(r *rand.Rand, m, n, k int) *product {
	p := randomProduct(r, 2*m, 2*n, 2*k)
	p.accumulate = false
	return p
}

// TestStrassen: bits are those of the documented order on the vector paths, and
// do not depend on the threads or on who stores C; values are near those of
// float64 relative to the norms, which is what the algorithm promises.
func TestStrassen(t *testing.T) {
	one, three := pool.New(1), pool.New(3)
	defer one.Close()
	defer three.Close()
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for i := range 24 {
			p := evenProduct(r, 1+r.IntN(40), 1+r.IntN(70), 1+r.IntN(90))
			if i >= 20 { // several strips and blocks, and A packed once
				p = evenProduct(r, 3+r.IntN(5), 1200+r.IntN(100), 350+r.IntN(500))
			}
			if i == 19 { // several tiles down
				p = evenProduct(r, strassenRows+100, 20, 10)
			}
			if i == 18 { // several parts of the depth
				p = evenProduct(r, 5, 10, strassenDepth/2+400)
			}
			got := p.runStrassen(one, false)
			if !race.Enabled { // a loop of one goroutine
				p.checkNorms(t, got)
			}
			others := [][]float32{p.runStrassen(three, false)}
			if p.k <= strassenDepth {
				others = append(others, p.runStrassen(one, true), p.runStrassen(three, true))
			}
			for _, other := range others {
				if !slices.Equal(gemmBits(got), gemmBits(other)) {
					t.Fatalf("%v: other bits with other threads or another place for C", p)
				}
			}
			if Path() != Portable && !race.Enabled && !slices.Equal(gemmBits(got), gemmBits(p.strassenInOrder())) {
				t.Fatalf("%v: not the documented order", p)
			}
		}
	})
}

// checkNorms compares c with sums in float64. The error of one level of Strassen's
// algorithm on products of depth k/2 is at most (12 (k/2)² + 50 (k/2)) eps |A| |B| by largest values (after Higham, Accuracy
// and Stability of Numerical Algorithms, 2nd ed., theorem 23.2, with one level).
func (p *product) checkNorms(t *testing.T, c []float32) {
	t.Helper()
	const largest = 1.0 // of a factor: randomMatrix
	bound := (12*float64(p.k/2) + 50) * 0x1p-24 * largest * largest * float64(p.k/2)
	inside := map[int]bool{}
	for i := range p.m {
		for j := range p.n {
			var sum float64
			for k := range p.k {
				sum += at(p.a, i, k) * at(p.b, k, j)
			}
			if p.bias != nil {
				sum += float64(p.bias[j])
			}
			if p.relu {
				sum = max(sum, 0)
			}
			at := p.offset + i*p.ldc + j
			inside[at] = true
			if diff := math.Abs(float64(c[at]) - sum); !(diff <= bound) {
				t.Fatalf("%v: C[%d,%d] = %v, want %v within %v", p, i, j, c[at], sum, bound)
			}
		}
	}
	for i, v := range c {
		if !inside[i] && v != guard {
			t.Fatalf("%v: value %d of C's memory, outside C, became %v", p, i, v)
		}
	}
}

// TestStrassenFits: where Strassen's algorithm does not fit, GemmStrassen has the bits of Gemm; and it
// allocates nothing.
func TestStrassenFits(t *testing.T) {
	if StrassenFits(1024, 3962, 36863) || StrassenFits(1023, 3962, 36864) || StrassenFits(512, 1<<14, 1<<14) || StrassenFits(1024, 2048, 3962) {
		t.Error("an odd, a low or a small product fits")
	}
	if !StrassenFits(1024, 3962, 36864) || !StrassenFits(3962, 36864, 1024) {
		t.Error("the products of conv1d do not fit")
	}
	threads := pool.New(2)
	defer threads.Close()
	r := rand.New(rand.NewPCG(13, 14))
	p := evenProduct(r, 20, 30, 40)
	if !slices.Equal(gemmBits(p.runBy(Gemm, threads)), gemmBits(p.runBy(GemmStrassen, threads))) {
		t.Error("a small product is not Gemm's")
	}
	for w := range threads.Threads() { // which worker takes a strip is chance: give all their memory
		threads.Scratch(w, 1<<23)
	}
	c := make([]float32, p.m*p.n)
	if n := testing.AllocsPerRun(5, func() {
		gemmStrassen(threads, gemmPaths[path], p.m, p.n, p.k, p.a, p.b, c, p.n, nil)
	}); n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}
