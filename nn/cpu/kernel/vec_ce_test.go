package kernel

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// ceNaive is the dense term of one output in float64.
func ceNaive(z float64) (p, loss, dz, dp float64) {
	t := math.Exp(-math.Abs(z))
	p, q := 1/(1+t), t/(1+t)
	if z < 0 {
		p, q = q, p
	}
	dp = 1 / (q + ceEpsilon)
	// ln(q+e) = ln1p(e-p), exact where p is small.
	loss = -math.Log1p(ceEpsilon - p)
	if q < 0.5 {
		loss = -math.Log(q + ceEpsilon)
	}
	return p, loss, p * q * dp, dp
}

func TestCELogits(t *testing.T) {
	const scale = 1.0 / 7
	eachPath(t, func(t *testing.T) {
		for _, n := range lengths() {
			for _, bound := range []float64{0.1, 5, 30, 200} {
				z, _ := guarded(n, n)
				w, _ := guarded(n, n+5)
				dz, whole := guarded(n, n+11)
				random(z, uint64(n), bound)
				random(w, uint64(n)+1, 1)
				for i := range w {
					w[i] = float32(math.Abs(float64(w[i])))
				}
				for _, weights := range [][]float32{nil, w} {
					loss := CELogits(dz, z, weights, scale)
					var want float64
					for i, v := range z {
						_, l, d, _ := ceNaive(float64(v))
						d *= scale
						if weights != nil {
							l, d = l*float64(w[i]), d*float64(w[i])
						}
						want += l
						if math.Abs(float64(dz[i])-d) > 1e-6*math.Abs(d)+1e-32 {
							t.Fatalf("n = %d: z = %g: dz %g, want %g", n, v, dz[i], d)
						}
					}
					if math.Abs(loss-want) > 1e-6*math.Abs(want) {
						t.Fatalf("n = %d, z to %g: loss %.9g, want %.9g", n, bound, loss, want)
					}
					if l := CELogitsLoss(z, weights); l != loss {
						t.Fatalf("n = %d: loss alone %.9g, with gradient %.9g", n, l, loss)
					}
				}
				if !whole() {
					t.Fatalf("n = %d: wrote outside its slices", n)
				}
			}
		}
	})
}

// A row where every output is confidently negative has the loss -S ln(1+e):
// it must not drown in the rounding of 1-p+e.
func TestCELogitsConfident(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		z := make([]float32, 3962)
		for i := range z {
			z[i] = -14 - float32(i%17)/2
		}
		var want float64
		for _, v := range z {
			_, l, _, _ := ceNaive(float64(v))
			want += l
		}
		if got := CELogitsLoss(z, nil); math.Abs(got-want) > 1e-5*math.Abs(want) {
			t.Errorf("loss %.9g, want %.9g", got, want)
		}
	})
}

func TestCELogitsSpecials(t *testing.T) {
	inf := float32(math.Inf(1))
	eachPath(t, func(t *testing.T) {
		z := []float32{inf, -inf, 0, 100, -100}
		dz := make([]float32, len(z))
		CELogits(dz, z, nil, 1)
		for i, d := range dz {
			if want := []float64{0, 0, 0.5 * 0.5 / (0.5 + 1e-5), 0, 0}[i]; math.Abs(float64(d)-want) > 1e-6 {
				t.Errorf("dz(%g) = %g, want %g", z[i], d, want)
			}
		}
		z[2] = float32(math.NaN())
		if loss := CELogits(dz, z, nil, 1); loss == loss || dz[2] == dz[2] {
			t.Errorf("NaN gives the loss %g and the gradient %g", loss, dz[2])
		}
		if loss := CEProbsLoss(z[2:3], nil); loss == loss {
			t.Errorf("the probability NaN gives the loss %g", loss)
		}
	})
}

func TestCEProbs(t *testing.T) {
	const scale = 0.25
	eachPath(t, func(t *testing.T) {
		for _, n := range lengths() {
			p := absolute(random(make([]float32, n), uint64(n), 1))
			for i := range p {
				switch i % 5 {
				case 0:
					p[i] *= 1e-6
				case 1:
					p[i] = 1 - p[i]*1e-5
				case 2:
					p[i] = float32(i / 5 % 2)
				}
			}
			dp, whole := guarded(n, n)
			w := weightsFor(p)
			for _, weights := range [][]float32{nil, w} {
				loss := CEProbs(dp, p, weights, scale)
				var want float64
				for i, v := range p {
					q := 1 - float64(v)
					l, d := -math.Log(q+ceEpsilon), scale/(q+ceEpsilon)
					if weights != nil {
						l, d = l*float64(w[i]), d*float64(w[i])
					}
					want += l
					if math.Abs(float64(dp[i])-d) > 1e-6*d {
						t.Fatalf("n = %d: p = %g: dp %g, want %g", n, v, dp[i], d)
					}
				}
				if math.Abs(loss-want) > 1e-6*math.Abs(want) {
					t.Fatalf("n = %d: loss %.9g, want %.9g", n, loss, want)
				}
				if l := CEProbsLoss(p, weights); l != loss {
					t.Fatalf("n = %d: loss alone %.9g, with gradient %.9g", n, l, loss)
				}
			}
			if !whole() {
				t.Fatalf("n = %d: wrote outside its slices", n)
			}
		}
	})
}

// CEProbTerm and CETerm are the same loss, and the chain rule links their
// gradients.
func TestCETerm(t *testing.T) {
	for _, z := range []float32{-8, -1, 0, 0.5, 6} {
		for _, y := range []float32{0, 0.5, 1} {
			for _, m := range []float32{0, 0.9, 1} {
				p := 1 / (1 + math.Exp(-float64(z)))
				loss, dz := CETerm(z, y, m)
				const h = 1e-3
				up, _ := CETerm(z+h, y, m)
				down, _ := CETerm(z-h, y, m)
				step := float64(z+h) - float64(z-h)
				if numeric := (up - down) / step; math.Abs(numeric-dz) > 1e-5*(1+math.Abs(dz)) {
					t.Errorf("z = %g y = %g m = %g: gradient %g, differences %g", z, y, m, dz, numeric)
				}
				pl, dp := CEProbTerm(float32(p), y, m)
				pf := float64(float32(p))
				if math.Abs(pl-loss) > 1e-4*(1+loss) || math.Abs(dp*pf*(1-pf)-dz) > 1e-4*(1+math.Abs(dz)) {
					t.Errorf("z = %g y = %g m = %g: from p %g %g, from z %g %g", z, y, m, pl, dp*pf*(1-pf), loss, dz)
				}
			}
		}
	}
}

// ceGolden is a case of class_ce.json or subclass_ce.json.
type ceGolden struct {
	Kind     string
	Weight   float64
	Classes  []int `json:"subclass2class"`
	Labels   []int
	Logits   [][]float32
	Expected struct {
		Loss float64
		Grad [][]float64
	} `json:"f64"`
}

func readGolden(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile("../../../testdata/golden/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// The golden losses and gradients: dense part plus listed targets.
func TestCEGolden(t *testing.T) {
	for _, name := range []string{"class_ce.json", "subclass_ce.json"} {
		var golden struct{ Cases []ceGolden }
		readGolden(t, name, &golden)
		if len(golden.Cases) < 8 {
			t.Fatalf("%s has %d cases", name, len(golden.Cases))
		}
		eachPath(t, func(t *testing.T) {
			for i := range golden.Cases {
				golden.Cases[i].check(t, name, i)
			}
		})
	}
}

func (g *ceGolden) check(t *testing.T, file string, index int) {
	n := float64(len(g.Logits))
	var loss float64
	for r, z := range g.Logits {
		dz := make([]float32, len(z))
		loss += CELogits(dz, z, nil, float32(1/n))
		own := g.Labels[r]
		for s := range z {
			var y, m float32
			switch {
			case s == own:
				y, m = 1, 1
			case g.Classes != nil && g.Classes[s] == g.Classes[own]:
				m = float32(g.Weight)
			default:
				continue
			}
			l, d := CETerm(z[s], y, m)
			l0, _ := CETerm(z[s], 0, 0)
			loss += l - l0
			dz[s] = float32(d / n)
		}
		for s, want := range g.Expected.Grad[r] {
			tol := 1e-6
			if z[s] > 29 {
				tol = 2e-3 // the golden value's own 1-p has lost these digits
			}
			if math.Abs(float64(dz[s])-want) > tol*math.Abs(want)+1e-20 {
				t.Errorf("%s case %d (%s): row %d output %d: gradient %g, want %g", file, index, g.Kind, r, s, dz[s], want)
			}
		}
	}
	if loss /= n; math.Abs(loss-g.Expected.Loss) > 1e-6*math.Abs(g.Expected.Loss) {
		t.Errorf("%s case %d (%s): loss %.9g, want %.9g", file, index, g.Kind, loss, g.Expected.Loss)
	}
}
