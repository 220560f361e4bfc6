package kernel

// AdamStep holds the constants of one step of Adam.
type AdamStep struct {
	Beta1, Beta2, Epsilon float64
	Rate                  float64 // with the bias correction: lr sqrt(1-b2^t)/(1-b1^t)
	GradScale             float64 // every gradient is multiplied by it first; 1 usually
	WeightDecay           float64 // times the weight is added to the gradient; 0 usually
}

// Apply updates the weights w and the moments m and v with the gradient g as
// TensorFlow 1 does, eps outside the bias correction:
//
//	g' = GradScale g + WeightDecay w
//	m = b1 m + (1-b1) g',  v = b2 v + (1-b2) g'²,  w -= Rate m/(sqrt(v)+eps)
//
// in one pass over memory: 28 bytes an element. g is left alone.
//
// What lies ahead values further in w, m and v is fetched from memory
// meanwhile: the distance to the next row where a part of a matrix is updated
// row by row, which the processor does not foresee; 0 otherwise.
func (a *AdamStep) Apply(w, m, v, g []float32, ahead int) {
	sameLength("AdamStep", len(w), len(m), len(v), len(g))
	b1, b2 := float32(a.Beta1), float32(a.Beta2)
	g1, g2 := float32(1-a.Beta1), float32(1-a.Beta2)
	eps, rate := float32(a.Epsilon), float32(a.Rate)
	scale, decay := float32(a.GradScale), float32(a.WeightDecay)
	for lo := 0; lo < len(w); lo += piece {
		hi := min(lo+piece, len(w))
		vec().adam(w[lo:hi], m[lo:hi], v[lo:hi], g[lo:hi], b1, g1, b2, g2, eps, rate, scale, decay, 4*ahead)
	}
}

// SGDStep holds the constants of one step of SGD with Nesterov momentum.
type SGDStep struct {
	Rate, Momentum float64
	GradScale      float64 // every gradient is multiplied by it first; 1 usually
	WeightDecay    float64 // times the weight is added to the gradient; 0 usually
}

// Apply updates the weights w and the momentum buffer buf, which starts at
// zero, with the gradient g as PyTorch does with nesterov=True:
//
//	g' = GradScale g + WeightDecay w,  buf = mu buf + g',  w -= Rate (g' + mu buf)
//
// in one pass over memory: 20 bytes an element. g is left alone; ahead as
// AdamStep.Apply has it, for w and buf.
func (s *SGDStep) Apply(w, buf, g []float32, ahead int) {
	sameLength("SGDStep", len(w), len(buf), len(g))
	rate, mu := float32(s.Rate), float32(s.Momentum)
	scale, decay := float32(s.GradScale), float32(s.WeightDecay)
	for lo := 0; lo < len(w); lo += piece {
		hi := min(lo+piece, len(w))
		vec().sgd(w[lo:hi], buf[lo:hi], g[lo:hi], rate, mu, scale, decay, 4*ahead)
	}
}

func adamPortable(w, m, v, g []float32, beta1, gain1, beta2, gain2, eps, rate, gradScale, decay float32, _ int) {
	for i, wi := range w {
		gi := decay*wi + gradScale*g[i]
		mi := beta1*m[i] + gain1*gi
		vi := beta2*v[i] + gain2*gi*gi
		m[i], v[i] = mi, vi
		w[i] = wi - rate*mi/(sqrt32(vi)+eps)
	}
}

func sgdPortable(w, buf, g []float32, rate, momentum, gradScale, decay float32, _ int) {
	for i, wi := range w {
		gi := decay*wi + gradScale*g[i]
		bi := momentum*buf[i] + gi
		buf[i] = bi
		w[i] = wi - rate*(momentum*bi+gi)
	}
}
