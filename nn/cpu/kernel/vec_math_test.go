package kernel

import (
	"math"
	"testing"
)

// ulps is the distance of got from want in units of want's last float32 place.
func ulps(got float32, want float64) float64 {
	if math.IsNaN(want) || math.Abs(want) > math.MaxFloat32*(1+0x1p-25) || want == 0 {
		same := float64(got) == want || (got != got && math.IsNaN(want)) ||
			(math.IsInf(float64(got), 1) && want > 0) || (math.IsInf(float64(got), -1) && want < 0)
		if same {
			return 0
		}
		return math.Inf(1)
	}
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

// sweep returns every 3001st float32 from each sign, the specials, and the
// numbers where the algorithms change.
func sweep() (x []float32) {
	for b := uint64(0); b < 1<<32; b += 3001 {
		x = append(x, math.Float32frombits(uint32(b)))
	}
	for _, v := range []float64{0, 1, 87, 87.3, 88.7228, 88.73, 89, 100, 103.9, 104, 200, 0x1p-126, 0x1p-149, 0x1p-127,
		math.MaxFloat32, math.Inf(1), math.Ln2 / 2, math.Sqrt2, math.Sqrt2 / 2, 30, 1e-5} {
		f := float32(v)
		x = append(x, f, -f, math.Nextafter32(f, 0), math.Nextafter32(f, 1e38), -math.Nextafter32(f, 1e38))
	}
	for i := -40000; i < 40000; i++ {
		x = append(x, float32(i)/397)
	}
	return append(x, float32(math.NaN()), float32(math.Copysign(0, -1)))
}

// The stated errors hold over the whole range of float32.
func TestMathAccuracy(t *testing.T) {
	x := sweep()
	got := make([]float32, len(x))
	eachPath(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			f     func(dst, x []float32)
			want  func(float64) float64
			bound float64
		}{
			{"Exp", Exp, math.Exp, 1.1},
			{"Log", Log, math.Log, 1},
			{"Sigmoid", Sigmoid, func(z float64) float64 {
				e := math.Exp(-math.Abs(z))
				if z >= 0 {
					return 1 / (1 + e)
				}
				return e / (1 + e)
			}, 3},
		} {
			c.f(got, x)
			worst, at := 0.0, 0
			for i, v := range x {
				if u := ulps(got[i], c.want(float64(v))); u > worst {
					worst, at = u, i
				}
			}
			t.Logf("%s: at most %.3f ulp, at %g: %g", c.name, worst, x[at], got[at])
			if worst > c.bound {
				t.Errorf("%s: %.3f ulp at %g (%g), at most %g promised", c.name, worst, x[at], got[at], c.bound)
			}
		}
	})
}
