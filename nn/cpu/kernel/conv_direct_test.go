package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sdnn/nn/cpu/pool"
)

// randomConv draws a shape that some windows fit.
func randomConv(r *rand.Rand) ConvShape {
	s := ConvShape{Batch: 1 + r.IntN(4), C: 1 + r.IntN(40), O: 1 + r.IntN(40), K: 1 + r.IntN(5), Stride: 1 + r.IntN(3), Pad: r.IntN(3)}
	if r.IntN(3) == 0 { // the ways of a network
		s.C, s.O, s.Pad = 16*(1+r.IntN(9)), 16*(1+r.IntN(9)), s.K/2
	}
	for s.OH < 1 || s.OW < 1 {
		s.H, s.W = 1+r.IntN(19), 1+r.IntN(19)
		s.OH, s.OW = (s.H+2*s.Pad-s.K+s.Stride)/s.Stride, (s.W+2*s.Pad-s.K+s.Stride)/s.Stride
	}
	return s
}

// each visits the products of the convolution: the indices of y, W and x.
func (s ConvShape) each(images int, visit func(y, w, x int)) {
	for y := range s.outputs(images) * s.O {
		o, ox, oy, n := y%s.O, y/s.O%s.OW, y/s.O/s.OW%s.OH, y/s.O/s.OW/s.OH
		for tap := range s.K * s.K {
			iy, ix := oy*s.Stride+tap/s.K-s.Pad, ox*s.Stride+tap%s.K-s.Pad
			if iy < 0 || iy >= s.H || ix < 0 || ix >= s.W {
				continue
			}
			for c := range s.C {
				visit(y, (o*s.K*s.K+tap)*s.C+c, ((n*s.H+iy)*s.W+ix)*s.C+c)
			}
		}
	}
}

// directCase is a convolution with its operands.
type directCase struct {
	s              ConvShape
	images         int
	x, w, dy, bias []float32
	before         map[ConvKind][]float32 // what is in the result; nil: it is overwritten
}

func newDirectCase(r *rand.Rand, s ConvShape) *directCase {
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = 2*r.Float32() - 1
		}
		return x
	}
	c := &directCase{s: s, images: 1 + r.IntN(s.Batch)}
	c.x, c.w, c.dy = random(c.images*s.H*s.W*s.C), random(s.O*s.depth()), random(s.outputs(c.images)*s.O)
	if r.IntN(2) == 0 {
		c.bias = random(s.O)
		c.before = map[ConvKind][]float32{ConvForward: random(len(c.dy)), ConvData: random(len(c.x))}
	}
	return c
}

// naive returns the exact result and the sum of the products' magnitudes.
func (c *directCase) naive(kind ConvKind) (sum, size []float64) {
	of := func(x []float32) ([]float64, []float64) { return make([]float64, len(x)), make([]float64, len(x)) }
	switch kind {
	case ConvForward:
		sum, size = of(c.dy)
		for i := range sum {
			if c.bias != nil {
				sum[i] = float64(c.bias[i%c.s.O])
				size[i] = math.Abs(sum[i])
			}
		}
	case ConvWeights:
		sum, size = of(c.w)
	case ConvData:
		sum, size = of(c.x)
	}
	for i, v := range c.before[kind] {
		sum[i] += float64(v)
		size[i] += math.Abs(float64(v))
	}
	c.s.each(c.images, func(y, w, x int) {
		at, v := y, float64(c.x[x])*float64(c.w[w])
		switch kind {
		case ConvWeights:
			at, v = w, float64(c.x[x])*float64(c.dy[y])
		case ConvData:
			at, v = x, float64(c.w[w])*float64(c.dy[y])
		}
		sum[at] += v
		size[at] += math.Abs(v)
	})
	return sum, size
}

// run computes the case, into memory that holds something else.
func (c *directCase) run(p *pool.Pool, kind ConvKind) []float32 {
	a := ConvArgs{Rows: c.images, X: c.x, W: c.w, DY: c.dy, Bias: c.bias}
	n := len(c.dy)
	switch kind {
	case ConvWeights:
		n = len(c.w)
	case ConvData:
		n, a.X = len(c.x), c.dy
	}
	v := NewDirectConv(kind, c.s)
	out := make([]float32, n+64)
	a.Out, a.Work = out[:n], make([]float32, v.Workspace())
	for _, x := range [][]float32{out, a.Work} {
		for i := range x {
			x[i] = guard
		}
	}
	if a.Accumulate = c.before[kind] != nil; a.Accumulate {
		copy(out, c.before[kind])
	}
	v.Run(p, a)
	for i, x := range out[n:] {
		if x != guard {
			panic(fmt.Sprintf("%+v: value %d behind the result is overwritten", c.s, i))
		}
	}
	return out[:n]
}

var convKinds = []ConvKind{ConvForward, ConvData, ConvWeights}

// TestDirectConv compares with the definition in float64, on every path.
func TestDirectConv(t *testing.T) {
	threads := pool.New(2)
	defer threads.Close()
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for range 40 {
			c := newDirectCase(r, randomConv(r))
			for _, kind := range convKinds {
				want, size := c.naive(kind)
				for i, got := range c.run(threads, kind) {
					if d := math.Abs(float64(got) - want[i]); !(d <= 1e-5*size[i]+1e-30) {
						t.Fatalf("%+v, %d images, kind %d: value %d is %g, should be %g", c.s, c.images, kind, i, got, want[i])
					}
				}
			}
		}
	})
}

// TestDirectConvBits: the bits depend neither on the threads nor on the vectors.
func TestDirectConvBits(t *testing.T) {
	pools := []*pool.Pool{pool.New(1), pool.New(2), pool.New(5)}
	var first [][]uint32 // of the first vector path
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 14))
		var all [][]uint32
		for i := range 12 {
			s := randomConv(r)
			if i < 3 { // so many pixels that dW is summed in parts
				s = ConvShape{Batch: 3, H: 32, W: 31, C: 3, OH: 32, OW: 31, O: 16, K: 3, Stride: 1, Pad: 1}
			}
			c := newDirectCase(r, s)
			for _, kind := range convKinds {
				want := gemmBits(c.run(pools[0], kind))
				all = append(all, want)
				for _, p := range pools[1:] {
					if !slices.Equal(gemmBits(c.run(p, kind)), want) {
						t.Fatalf("%+v, kind %d: %d threads end in other bits than one", s, kind, p.Threads())
					}
				}
			}
		}
		if Path() == Portable {
			return
		}
		if first == nil {
			first = all
		}
		for i := range all {
			if !slices.Equal(all[i], first[i]) {
				t.Fatalf("case %d: other bits than on the other vector path", i)
			}
		}
	})
	for _, p := range pools {
		p.Close()
	}
}
