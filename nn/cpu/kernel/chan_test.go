package kernel

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// chanShapes are rows x channels: tails in both, whole blocks, many channels.
var chanShapes = [][2]int{
	{1, 1}, {3, 1}, {4, 3}, {5, 7}, {8, 8}, {9, 9}, {6, 15}, {7, 16}, {11, 17}, {4, 31}, {13, 32}, {512, 16}, {511, 48},
	{130, 64}, {37, 100}, {64, 160}, {9, 512}, {3, 513}, {0, 16}, {4100, 16}, {21, piece/4 + 5},
}

// chanCase holds everything that a channel kernel takes, between canaries.
type chanCase struct {
	rows, c          int
	x, dy, r, y, acc []float32
	coef             []float32 // [5][C]
	wholes           []func() bool
}

func newChanCase(rows, c int) *chanCase {
	t := &chanCase{rows: rows, c: c}
	t.x, t.dy, t.r, t.y = t.make(rows*c, 2), t.make(rows*c, 1), t.make(rows*c, 1), t.make(rows*c, 1)
	t.acc, t.coef = t.make(2*c, 3), t.make(5*c, 1)
	return t
}

func (t *chanCase) make(n int, bound float64) []float32 {
	s, whole := guarded(n, t.rows+5*len(t.wholes)+3*t.c)
	t.wholes = append(t.wholes, whole)
	return random(s, uint64(1000*t.rows+t.c+1000000*len(t.wholes)), bound)
}

// row is row k of coef.
func (t *chanCase) row(k int) []float32 { return t.coef[k*t.c : (k+1)*t.c] }

// check compares got with want(position, channel) and the canaries with what they were.
func (t *chanCase) check(tb testing.TB, what string, got []float32, tol float64, want func(r, i int) (v, size float64)) {
	tb.Helper()
	for at, v := range got {
		w, size := want(at/t.c, at%t.c)
		if !(math.Abs(float64(v)-w) <= tol*size) {
			tb.Fatalf("%s: %dx%d: row %d, channel %d: %g, want %g", what, t.rows, t.c, at/t.c, at%t.c, v, w)
		}
	}
	for _, whole := range t.wholes {
		if !whole() {
			tb.Fatalf("%s: %dx%d: wrote outside its slices", what, t.rows, t.c)
		}
	}
}

// affine64 is x scale + shift in float64; where it is too close to zero to
// know on which side float32 rounding puts it, sure is false.
func affine64(x, scale, shift float32) (z float64, sure bool) {
	p := float64(x) * float64(scale)
	z = p + float64(shift)
	return z, math.Abs(z) > 3e-7*(math.Abs(p)+math.Abs(float64(shift)))
}

// decide makes every x whose sign behind the ReLU is not sure clearly negative.
func (t *chanCase) decide(scale, shift []float32) {
	for at, v := range t.x {
		if _, sure := affine64(v, scale[at%t.c], shift[at%t.c]); !sure {
			t.x[at] = v + 0.25
		}
	}
}

func TestChanSums(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range chanShapes {
			for _, relu := range []bool{false, true} {
				c := newChanCase(s[0], s[1])
				c.decide(c.row(1), c.row(2))
				before := append([]float32(nil), c.acc...)
				pass := func(at int) float64 {
					z, _ := affine64(c.x[at], c.coef[c.c+at%c.c], c.coef[2*c.c+at%c.c])
					if relu && z <= 0 {
						return 0
					}
					return float64(c.dy[at])
				}
				if relu {
					ChanGradSumsReLU(c.acc, c.dy, c.x, c.coef[:3*c.c])
				} else {
					ChanGradSums(c.acc, c.dy, c.x, c.row(0))
				}
				c.check(t, fmt.Sprintf("grad sums, ReLU %v", relu), c.acc, 1e-6, func(k, i int) (v, size float64) {
					v = float64(before[k*c.c+i])
					size = math.Abs(v)
					for r := range c.rows {
						term := pass(r*c.c + i)
						if k == 1 {
							term *= float64(c.x[r*c.c+i]) - float64(c.coef[i])
						}
						v, size = v+term, size+math.Abs(term)
					}
					return v, size
				})
			}
			c := newChanCase(s[0], s[1])
			sums := func(term func(k int, x, pivot float64) float64) func(k, i int) (float64, float64) {
				before := append([]float32(nil), c.acc...)
				return func(k, i int) (v, size float64) {
					v = float64(before[k*c.c+i])
					size = math.Abs(v)
					for r := range c.rows {
						x := term(k, float64(c.x[r*c.c+i]), float64(c.coef[i]))
						v, size = v+x, size+math.Abs(x)
					}
					return v, size
				}
			}
			want := sums(func(_ int, x, _ float64) float64 { return x })
			ChanSum(c.acc[:c.c], c.x)
			c.check(t, "ChanSum", c.acc[:c.c], 2e-6, want)
			want = sums(func(k int, x, pivot float64) float64 { return math.Pow(x-pivot, float64(k+1)) })
			ChanMoments(c.acc, c.x, c.row(0))
			c.check(t, "ChanMoments", c.acc, 2e-6, want)
		}
	})
}

func TestChanAffine(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range chanShapes {
			c := newChanCase(s[0], s[1])
			want := func(relu bool) func(r, i int) (v, size float64) {
				return func(r, i int) (v, size float64) {
					x := c.x[r*c.c+i]
					v, _ = affine64(x, c.coef[i], c.coef[c.c+i])
					if relu {
						v = max(v, 0)
					}
					return v, math.Abs(float64(x)) + 1
				}
			}
			ChanAffine(c.y, c.x, c.coef[:2*c.c])
			c.check(t, "ChanAffine", c.y, 2e-7, want(false))
			ChanAffineReLU(c.y, c.x, c.coef[:2*c.c])
			c.check(t, "ChanAffineReLU", c.y, 2e-7, want(true))
			in := append([]float32(nil), c.x...)
			ChanAffineReLU(in, in, c.coef[:2*c.c])
			if i := firstDifference(in, c.y); i >= 0 {
				t.Fatalf("%v: ChanAffineReLU differs in place at %d", s, i)
			}
		}
	})
}

func TestChanGrad(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range chanShapes {
			for _, kind := range []string{"ChanGrad", "ChanGradReLU", "ChanGradReLUAdd"} {
				c := newChanCase(s[0], s[1])
				c.decide(c.row(0), c.row(1))
				first := 2
				switch kind {
				case "ChanGrad":
					first = 0
					ChanGrad(c.y, c.dy, c.x, c.coef[:3*c.c])
				case "ChanGradReLU":
					ChanGradReLU(c.y, c.dy, c.x, c.coef)
				case "ChanGradReLUAdd":
					ChanGradReLUAdd(c.y, c.dy, c.x, c.r, c.coef)
				}
				c.check(t, kind, c.y, 3e-7, func(r, i int) (v, size float64) {
					at := r*c.c + i
					d, x := float64(c.dy[at]), float64(c.x[at])
					if z, _ := affine64(c.x[at], c.coef[i], c.coef[c.c+i]); first > 0 && z <= 0 {
						d = 0
					}
					v = d*float64(c.row(first)[i]) + x*float64(c.row(first + 1)[i]) + float64(c.row(first + 2)[i])
					if kind == "ChanGradReLUAdd" {
						v += float64(c.r[at])
					}
					return v, 3 + math.Abs(x)
				})
				// Over dy, as the engine does it.
				in := append([]float32(nil), c.dy...)
				switch kind {
				case "ChanGrad":
					ChanGrad(in, in, c.x, c.coef[:3*c.c])
				case "ChanGradReLU":
					ChanGradReLU(in, in, c.x, c.coef)
				case "ChanGradReLUAdd":
					ChanGradReLUAdd(in, in, c.x, c.r, c.coef)
				}
				if i := firstDifference(in, c.y); i >= 0 {
					t.Fatalf("%v: %s differs in place at %d", s, kind, i)
				}
			}
		}
	})
}

const chanSumsFile = "testdata/chan_sums.txt"

// The assembly paths end in the same, recorded bits: see TestRecordedBits.
func TestRecordedChanBits(t *testing.T) {
	sums := map[string]string{}
	if f, err := os.Open(chanSumsFile); err == nil {
		for s := bufio.NewScanner(f); s.Scan(); {
			sum, name, _ := strings.Cut(s.Text(), " ")
			sums[name] = sum
		}
		f.Close()
	}
	var lines strings.Builder
	for _, l := range []Level{AVX2, AVX512} {
		t.Run(l.String(), func(t *testing.T) {
			usePath(t, l)
			lines.Reset()
			for _, c := range append(chanBits(), poolBits()...) {
				sum := fmt.Sprintf("%08x", c.sum)
				fmt.Fprintf(&lines, "%s %s\n", sum, c.name)
				if sums[c.name] != sum && !*updateVec {
					t.Errorf("%s: bits have sum %s, recorded is %s", c.name, sum, sums[c.name])
				}
			}
		})
	}
	if *updateVec {
		if err := os.WriteFile(chanSumsFile, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// chanBits checksums each channel kernel over all shapes.
func chanBits() (cases []bitCase) {
	for _, k := range []struct {
		name string
		run  func(c *chanCase)
	}{
		{"ChanSum", func(c *chanCase) { ChanSum(c.acc[:c.c], c.x) }},
		{"ChanMoments", func(c *chanCase) { ChanMoments(c.acc, c.x, c.row(0)) }},
		{"ChanAffine", func(c *chanCase) { ChanAffine(c.y, c.x, c.coef[:2*c.c]) }},
		{"ChanAffineReLU", func(c *chanCase) { ChanAffineReLU(c.y, c.x, c.coef[:2*c.c]) }},
		{"ChanGradSums", func(c *chanCase) { ChanGradSums(c.acc, c.dy, c.x, c.row(0)) }},
		{"ChanGradSumsReLU", func(c *chanCase) { ChanGradSumsReLU(c.acc, c.dy, c.x, c.coef[:3*c.c]) }},
		{"ChanGrad", func(c *chanCase) { ChanGrad(c.y, c.dy, c.x, c.coef[:3*c.c]) }},
		{"ChanGradReLU", func(c *chanCase) { ChanGradReLU(c.y, c.dy, c.x, c.coef) }},
		{"ChanGradReLUAdd", func(c *chanCase) { ChanGradReLUAdd(c.y, c.dy, c.x, c.r, c.coef) }},
	} {
		b := bitCase{name: k.name}
		for _, s := range chanShapes {
			c := newChanCase(s[0], s[1])
			k.run(c)
			b.add(c.y...)
			b.add(c.acc...)
		}
		cases = append(cases, b)
	}
	return cases
}
