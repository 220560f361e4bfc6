package subclass

import (
	"fmt"
	"math"
)

// Degrees are a batch's neglection degrees and what they are made of, an element a
// class.
type Degrees struct {
	G1    []float64 // |g1|: pull of the class's positives on its weights
	G0    []float64 // |g0|: pull of all other rows
	G     []float64 // |g1 + g0|
	Theta []float64 // (|g1| + |g0|) / |g1 + g0| >= 1; 0 if the class does not occur
}

// Theta computes the neglection degrees of a batch in float64 (method, eq. of
// theta): with Z = sigmoid(z) - y, for each class i that occurs,
//
//	g1_i = sum over its positives of Z_ni x_n,  g0_i = the same over the other rows
//
// x is N x F, z is N x C, row major; the labels of row r are
// labels[offsets[r]:offsets[r+1]]. 0/0 gives 1 and v/0 with v > 0 gives +Inf. It
// panics if the lengths do not fit.
func Theta(x, z []float64, f, c int, offsets, labels []int32) Degrees {
	n := len(offsets) - 1
	if n < 0 || len(x) != n*f || len(z) != n*c {
		panic(fmt.Sprintf("subclass: Theta: %d x, %d z for %d rows of %d features and %d classes", len(x), len(z), n, f, c))
	}
	d := Degrees{make([]float64, c), make([]float64, c), make([]float64, c), make([]float64, c)}
	g1, g0 := make([]float64, f), make([]float64, f)
	for i := range c {
		clear(g1)
		clear(g0)
		occurs := false
		for r := range n {
			g, y := g0, 0.0
			if contains(labels[offsets[r]:offsets[r+1]], int32(i)) {
				g, y, occurs = g1, 1, true
			}
			residual := 1/(1+math.Exp(-z[r*c+i])) - y
			for k := range f {
				g[k] += residual * x[r*f+k]
			}
		}
		d.G1[i], d.G0[i] = norm(g1), norm(g0)
		for k := range g1 {
			g1[k] += g0[k]
		}
		d.G[i] = norm(g1)
		if occurs {
			d.Theta[i] = degree(d.G1[i]+d.G0[i], d.G[i])
		}
	}
	return d
}

// degree divides the pulls by their resultant: 0/0 is 1, a class that nothing
// pulls is not neglected; v/0 is +Inf.
func degree(pulls, resultant float64) float64 {
	if pulls == 0 {
		return 1
	}
	return pulls / resultant
}

func norm(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x * x
	}
	return math.Sqrt(s)
}
