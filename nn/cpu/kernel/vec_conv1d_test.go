package kernel

import (
	"math"
	"testing"
)

var convShapes = []struct{ length, filters int }{
	{0, 16}, {1, 16}, {2, 16}, {3, 16}, {4, 16}, {5, 16}, {6, 16}, {7, 16}, {2, 64}, {3, 64}, {9, 64}, {10, 64},
	{11, 5}, {12, 4}, {2, 1}, {3, 1}, {63, 32}, {64, 48}, {65, 64}, {66, 16}, {67, 16}, {128, 16}, {129, 16},
	{130, 80}, {1152, 64}, {6, 0},
}

// convCase is one row with everything that the kernels take.
type convCase struct {
	x, taps, bias, y, dy, dtaps, dbias []float32
	wholes                             []func() bool
}

func newConvCase(length, filters int) *convCase {
	c := &convCase{}
	make32 := func(n int, bound float64) []float32 {
		s, whole := guarded(n, length+3*len(c.wholes))
		c.wholes = append(c.wholes, whole)
		return random(s, uint64(100*length+filters+10000*len(c.wholes)), bound)
	}
	c.x, c.taps, c.bias = make32(length, 1), make32(3*filters, 1), make32(filters, 0.3)
	c.y, c.dy = make32(length/2*filters, 1), make32(length/2*filters, 1)
	c.dtaps, c.dbias = make32(3*filters, 1), make32(filters, 1)
	// Some pools with equal values, some filters that never fire.
	for i := range c.x {
		if i%9 < 4 {
			c.x[i] = 0.25
		}
	}
	for f := range c.bias {
		if f%7 == 3 {
			c.bias[f] = -9
		}
	}
	return c
}

// naive computes in float64, except that winners are compared in float32 as
// torch does: sums of three products in the kernels' order.
func (c *convCase) naive(i, f int) (a, b float64, s [4]float64) {
	filters := len(c.bias)
	for t := range s {
		if at := 2*i - 1 + t; at >= 0 && at < len(c.x) {
			s[t] = float64(c.x[at])
		}
	}
	a, b = float64(c.bias[f]), float64(c.bias[f])
	for t := range 3 {
		k := float64(c.taps[t*filters+f])
		a, b = a+k*s[t], b+k*s[t+1]
	}
	return a, b, s
}

func TestConvPool(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range convShapes {
			c := newConvCase(s.length, s.filters)
			ConvPool(c.y, c.x, c.taps, c.bias)
			for j, got := range c.y {
				a, b, _ := c.naive(j/s.filters, j%s.filters)
				if want := max(a, b, 0); math.Abs(float64(got)-want) > 1e-6 {
					t.Fatalf("%v: y[%d] = %g, want %g", s, j, got, want)
				}
			}
			c.checkGuards(t, s.length, s.filters)
		}
	})
}

func (c *convCase) checkGuards(t *testing.T, length, filters int) {
	t.Helper()
	for _, whole := range c.wholes {
		if !whole() {
			t.Fatalf("L = %d, F = %d: wrote outside its slices", length, filters)
		}
	}
}

func TestConvPoolGrad(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, s := range convShapes {
			c := newConvCase(s.length, s.filters)
			dtaps, dbias := make([]float64, 3*s.filters), make([]float64, s.filters)
			dx, got := make([]float64, s.length), make([]float32, s.length)
			for j, v := range c.dtaps {
				dtaps[j] = float64(v)
			}
			for j, v := range c.dbias {
				dbias[j] = float64(v)
			}
			for i := range s.length / 2 {
				for f := range s.filters {
					a, b, x := c.naive(i, f)
					first := 0
					switch {
					case max(a, b) <= 0:
						continue
					case b-a > 1e-7: // closer ones are equal: four equal x
						first = 1
					}
					g := float64(c.dy[i*s.filters+f])
					dbias[f] += g
					for tap := range 3 {
						dtaps[tap*s.filters+f] += g * x[first+tap]
						if at := 2*i - 1 + first + tap; at >= 0 && at < s.length {
							dx[at] += g * float64(c.taps[tap*s.filters+f])
						}
					}
				}
			}
			ConvPoolGrad(c.dtaps, c.dbias, c.dy, c.x, c.taps, c.bias)
			ConvPoolInputGrad(got, c.dy, c.x, c.taps, c.bias)
			c.checkGuards(t, s.length, s.filters)
			tol := 2e-6 * float64(1+s.length)
			compare(t, "dtaps", s, c.dtaps, dtaps, tol)
			compare(t, "dbias", s, c.dbias, dbias, tol)
			compare(t, "dx", s, got, dx, 2e-6*float64(1+s.filters))
		}
	})
}

func compare(t *testing.T, what string, shape any, got []float32, want []float64, tol float64) {
	t.Helper()
	for i, w := range want {
		if math.Abs(float64(got[i])-w) > tol {
			t.Fatalf("%v: %s[%d] = %g, want %g", shape, what, i, got[i], w)
		}
	}
}

// goldenNet is a case of yt8m_net.json: the video net at a small size.
type goldenNet struct {
	RGB, Audio, Noise, Labels [][]float32
	Init                      struct {
		ConvKernel  [][][]float32 `json:"conv_kernel"`
		ConvBias    []float32     `json:"conv_bias"`
		DenseKernel [][]float32   `json:"dense_kernel"`
		DenseBias   []float32     `json:"dense_bias"`
	}
	F64 []goldenStep
}

type goldenStep struct {
	Step  int
	LR    float64
	Loss  float64
	X     [][]float64 `json:"x_normed"`
	Flat  [][]float64
	Grads goldenParams
	After goldenParams `json:"params_after"`
}

type goldenParams struct {
	ConvKernel  [][][]float64 `json:"conv_kernel"`
	ConvBias    []float64     `json:"conv_bias"`
	DenseKernel [][]float64   `json:"dense_kernel"`
	DenseBias   []float64     `json:"dense_bias"`
}

// goldenTensors are the net's parameters or gradients, flat.
type goldenTensors struct{ taps, bias, dense, denseBias []float32 }

func newGoldenTensors(filters, in, out int) *goldenTensors {
	return &goldenTensors{make([]float32, 3*filters), make([]float32, filters), make([]float32, in*out), make([]float32, out)}
}

// The kernels together train the golden net: normalisation, convolution, loss,
// gradients and six steps of Adam; the dense layer is naive.
func TestGoldenNet(t *testing.T) {
	var golden struct{ Cases map[string]goldenNet }
	readGolden(t, "yt8m_net.json", &golden)
	if len(golden.Cases) != 3 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	eachPath(t, func(t *testing.T) {
		for name, g := range golden.Cases {
			t.Run(name, g.train)
		}
	})
}

func (g goldenNet) train(t *testing.T) {
	filters, in, out := len(g.Init.ConvBias), len(g.Init.DenseKernel), len(g.Init.DenseBias)
	w, m, v := newGoldenTensors(filters, in, out), newGoldenTensors(filters, in, out), newGoldenTensors(filters, in, out)
	for tap, k := range g.Init.ConvKernel {
		copy(w.taps[tap*filters:], k[0])
	}
	copy(w.bias, g.Init.ConvBias)
	for i, row := range g.Init.DenseKernel {
		copy(w.dense[i*out:], row)
	}
	copy(w.denseBias, g.Init.DenseBias)
	for _, step := range g.F64 {
		x := g.normalise()
		for r := range x {
			if step.X != nil {
				compare(t, "x", step.Step, x[r], step.X[r], 1e-6)
			}
		}
		grad := newGoldenTensors(filters, in, out)
		if loss := g.step(t, &step, w, grad, x); math.Abs(loss-step.Loss) > 2e-6*step.Loss {
			t.Errorf("step %d: loss %.8g, want %.8g", step.Step, loss, step.Loss)
		}
		grad.compare(t, "gradient", step.Step, &step.Grads, 2e-6)
		one := float64(step.Step + 1)
		adam := AdamStep{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, GradScale: 1,
			Rate: step.LR * math.Sqrt(1-math.Pow(0.999, one)) / (1 - math.Pow(0.9, one))}
		adam.Apply(w.taps, m.taps, v.taps, grad.taps, 0)
		adam.Apply(w.bias, m.bias, v.bias, grad.bias, 0)
		adam.Apply(w.dense, m.dense, v.dense, grad.dense, 0)
		adam.Apply(w.denseBias, m.denseBias, v.denseBias, grad.denseBias, 0)
		w.compare(t, "parameter", step.Step, &step.After, 2e-6)
	}
}

func (g *goldenNet) normalise() [][]float32 {
	var rows [][]float32
	for r := range g.RGB {
		x := append(append([]float32(nil), g.RGB[r]...), g.Audio[r]...)
		split := len(g.RGB[r])
		L2Norm(x[:split], x[:split])
		L2Norm(x[split:], x[split:])
		Accumulate(x, g.Noise[r])
		L2Norm(x, x)
		rows = append(rows, x)
	}
	return rows
}

// step does a forward and a backward pass and returns the loss.
func (g *goldenNet) step(t *testing.T, want *goldenStep, w, grad *goldenTensors, x [][]float32) (loss float64) {
	in, out := len(w.dense)/len(w.denseBias), len(w.denseBias)
	n := float64(len(x))
	for r, row := range x {
		flat := make([]float32, in)
		ConvPool(flat, row, w.taps, w.bias)
		if want.Flat != nil {
			compare(t, "flat", want.Step, flat, want.Flat[r], 2e-6)
		}
		z := append([]float32(nil), w.denseBias...)
		for i, f := range flat {
			Axpy(z, w.dense[i*out:(i+1)*out], f)
		}
		dz := make([]float32, out)
		loss += CELogits(dz, z, nil, float32(1/n)) / n
		for s, y := range g.Labels[r] {
			if y != 0 {
				l, d := CETerm(z[s], 1, 1)
				l0, _ := CETerm(z[s], 0, 0)
				loss += (l - l0) / n
				dz[s] = float32(d / n)
			}
		}
		Accumulate(grad.denseBias, dz)
		dflat := make([]float32, in)
		for i, f := range flat {
			Axpy(grad.dense[i*out:(i+1)*out], dz, f)
			dflat[i] = float32(Dot(w.dense[i*out:(i+1)*out], dz))
		}
		ConvPoolGrad(grad.taps, grad.bias, dflat, row, w.taps, w.bias)
	}
	return loss
}

func (got *goldenTensors) compare(t *testing.T, what string, step int, want *goldenParams, tol float64) {
	t.Helper()
	filters, out := len(got.bias), len(got.denseBias)
	for tap, k := range want.ConvKernel {
		compare(t, what+" conv kernel", step, got.taps[tap*filters:], k[0], tol)
	}
	compare(t, what+" conv bias", step, got.bias, want.ConvBias, tol)
	for i, row := range want.DenseKernel {
		compare(t, what+" dense kernel", step, got.dense[i*out:], row, tol)
	}
	compare(t, what+" dense bias", step, got.denseBias, want.DenseBias, tol)
}
