package conformance

import "sdnn/nn"

// backward computes the ops that only the reverse pass has, and nil for others.
func (in *interpreter) backward(n *nn.Node, args [][]float64) [][]float64 {
	dy := args[0]
	switch op := n.Op.(type) {
	case nn.DenseBackwardData:
		return one(denseBackwardData(dy, args[1], n.In[1].Shape))
	case nn.DenseBackwardWeight:
		return one(denseBackwardWeight(dy, args[1], n.In[0].Shape[1], n.In[1].Shape[1]))
	case nn.ColumnSum:
		return one(columnSum(dy, n.Out[0].Shape[0]))
	case nn.Conv1DBackward:
		return conv1dBackward(op.Data, args, n.In[1].Shape[1], n.In[2].Shape)
	case nn.MaxPool1DBackward:
		dx := make([]float64, len(args[1]))
		_, at := maxPool(args[1], in.rows, n.In[1].Shape)
		for i, from := range at {
			dx[from] = dy[i]
		}
		return one(dx)
	case nn.MixtureOfExpertsBackward:
		return mixtureBackward(args, op.Experts)
	case nn.ReLUBackward:
		return one(zipped(dy, args[1], func(d, y float64) float64 {
			if y > 0 {
				return d
			}
			return 0
		}))
	case nn.SigmoidBackward:
		return one(zipped(dy, args[1], func(d, y float64) float64 { return d * y * (1 - y) }))
	case nn.L2NormBackward:
		return one(l2NormBackward(dy, args[1], n.In[1].Width()))
	}
	return nil
}

func denseBackwardData(dy, w []float64, shape nn.Shape) []float64 {
	s, f := shape[0], shape[1]
	rows := len(dy) / s
	dx := make([]float64, rows*f)
	for r := range rows {
		for o := range s {
			for i := range f {
				dx[r*f+i] += dy[r*s+o] * w[o*f+i]
			}
		}
	}
	return dx
}

func denseBackwardWeight(dy, x []float64, s, f int) []float64 {
	dw := make([]float64, s*f)
	for r := range len(dy) / s {
		for o := range s {
			for i := range f {
				dw[o*f+i] += dy[r*s+o] * x[r*f+i]
			}
		}
	}
	return dw
}

func columnSum(x []float64, width int) []float64 {
	sum := make([]float64, width)
	for i, v := range x {
		sum[i%width] += v
	}
	return sum
}

func conv1dBackward(data bool, args [][]float64, length int, w nn.Shape) [][]float64 {
	dy, x, weight := args[0], args[1], args[2]
	filters, k := w[0], w[1]
	dw, db, dx := make([]float64, filters*k), make([]float64, filters), make([]float64, len(x))
	for r := range len(x) / length {
		for l := range length {
			for f := range filters {
				d := dy[(r*length+l)*filters+f]
				db[f] += d
				for t := range k {
					if at := l + t - k/2; at >= 0 && at < length {
						dw[f*k+t] += d * x[r*length+at]
						dx[r*length+at] += d * weight[f*k+t]
					}
				}
			}
		}
	}
	if data {
		return [][]float64{dw, db, dx}
	}
	return [][]float64{dw, db}
}

func mixtureBackward(args [][]float64, m int) [][]float64 {
	dp, gates, experts := args[0], args[1], args[2]
	dgates, dexperts := make([]float64, len(gates)), make([]float64, len(experts))
	p := mixture(gates, experts, m)
	for i, d := range dp {
		g := gates[i*(m+1) : (i+1)*(m+1)]
		shares := gateShares(g)
		for e := range m {
			v := sigmoid(experts[i*m+e])
			dexperts[i*m+e] = d * shares[e] * v * (1 - v)
			dgates[i*(m+1)+e] = d * shares[e] * (v - p[i])
		}
		dgates[i*(m+1)+m] = -d * shares[m] * p[i]
	}
	return [][]float64{dgates, dexperts}
}

func l2NormBackward(dy, x []float64, width int) []float64 {
	y, norms := l2Norm(x, width)
	dx := make([]float64, len(x))
	for r, norm := range norms {
		from, along := r*width, 0.0
		for j := from; j < from+width; j++ {
			along += y[j] * dy[j]
		}
		for j := from; j < from+width; j++ {
			dx[j] = (dy[j] - y[j]*along) / norm
		}
	}
	return dx
}
