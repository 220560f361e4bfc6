package kernel

import "math"

// ceEpsilon is e in the logarithms of the cross-entropies (nn.LossEpsilon).
const ceEpsilon = 1e-5

// CELogits is the dense part of the subclass cross-entropy of one row of
// logits z, every target taken as negative (y = 0, m = 0). With p = sigmoid(z)
// and weights w (nil: all one) it returns
//
//	sum_s -w_s ln(1-p_s+e)
//
// and sets dz_s = scale w_s p_s(1-p_s)/(1-p_s+e); scale is 1/N, the loss is
// not scaled. The few listed targets are corrected afterwards with CETerm.
func CELogits(dz, z, w []float32, scale float32) float64 {
	sameLength("CELogits", len(z), len(dz))
	checkWeights("CELogits", z, w)
	return vec().ceLogits(dz, z, w, scale)
}

// CELogitsLoss is the loss of CELogits without its gradient.
func CELogitsLoss(z, w []float32) float64 {
	checkWeights("CELogitsLoss", z, w)
	return vec().ceLogitsLoss(z, w)
}

// CEProbs is CELogits for a row of probabilities: the same loss, and
// dp_s = scale w_s/(1-p_s+e).
func CEProbs(dp, p, w []float32, scale float32) float64 {
	sameLength("CEProbs", len(p), len(dp))
	checkWeights("CEProbs", p, w)
	return vec().ceProbs(dp, p, w, scale)
}

// CEProbsLoss is the loss of CEProbs without its gradient.
func CEProbsLoss(p, w []float32) float64 {
	checkWeights("CEProbsLoss", p, w)
	return vec().ceProbsLoss(p, w)
}

func checkWeights(what string, z, w []float32) {
	if w != nil {
		sameLength(what, len(z), len(w))
	}
}

// CETerm is the whole term of one output with the targets y and m,
//
//	L = -[y ln(p+e) + (1-m) ln(1-p+e)],
//	dL/dz = p(1-p) [-y/(p+e) + (1-m)/(1-p+e)],
//
// without weight and scale. For a listed target of a row after CELogits:
// loss += w (L(y,m) - L(0,0)), dz = scale w dL/dz(y,m).
func CETerm(z, y, m float32) (loss, dz float64) {
	t := math.Exp(-math.Abs(float64(z)))
	p, q := 1/(1+t), t/(1+t)
	if z < 0 {
		p, q = q, p
	}
	loss, dp := ceTerm(p, q, y, m)
	return loss, p * q * dp
}

// CEProbTerm is CETerm for a probability: the same loss, and dL/dp.
func CEProbTerm(p, y, m float32) (loss, dp float64) {
	return ceTerm(float64(p), 1-float64(p), y, m)
}

func ceTerm(p, q float64, y, m float32) (loss, dp float64) {
	pos, neg := float64(y), 1-float64(m)
	loss = -(pos*math.Log(p+ceEpsilon) + neg*math.Log(q+ceEpsilon))
	return loss, neg/(q+ceEpsilon) - pos/(p+ceEpsilon)
}

// ceFlush is the number of blocks of 16 outputs whose losses a float32 lane
// adds up.
const ceFlush = 16

func ceLogitsPortable(dz, z, w []float32, scale float32) float64 {
	return ceRowPortable(z, w, func(i int, v, weight float32) float32 {
		p, q := sigmoid32(v)
		dz[i] = p * q / (q + ceEpsilon) * (scale * weight)
		return ceLog32(p, q)
	})
}

func ceLogitsLossPortable(z, w []float32) float64 {
	return ceRowPortable(z, w, func(_ int, v, _ float32) float32 { return ceLog32(sigmoid32(v)) })
}

func ceProbsPortable(dp, p, w []float32, scale float32) float64 {
	return ceRowPortable(p, w, func(i int, v, weight float32) float32 {
		dp[i] = 1 / ((1 - v) + ceEpsilon) * (scale * weight)
		return ceLog32(v, 1-v)
	})
}

func ceProbsLossPortable(p, w []float32) float64 {
	return ceRowPortable(p, w, func(_ int, v, _ float32) float32 { return ceLog32(v, 1-v) })
}

// ceRowPortable sums -weight*term over a row in the order of the assembly.
func ceRowPortable(x, w []float32, term func(i int, v, weight float32) float32) float64 {
	var s laneSum
	for i, v := range x {
		if i > 0 && i%(lanes*ceFlush) == 0 {
			s.flush()
		}
		weight := float32(1)
		if w != nil {
			weight = w[i]
		}
		s.f[i%lanes] -= weight * term(i, v, weight)
	}
	return s.total()
}

// ceLog32 is ln(q+e) for q = 1-p. Near q = 1 it starts from e-p instead of
// rounding q+e, which would drown the loss of a confident output.
func ceLog32(p, q float32) float32 {
	if p != p {
		return p
	}
	k, f := logSplit(q + ceEpsilon)
	if k == 0 {
		f = ceEpsilon - p
	}
	return logPoly(f, float32(k))
}
