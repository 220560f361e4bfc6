package subclass

import (
	"fmt"
	"math"

	"sdnn/nn"
)

// SubclassCE is the subclass cross-entropy in float64 and its gradient for the
// logits:
//
//	L = mean_n sum_s -c_s [ y log(p+e) + (1-m) log(1-p+e) ],  p = sigmoid(z),  e = nn.LossEpsilon
//	dL/dz = c_s p(1-p) [ -y/(p+e) + (1-m)/(1-p+e) ] / N
//
// z, y and m are N x S, row major; c has S weights or is nil for 1. With y = m it is
// the class cross-entropy. It panics if the lengths do not fit.
func SubclassCE(z, y, m, c []float64, s int) (loss float64, grad []float64) {
	if s < 1 || len(z)%s != 0 || len(z) == 0 || len(y) != len(z) || len(m) != len(z) || (c != nil && len(c) != s) {
		panic(fmt.Sprintf("subclass: SubclassCE: %d logits, %d y, %d m, %d weights for %d outputs", len(z), len(y), len(m), len(c), s))
	}
	const e = nn.LossEpsilon
	n := float64(len(z) / s)
	grad = make([]float64, len(z))
	for i := range z {
		w := 1.0
		if c != nil {
			w = c[i%s]
		}
		p := 1 / (1 + math.Exp(-z[i]))
		loss -= w * (y[i]*math.Log(p+e) + (1-m[i])*math.Log(1-p+e))
		grad[i] = w * p * (1 - p) * (-y[i]/(p+e) + (1-m[i])/(1-p+e)) / n
	}
	return loss / n, grad
}

// Dense spreads sparse targets over S columns: y and m, N x S, row major.
func Dense(t *nn.Targets, s int) (y, m []float64) {
	y, m = make([]float64, t.Rows()*s), make([]float64, t.Rows()*s)
	for r := range t.Rows() {
		for i := t.Offsets[r]; i < t.Offsets[r+1]; i++ {
			at := r*s + int(t.Index[i])
			y[at], m[at] = float64(t.Y[i]), float64(t.M[i])
		}
	}
	return y, m
}
