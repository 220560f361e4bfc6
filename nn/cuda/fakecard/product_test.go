package fakecard_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

func words(x []float32) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&x[0])), len(x)/2)
}

func ints(x []float32) []int32 { return unsafe.Slice((*int32)(unsafe.Pointer(&x[0])), len(x)) }

// tensor puts numbers on the card as a type, which must hold them.
func (b *bed) tensor(t driver.Type, x []float32) driver.Ptr {
	h := b.host(len(x), 0)
	if t == driver.BF16 {
		half := unsafe.Slice((*uint16)(unsafe.Pointer(&h[0])), len(x))
		for i, v := range x {
			half[i] = fakecard.BF16(v)
		}
	} else {
		copy(h, x)
	}
	p := must(b.Alloc(len(x) * t.Size()))
	b.ok(b.CopyToCard(p, ptr(h), len(x)*t.Size(), b.s))
	b.ok(b.SyncStream(b.s))
	return p
}

func (b *bed) numbers(t driver.Type, p driver.Ptr, n int) []float32 {
	h := b.host(n, 0)
	b.ok(b.CopyFromCard(ptr(h), p, n*t.Size(), b.s))
	b.ok(b.SyncStream(b.s))
	out := make([]float32, n)
	for i := range out {
		out[i] = h[i]
		if t == driver.BF16 {
			out[i] = math.Float32frombits(uint32(unsafe.Slice((*uint16)(unsafe.Pointer(&h[0])), n)[i]) << 16)
		}
	}
	return out
}

// small returns n small integers: sums of their products are exact in float32.
func small(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.IntN(9) - 4)
	}
	return out
}

func TestMatmul(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	if !b.Executes() {
		t.Skip("products were NOT computed")
	}
	rng := rand.New(rand.NewPCG(1, 1))
	const m, n, k = 3, 5, 4
	for i := range 2 * 2 * 2 * 2 * 3 * 2 {
		bit := func(j int) bool { return i>>j&1 == 1 }
		typ := func(j int) driver.Type { return driver.Type(i >> j & 1) }
		s := driver.MatmulSpec{M: m, N: n, K: k, TransA: bit(0), TransB: bit(1), AB: typ(2), D: typ(3), Epilogue: driver.Epilogue(i / 16 % 3), Accumulate: i >= 48}
		a, w, bias, d := small(rng, m*k), small(rng, k*n), small(rng, n), small(rng, m*n)
		pd, p := b.tensor(s.D, d), must(b.PlanMatmul(s, 1<<20))
		b.ok(p.Run(pd, b.tensor(s.AB, a), b.tensor(s.AB, w), b.tensor(s.Bias, bias), must(b.Alloc(p.Workspace())), b.s))
		got := b.numbers(s.D, pd, m*n)
		for r := range m {
			for c := range n {
				v := float32(0)
				for j := range k {
					x, y := a[r*k+j], w[j*n+c]
					if s.TransA {
						x = a[j*m+r]
					}
					if s.TransB {
						y = w[c*k+j]
					}
					v += x * y
				}
				if s.Epilogue != driver.EpilogueNone {
					v += bias[c]
				}
				if s.Epilogue == driver.EpilogueBiasReLU {
					v = max(v, 0)
				}
				if s.Accumulate {
					v += d[r*n+c]
				}
				if got[r*n+c] != v {
					t.Fatalf("%+v: element (%d, %d) is %g, want %g", s, r, c, got[r*n+c], v)
				}
			}
		}
		b.ok(p.Close())
	}
	b.expect()
}

func TestMatmulRounds(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	if !b.Executes() {
		t.Skip("products were NOT computed")
	}
	x := float32(1 + 1.0/4096 + 1.0/2048) // 1 + 3/4096: tf32 has 10 bits
	for _, c := range []struct {
		spec driver.MatmulSpec
		want float32
	}{{driver.MatmulSpec{M: 1, N: 1, K: 1}, x}, {driver.MatmulSpec{M: 1, N: 1, K: 1, Math: driver.MathTF32}, 1 + 1.0/1024},
		{driver.MatmulSpec{M: 1, N: 1, K: 1, D: driver.BF16}, 1}} {
		p, d := must(b.PlanMatmul(c.spec, 0)), must(b.Alloc(4))
		b.ok(p.Run(d, b.tensor(driver.F32, []float32{x}), b.tensor(driver.F32, []float32{1}), 0, 0, b.s))
		if got := b.numbers(c.spec.D, d, 1)[0]; got != c.want {
			t.Errorf("%+v gives %g, want %g", c.spec, got, c.want)
		}
		b.ok(p.Close())
	}
}

func TestProductChecks(t *testing.T) {
	b := newBed(t, fakecard.Options{CheckOnly: true})
	p := must(b.PlanMatmul(driver.MatmulSpec{M: 2, N: 2, K: 2}, 100))
	d, a, w := must(b.Alloc(16)), must(b.Alloc(16)), must(b.Alloc(100))
	if n := p.Workspace(); n != 100 {
		t.Errorf("workspace of %d bytes where 100 are allowed", n)
	}
	b.ok(p.Run(d, a, a, 0, w, b.s))
	b.expect()
	_ = p.Run(d.Add(4), a, a, 0, w, b.s)
	b.expect("the result is mem1[4:20]")
	_ = p.Run(d, a, a, 0, 0, b.s)
	b.expect("the workspace is a null pointer")
	_ = p.Run(d, d, a, 0, w, b.s)
	b.expect("overlaps")
	e := must(b.Alloc(16))
	b.ok(p.Run(e, a, a, 0, w, b.u)) // a shared workspace is a race
	b.expect("race on mem3[0:100]", "matmul 2x2x2")
	b.ok(p.Close())
	_ = p.Run(d, a, a, 0, w, b.s)
	b.expect("is closed")
	_ = p.Close()
	b.expect("is closed already")
	_, _ = b.PlanMatmul(driver.MatmulSpec{M: 2, N: 0, K: 2}, 0)
	b.expect("N:0")
	_, _ = b.PlanConv(driver.ConvSpec{N: 1, H: 2, W: 2, C: 1, O: 1, K: 5, Stride: 1})
	b.expect("K:5")
}

// TestConv compares the forward convolution with its definition, and the two
// gradients with it by the identity <dy, y(x, w)> = <x, dx(dy, w)> = <w, dw(dy, x)>.
func TestConv(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	if !b.Executes() {
		t.Skip("convolutions were NOT computed")
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, s := range []driver.ConvSpec{{N: 2, H: 5, W: 4, C: 3, O: 2, K: 3, Stride: 1, Pad: 1}, {N: 1, H: 7, W: 7, C: 2, O: 3, K: 3, Stride: 2, Pad: 1},
		{N: 2, H: 6, W: 6, C: 2, O: 2, K: 1, Stride: 2}, {N: 1, H: 3, W: 3, C: 1, O: 1, K: 3, Stride: 1}} {
		for _, s.Type = range []driver.Type{driver.F32, driver.BF16} {
			oh, ow := s.OutHeight(), s.OutWidth()
			x, w, dy := small(rng, s.N*s.H*s.W*s.C), small(rng, s.O*s.K*s.K*s.C), small(rng, s.N*oh*ow*s.O)
			px, pw, pd := b.tensor(s.Type, x), b.tensor(s.Type, w), b.tensor(s.Type, dy)
			run := func(d driver.Direction, n int, p, q driver.Ptr) []float32 {
				s := s
				s.Direction = d
				c, out := must(b.PlanConv(s)), must(b.Alloc(n*s.Type.Size()))
				b.ok(c.Run(out, p, q, 0, b.s))
				got := b.numbers(s.Type, out, n)
				b.ok(c.Close())
				return got
			}
			y := run(driver.Forward, len(dy), px, pw)
			for i := range y {
				n, oy, ox, o := i/(oh*ow*s.O), i/(ow*s.O)%oh, i/s.O%ow, i%s.O
				want := float32(0)
				for k := range s.K * s.K * s.C {
					iy, ix, c := oy*s.Stride+k/(s.K*s.C)-s.Pad, ox*s.Stride+k/s.C%s.K-s.Pad, k%s.C
					if iy >= 0 && iy < s.H && ix >= 0 && ix < s.W {
						want += x[((n*s.H+iy)*s.W+ix)*s.C+c] * w[o*s.K*s.K*s.C+k]
					}
				}
				if y[i] != want {
					t.Fatalf("%+v: y[%d] is %g, want %g", s, i, y[i], want)
				}
			}
			if s.Type == driver.BF16 {
				continue // sums of more digits than it has
			}
			dx, dw := run(driver.BackwardData, len(x), pd, pw), run(driver.BackwardWeight, len(w), pd, px)
			if a, c, d := dot(dy, y), dot(x, dx), dot(w, dw); a != c || a != d {
				t.Errorf("%+v: %g, %g and %g should be equal", s, a, c, d)
			}
		}
	}
	b.expect()
}

func dot(a, b []float32) (s float64) {
	if len(a) != len(b) {
		panic(fmt.Sprintf("%d and %d numbers", len(a), len(b)))
	}
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}
