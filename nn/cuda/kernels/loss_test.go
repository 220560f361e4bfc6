package kernels_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// golden loads values that another implementation computed in float64.
func golden(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", path))
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatalf("golden values: %v", err)
	}
}

// targets on the card.
type targets struct{ offsets, index, y, m driver.Ptr }

func (r *rig) targets(t *nn.Targets) targets {
	// A batch may have no entry at all.
	return targets{put(r, t.Offsets), put(r, append(t.Index[:len(t.Index):len(t.Index)], 0)), put(r, append(t.Y[:len(t.Y):len(t.Y)], 0)),
		put(r, append(t.M[:len(t.M):len(t.M)], 0))}
}

// randomTargets gives rows up to four entries: positives and siblings.
func (r *rig) randomTargets(rows, outputs int) *nn.Targets {
	t := &nn.Targets{}
	t.Reset()
	for range rows {
		column := 0
		for range r.rng.IntN(5) {
			column += r.rng.IntN(outputs)
			if column >= outputs {
				break
			}
			switch r.rng.IntN(3) {
			case 0:
				t.Add(int32(column), 0.25, 0.5)
			default:
				t.Add(int32(column), 1, 1)
			}
			column++
		}
		t.EndRow()
	}
	return t
}

func dense(t *nn.Targets, outputs int) (y, m []float64) {
	y, m = make([]float64, t.Rows()*outputs), make([]float64, t.Rows()*outputs)
	for r := range t.Rows() {
		for e := t.Offsets[r]; e < t.Offsets[r+1]; e++ {
			y[r*outputs+int(t.Index[e])], m[r*outputs+int(t.Index[e])] = float64(t.Y[e]), float64(t.M[e])
		}
	}
	return y, m
}

// crossEntropy is nn.SubclassCE's definition.
func crossEntropy(z []float32, t *nn.Targets, weight []float32, outputs int, probabilities bool) (loss float64, grad []float64) {
	y, m := dense(t, outputs)
	n := float64(t.Rows())
	grad = make([]float64, len(z))
	for i, v := range z {
		c := 1.0
		if weight != nil {
			c = float64(weight[i%outputs])
		}
		p, q := 1/(1+math.Exp(-float64(v))), 1/(1+math.Exp(float64(v)))
		slope := p * q
		if probabilities {
			p, q, slope = float64(v), 1-float64(v), 1
		}
		loss -= c * (y[i]*math.Log(p+nn.LossEpsilon) + (1-m[i])*math.Log(q+nn.LossEpsilon)) / n
		grad[i] = c * slope * (-y[i]/(p+nn.LossEpsilon) + (1-m[i])/(q+nn.LossEpsilon)) / n
	}
	return loss, grad
}

// padRows lays rows out with a stride; what is between is NaN.
func padRows(x []float32, width, stride int) []float32 {
	out := fillWith(len(x)/width*stride, float32(math.NaN()))
	for i, v := range x {
		out[i/width*stride+i%width] = v
	}
	return out
}

// cut is the inverse; it checks that the padding is 0.
func (r *rig) cut(x []float32, width, stride int) []float32 {
	r.t.Helper()
	var out []float32
	for i, v := range x {
		if i%stride < width {
			out = append(out, v)
		} else if v != 0 {
			r.t.Errorf("padding of row %d is %g", i/stride, v)
		}
	}
	return out
}

func TestCrossEntropy(t *testing.T) {
	r := newRig(t)
	for _, s := range [][3]int{{1, 1, 1}, {5, 33, 40}, {3, 700, 704}, {40, 4, 4}} {
		rows, outputs, stride := s[0], s[1], s[2]
		for _, weighted := range []bool{false, true} {
			tg := r.randomTargets(rows, outputs)
			z, w := r.random("f32", rows*outputs), []float32(nil)
			for i := range z {
				z[i] *= 6
			}
			if weighted {
				w = r.random("f32", outputs)
				for i := range w {
					w[i] = float32(math.Abs(float64(w[i])))
				}
			}
			r.crossEntropy("logits_f32", z, tg, w, outputs, stride, false)
			r.crossEntropy("logits_bf16", z, tg, w, outputs, stride, false)
			for i := range z {
				z[i] = float32(1 / (1 + math.Exp(-float64(z[i]))))
			}
			r.crossEntropy("probabilities_f32", z, tg, w, outputs, stride, true)
		}
		r.clean()
	}
}

func (r *rig) crossEntropy(kernel string, z []float32, tg *nn.Targets, w []float32, outputs, stride int, probabilities bool) {
	r.t.Helper()
	typ, rows := "f32", tg.Rows()
	if kernel == "logits_bf16" {
		typ = "bf16"
	}
	what := fmt.Sprintf("%s, %d rows of %d: ", kernel, rows, outputs)
	loss, grad := crossEntropy(z, tg, w, outputs, probabilities)
	c, pw := r.targets(tg), driver.Ptr(0)
	if w != nil {
		pw = put(r, w)
	}
	dz, rowLoss, mean := r.make(typ, rows*stride), r.alloc(rows, 8), r.alloc(1, 8)
	pz, counters := put(r, padRows(z, outputs, stride)), r.counters()
	for _, out := range []driver.Ptr{dz, 0} { // 0: evaluation
		r.run("subclass_ce_"+kernel, P(mean), P(out), P(rowLoss), P(0), P(counters), P(pz), P(pw), P(c.offsets), P(c.index), P(c.y), P(c.m), I(rows), I(outputs), I(stride))
		r.restored(counters)
		if got := get[float64](r, mean)[0]; !(math.Abs(got-loss) <= 2e-6*math.Abs(loss)+1e-6) {
			r.t.Errorf("%sloss %g, want %g", what, got, loss)
		}
	}
	r.near(what+"gradient", r.cut(r.read(typ, dz), outputs, stride), grad, tolerance(typ)+1e-5)
}

// TestCrossEntropyGolden compares with PyTorch, saturated logits included.
func TestCrossEntropyGolden(t *testing.T) {
	r := newRig(t)
	for _, file := range []string{"class_ce.json", "subclass_ce.json"} {
		var all struct {
			Cases []struct {
				Kind           string
				Weight         float64
				Subclass2Class []int
				Labels         []int
				Logits         [][]float32
				F64            struct {
					Loss float64
					Grad [][]float64
				}
			}
		}
		golden(t, "testdata/golden/"+file, &all)
		for i, g := range all.Cases {
			tg, z, want := &nn.Targets{}, []float32(nil), []float64(nil)
			tg.Reset()
			for row, label := range g.Labels {
				z, want = append(z, g.Logits[row]...), append(want, g.F64.Grad[row]...)
				for s := range g.Logits[row] {
					if s == label {
						tg.Add(int32(s), 1, 1)
					} else if g.Subclass2Class != nil && g.Subclass2Class[s] == g.Subclass2Class[label] {
						tg.Add(int32(s), 0, float32(g.Weight))
					}
				}
				tg.EndRow()
			}
			rows, outputs, c := len(g.Labels), len(g.Logits[0]), r.targets(tg)
			dz, rowLoss, mean := r.make("f32", len(z)), r.alloc(rows, 8), r.alloc(1, 8)
			r.run("subclass_ce_logits_f32", P(mean), P(dz), P(rowLoss), P(0), P(r.counters()), P(put(r, z)), P(0), P(c.offsets), P(c.index), P(c.y), P(c.m), I(rows), I(outputs), I(outputs))
			what := fmt.Sprintf("%s, case %d (%s): ", file, i, g.Kind)
			if got := get[float64](r, mean)[0]; math.Abs(got-g.F64.Loss) > 1e-5*math.Abs(g.F64.Loss) {
				t.Errorf("%sloss %g, want %g", what, got, g.F64.Loss)
			}
			for j, v := range get[float32](r, dz) { // as nn/conformance compares: saturated ones lost digits in float64 too
				if d := math.Abs(float64(v) - want[j]); !(d <= 1e-5*math.Abs(want[j])+1e-9) {
					t.Errorf("%sgradient %d is %g, want %g", what, j, v, want[j])
				}
			}
			r.clean()
		}
	}
}

// mixture returns p, dgates, dexperts by nn.MixtureOfExperts' definition.
func mixture(gates, experts []float32, dp []float64, m int) (p, dg, de []float64) {
	dg, de = make([]float64, len(gates)), make([]float64, len(experts))
	for i, d := range dp {
		g, e := widen(gates[i*(m+1):(i+1)*(m+1)]), widen(experts[i*m:(i+1)*m])
		sum, mix := 0.0, 0.0
		for k := range g {
			g[k] = math.Exp(g[k])
			sum += g[k]
		}
		for k := range e {
			e[k] = 1 / (1 + math.Exp(-e[k]))
			mix += g[k] / sum * e[k]
		}
		for k := range e {
			de[i*m+k] = d * g[k] / sum * e[k] * (1 - e[k])
			dg[i*(m+1)+k] = d * g[k] / sum * (e[k] - mix)
		}
		dg[i*(m+1)+m] = -d * g[m] / sum * mix
		p = append(p, mix)
	}
	return p, dg, de
}

func TestMixtureOfExperts(t *testing.T) {
	r := newRig(t)
	for _, s := range [][3]int{{1, 1, 1}, {3, 33, 2}, {5, 70, 4}} {
		rows, outputs, m := s[0], s[1], s[2]
		gates, experts, dp := r.random("f32", rows*outputs*(m+1)), r.random("f32", rows*outputs*m), r.random("f32", rows*outputs)
		for i := range gates {
			gates[i] *= 5
		}
		want, dg, de := mixture(gates, experts, widen(dp), m)
		ps, gs, es := outputs+3, outputs*(m+1)+5, outputs*m+2
		p, pg, pe := r.of("f32", padRows(make([]float32, rows*outputs), outputs, ps)), put(r, padRows(gates, outputs*(m+1), gs)), put(r, padRows(experts, outputs*m, es))
		sizes := []driver.Arg{I(rows), I(outputs), I(m), I(ps), I(gs), I(es)}
		r.run("moe_forward_f32", append([]driver.Arg{P(p), P(pg), P(pe)}, sizes...)...)
		var got []float32
		for i, v := range get[float32](r, p) {
			if i%ps < outputs {
				got = append(got, v)
			}
		}
		r.near("p", got, want, 1e-5)
		for _, typ := range []string{"f32", "bf16"} {
			g, e := r.make(typ, rows*gs), r.make(typ, rows*es)
			r.run("moe_backward_"+typ, append([]driver.Arg{P(g), P(e), P(put(r, padRows(dp, outputs, ps))), P(pg), P(pe)}, sizes...)...)
			r.near("dgates", r.cut(r.read(typ, g), outputs*(m+1), gs), dg, tolerance(typ)+1e-4)
			r.near("dexperts", r.cut(r.read(typ, e), outputs*m, es), de, tolerance(typ)+1e-4)
		}
		r.clean()
	}
}
