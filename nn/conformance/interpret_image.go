package conformance

import "sdnn/nn"

// image computes the ops of image networks but for the normalisations, forward
// and backward, and nil for others.
func (in *interpreter) image(n *nn.Node, args [][]float64) [][]float64 {
	switch op := n.Op.(type) {
	case nn.Conv2D:
		c := convolution{in.rows, n.In[0].Shape, n.Out[0].Shape, n.In[1].Shape[1], op.Stride, op.Pad}
		return one(c.forward(args))
	case nn.Conv2DBackwardData:
		c := convolution{in.rows, n.Out[0].Shape, n.In[0].Shape, n.In[1].Shape[1], op.Stride, op.Pad}
		return one(c.backwardData(args[0], args[1]))
	case nn.Conv2DBackwardWeight:
		c := convolution{in.rows, n.In[1].Shape, n.In[0].Shape, op.Kernel, op.Stride, op.Pad}
		return one(c.backwardWeight(args[0], args[1]))
	case nn.MaxPool2D:
		y, _ := maxPool2D(args[0], in.rows, n.In[0].Shape)
		return one(y)
	case nn.MaxPool2DBackward:
		dx := make([]float64, len(args[1]))
		_, at := maxPool2D(args[1], in.rows, n.In[1].Shape)
		for i, from := range at {
			dx[from] = args[0][i]
		}
		return one(dx)
	case nn.GlobalAvgPool:
		return one(globalAvgPool(args[0], in.rows, n.Out[0].Shape[1]))
	case nn.GlobalAvgPoolBackward:
		return one(globalAvgPoolBackward(args[0], op.Height*op.Width, n.Out[0].Shape[3]))
	}
	return nil
}

// convolution is the geometry of a Conv2D from x [N,H,W,C] to y [N,H',W',O].
type convolution struct {
	rows                int
	x, y                nn.Shape
	kernel, stride, pad int
}

// each calls f for every product of the convolution: pixel q of x, counted over
// the batch, times element k of the kernel goes to pixel p of y.
func (c *convolution) each(f func(q, p, k int)) {
	for r := range c.rows {
		for oy := range c.y[1] {
			for ox := range c.y[2] {
				for k := range c.kernel * c.kernel {
					iy, ix := oy*c.stride+k/c.kernel-c.pad, ox*c.stride+k%c.kernel-c.pad
					if iy >= 0 && iy < c.x[1] && ix >= 0 && ix < c.x[2] {
						f((r*c.x[1]+iy)*c.x[2]+ix, (r*c.y[1]+oy)*c.y[2]+ox, k)
					}
				}
			}
		}
	}
}

// weight is the index of W[o,k,0].
func (c *convolution) weight(o, k int) int { return (o*c.kernel*c.kernel + k) * c.x[3] }

func (c *convolution) forward(args [][]float64) []float64 {
	x, w := args[0], args[1]
	y := make([]float64, c.rows*c.y[1:].Size())
	if len(args) == 3 {
		for i := range y {
			y[i] = args[2][i%c.y[3]]
		}
	}
	c.each(func(q, p, k int) {
		pixel := x[q*c.x[3] : (q+1)*c.x[3]]
		for o := range c.y[3] {
			sum, weights := 0.0, w[c.weight(o, k):]
			for i, v := range pixel {
				sum += weights[i] * v
			}
			y[p*c.y[3]+o] += sum
		}
	})
	return y
}

func (c *convolution) backwardData(dy, w []float64) []float64 {
	dx := make([]float64, c.rows*c.x[1:].Size())
	c.each(func(q, p, k int) {
		pixel := dx[q*c.x[3] : (q+1)*c.x[3]]
		for o := range c.y[3] {
			d, weights := dy[p*c.y[3]+o], w[c.weight(o, k):]
			for i := range pixel {
				pixel[i] += weights[i] * d
			}
		}
	})
	return dx
}

func (c *convolution) backwardWeight(dy, x []float64) []float64 {
	dw := make([]float64, c.weight(c.y[3], 0))
	c.each(func(q, p, k int) {
		pixel := x[q*c.x[3] : (q+1)*c.x[3]]
		for o := range c.y[3] {
			d, weights := dy[p*c.y[3]+o], dw[c.weight(o, k):]
			for i, v := range pixel {
				weights[i] += v * d
			}
		}
	})
	return dw
}

// maxPool2D returns the maxima of 2x2 windows of x, and where each is in x: of
// equal ones the first in row-major order.
func maxPool2D(x []float64, rows int, shape nn.Shape) (y []float64, at []int) {
	height, width, channels := shape[1], shape[2], shape[3]
	for r := range rows {
		for oy := range height / 2 {
			for ox := range width / 2 {
				for c := range channels {
					best := ((r*height+2*oy)*width+2*ox)*channels + c
					for _, other := range []int{best + channels, best + width*channels, best + (width+1)*channels} {
						if x[other] > x[best] {
							best = other
						}
					}
					y, at = append(y, x[best]), append(at, best)
				}
			}
		}
	}
	return y, at
}

func globalAvgPool(x []float64, rows, channels int) []float64 {
	y := make([]float64, rows*channels)
	per := len(x) / rows
	for i, v := range x {
		y[i/per*channels+i%channels] += v / float64(per/channels)
	}
	return y
}

func globalAvgPoolBackward(dy []float64, positions, channels int) []float64 {
	dx := make([]float64, len(dy)*positions)
	for i := range dx {
		dx[i] = dy[i/(positions*channels)*channels+i%channels] / float64(positions)
	}
	return dx
}
