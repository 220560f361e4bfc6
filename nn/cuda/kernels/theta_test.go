package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// thetas computes the neglection degrees by their definition.
func thetas(x, z []float32, t *nn.Targets, width, classes int, probabilities bool) []float64 {
	y, _ := dense(t, classes)
	out := make([]float64, classes)
	for c := range classes {
		g1, g0, occurs := make([]float64, width), make([]float64, width), false
		for r := range t.Rows() {
			p := float64(z[r*classes+c])
			if !probabilities {
				p = 1 / (1 + math.Exp(-p))
			}
			g := g0
			if y[r*classes+c] == 1 {
				g, occurs = g1, true
			}
			for j := range width {
				g[j] += (p - y[r*classes+c]) * float64(x[r*width+j])
			}
		}
		var n1, n0, n float64
		for j := range width {
			n1, n0, n = n1+g1[j]*g1[j], n0+g0[j]*g0[j], n+(g1[j]+g0[j])*(g1[j]+g0[j])
		}
		switch up := math.Sqrt(n1) + math.Sqrt(n0); {
		case !occurs:
		case n > 0:
			out[c] = up / math.Sqrt(n)
		case up > 0:
			out[c] = math.Inf(1)
		default:
			out[c] = 1
		}
	}
	return out
}

// product returns e' x [classes, width] in float32, rounded once: e [rows, classes].
func product(e []float64, x []float32, classes, width int) []float32 {
	out := make([]float32, classes*width)
	for c := range classes {
		for j := range width {
			s := 0.0
			for r := range len(e) / classes {
				s += e[r*classes+c] * float64(x[r*width+j])
			}
			out[c*width+j] = float32(s)
		}
	}
	return out
}

// theta runs the kernels; mode as theta_norms has it.
func (r *rig) theta(typ string, x, z []float32, tg *nn.Targets, width, classes, stride, mode int) []float32 {
	r.t.Helper()
	rows, chunks, c := tg.Rows(), kernels.ThetaChunks(width), r.targets(tg)
	pz, px := put(r, padRows(z, classes, stride)), r.of(typ, x)
	var dw driver.Ptr
	scale, listed := float32(1), driver.Ptr(0)
	if mode == 0 {
		_, grad := crossEntropy(z, tg, nil, classes, false)
		dw, listed, scale = put(r, product(grad, x, classes, width)), pz, float32(rows)*(1+nn.LossEpsilon)
	} else {
		e := r.make(typ, rows*stride)
		r.run("theta_errors_"+typ, P(e), P(pz), P(c.offsets), P(c.index), P(c.y), I(rows), I(classes), I(stride), I(mode-1))
		dw = put(r, product(widen(r.cut(r.read(typ, e), classes, stride)), x, classes, width))
	}
	words := (rows + 31) / 32
	bits, present := r.alloc(2*classes*words, 4), put(r, make([]int32, classes+1))
	theta, partial := r.make("f32", classes), r.alloc(3*classes*chunks, 8)
	r.run("theta_list_f32", P(bits), P(present), P(theta), P(listed), P(c.offsets), P(c.index), P(c.y), I(rows), I(classes), I(stride))
	r.run("theta_norms_"+typ, P(partial), P(bits), P(present), P(px), P(pz), P(dw), I(rows), I(classes), I(stride), I(width), I(chunks), I(mode), F(scale))
	r.run("theta_finish_f32", P(theta), P(partial), P(present), I(classes), I(chunks))
	return get[float32](r, theta)
}

func TestTheta(t *testing.T) {
	r := newRig(t)
	for _, s := range []struct{ rows, classes, stride, width int }{{1, 1, 1, 1}, {5, 33, 40, 7}, {70, 40, 40, 64}, {300, 5, 8, 2056}, {1100, 3, 3, 33}} {
		x, z := r.random("bf16", s.rows*s.width), r.random("f32", s.rows*s.classes)
		for i := range z {
			z[i] *= 5 // some with p > 3/4
		}
		tg := r.randomTargets(s.rows, s.classes)
		for i, y := range tg.Y { // rows of classes, as stage 1 has them
			if y != 1 {
				tg.Y[i], tg.M[i] = 0, 0
			}
		}
		want := thetas(x, z, tg, s.width, s.classes, false)
		what := fmt.Sprintf("%+v: ", s)
		r.near(what+"from training's dW", r.theta("f32", x, z, tg, s.width, s.classes, s.stride, 0), want, 1e-4)
		r.near(what+"from training's dW, bf16", r.theta("bf16", x, z, tg, s.width, s.classes, s.stride, 0), want, 1e-4)
		r.near(what+"from a product", r.theta("f32", x, z, tg, s.width, s.classes, s.stride, 1), want, 1e-4)
		for i := range z {
			z[i] = float32(1 / (1 + math.Exp(-float64(z[i]))))
		}
		want = thetas(x, z, tg, s.width, s.classes, true)
		r.near(what+"of probabilities", r.theta("f32", x, z, tg, s.width, s.classes, s.stride, 2), want, 1e-4)
		r.clean()
	}
}

// TestThetaLimits: 0/0 is 1, x/0 infinite, a class that does not occur 0.
func TestThetaLimits(t *testing.T) {
	r := newRig(t)
	tg := &nn.Targets{}
	tg.Reset()
	for range 2 {
		tg.Add(0, 1, 1)
		tg.EndRow()
	}
	got := r.theta("f32", []float32{0, 0}, []float32{1, 2, -1, 3}, tg, 1, 2, 2, 0)
	if got[0] != 1 || got[1] != 0 {
		t.Errorf("theta of zeros is %v, want 1 and 0", got)
	}
	tg.Reset()
	tg.Add(0, 1, 1)
	tg.EndRow()
	tg.EndRow()
	// g1 = -x/2 and g0 = x/2: the sum vanishes.
	if got = r.theta("f32", []float32{1, 1}, []float32{0, 0}, tg, 1, 1, 1, 1); !math.IsInf(float64(got[0]), 1) {
		t.Errorf("theta of opposite pulls is %v, want +Inf", got)
	}
}

func TestThetaGolden(t *testing.T) {
	r := newRig(t)
	var all struct {
		Batches []struct {
			X, Logits [][]float32
			Labels    []int
			Present   []bool
			TAll      []float64 `json:"t_all"`
		}
	}
	golden(t, "testdata/golden/neglection.json", &all)
	for i, g := range all.Batches {
		var x, z []float32
		tg := &nn.Targets{}
		tg.Reset()
		for row, label := range g.Labels {
			x, z = append(x, g.X[row]...), append(z, g.Logits[row]...)
			tg.Add(int32(label), 1, 1)
			tg.EndRow()
		}
		for c, p := range g.Present {
			if !p {
				g.TAll[c] = 0
			}
		}
		got := r.theta("f32", x, z, tg, len(g.X[0]), len(g.Logits[0]), len(g.Logits[0]), 0)
		r.near(fmt.Sprintf("batch %d", i), got, g.TAll, 3e-5)
		r.clean()
	}
}
