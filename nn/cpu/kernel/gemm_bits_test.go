package kernel

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"sdnn/nn/cpu/pool"
)

// fma32 returns x*y+z rounded once to float32. The product of two float32 is
// exact in float64; rounding the sum to odd in float64 makes the second
// rounding harmless (Boldo and Melquiond, Emulation of FMA and correctly
// rounded sums, 2008).
func fma32(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	t := s - p
	if e := (p - (s - t)) + (c - t); e != 0 && math.Float64bits(s)&1 == 0 {
		s = math.Nextafter(s, math.Copysign(math.Inf(1), e))
	}
	return float32(s)
}

func TestFMA32(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20000 {
		x, y := float32(r.NormFloat64()), float32(r.NormFloat64())
		z := float32(math.Ldexp(r.NormFloat64(), r.IntN(60)-30))
		exact := new(big.Float).SetPrec(48).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y)))
		want, _ := new(big.Float).SetPrec(24).Add(exact, big.NewFloat(float64(z))).Float32()
		if got := fma32(x, y, z); got != want {
			t.Fatalf("fma32(%v, %v, %v) = %v, want %v", x, y, z, got, want)
		}
	}
	// 1 + 2^-24 + 2^-60 is just above the middle of two float32; rounding to
	// float64 first would lose what decides.
	if got := fma32(1+0x1p-23, 0x1p-24, 1); got != 1+0x1p-23 {
		t.Errorf("fma32 rounds twice: %v", got)
	}
}

// inOrder computes the case in the order that Gemm documents.
func (p *product) inOrder() []float32 {
	c := append([]float32(nil), p.c...)
	for i := range p.m {
		for j := range p.n {
			v := &c[p.offset+i*p.ldc+j]
			if !p.accumulate {
				*v = 0
			}
			for k0 := 0; k0 < p.k; k0 += gemmKC {
				var sum float32
				for k := k0; k < min(p.k, k0+gemmKC); k++ {
					sum = fma32(float32(at(p.a, i, k)), float32(at(p.b, k, j)), sum)
				}
				*v += sum
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

// gemmBits turns values to their bits, so that NaN and -0 compare.
func gemmBits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

// TestGemmBitsOfThreads: on every path the bits do not depend on the threads.
func TestGemmBitsOfThreads(t *testing.T) {
	pools := []*pool.Pool{pool.New(1), pool.New(2), pool.New(3), pool.New(5)}
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for range 12 {
			p := randomProduct(r, 1+r.IntN(300), 1+r.IntN(600), r.IntN(900))
			want := gemmBits(p.run(pools[0]))
			for _, threads := range pools[1:] {
				if !slices.Equal(gemmBits(p.run(threads)), want) {
					t.Fatalf("%v: %d threads end in other bits than one", p, threads.Threads())
				}
			}
		}
	})
	for _, p := range pools {
		p.Close()
	}
}

// TestGemmBitsOfPaths: the vector paths sum in the documented order, so that
// they, and machines of both kinds, end in the same bits.
func TestGemmBitsOfPaths(t *testing.T) {
	threads := pool.New(2)
	defer threads.Close()
	everyPath(t, func(t *testing.T) {
		if Path() == Portable {
			t.Skip("the portable path need not round as fused multiply-add does")
		}
		r := rand.New(rand.NewPCG(7, 8))
		for i := range 24 {
			m, n, k := randomSizes(r)
			if i >= 20 { // so wide that A is packed once
				m, n, k = min(m, 30), 2500, gemmKC+k%40
			}
			p := randomProduct(r, m, n, k)
			if !slices.Equal(gemmBits(p.run(threads)), gemmBits(p.inOrder())) {
				t.Fatalf("%v: the bits are not those of the documented order", p)
			}
		}
	})
}

var record = flag.Bool("record", false, "write testdata/gemm_checksums.txt from the path in use")

const checksumFile = "testdata/gemm_checksums.txt"

// TestGemmChecksums compares larger products with checksums recorded on
// another machine: FNV-1a over the little-endian bits of C, row by row.
func TestGemmChecksums(t *testing.T) {
	threads := pool.New(2)
	defer threads.Close()
	if *record {
		writeChecksums(t, threads)
	}
	f, err := os.Open(checksumFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for in := bufio.NewScanner(f); in.Scan(); {
		if strings.HasPrefix(in.Text(), "#") {
			continue
		}
		lines++
		var m, n, k int
		var op string
		var accumulate bool
		var want uint64
		if _, err := fmt.Sscan(in.Text(), &m, &n, &k, &op, &accumulate, &want); err != nil {
			t.Fatalf("%s: %q: %v", checksumFile, in.Text(), err)
		}
		everyPath(t, func(t *testing.T) {
			if Path() == Portable {
				t.Skip("the portable path need not round as fused multiply-add does")
			}
			if got := checksum(threads, m, n, k, op, accumulate); got != want {
				t.Errorf("%s: checksum %d", in.Text(), got)
			}
		})
	}
	if lines == 0 {
		t.Errorf("%s has no line", checksumFile)
	}
}

// checksum computes a product of hashed values, with a bias and ReLU when op is
// NT as in a layer's forward pass, and returns C's checksum.
func checksum(threads *pool.Pool, m, n, k int, op string, accumulate bool) uint64 {
	state := uint64(88172645463325252)
	fill := func(x []float32) []float32 { // xorshift64 (Marsaglia 2003), values in [-1, 1)
		for i := range x {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			x[i] = float32(int32(state>>32)>>8) / (1 << 23)
		}
		return x
	}
	a := Matrix{Data: fill(make([]float32, m*k)), Stride: k}
	if a.Trans = op[0] == 'T'; a.Trans {
		a.Stride = m
	}
	b := Matrix{Data: fill(make([]float32, k*n)), Stride: n}
	if b.Trans = op[1] == 'T'; b.Trans {
		b.Stride = k
	}
	c := fill(make([]float32, m*n))
	var e *Epilogue
	if op == "NT" {
		e = &Epilogue{Bias: fill(make([]float32, n)), ReLU: true}
	}
	Gemm(threads, m, n, k, a, b, c, n, accumulate, e)
	h := fnv.New64a()
	if err := binary.Write(h, binary.LittleEndian, c); err != nil {
		panic(err)
	}
	return h.Sum64()
}

// writeChecksums records the products of the path in use.
func writeChecksums(t *testing.T, threads *pool.Pool) {
	var out strings.Builder
	fmt.Fprintf(&out, "# m n k operands accumulate checksum; recorded on the %v path by go test -run Checksums -record\n", Path())
	for _, s := range []struct {
		m, n, k    int
		op         string
		accumulate bool
	}{
		{128, 3962, 1152, "NT", false}, {397, 1152, 128, "TN", false}, {128, 513, 3962, "NN", false},
		{61, 77, 2000, "TT", true}, {1024, 100, 300, "NT", true}, {1, 1000, 777, "NN", false},
	} {
		fmt.Fprintln(&out, s.m, s.n, s.k, s.op, s.accumulate, checksum(threads, s.m, s.n, s.k, s.op, s.accumulate))
	}
	if err := os.WriteFile(checksumFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
