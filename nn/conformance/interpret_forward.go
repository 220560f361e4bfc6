package conformance

import (
	"math"

	"sdnn/nn"
)

// forward computes the ops that a net is built of, and nil for others.
func (in *interpreter) forward(n *nn.Node, args [][]float64) [][]float64 {
	x := args[0]
	switch op := n.Op.(type) {
	case nn.Dense:
		return one(dense(args, n.In[1].Shape))
	case nn.Conv1D:
		return one(conv1d(args, n.In[0].Shape[1], n.In[1].Shape))
	case nn.MaxPool1D:
		y, _ := maxPool(x, in.rows, n.In[0].Shape)
		return one(y)
	case nn.MixtureOfExperts:
		return one(mixture(args[0], args[1], op.Experts))
	case nn.ReLU:
		return one(mapped(x, func(v float64) float64 { return math.Max(v, 0) }))
	case nn.Sigmoid:
		return one(mapped(x, sigmoid))
	case nn.Add:
		return one(zipped(x, args[1], func(a, b float64) float64 { return a + b }))
	case nn.Dropout:
		return one(in.dropout(op, x))
	case nn.GaussianNoise:
		return one(in.noise(op, x))
	case nn.L2Norm:
		y, _ := l2Norm(x, n.In[0].Width())
		return one(y)
	case nn.Concat:
		return one(in.concat(n, args))
	case nn.Columns:
		return one(columns(x, n.In[0].Shape[1], op.From, op.Width))
	case nn.Reshape:
		return one(x)
	case nn.SubclassCE:
		return in.subclassCE(op, args, n.In[0].Shape[1])
	case nn.Neglection:
		return one(in.neglection(op, x, args[1], n.In[0].Shape[1], n.In[1].Shape[1]))
	}
	return nil
}

func dense(args [][]float64, w nn.Shape) []float64 {
	s, f := w[0], w[1]
	rows := len(args[0]) / f
	y := make([]float64, rows*s)
	for r := range rows {
		for o := range s {
			sum := 0.0
			if len(args) == 3 {
				sum = args[2][o]
			}
			for i := range f {
				sum += args[0][r*f+i] * args[1][o*f+i]
			}
			y[r*s+o] = sum
		}
	}
	return y
}

func conv1d(args [][]float64, length int, w nn.Shape) []float64 {
	filters, k := w[0], w[1]
	rows := len(args[0]) / length
	y := make([]float64, rows*length*filters)
	for r := range rows {
		for l := range length {
			for f := range filters {
				sum := args[2][f]
				for t := range k {
					if at := l + t - k/2; at >= 0 && at < length {
						sum += args[1][f*k+t] * args[0][r*length+at]
					}
				}
				y[(r*length+l)*filters+f] = sum
			}
		}
	}
	return y
}

// maxPool returns the maxima of [rows, length, filters] and where each is in x.
func maxPool(x []float64, rows int, shape nn.Shape) (y []float64, at []int) {
	length, filters := shape[1], shape[2]
	for r := range rows {
		for l := range length / 2 {
			for f := range filters {
				first := (r*length+2*l)*filters + f
				best := first
				if x[first+filters] > x[first] {
					best = first + filters
				}
				y, at = append(y, x[best]), append(at, best)
			}
		}
	}
	return y, at
}

// gateShares returns the softmax of one class's gates.
func gateShares(gates []float64) []float64 {
	top := math.Inf(-1)
	for _, g := range gates {
		top = math.Max(top, g)
	}
	shares, sum := make([]float64, len(gates)), 0.0
	for i, g := range gates {
		shares[i] = math.Exp(g - top)
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}

func mixture(gates, experts []float64, m int) []float64 {
	p := make([]float64, len(experts)/m)
	for i := range p {
		shares := gateShares(gates[i*(m+1) : (i+1)*(m+1)])
		for e := range m {
			p[i] += shares[e] * sigmoid(experts[i*m+e])
		}
	}
	return p
}

func (in *interpreter) dropout(op nn.Dropout, x []float64) []float64 {
	width := len(x) / in.rows
	y := make([]float64, len(x))
	for r := range in.rows {
		key := nn.StreamKey(in.keys[r], op.Stream)
		for j := range width {
			if nn.Hash32(key, uint32(j)) >= nn.KeepThreshold(op.Rate) {
				y[r*width+j] = x[r*width+j] / (1 - op.Rate)
			}
		}
	}
	return y
}

func (in *interpreter) noise(op nn.GaussianNoise, x []float64) []float64 {
	width := len(x) / in.rows
	y, normal := make([]float64, len(x)), make([]float32, width)
	for r := range in.rows {
		nn.FillNormal(normal, nn.StreamKey(in.keys[r], op.Stream))
		for j, z := range normal {
			y[r*width+j] = x[r*width+j] + op.Std*float64(z)
		}
	}
	return y
}

// l2Norm returns the normalised rows and the divisor of each.
func l2Norm(x []float64, width int) (y, norms []float64) {
	y = make([]float64, len(x))
	for from := 0; from < len(x); from += width {
		norm := math.Max(euclid(x[from:from+width]), 1e-12)
		for j := from; j < from+width; j++ {
			y[j] = x[j] / norm
		}
		norms = append(norms, norm)
	}
	return y, norms
}

func (in *interpreter) concat(n *nn.Node, args [][]float64) []float64 {
	var y []float64
	for r := range in.rows {
		for i, x := range args {
			w := n.In[i].Shape[1]
			y = append(y, x[r*w:(r+1)*w]...)
		}
	}
	return y
}

func columns(x []float64, width, from, count int) []float64 {
	var y []float64
	for r := 0; r < len(x); r += width {
		y = append(y, x[r+from:r+from+count]...)
	}
	return y
}

func one(y []float64) [][]float64 { return [][]float64{y} }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func mapped(x []float64, f func(float64) float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = f(v)
	}
	return y
}

func zipped(a, b []float64, f func(a, b float64) float64) []float64 {
	y := make([]float64, len(a))
	for i := range a {
		y[i] = f(a[i], b[i])
	}
	return y
}

func euclid(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}
