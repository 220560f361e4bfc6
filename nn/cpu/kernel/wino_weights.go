package kernel

import "unsafe"

// The gradient of the weights: dU[p] = D[p]ᵀ V[p] is a sum over the tiles, made
// of one block of products for each chunk of tiles. With segments, each is the
// partial sum of a fixed range of chunks and the segments are added in order.

// runBackwardWeights computes dW.
func (v *Conv3x3) runBackwardWeights() {
	if v.segments > 0 {
		v.pool.Run(v.segments, v.runChunk)
		v.pool.Run(ceilDiv(v.n, 16), v.runReduce)
		return
	}
	for v.first = 0; v.first < v.tiles; v.first += v.chunk {
		v.last = min(v.first+v.chunk, v.tiles)
		v.pool.Run(ceilDiv(v.last-v.first, winoTileBlock), v.runTransform)
		v.pool.Run(v.groups(), v.runGroup)
	}
}

// segmentTiles is the number of tiles of a segment, whole chunks.
func (v *Conv3x3) segmentTiles() int {
	return roundUp(ceilDiv(v.tilesOf(v.batch), v.segments), v.chunk)
}

// segmentTask computes the partial sum of a segment.
func (v *Conv3x3) segmentTask(s, worker int) {
	buf := v.own(worker)
	points, d := buf[:v.vs.size], buf[v.vs.size:][:v.ds.size]
	from := s * v.segmentTiles()
	until := min(from+v.segmentTiles(), v.tiles)
	du := v.u[s*v.us.size:][:v.us.size]
	for first := from; first < until; first += v.chunk {
		last := min(first+v.chunk, until)
		v.transformPanels(worker, first, last, points, d)
		v.multiplyWeights(worker, last-first, 0, points, d, du, first > from)
	}
}

// reduceTask adds the segments' sums and transforms them, for 16 channels of dy.
func (v *Conv3x3) reduceTask(task, worker int) {
	n0, n1 := 16*task, min(16*task+16, v.n)
	q := v.alg.taps
	for p := range q * q {
		sum := v.u[v.us.at(p, q)+n0*v.k:][:(n1-n0)*v.k]
		for s := 1; s < v.segments && s*v.segmentTiles() < v.tiles; s++ {
			Accumulate(sum, v.u[s*v.us.size+v.us.at(p, q)+n0*v.k:][:len(sum)])
		}
	}
	v.transformDW(worker, n0, n1, v.u[n0*v.k:])
}

// transformBothTask transforms a block of tiles of the shared chunk.
func (v *Conv3x3) transformBothTask(task, worker int) {
	first := v.first + task*winoTileBlock
	i := first - v.first
	v.transformPanels(worker, first, min(first+winoTileBlock, v.last), v.v[i*v.vs.row:], v.d[i*v.ds.row:])
}

// weightGroupTask adds the shared chunk to dU of a group of channels of dy and
// after the last chunk transforms it.
func (v *Conv3x3) weightGroupTask(g, worker int) {
	var du []float32
	if v.u != nil {
		du = v.u[g*v.us.size:][:v.us.size]
	} else {
		du = v.own(worker)
	}
	v.multiplyWeights(worker, v.last-v.first, g, v.v, v.d, du, v.first > 0)
	if v.last == v.tiles {
		n0, n1 := v.channels(g)
		v.transformDW(worker, n0, n1, du)
	}
}

// transformPanels writes V and D of tiles [first, last), the first at the start
// of points and d.
func (v *Conv3x3) transformPanels(worker, first, last int, points, d []float32) {
	c, a, x, dy := &v.workers[worker].call, v.alg, v.inSide(), v.outSide()
	c.image, c.absent, c.pixel, c.biases = v.src, v.absent, 4*v.k, nil
	c.setPoints(&v.vs, v.k, v.isa.lanes)
	transform := v.isa.input[a.id]
	v.eachTile(c, x, first, last, func(i int, t tileAt) {
		v.fetchBelow(c, x, t, 0)
		c.setWindow(x.image(t), v.in, v.k, 0, t.y*a.step-a.border, t.x*a.step-a.border, a.window)
		c.point = points[i*v.vs.row:]
		transform(c)
	})
	c.image, c.pixel = v.src2, 4*v.n
	c.setPoints(&v.ds, v.n, v.isa.lanes)
	transform = v.isa.grad[a.id]
	v.eachTile(c, dy, first, last, func(i int, t tileAt) {
		v.fetchBelow(c, dy, t, 0)
		c.setWindow(dy.image(t), v.out, v.n, 0, t.y*a.tile, t.x*a.tile, a.tile)
		c.point = d[i*v.ds.row:]
		transform(c)
	})
}

// multiplyWeights computes dU = Dᵀ V, or adds to dU, for a group of channels of dy.
// A panel of D has more channels than a micro-tile has rows: it is done in parts.
func (v *Conv3x3) multiplyWeights(worker, tiles, g int, points, d, du []float32, accumulate bool) {
	isa, sums, call := v.gemm, &v.isa.sums, &v.workers[worker].micro
	*call = microCall{k: tiles, ldc: 4 * v.us.row, bPanel: 4 * v.chunk * isa.nr, panels: ceilDiv(v.k, isa.nr)}
	call.last = v.k - (call.panels-1)*isa.nr
	call.aheadLines = 1 // one line after the other
	if sums.ahead {
		v.lookAhead(call, nil, v.k, v.us.row-v.k)
	}
	panel := sums.width * v.chunk
	n0, n1 := v.channels(g)
	q := v.alg.points
	for p := range q * q {
		call.b = &points[v.vs.at(p, q)]
		call.accumulate = 0
		if accumulate || !v.alg.firstOfTap(p) {
			call.accumulate = 1
		}
		at := v.us.at(v.alg.tap(p), v.alg.taps)
		for n := n0; n < n1; n += sums.width {
			first := &d[v.ds.at(p, q)+n/sums.width*panel]
			call.ahead = uintptr(unsafe.Pointer(first)) + uintptr(4*panel)
			row := 0
			for _, rows := range sums.rows {
				call.a, call.c = after(first, row), &du[at]
				row += rows
				at += rows * v.us.row
				if sums.ahead { // after the last of a point comes some padding: close enough
					call.ahead = uintptr(unsafe.Pointer(call.c)) + uintptr(rows*call.ldc)
				}
				sums.micro(rows, call)
			}
		}
	}
}

// transformDW writes dW of the channels [n0, n1) of dy; du starts with the first.
func (v *Conv3x3) transformDW(worker, n0, n1 int, du []float32) {
	c := &v.workers[worker].call
	c.image, c.pixel, c.columns, c.biases = v.dst, 4*v.k, 7, nil
	c.setPoints(&v.us, v.k, v.isa.lanes)
	for n := n0; n < n1; n++ {
		for y := range 3 {
			c.rowAt[y] = (9*n + 3*y) * v.k
		}
		c.point = du[(n-n0)*v.us.row:]
		v.isa.dw[v.alg.id](c)
	}
}
