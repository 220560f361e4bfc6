package kernels_test

import (
	"fmt"
	"math"
	"slices"
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

// listed lets the loss list the rows that theta looks at.
func (r *rig) listed(z []float32, tg *nn.Targets, classes, stride int, probabilities bool) (bits driver.Ptr) {
	r.t.Helper()
	rows, c, kernel := tg.Rows(), r.targets(tg), "subclass_ce_logits_f32"
	if probabilities {
		kernel = "subclass_ce_probabilities_f32"
	}
	bits = put(r, make([]uint32, 2*classes*((rows+31)/32)))
	r.run(kernel, P(r.alloc(1, 8)), P(0), P(r.alloc(rows, 8)), P(bits), P(r.counters()), P(put(r, padRows(z, classes, stride))), P(0), P(c.offsets), P(c.index), P(c.y), P(c.m), I(rows), I(classes), I(stride))
	return bits
}

// finish ends a measurement.
func (r *rig) finish(partial, bits driver.Ptr, rows, classes, chunks int) []float32 {
	r.t.Helper()
	theta := r.make("f32", classes)
	r.run("theta_finish_f32", P(theta), P(partial), P(bits), I(rows), I(classes), I(chunks))
	return get[float32](r, theta)
}

// theta measures with a dW that is made for it, of logits or probabilities.
func (r *rig) theta(typ string, x, z []float32, tg *nn.Targets, width, classes, stride int, probabilities bool) []float32 {
	r.t.Helper()
	rows, chunks, c, flag := tg.Rows(), kernels.ThetaChunks(width), r.targets(tg), 0
	if probabilities {
		flag = 1
	}
	pz, e := put(r, padRows(z, classes, stride)), r.make(typ, rows*stride)
	r.run("theta_errors_"+typ, P(e), P(pz), P(c.offsets), P(c.index), P(c.y), I(rows), I(classes), I(stride), I(flag))
	dw := put(r, product(widen(r.cut(r.read(typ, e), classes, stride)), x, classes, width))
	bits, partial := r.listed(z, tg, classes, stride, probabilities), r.alloc(3*classes*chunks, 8)
	r.run("theta_norms_"+typ, P(partial), P(bits), P(r.of(typ, x)), P(pz), P(dw), I(rows), I(classes), I(stride), I(width), I(chunks), I(flag))
	return r.finish(partial, bits, rows, classes, chunks)
}

// fusedTheta measures in the pass of an optimiser over the dW of training, with
// a tensor before and one behind; the weights must be those without measuring.
func (r *rig) fusedTheta(typ, gradient string, o nn.Optimizer, x, z []float32, tg *nn.Targets, width, classes, stride int) []float32 {
	r.t.Helper()
	rows, pieces := tg.Rows(), kernels.OptimizerPieces(width)
	_, grad := crossEntropy(z, tg, nil, classes, false)
	dw := product(grad, x, classes, width)
	for i := range dw {
		dw[i] = round(gradient, dw[i])
	}
	var list [2][]kernels.OptimizerTensor // measured, and not
	for _, g := range [][]float32{r.random("f32", 40), dw, r.random("f32", 9)} {
		w, a, b := r.random("f32", len(g)), r.random("f32", len(g)), r.random("f32", len(g))
		for i := range b {
			b[i] *= b[i]
		}
		for k := range list {
			p := kernels.OptimizerTensor{Weight: put(r, w), State: [2]driver.Ptr{put(r, a), put(r, b)}, Shadow: r.make("bf16", len(g)), Elements: len(g)}
			if p.Gradient = put(r, g); len(list[k]) == 1 {
				p.Gradient, p.GradientBF16 = r.of(gradient, g), gradient == "bf16"
				if k == 0 {
					p.Row = width
				}
			}
			list[k] = append(list[k], p)
		}
	}
	r.optimise(o, list[1], 0.05, 3)
	bits, partial := r.listed(z, tg, classes, stride, false), r.alloc(3*classes*pieces, 8)
	args := []driver.Arg{P(bits), P(r.of(typ, x)), P(put(r, padRows(z, classes, stride)))}
	r.launchOptimiser(o, string(o.Kind)+"_theta_"+typ, []driver.Arg{P(partial)}, args,
		[]driver.Arg{I(1), I(rows), I(classes), I(stride), I(width), F(float32(float64(rows) * (1 + nn.LossEpsilon)))}, list[0], 0.05, 3)
	for i := range list[0] {
		p, q := list[0][i], list[1][i]
		if !slices.Equal(get[uint32](r, p.Weight), get[uint32](r, q.Weight)) || !slices.Equal(get[uint16](r, p.Shadow), get[uint16](r, q.Shadow)) ||
			!slices.Equal(get[uint32](r, p.State[0]), get[uint32](r, q.State[0])) || !slices.Equal(get[uint32](r, p.State[1]), get[uint32](r, q.State[1])) {
			r.t.Errorf("%s, %s, %d classes of %d: tensor %d ends in other bits when theta is measured", o.Kind, gradient, classes, width, i)
		}
	}
	return r.finish(partial, bits, rows, classes, pieces)
}

func TestTheta(t *testing.T) {
	r := newRig(t)
	for _, s := range []struct{ rows, classes, stride, width int }{{1, 1, 1, 1}, {5, 33, 40, 7}, {70, 40, 40, 64}, {300, 5, 8, 2056}, {1100, 3, 3, 33}, {40, 3, 8, 8196}} {
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
		adam, sgd := nn.NewAdam(), nn.NewSGD(5e-4)
		r.near(what+"from training's dW", r.fusedTheta("f32", "f32", adam, x, z, tg, s.width, s.classes, s.stride), want, 1e-4)
		r.near(what+"of bf16 dW", r.fusedTheta("bf16", "bf16", sgd, x, z, tg, s.width, s.classes, s.stride), want, 1e-2)
		r.shift = true
		r.near(what+"from training's dW, SGD", r.fusedTheta("f32", "f32", sgd, x, z, tg, s.width, s.classes, s.stride), want, 1e-4)
		r.near(what+"of bf16 x", r.fusedTheta("bf16", "f32", adam, x, z, tg, s.width, s.classes, s.stride), want, 1e-4)
		r.shift = false
		if s.width < 4096 {
			r.near(what+"from a product", r.theta("f32", x, z, tg, s.width, s.classes, s.stride, false), want, 1e-4)
			for i := range z {
				z[i] = float32(1 / (1 + math.Exp(-float64(z[i]))))
			}
			want = thetas(x, z, tg, s.width, s.classes, true)
			r.near(what+"of probabilities", r.theta("f32", x, z, tg, s.width, s.classes, s.stride, true), want, 1e-4)
		}
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
	got := r.fusedTheta("f32", "f32", nn.NewAdam(), []float32{0, 0}, []float32{1, 2, -1, 3}, tg, 1, 2, 2)
	if got[0] != 1 || got[1] != 0 {
		t.Errorf("theta of zeros is %v, want 1 and 0", got)
	}
	tg.Reset()
	tg.Add(0, 1, 1)
	tg.EndRow()
	tg.EndRow()
	// g1 = -x/2 and g0 = x/2: the sum vanishes.
	if got = r.theta("f32", []float32{1, 1}, []float32{0, 0}, tg, 1, 1, 1, false); !math.IsInf(float64(got[0]), 1) {
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
		got := r.fusedTheta("f32", "f32", nn.NewAdam(), x, z, tg, len(g.X[0]), len(g.Logits[0]), len(g.Logits[0]))
		r.near(fmt.Sprintf("batch %d", i), got, g.TAll, 3e-5)
		r.clean()
	}
}
