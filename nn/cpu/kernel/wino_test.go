package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"sdnn/nn/cpu/pool"
)

// winoCase is a convolution with random operands.
type winoCase struct {
	kind              ConvKind
	batch, h, w, c, o int
	rows              int
	x, dy, weight     []float32
	bias              []float32
}

func (k *winoCase) String() string {
	return fmt.Sprintf("%s rows %d of %d, %dx%d, %d to %d", kindNames[k.kind], k.rows, k.batch, k.h, k.w, k.c, k.o)
}

var kindNames = [...]string{"forward", "data", "weights"}

func newWinoCase(kind ConvKind, batch, rows, h, w, c, o int, r *rand.Rand) *winoCase {
	values := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * scale)
		}
		return x
	}
	k := &winoCase{kind: kind, batch: batch, rows: rows, h: h, w: w, c: c, o: o}
	k.x, k.dy = values(rows*h*w*c, 1), values(rows*h*w*o, 1)
	k.weight = values(9*c*o, 1/math.Sqrt(9*float64(c)))
	if r.IntN(2) == 0 {
		k.bias = values(o, 1)
	}
	return k
}

// run computes the convolution on p with a workspace full of NaN; what lies
// behind the output must stay.
func (k *winoCase) run(t testing.TB, p *pool.Pool) []float32 {
	t.Helper()
	conv := NewConv3x3(k.kind, k.batch, k.h, k.w, k.c, k.o)
	if conv == nil {
		t.Fatalf("%v: refused", k)
	}
	nan := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(math.NaN())
		}
		return x
	}
	a := ConvArgs{Rows: k.rows, X: k.x, W: k.weight, Work: nan(conv.Workspace())}
	size := k.rows * k.h * k.w * k.o
	switch k.kind {
	case ConvForward:
		a.Bias = k.bias
	case ConvData:
		a.X, size = k.dy, k.rows*k.h*k.w*k.c
	case ConvWeights:
		a.DY, a.W, size = k.dy, nil, 9*k.c*k.o
	}
	out := nan(size + 100)
	a.Out = out
	conv.Run(p, a)
	for i, v := range out[size:] {
		if v == v {
			t.Fatalf("%v: wrote %d values behind the output", k, i+1)
		}
	}
	return out[:size]
}

// want computes the convolution in float64 from its definition.
func (k *winoCase) want() []float64 {
	var out []float64
	switch k.kind {
	case ConvForward:
		out = make([]float64, k.rows*k.h*k.w*k.o)
	case ConvData:
		out = make([]float64, k.rows*k.h*k.w*k.c)
	case ConvWeights:
		out = make([]float64, 9*k.c*k.o)
	}
	for n := range k.rows {
		for i := range k.h {
			for j := range k.w {
				for t := range 9 {
					y, x := i+t/3-1, j+t%3-1
					if y < 0 || y >= k.h || x < 0 || x >= k.w {
						continue
					}
					k.tap(out, ((n*k.h+y)*k.w+x)*k.c, ((n*k.h+i)*k.w+j)*k.o, t)
				}
				if k.kind == ConvForward && k.bias != nil {
					for o, b := range k.bias {
						out[((n*k.h+i)*k.w+j)*k.o+o] += float64(b)
					}
				}
			}
		}
	}
	return out
}

// tap adds the products of the pixel of x at xs with the pixel of y at ys.
func (k *winoCase) tap(out []float64, xs, ys, t int) {
	for o := range k.o {
		w := (9*o + t) * k.c
		sum := 0.0
		for c := range k.c {
			switch k.kind {
			case ConvForward:
				sum += float64(k.x[xs+c]) * float64(k.weight[w+c])
			case ConvData:
				out[xs+c] += float64(k.dy[ys+o]) * float64(k.weight[w+c])
			case ConvWeights:
				out[w+c] += float64(k.dy[ys+o]) * float64(k.x[xs+c])
			}
		}
		if k.kind == ConvForward {
			out[ys+o] += sum
		}
	}
}

// l2Error is the norm of the difference relative to the norm of want.
func l2Error(got []float32, want []float64) float64 {
	var d, n float64
	for i, w := range want {
		e := float64(got[i]) - w
		d += e * e
		n += w * w
	}
	return math.Sqrt(d / n)
}

// sameBits reports whether two results are equal in every bit.
func sameFloats(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

func randomWino(r *rand.Rand) *winoCase {
	batch := 1 + r.IntN(5)
	h, w := 2+r.IntN(11), 2+r.IntN(11)
	if r.IntN(3) == 0 {
		h, w = 2, 2
		batch = 1 + r.IntN(40)
	}
	return newWinoCase(ConvKind(r.IntN(3)), batch, 1+r.IntN(batch), h, w, 16*(1+r.IntN(4)), 16*(1+r.IntN(7)), r)
}

func TestConv3x3AgainstFloat64(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 60 {
			k := randomWino(r)
			if e := l2Error(k.run(t, p), k.want()); !(e < 4e-6) {
				t.Errorf("%v: l2 error %.2g", k, e)
			}
		}
	})
}
