package gorgonia

import (
	"math"

	"sdnn/nn"
)

// adam updates w by the rule in nn.Optimizer, each element in float64.
func adam(o nn.Optimizer, sp nn.StepParams, w, g, m, v []float32) {
	rate := o.AdamRate(sp.LR, sp.Step)
	for i := range w {
		d := float64(g[i]) + o.WeightDecay*float64(w[i])
		mi := o.Beta1*float64(m[i]) + (1-o.Beta1)*d
		vi := o.Beta2*float64(v[i]) + (1-o.Beta2)*d*d
		m[i], v[i] = float32(mi), float32(vi)
		w[i] = float32(float64(w[i]) - rate*mi/(math.Sqrt(vi)+o.Epsilon))
	}
}

// sgd updates w by the rule in nn.Optimizer, each element in float64.
func sgd(o nn.Optimizer, sp nn.StepParams, w, g, u []float32) {
	for i := range w {
		d := float64(g[i]) + o.WeightDecay*float64(w[i])
		ui := o.Momentum*float64(u[i]) + d
		u[i] = float32(ui)
		w[i] = float32(float64(w[i]) - sp.LR*(d+o.Momentum*ui))
	}
}
