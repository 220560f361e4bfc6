package gorgonia

import (
	"math"

	"gonum.org/v1/gonum/blas"

	"sdnn/nn"
)

// neglection measures the neglection degree by its definition: from the exact
// p-y, with one dense product for g1+g0 and a sparse one for g1.
type neglection struct {
	residual []float32 // p-y [N,C]
	sum      []float32 // g1+g0 [C,F]
	positive []float32 // g1 [C,F]
	theta    []float32 // [C]
}

// measure returns theta [C] for a batch with penultimate features x [.,F] and
// scores z [.,C]; see nn.Neglection. It is valid until the next call.
func (n *neglection) measure(m *nn.Model, f *nn.Feed, x, z []float32) []float32 {
	c, width := m.Outputs(), m.Penultimate.Width()
	if n.theta == nil {
		n.residual = make([]float32, m.Batch*c)
		n.sum, n.positive = make([]float32, c*width), make([]float32, c*width)
		n.theta = make([]float32, c)
	}
	n.residuals(m, f, z)
	currentSgemm()(blas.Trans, blas.NoTrans, c, width, f.Rows, 1, n.residual, c, x, width, 0, n.sum, width)
	clear(n.positive)
	clear(n.theta)
	t := &f.Targets
	for r := range f.Rows {
		for e := t.Offsets[r]; e < t.Offsets[r+1]; e++ {
			if t.Y[e] != 1 {
				continue
			}
			i := int(t.Index[e])
			n.theta[i] = 1 // occurs
			d, row := n.residual[r*c+i], x[r*width:(r+1)*width]
			for j, g := range n.positive[i*width : (i+1)*width] {
				n.positive[i*width+j] = g + d*row[j]
			}
		}
	}
	for i, occurs := range n.theta {
		if occurs != 0 {
			n.theta[i] = degree(n.positive[i*width:(i+1)*width], n.sum[i*width:(i+1)*width])
		}
	}
	return n.theta
}

// residuals computes p-y.
func (n *neglection) residuals(m *nn.Model, f *nn.Feed, z []float32) {
	c := m.Outputs()
	for i, v := range z[:f.Rows*c] {
		if !m.Probabilities {
			v = float32(1 / (1 + math.Exp(-float64(v))))
		}
		n.residual[i] = v
	}
	t := &f.Targets
	for r := range f.Rows {
		for e := t.Offsets[r]; e < t.Offsets[r+1]; e++ {
			n.residual[r*c+int(t.Index[e])] -= t.Y[e]
		}
	}
}

// degree is (|g1| + |g0|) / |g1+g0| of one class; 0/0 is 1, x/0 is +Inf.
func degree(positive, sum []float32) float32 {
	var p, n, s float64
	for j, g := range sum {
		g1 := float64(positive[j])
		g0 := float64(g) - g1
		p, n, s = p+g1*g1, n+g0*g0, s+float64(g)*float64(g)
	}
	if pull := math.Sqrt(p) + math.Sqrt(n); pull > 0 {
		return float32(pull / math.Sqrt(s))
	}
	return 1
}
