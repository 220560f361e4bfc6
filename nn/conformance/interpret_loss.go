package conformance

import (
	"math"

	"sdnn/nn"
)

// subclassCE returns the loss and its gradient for z; NaN without targets.
func (in *interpreter) subclassCE(op nn.SubclassCE, args [][]float64, outputs int) [][]float64 {
	z := args[0]
	grad := make([]float64, len(z))
	if in.y == nil {
		for i := range grad {
			grad[i] = math.NaN()
		}
		return [][]float64{{math.NaN()}, grad}
	}
	loss := 0.0
	for i := range z {
		c := 1.0
		if len(args) == 2 {
			c = args[1][i%outputs]
		}
		p, q, slope := sigmoid(z[i]), sigmoid(-z[i]), 0.0 // q = 1-p without cancellation
		if slope = p * q; op.Probabilities {
			p, q, slope = z[i], 1-z[i], 1
		}
		y, m, n := in.y[i], in.m[i], float64(in.rows)
		loss -= c * (y*math.Log(p+nn.LossEpsilon) + (1-m)*math.Log(q+nn.LossEpsilon)) / n
		grad[i] = c * slope * (-y/(p+nn.LossEpsilon) + (1-m)/(q+nn.LossEpsilon)) / n
	}
	return [][]float64{{loss}, grad}
}

// pulls are the two pulls on each class's weights, and what rounding in them
// can amount to: Pull sums |p-y||x| over the batch.
type pulls struct {
	occurs                  bool
	positive, negative, sum float64 // |g1|, |g0|, |g1+g0|
	pull                    float64
}

// classPulls computes g1 and g0 of every class densely from the exact p-y.
func (in *interpreter) classPulls(probabilities bool, x, z []float64, f, c int) []pulls {
	out := make([]pulls, c)
	for i := range c {
		g1, g0 := make([]float64, f), make([]float64, f)
		for r := range in.rows {
			p, q := z[r*c+i], 1-z[r*c+i] // q = 1-p without cancellation
			if !probabilities {
				p, q = sigmoid(p), sigmoid(-p)
			}
			g, d := g0, p-in.y[r*c+i]
			if in.y[r*c+i] == 1 {
				g, d, out[i].occurs = g1, -q, true
			}
			row := x[r*f : (r+1)*f]
			for j, v := range row {
				g[j] += d * v
			}
			out[i].pull += math.Abs(d) * euclid(row)
		}
		out[i].positive, out[i].negative = euclid(g1), euclid(g0)
		out[i].sum = euclid(zipped(g1, g0, func(a, b float64) float64 { return a + b }))
	}
	return out
}

// theta is the neglection degree; 0 for a class that does not occur.
func (p pulls) theta() float64 {
	switch {
	case !p.occurs:
		return 0
	case p.positive+p.negative == 0:
		return 1
	}
	return (p.positive + p.negative) / p.sum // +Inf at 0
}

func (in *interpreter) neglection(op nn.Neglection, x, z []float64, f, c int) []float64 {
	theta := make([]float64, c)
	for i, p := range in.classPulls(op.Probabilities, x, z, f, c) {
		theta[i] = p.theta()
	}
	return theta
}
