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
	weights int // where W' begins in the workspace
	tile    func(row, rows, col, cols int, c []float32, ldc, worker int)
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
			k.tile = func(row, rows, col, cols int, c []float32, ldc, _ int) { v.scatter(&k, row, rows, col, cols, c, ldc) }
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

// runData computes dx class by class.
func (v *DirectConv) runData(p *pool.Pool) {
	s, a := &v.s, &v.args
	p.Run(s.O, v.runWeights)
	for i := range v.classes {
		k := &v.classes[i]
		if v.class = k; k.empty() {
			p.Run(a.Rows*k.patches.OH, v.runClear)
			continue
		}
		var out []float32
		v.epilogue = Epilogue{Tile: k.tile}
		if s.Stride == 1 {
			out, v.epilogue.Tile = a.Out, nil
		}
		Gemm(p, a.Rows*k.patches.OH*k.patches.OW, s.C, k.patches.columns(), Matrix{Data: a.X, Patches: &k.patches},
			Matrix{Data: a.Work[k.weights:], Stride: s.C}, out, s.C, false, &v.epilogue)
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

// scatter puts a part of a class's result in its place in dx.
func (v *DirectConv) scatter(k *dataClass, row, rows, col, cols int, c []float32, ldc int) {
	w := k.patches.at(row)
	for r := range rows {
		copy(v.pixel(k, w)[col:col+cols], c[r*ldc:])
		if w.x++; w.x == k.patches.OW {
			w.x = 0
			if w.y++; w.y == k.patches.OH {
				w.y, w.image = 0, w.image+1
			}
		}
	}
}

// pixel returns the pixel of dx that a place of a class stands for.
func (v *DirectConv) pixel(k *dataClass, w patchPlace) []float32 {
	s := &v.s
	at := (w.image*s.H+k.y+w.y*s.Stride)*s.W + k.x + w.x*s.Stride
	return v.args.Out[at*s.C:][:s.C]
}

// clearTask clears a row of the class in turn, which no tap reaches.
func (v *DirectConv) clearTask(row, _ int) {
	k := v.class
	w := patchPlace{row / k.patches.OH, row % k.patches.OH, 0}
	for ; w.x < k.patches.OW; w.x++ {
		clear(v.pixel(k, w))
	}
}
