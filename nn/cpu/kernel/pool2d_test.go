package kernel

import (
	"math"
	"testing"
)

// poolShapes are windows x channels.
var poolShapes = [][2]int{{1, 1}, {2, 3}, {3, 15}, {4, 16}, {5, 17}, {16, 64}, {2, 100}, {1, 512}, {7, 48}, {0, 16}, {3, 513}}

// poolCase is one row of windows with everything that the kernels take, between
// canaries. The image rows are a position longer than the windows need.
type poolCase struct {
	*chanCase
	windows            int
	x0, x1, dx0, dx1   []float32
	dyPool, y, summed  []float32
	mean, scale, shift []float32
}

func newPoolCase(windows, c int) *poolCase {
	p := &poolCase{chanCase: &chanCase{rows: windows, c: c}, windows: windows}
	n := (2*windows + 1) * c
	p.x0, p.x1, p.dx0, p.dx1 = p.make(n, 2), p.make(n, 2), p.make(n, 1), p.make(n, 1)
	p.dyPool, p.y, p.summed, p.coef = p.make(windows*c, 1), p.make(windows*c, 1), p.make(2*c, 1), p.make(6*c, 1)
	p.mean, p.scale, p.shift = p.coef[:c], p.coef[c:2*c], p.coef[2*c:3*c]
	for i := range p.x0 { // equal values in every way
		switch i % 7 {
		case 0:
			p.x1[i] = p.x0[i]
		case 3:
			p.x0[i], p.x1[i] = 0.5, 0.5
		}
	}
	for i := range p.scale { // channels that never pass, and falling ones
		if i%5 == 2 {
			p.shift[i] = -9
		}
		if i%3 == 1 {
			p.scale[i] = -0.5
		}
	}
	return p
}

// naive returns the window's x, its maximum's index and the values before the
// ReLU in float32, which decide winners, in the rounding of the path in use.
func (p *poolCase) naive(w, i int, affine bool) (x [4]float32, best int, top float32) {
	at := 2*w*p.c + i
	x = [4]float32{p.x0[at], p.x0[at+p.c], p.x1[at], p.x1[at+p.c]}
	v := x
	if affine {
		ChanAffine(v[:], x[:], []float32{p.scale[i], p.shift[i]})
	}
	for j := range v {
		if v[j] > v[best] {
			best = j
		}
	}
	return x, best, v[best]
}

func (p *poolCase) guards(t *testing.T) {
	t.Helper()
	p.check(t, "pool", nil, 0, nil)
	for i := 2 * p.windows * p.c; i < len(p.dx0); i++ {
		other := newPoolCase(p.windows, p.c)
		if p.dx0[i] != other.dx0[i] || p.dx1[i] != other.dx1[i] {
			t.Fatalf("%d windows, %d channels: the position without a partner was written", p.windows, p.c)
		}
	}
}

func TestMaxPool(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range poolShapes {
			p := newPoolCase(s[0], s[1])
			MaxPool(p.y, p.x0, p.x1, p.c)
			MaxPoolGrad(p.dx0, p.dx1, p.dyPool, p.x0, p.x1, p.c)
			p.guards(t)
			for at, got := range p.y {
				w, i := at/p.c, at%p.c
				_, best, top := p.naive(w, i, false)
				if got != top {
					t.Fatalf("%v: window %d, channel %d: %g, want %g", s, w, i, got, top)
				}
				d := window(p.dx0, p.dx1, w, p.c, i)
				for j, v := range d {
					if j == best && v != p.dyPool[at] || j != best && v != 0 {
						t.Fatalf("%v: window %d, channel %d: gradient %v, want %g at %d alone", s, w, i, d, p.dyPool[at], best)
					}
				}
			}
		}
	})
}

func TestAffinePool(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range poolShapes {
			p := newPoolCase(s[0], s[1])
			sums := make([]float64, 2*p.c)
			for i, v := range p.summed {
				sums[i] = float64(v)
			}
			AffinePool(p.y, p.x0, p.x1, p.coef[p.c:3*p.c])
			AffinePoolGradSums(p.summed, p.dyPool, p.x0, p.x1, p.coef[:3*p.c])
			AffinePoolGrad(p.dx0, p.dx1, p.dyPool, p.x0, p.x1, p.coef[p.c:])
			p.guards(t)
			a, b, c := p.row(3), p.row(4), p.row(5)
			for at, got := range p.y {
				w, i := at/p.c, at%p.c
				x, best, top := p.naive(w, i, true)
				if got != max(top, 0) {
					t.Fatalf("%v: window %d, channel %d: %g, want %g", s, w, i, got, max(top, 0))
				}
				d := 0.0
				if top > 0 {
					d = float64(p.dyPool[at])
				}
				sums[i] += d
				sums[p.c+i] += d * (float64(x[best]) - float64(p.mean[i]))
				dx := window(p.dx0, p.dx1, w, p.c, i)
				for j, v := range dx {
					want := float64(x[j])*float64(b[i]) + float64(c[i])
					if j == best {
						want += d * float64(a[i])
					}
					if math.Abs(float64(v)-want) > 1e-6 {
						t.Fatalf("%v: window %d, channel %d: dx[%d] = %g, want %g", s, w, i, j, v, want)
					}
				}
			}
			compare(t, "sums", s, p.summed, sums, 1e-6*float64(1+p.windows))
			// Over x, as the engine does it.
			dx0, dx1 := append([]float32(nil), p.x0...), append([]float32(nil), p.x1...)
			AffinePoolGrad(dx0, dx1, p.dyPool, dx0, dx1, p.coef[p.c:])
			n := 2 * p.windows * p.c
			if firstDifference(dx0[:n], p.dx0[:n]) >= 0 || firstDifference(dx1[:n], p.dx1[:n]) >= 0 {
				t.Fatalf("%v: AffinePoolGrad differs in place", s)
			}
		}
	})
}

// poolBits checksums the pool kernels over all shapes.
func poolBits() []bitCase {
	plain, fused := bitCase{name: "MaxPool"}, bitCase{name: "AffinePool"}
	for _, s := range poolShapes {
		p := newPoolCase(s[0], s[1])
		MaxPool(p.y, p.x0, p.x1, p.c)
		MaxPoolGrad(p.dx0, p.dx1, p.dyPool, p.x0, p.x1, p.c)
		plain.add(p.y...)
		plain.add(p.dx0...)
		plain.add(p.dx1...)
		AffinePool(p.y, p.x0, p.x1, p.coef[p.c:3*p.c])
		AffinePoolGradSums(p.summed, p.dyPool, p.x0, p.x1, p.coef[:3*p.c])
		AffinePoolGrad(p.dx0, p.dx1, p.dyPool, p.x0, p.x1, p.coef[p.c:])
		fused.add(p.y...)
		fused.add(p.summed...)
		fused.add(p.dx0...)
		fused.add(p.dx1...)
	}
	return []bitCase{plain, fused}
}

// A pooled row that does not fit its image rows is the caller's mistake.
func TestChannelMisusePanics(t *testing.T) {
	a, b := make([]float32, 12), make([]float32, 8)
	for name, f := range map[string]func(){
		"ChanSum":      func() { ChanSum(a[:5], a) },
		"ChanAffine":   func() { ChanAffine(a, b, a[:4]) },
		"ChanGradSums": func() { ChanGradSums(a[:8], b, b, a[:3]) },
		"MaxPool":      func() { MaxPool(a[:8], a, a, 4) },
		"AffinePool":   func() { AffinePoolGradSums(a[:4], a[:4], b, b, a) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
