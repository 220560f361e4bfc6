package kernel

import "sdnn/nn/cpu/pool"

// dataClass is the pixels (y + i stride, x + j stride) of dx, which the same
// taps of the kernel reach: (ky - i stride, kx - j stride) for i, j from 0 on.
// Those taps read neighbours in dy, the last first, so that the class is a
// convolution of stride 1 of dy with the taps turned round.
type dataClass struct {
	y, x    int
	ky, kx  int // the first taps in the order of dy: the last of the kernel
	patches Patches
	place   Patches // where its pixels are in dx
	weights int     // where W' begins in the workspace
}

// empty reports whether no tap reaches the class.
func (k *dataClass) empty() bool { return k.patches.KH == 0 || k.patches.KW == 0 }

// planClasses cuts dx in classes.
func (v *DirectConv) planClasses() {
	s := &v.s
	at := 0
	for y := range min(s.Stride, s.H) {
		for x := range min(s.Stride, s.W) {
			k := dataClass{y: y, x: x, weights: at}
			k.patches = Patches{H: s.OH, W: s.OW, C: s.O, OH: ceilDiv(s.H-y, s.Stride), OW: ceilDiv(s.W-x, s.Stride), Step: 1}
			k.patches.KH, k.patches.Y, k.ky = s.taps(y)
			k.patches.KW, k.patches.X, k.kx = s.taps(x)
			k.place = Patches{H: s.H, W: s.W, C: s.C, OH: k.patches.OH, OW: k.patches.OW, KH: 1, KW: 1, Step: s.Stride, Y: y, X: x}
			at += k.patches.columns() * s.C
			v.classes = append(v.classes, k)
		}
	}
}

// taps returns, in one dimension, the number of taps that reach pixel i of dx,
// i < stride, the pixel of dy that the first of them reads, and that tap.
func (s *ConvShape) taps(i int) (n, first, tap int) {
	least := (i + s.Pad) % s.Stride // tap t reads pixel (i + Pad - t) / Stride
	if least >= s.K {
		return 0, 0, 0
	}
	n = ceilDiv(s.K-least, s.Stride)
	tap = least + (n-1)*s.Stride
	return n, (i+s.Pad-least)/s.Stride - (n - 1), tap
}

// runData computes dx class by class, or adds to it.
func (v *DirectConv) runData(p *pool.Pool) {
	s, a := &v.s, &v.args
	p.Run(s.O, v.runWeights)
	for i := range v.classes {
		if v.classes[i].empty() && !a.Accumulate {
			p.Run(a.Rows, v.runClear)
			break
		}
	}
	for i := range v.classes {
		k := &v.classes[i]
		if k.empty() {
			continue
		}
		v.epilogue = Epilogue{}
		if s.Stride > 1 {
			v.epilogue.Place = &k.place
		}
		Gemm(p, a.Rows*k.patches.OH*k.patches.OW, s.C, k.patches.columns(), k.patches.matrix(a.X),
			Matrix{Data: a.Work[k.weights:], Stride: s.C}, a.Out, s.C, a.Accumulate, &v.epilogue)
	}
}

// weightsTask writes the rows of W' of an output channel in all classes.
func (v *DirectConv) weightsTask(o, _ int) {
	s := &v.s
	for i := range v.classes {
		k := &v.classes[i]
		to := v.args.Work[k.weights:]
		for ty := range k.patches.KH {
			for tx := range k.patches.KW {
				tap := (o*s.K+k.ky-ty*s.Stride)*s.K + k.kx - tx*s.Stride
				copy(to[((ty*k.patches.KW+tx)*s.O+o)*s.C:][:s.C], v.args.W[tap*s.C:])
			}
		}
	}
}

// clearTask clears an image of dx.
func (v *DirectConv) clearTask(image, _ int) {
	size := v.s.H * v.s.W * v.s.C
	clear(v.args.Out[image*size : (image+1)*size])
}
