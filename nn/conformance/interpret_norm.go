package conformance

import (
	"math"

	"sdnn/nn"
)

// norm computes batch normalisations, forward and backward, and nil for other ops.
func (in *interpreter) norm(n *nn.Node, args [][]float64) [][]float64 {
	switch op := n.Op.(type) {
	case nn.BatchNorm:
		return in.batchNorm(n, op, args)
	case nn.BatchNormInference:
		inv := mapped(args[4], func(v float64) float64 { return 1 / math.Sqrt(v+op.Epsilon) })
		return one(normalised(args[0], args[1], args[2], args[3], inv))
	case nn.BatchNormBackward:
		return batchNormBackward(args)
	case nn.BatchNormInferenceBackward:
		return batchNormInferenceBackward(args, op.Epsilon)
	}
	return nil
}

// batchNorm normalises by the batch's own statistics, and notes what becomes
// of the running ones.
func (in *interpreter) batchNorm(n *nn.Node, op nn.BatchNorm, args [][]float64) [][]float64 {
	x := args[0]
	channels := len(args[1])
	count := float64(len(x) / channels)
	mean, squares := make([]float64, channels), make([]float64, channels)
	for i, v := range x {
		mean[i%channels] += v / count
	}
	for i, v := range x {
		d := v - mean[i%channels]
		squares[i%channels] += d * d
	}
	inv := mapped(squares, func(s float64) float64 { return 1 / math.Sqrt(s/count+op.Epsilon) })
	unbiased := mapped(squares, func(s float64) float64 { return s / math.Max(count-1, 1) })
	moved := func(running, batch float64) float64 { return (1-op.Momentum)*running + op.Momentum*batch }
	in.moved[n.In[3]] = zipped(args[3], mean, moved)
	in.moved[n.In[4]] = zipped(args[4], unbiased, moved)
	return [][]float64{normalised(x, args[1], args[2], mean, inv), mean, inv}
}

// normalised is gamma (x - mean) inv + beta for each channel.
func normalised(x, gamma, beta, mean, inv []float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		c := i % len(mean)
		y[i] = gamma[c]*(v-mean[c])*inv[c] + beta[c]
	}
	return y
}

// batchNormBackward returns dx, dgamma and dbeta of dy, x, gamma, mean and 1/std.
func batchNormBackward(args [][]float64) [][]float64 {
	dy, x, gamma, mean, inv := args[0], args[1], args[2], args[3], args[4]
	channels := len(gamma)
	dgamma, dbeta, dx := make([]float64, channels), make([]float64, channels), make([]float64, len(x))
	for i, d := range dy {
		c := i % channels
		dbeta[c] += d
		dgamma[c] += d * (x[i] - mean[c]) * inv[c]
	}
	count := float64(len(x) / channels)
	for i, d := range dy {
		c := i % channels
		xh := (x[i] - mean[c]) * inv[c]
		dx[i] = gamma[c] * inv[c] * (d - dbeta[c]/count - xh*dgamma[c]/count)
	}
	return [][]float64{dx, dgamma, dbeta}
}

// batchNormInferenceBackward returns dx, dgamma and dbeta of dy, x, gamma and
// the running mean and variance.
func batchNormInferenceBackward(args [][]float64, epsilon float64) [][]float64 {
	dy, x, gamma, mean, variance := args[0], args[1], args[2], args[3], args[4]
	channels := len(gamma)
	dgamma, dbeta, dx := make([]float64, channels), make([]float64, channels), make([]float64, len(x))
	for i, d := range dy {
		c := i % channels
		std := math.Sqrt(variance[c] + epsilon)
		dbeta[c] += d
		dgamma[c] += d * (x[i] - mean[c]) / std
		dx[i] = d * gamma[c] / std
	}
	return [][]float64{dx, dgamma, dbeta}
}
