package kernel

import (
	"math"
	"testing"
)

// reduction describes a kernel that returns a sum over two slices; it may
// write the second.
type reduction struct {
	name  string
	run   func(x, y []float32) float64
	bound float64
}

var reductions = []reduction{
	{"Dot", Dot, 1},
	{"SumSquares", func(x, _ []float32) float64 { return SumSquares(x) }, 1},
	{"MaxAbs", func(x, _ []float32) float64 { return float64(MaxAbs(x)) }, 1},
	{"CELogits", func(z, dz []float32) float64 { return CELogits(dz, z, nil, 0.125) }, 12},
	{"CELogits weighted", func(z, dz []float32) float64 { return CELogits(dz, z, weightsFor(z), 0.125) }, 30},
	{"CELogitsLoss", func(z, _ []float32) float64 { return CELogitsLoss(z, nil) }, 12},
	{"CELogitsLoss weighted", func(z, _ []float32) float64 { return CELogitsLoss(z, weightsFor(z)) }, 12},
	{"CEProbs", func(z, dp []float32) float64 { return CEProbs(dp, absolute(z), nil, 0.125) }, 1},
	{"CEProbs weighted", func(z, dp []float32) float64 { return CEProbs(dp, absolute(z), weightsFor(z), 0.125) }, 1},
	{"CEProbsLoss", func(z, _ []float32) float64 { return CEProbsLoss(absolute(z), nil) }, 1},
	{"CEProbsLoss weighted", func(z, _ []float32) float64 { return CEProbsLoss(absolute(z), weightsFor(z)) }, 1},
	{"L2Norm", func(x, y []float32) float64 { L2Norm(y, x); return 0 }, 1},
	{"L2NormGrad", func(x, y []float32) float64 { L2NormGrad(y, y, x); return 0 }, 1},
	{"ColSums", func(x, y []float32) float64 {
		if cols := len(x) / 7; cols > 0 {
			ColSums(y[:cols], make([]float32, cols), x, 7, cols)
		}
		return 0
	}, 1},
}

func weightsFor(z []float32) []float32 {
	w := make([]float32, len(z))
	for i := range w {
		w[i] = float32(i%5) / 2
	}
	return w
}

func absolute(z []float32) []float32 {
	p := make([]float32, len(z))
	for i, v := range z {
		p[i] = float32(math.Abs(float64(v)))
	}
	return p
}

func TestDot(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, n := range lengths() {
			x, _ := guarded(n, n)
			y, _ := guarded(n, 3*n+1)
			random(x, uint64(n), 1)
			random(y, uint64(n)+7, 1)
			var want, size, squares float64
			for i := range x {
				p := float64(x[i]) * float64(y[i])
				want, size, squares = want+p, size+math.Abs(p), squares+float64(x[i])*float64(x[i])
			}
			if got := Dot(x, y); math.Abs(got-want) > 1.2e-6*size {
				t.Fatalf("n = %d: Dot = %.9g, want %.9g", n, got, want)
			}
			if got := SumSquares(x); math.Abs(got-squares) > 3e-7*squares {
				t.Fatalf("n = %d: SumSquares = %.9g, want %.9g", n, got, squares)
			}
		}
	})
}

func TestMaxAbs(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachPath(t, func(t *testing.T) {
		for _, n := range lengths()[1:] {
			x, _ := guarded(n, n)
			random(x, uint64(n), 1)
			at := (n * 7) % n
			for _, v := range []float32{-2, 2, -inf, inf} {
				x[n-1-at%n] = v
				if got, want := MaxAbs(x), float32(math.Abs(float64(v))); got != want {
					t.Fatalf("n = %d: MaxAbs = %g, want %g", n, got, want)
				}
				if got, want := AllFinite(x), v > -3 && v < 3; got != want {
					t.Fatalf("n = %d: AllFinite = %v with %g", n, got, v)
				}
			}
			x[n/2] = -nan
			if got := MaxAbs(x); got == got || AllFinite(x) {
				t.Fatalf("n = %d: MaxAbs = %g with a NaN", n, got)
			}
		}
		if MaxAbs(nil) != 0 || !AllFinite(nil) {
			t.Error("no elements are not finite")
		}
	})
}

func TestGreaterIndices(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, n := range lengths() {
			x, _ := guarded(n, n)
			random(x, uint64(n), 1)
			if n > 5 {
				x[n/3] = float32(math.NaN())
				x[n/2] = 0.5 // the threshold itself is not greater
				x[n-1] = float32(math.Inf(1))
			}
			for _, threshold := range []float32{-2, -0.1, 0, 0.5, 0.9, 2} {
				idx := make([]int32, n+8)
				for i := range idx {
					idx[i] = -7
				}
				var want []int32
				for i, v := range x {
					if v > threshold {
						want = append(want, int32(i))
					}
				}
				got := GreaterIndices(x, threshold, idx)
				if got != len(want) {
					t.Fatalf("n = %d, > %g: %d found, want %d", n, threshold, got, len(want))
				}
				for i, v := range idx {
					if i < got && v != want[i] || i >= got && v != -7 {
						t.Fatalf("n = %d, > %g: idx[%d] = %d", n, threshold, i, v)
					}
				}
			}
		}
	})
}

func TestColSums(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, rows := range []int{0, 1, 3, 4, 5, 63, 64, 65, 200, 1027} {
			for _, cols := range []int{1, 15, 16, 17, 64, 193} {
				lda := cols + rows%3
				a := random(make([]float32, rows*lda), uint64(rows*1000+cols), 1)
				dst, whole := guarded(cols, rows)
				scratch, wholeScratch := guarded(cols, rows+3)
				ColSums(dst, scratch, a, rows, lda)
				if !whole() || !wholeScratch() {
					t.Fatalf("%dx%d: wrote outside its slices", rows, cols)
				}
				for j := range cols {
					var want, size float64
					for r := range rows {
						want += float64(a[r*lda+j])
						size += math.Abs(float64(a[r*lda+j]))
					}
					if math.Abs(float64(dst[j])-want) > 1e-6*size {
						t.Fatalf("%dx%d: column %d: %g, want %g", rows, cols, j, dst[j], want)
					}
				}
				// Split in columns, as several cores do it, the bits are the same.
				if half := cols / 2; half > 0 && rows > 0 {
					parts := make([]float32, cols)
					ColSums(parts[:half], scratch[:half], a, rows, lda)
					ColSums(parts[half:], scratch[half:], a[half:], rows, lda)
					if i := firstDifference(parts, dst); i >= 0 {
						t.Fatalf("%dx%d: column %d depends on the split", rows, cols, i)
					}
				}
			}
		}
	})
}

func TestAddBias(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		bias := random(make([]float32, 37), 1, 1)
		a := random(make([]float32, 5*37), 2, 1)
		r := append([]float32(nil), a...)
		b := append([]float32(nil), a...)
		AddBias(b, bias)
		AddBiasReLU(r, bias)
		for i, v := range a {
			want := v + bias[i%37]
			if b[i] != want || r[i] != max(want, 0) {
				t.Fatalf("element %d: %g and %g, want %g", i, b[i], r[i], want)
			}
		}
	})
}

func TestL2Norm(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 15, 16, 128, 1000, 1152} {
			for _, size := range []float64{1, 1e-9, 1e12, 0, 1e-14} {
				x := random(make([]float32, n), uint64(n), size)
				dy := random(make([]float32, n), uint64(n)+9, 1)
				y, dx := make([]float32, n), make([]float32, n)
				L2Norm(y, x)
				L2NormGrad(dx, dy, x)
				var ss, across float64
				for i, v := range x {
					ss += float64(v) * float64(v)
					across += float64(v) * float64(dy[i])
				}
				norm := math.Sqrt(ss)
				for i, v := range x {
					want := float64(v) / max(norm, 1e-12)
					grad := float64(dy[i]) / max(norm, 1e-12)
					if norm >= 1e-12 {
						grad -= float64(v) * across / (norm * norm * norm)
					}
					if math.Abs(float64(y[i])-want) > 1e-6 || math.Abs(float64(dx[i])-grad) > 2e-6/max(norm, 1e-12) {
						t.Fatalf("n = %d, size %g: y %g want %g, dx %g want %g", n, size, y[i], want, dx[i], grad)
					}
				}
			}
		}
	})
}
