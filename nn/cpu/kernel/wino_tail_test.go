package kernel

import (
	"fmt"
	"testing"

	"sdnn/nn/cpu/pool"
)

// tailCase is a convolution with a tail.
type tailCase struct {
	rows, h, w, c, o int // h and w of x
	stride           int
	bias             bool
	tail             ConvTail // whose slices are made by operands
	residual, sum    bool
	affine           bool
}

func (k *tailCase) String() string {
	return fmt.Sprintf("%d of %dx%d, %d to %d, stride %d, bias %v residual %v sum %v affine %v relu %v pool %v",
		k.rows, k.h, k.w, k.c, k.o, k.stride, k.bias, k.residual, k.sum, k.affine, k.tail.ReLU, k.tail.Pool)
}

// convolve runs the convolution with tail t into out.
func (k *tailCase) convolve(p *pool.Pool, t ConvTail, out []float32) {
	c := winoCase{kind: ConvForward, batch: k.rows + 1, h: k.h, w: k.w, c: k.c, o: k.o, stride: k.stride}
	conv := c.plan()
	a := ConvArgs{Rows: k.rows, Work: make([]float32, conv.Workspace()), Out: out, Tail: t}
	a.X = random(make([]float32, k.rows*k.h*k.w*k.c), 1, 1)
	a.W = random(make([]float32, 9*k.c*k.o), 2, 0.1)
	if k.bias {
		a.Bias = random(make([]float32, k.o), 3, 1)
	}
	conv.Run(p, a)
}

// size is the number of values of y.
func (k *tailCase) size() int { return k.rows * ceilDiv(k.h, k.stride) * ceilDiv(k.w, k.stride) * k.o }

// operands makes the operands of the tail.
func (k *tailCase) operands() ConvTail {
	t, size := k.tail, k.size()
	if k.residual {
		t.Residual = random(make([]float32, size), 4, 1)
	}
	if k.sum {
		t.Sum = make([]float32, size)
	}
	if k.affine {
		t.Scale, t.Shift = random(make([]float32, k.o), 5, 1), random(make([]float32, k.o), 6, 1)
	}
	return t
}

// want does one pass after the other.
func (k *tailCase) want(p *pool.Pool) (out, sum []float32) {
	t := k.operands()
	sum = make([]float32, k.size())
	k.convolve(p, ConvTail{}, sum)
	if k.residual {
		Add(sum, sum, t.Residual)
	}
	coef := append(append([]float32{}, t.Scale...), t.Shift...)
	out = make([]float32, len(sum))
	switch {
	case t.Pool:
		return k.pooled(sum, coef), sum
	case k.affine && t.ReLU:
		ChanAffineReLU(out, sum, coef)
	case k.affine:
		ChanAffine(out, sum, coef)
	default:
		copy(out, sum)
	}
	return out, sum
}

// pooled takes the maxima by rows of windows.
func (k *tailCase) pooled(x, coef []float32) []float32 {
	h, w := ceilDiv(k.h, k.stride), ceilDiv(k.w, k.stride)
	row, windows := w*k.o, w/2*k.o
	var out []float32
	for n := range k.rows {
		for y := range h / 2 {
			at := (n*h + 2*y) * row
			to := make([]float32, windows)
			AffinePool(to, x[at:at+row], x[at+row:at+2*row], coef)
			out = append(out, to...)
		}
	}
	return out
}

// TestConvTail compares with the passes that the tail is in place of: the same bits.
func TestConvTail(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	eachPath(t, func(t *testing.T) {
		for i, s := range [][6]int{{3, 13, 9, 16, 48, 2}, {3, 5, 7, 16, 48, 1}, {1, 8, 8, 16, 160, 1}, {5, 2, 2, 16, 32, 1}, {2, 9, 6, 16, 32, 1}, {1, 3, 3, 16, 16, 1}, {2, 3, 2, 16, 16, 1}} {
			for bits := range 32 {
				k := tailCase{rows: s[0], h: s[1], w: s[2], c: s[3], o: s[4], stride: s[5], bias: (bits+i)%2 == 0,
					residual: bits&1 > 0, sum: bits&2 > 0, affine: bits&4 > 0}
				k.tail.ReLU, k.tail.Pool = bits&8 > 0, bits&16 > 0
				if k.tail.ReLU && !k.affine || k.tail.Pool && !(k.affine && k.tail.ReLU && !k.residual && !k.sum) {
					continue
				}
				k.check(t, p)
			}
		}
		if Path() != Portable { // chunks that threads do not share
			k := tailCase{rows: 17, h: 32, w: 32, c: 16, o: 16, stride: 1, residual: true, sum: true, affine: true}
			k.check(t, p)
		}
	})
}

func (k *tailCase) check(t *testing.T, p *pool.Pool) {
	t.Helper()
	wantOut, wantSum := k.want(p)
	tail := k.operands()
	const beyond = 50
	out := make([]float32, len(wantOut)+beyond)
	k.convolve(p, tail, out)
	if !sameFloats(out[:len(wantOut)], wantOut) {
		t.Errorf("%v: another output than by passes", k)
	}
	if k.sum && !sameFloats(tail.Sum, wantSum) {
		t.Errorf("%v: another sum than by passes", k)
	}
	for _, v := range out[len(wantOut):] {
		if v != 0 {
			t.Fatalf("%v: wrote behind the output", k)
		}
	}
	if k.residual && !k.sum { // over the residual itself
		tail = k.operands()
		k.convolve(p, tail, tail.Residual)
		if !sameFloats(tail.Residual, wantOut) {
			t.Errorf("%v: another output in place of the residual", k)
		}
	}
}

func TestConvTailRefuses(t *testing.T) {
	p := pool.New(1)
	defer p.Close()
	x := make([]float32, 2*4*4*16)
	for name, a := range map[string]struct {
		kind ConvKind
		tail ConvTail
	}{
		"pool without scale":    {ConvForward, ConvTail{Pool: true}},
		"pool with residual":    {ConvForward, ConvTail{Pool: true, Scale: x, Shift: x, Residual: x}},
		"short residual":        {ConvForward, ConvTail{Residual: x[:len(x)/2]}},
		"gradient with a tail":  {ConvData, ConvTail{Scale: x, Shift: x}},
		"scale without a shift": {ConvForward, ConvTail{Scale: x}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", name)
				}
			}()
			conv := NewConv3x3(a.kind, 2, 4, 4, 16, 16)
			conv.Run(p, ConvArgs{Rows: 2, X: x, W: make([]float32, 9*256), Out: make([]float32, len(x)), Work: make([]float32, conv.Workspace()), Tail: a.tail})
		}()
	}
}

// TestKeptWeights: a call that finds the weights transformed ends in the bits of
// one that transforms them, and does not look at W; on another number of
// threads or code path they are transformed again.
func TestKeptWeights(t *testing.T) {
	for _, s := range [][5]int{{3, 5, 7, 16, 48}, {2, 2, 2, 32, 160}, {17, 32, 32, 16, 16}} {
		k := tailCase{rows: s[0], h: s[1], w: s[2], c: s[3], o: s[4], stride: 1}
		conv := NewConv3x3(ConvForward, k.rows, k.h, k.w, k.c, k.o)
		a := ConvArgs{Rows: k.rows, Work: make([]float32, conv.Workspace()), Kept: make([]float32, conv.KeptWeights())}
		a.X = random(make([]float32, k.rows*k.h*k.w*k.c), 1, 1)
		weights := random(make([]float32, 9*k.c*k.o), 2, 0.1)
		a.Out = make([]float32, k.rows*k.h*k.w*k.o)
		for _, threads := range []int{1, 4} {
			p := pool.New(threads)
			defer p.Close()
			eachPath(t, func(t *testing.T) {
				want := make([]float32, len(a.Out))
				k.convolve(p, ConvTail{}, want)
				for i, same := range []bool{true, true, false, true} { // the first Same is for another path or pool
					a.W, a.Same = weights, same
					if i%2 == 1 {
						a.W = make([]float32, len(weights))
					}
					clear(a.Out)
					conv.Run(p, a)
					if !sameFloats(a.Out, want) {
						t.Errorf("%v, call %d on %d threads: other bits with kept weights", &k, i, threads)
					}
				}
			})
		}
	}
}
