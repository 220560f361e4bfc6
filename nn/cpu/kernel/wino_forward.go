package kernel

import "unsafe"

// The steps of a forward convolution, or of the gradient of the data: the
// transforms of a worker's part and the products between them.

// transformInput writes V of tiles [first, last), the first at the start of points.
func (v *Conv3x3) transformInput(worker, first, last int, points []float32) {
	c := &v.workers[worker].call
	c.image, c.absent, c.pixel, c.biases = v.src, v.absent, 4*v.k, nil
	transform, a, from := v.isa.input[v.alg.id], v.alg, v.inSide()
	for k0 := 0; k0 < v.k; k0 += gemmKC {
		c.setPoints(&v.vs, min(gemmKC, v.k-k0), v.isa.lanes)
		at := k0 / gemmKC * v.vs.block
		v.eachTile(c, from, first, last, func(i int, t tileAt) {
			v.fetchBelow(c, from, t, k0)
			c.setWindow(from.image(t), v.in, v.k, k0, t.y*a.step-a.border, t.x*a.step-a.border, a.window)
			c.point = points[at+i*v.vs.row:]
			transform(c)
		})
	}
}

// transformOutput writes the pixels of tiles [first, last) for a group of channels.
func (v *Conv3x3) transformOutput(worker, first, last, g int, m []float32) {
	w := &v.workers[worker]
	c := &w.call
	n0, n1 := v.channels(g)
	c.image, c.absent, c.pixel, c.biases = v.dst, w.lost, 4*v.n, nil
	if v.bias != nil {
		c.biases = v.bias[n0:n1]
	}
	c.setPoints(&v.ms, n1-n0, v.isa.lanes)
	c.tail.set(&v.tail, n0, n1)
	transform, a, to := v.outputTransform(), v.alg, v.outSide()
	v.eachTile(c, to, first, last, func(i int, t tileAt) {
		if v.tail.Pool {
			c.setPooled(t.image, v.out, v.n, n0, t.y*a.tile, t.x*a.tile, a.tile)
		} else {
			c.setWindow(to.image(t), v.out, v.n, n0, t.y*a.tile, t.x*a.tile, a.tile)
		}
		c.point = m[i*v.ms.row:]
		transform(c)
	})
	c.tail = winoTail{}
}

// multiply computes M = V U for the tiles of a chunk and a group of channels:
// for each point and block of gemmKC channels a product of panels of tiles.
func (v *Conv3x3) multiply(worker, tiles, g int, points, u, m []float32) {
	isa, call := v.gemm, &v.workers[worker].micro
	n0, n1 := v.channels(g)
	*call = microCall{ldc: 4 * v.ms.row, bPanel: 4 * v.k * isa.nr}
	all := ceilDiv(n1-n0, isa.nr)
	last := n1 - n0 - (all-1)*isa.nr
	panels := ceilDiv(tiles, isa.mr)
	low := tiles / panels
	high := tiles - low*panels // so many panels have low+1 tiles
	q := v.alg.points
	blocks := ceilDiv(v.k, gemmKC)
	place := func(step int) (a, b *float32) { // of a point and block, by the order in which they are taken
		p, k := step/blocks%(q*q), step%blocks
		return &points[v.vs.at(p, q)+k*v.vs.block], &u[v.us.at(v.alg.tap(p), v.alg.taps)+k*gemmKC*isa.nr]
	}
	a, b := place(0)
	for step := range q * q * blocks {
		nextA, nextB := place(step + 1)
		call.k = min(gemmKC, v.k-step%blocks*gemmKC)
		call.accumulate = min(step%blocks, 1)
		to := v.ms.at(step/blocks, q)
		slice := all * call.k * isa.nr / panels // of the next columns of B, to be fetched during a panel
		for i, panel := 0, 0; panel < panels; panel++ {
			rows := low
			if panel < high {
				rows++
			}
			call.a = after(a, i*gemmKC)
			i += rows
			ahead := after(a, i*gemmKC)
			if panel == panels-1 {
				ahead = nextA
			}
			call.b, call.c = b, &m[to+(i-rows)*v.ms.row]
			// The first half of the columns fetches the next panel of A, the second
			// its part of the next B.
			call.panels, call.last = ceilDiv(all, 2), isa.nr
			v.lookAhead(call, ahead, call.k, gemmKC-call.k)
			if call.panels == all {
				call.last = last
			}
			v.isa.micro(rows, call)
			if rest := all - call.panels; rest > 0 {
				call.b, call.c = after(b, call.panels*v.k*isa.nr), after(call.c, call.panels*isa.nr)
				call.panels, call.last = rest, last
				v.lookAhead(call, after(nextB, panel*slice), slice, -slice)
				v.isa.micro(rows, call)
			}
		}
		a, b = nextA, nextB
	}
}

// after returns the address of p[n]. It stays inside the slice that p is of,
// but for addresses that are only fetched ahead.
func after(p *float32, n int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n)) }

// lookAhead tells the micro-kernel to fetch rows of width floats, from the end
// of one to the next of gap floats. It takes whole steps of winoWalk lines.
func (v *Conv3x3) lookAhead(call *microCall, from *float32, width, gap int) {
	const line = 64 / 4
	lines := roundUp(ceilDiv(width, line), winoWalk)
	call.ahead = uintptr(unsafe.Pointer(from))
	call.aheadLines, call.aheadJump = lines, 4*(width+gap-lines*line)
}
