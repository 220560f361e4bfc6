package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sdnn/nn/cpu/pool"
)

// needBF16 skips a test where GemmBF16 cannot run, and says why.
func needBF16(t testing.TB) {
	t.Helper()
	previous, err := Use(AVX512)
	if err == nil {
		t.Cleanup(func() { _, _ = Use(previous) })
	}
	if err := BF16Err(); err != nil {
		t.Skipf("not run here: bf16: %v", err)
	}
}

// flush32 returns x with subnormal values replaced by zeros of their sign.
func flush32(x float32) float32 {
	if b := math.Float32bits(x); b&0x7f800000 == 0 {
		return math.Float32frombits(b & (1 << 31))
	}
	return x
}

// roundBF16 rounds to bfloat16, to the nearest with ties to even; subnormal
// values become 0.
func roundBF16(x float32) float32 {
	if x != x {
		return x
	}
	b := math.Float32bits(flush32(x))
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}

func TestRoundBF16(t *testing.T) {
	for _, c := range [][2]float32{{1, 1}, {1 + 0x1p-8, 1}, {1 + 0x3p-8, 1 + 0x1p-6}, {1 + 0x1p-8 + 0x1p-23, 1 + 0x1p-7},
		{-1 - 0x3p-9, -1 - 0x1p-7}, {math.MaxFloat32, float32(math.Inf(1))}, {0x1p-127, 0}, {0x1p-126, 0x1p-126}} {
		if got := roundBF16(c[0]); got != c[1] {
			t.Errorf("roundBF16(%v) = %v, want %v", c[0], got, c[1])
		}
	}
}

// inPairs computes the case as GemmBF16 documents it, VDPBF16PS as Intel's
// manual does: of a pair first the product of the second values is added, then
// that of the first, each by fused multiply-add to the nearest, subnormal
// operands and results being 0.
func (p *product) inPairs() []float32 {
	c := append([]float32(nil), p.c...)
	for i := range p.m {
		for j := range p.n {
			v := &c[p.offset+i*p.ldc+j]
			if !p.accumulate {
				*v = 0
			}
			block := bf16Block(p.k)
			for k0 := 0; k0 < p.k; k0 += block {
				*v += p.pairs(i, j, k0, min(p.k, k0+block))
			}
			if p.bias != nil {
				*v += p.bias[j]
			}
			if p.relu && *v < 0 {
				*v = 0
			}
		}
	}
	return c
}

// pairs is the sum of the products [k, end) of C[i, j].
func (p *product) pairs(i, j, k, end int) (sum float32) {
	for ; k < end; k += 2 {
		for _, q := range []int{k + 1, k} {
			var x, y float32
			if q < end {
				x, y = roundBF16(float32(at(p.a, i, q))), roundBF16(float32(at(p.b, q, j)))
			}
			sum = flush32(fma32(x, y, flush32(sum)))
		}
	}
	return sum
}

// randomSizesBF16 draws sizes at the edges of GemmBF16's blocks too.
func randomSizesBF16(r *rand.Rand) (m, n, k int) {
	m, n, k = randomSizes(r)
	if r.IntN(3) == 0 {
		k = []int{2 * bf16KC, 2*bf16KC + 1, 31, 32, 33, 63, 2 * gemmKC}[r.IntN(7)]
	}
	return m, n, k
}

// TestGemmBF16Bits: on any number of threads the result has the bits of the
// documented order, and nothing beside it is touched.
func TestGemmBF16Bits(t *testing.T) {
	needBF16(t)
	pools := []*pool.Pool{pool.New(1), pool.New(3)}
	r := rand.New(rand.NewPCG(21, 22))
	for i := range 64 {
		m, n, k := randomSizesBF16(r)
		if i >= 60 { // so wide that A is packed once
			m, n, k = min(m, 20), 1700, 2*bf16KC+k%40
		}
		p := randomProduct(r, m, n, k)
		want := gemmBits(p.inPairs())
		for _, threads := range pools {
			if !slices.Equal(gemmBits(p.runBy(GemmBF16, threads)), want) {
				t.Fatalf("%v, %d threads: the bits are not those of the documented order", p, threads.Threads())
			}
		}
	}
	for _, p := range pools {
		p.Close()
	}
}

// TestGemmBF16AgainstFloat64: the result is that of the unrounded operands
// within the error of rounding both to 8 bits.
func TestGemmBF16AgainstFloat64(t *testing.T) {
	needBF16(t)
	threads := pool.New(2)
	defer threads.Close()
	r := rand.New(rand.NewPCG(23, 24))
	for range 12 {
		p := randomProduct(r, 1+r.IntN(300), 1+r.IntN(400), 1+r.IntN(1500))
		p.accumulate, p.bias, p.relu = false, nil, false
		c := p.runBy(GemmBF16, threads)
		for range 500 {
			i, j := r.IntN(p.m), r.IntN(p.n)
			var sum, size float64
			for k := range p.k {
				x := at(p.a, i, k) * at(p.b, k, j)
				sum += x
				size += math.Abs(x)
			}
			bound := (2*0x1p-9 + 0x1p-18 + float64(p.k+2)*0x1p-24) * size
			if got := float64(c[p.offset+i*p.ldc+j]); math.Abs(got-sum) > bound {
				t.Fatalf("%v: C[%d,%d] = %v, want %v within %v", p, i, j, got, sum, bound)
			}
		}
	}
}

// TestGemmBF16SpecialValues: NaN and infinity reach what depends on them and
// nothing else, and subnormal operands count as 0.
func TestGemmBF16SpecialValues(t *testing.T) {
	needBF16(t)
	threads := pool.New(2)
	defer threads.Close()
	nan, inf, tiny := float32(math.NaN()), float32(math.Inf(1)), float32(0x1p-130)
	r := rand.New(rand.NewPCG(25, 26))
	for range 20 {
		m, n, k := 1+r.IntN(40), 1+r.IntN(70), 1+r.IntN(1200)
		p := randomProduct(r, m, n, k)
		for range 4 {
			for _, v := range []float32{nan, inf, -inf, tiny, math.MaxFloat32} {
				x, rows, cols := &p.a, m, k
				if r.IntN(2) == 0 {
					x, rows, cols = &p.b, k, n
				}
				i, j := r.IntN(rows), r.IntN(cols)
				if x.Trans {
					i, j = j, i
				}
				x.Data[i*x.Stride+j] = v
			}
		}
		got, want := p.runBy(GemmBF16, threads), p.inPairs()
		for i := range want {
			if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) {
				t.Fatalf("%v: value %d of C's memory is %v, want %v", p, i, got[i], want[i])
			}
		}
	}
}

func TestGemmBF16AllocatesNothing(t *testing.T) {
	needBF16(t)
	threads := pool.New(2)
	defer threads.Close()
	p := randomProduct(rand.New(rand.NewPCG(27, 28)), 100, 300, 500)
	for w := range 2 { // which worker packs is chance: give all their memory
		workBuffers(threads, w, bf16Path, 0)
	}
	f := func() { GemmBF16(threads, p.m, p.n, p.k, p.a, p.b, p.c, p.ldc, false, nil) }
	if a := testing.AllocsPerRun(20, f); a != 0 {
		t.Errorf("%v allocations a call", a)
	}
}

func TestBF16Err(t *testing.T) {
	for _, c := range []struct {
		path    Level
		missing []string
		want    string // "": no error
	}{
		{AVX512, nil, ""},
		{AVX2, nil, "SDNN_CPU=avx2 forces"},
		{Portable, nil, "SDNN_CPU=portable forces"},
		{AVX512, []string{bf16Feature}, "this CPU lacks avx512_bf16"},
		{AVX2, []string{"avx512f", bf16Feature}, "this CPU lacks avx512f, avx512_bf16"},
		{Portable, []string{"the amd64 architecture"}, "this CPU lacks the amd64 architecture"},
	} {
		err := bf16Err(c.path, c.missing)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("bf16Err(%v, %q) = %v, want %q", c.path, c.missing, err, c.want)
		}
	}
}
