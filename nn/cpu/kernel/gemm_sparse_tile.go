package kernel

// sparseTile is a tile, rows [i0, i1) and columns [j0, j1) of C, and its memory.
type sparseTile struct {
	task, worker   int
	i0, i1, j0, j1 int
	panel, sums    []float32
	out            []float32 // rows of sparseCols values of C, with room for their transpose, or nil: they are computed where they lie
}

// tile computes a tile of C: for each panel of B, all its rows.
func (j *sparseJob) tile(task, worker int) {
	t := sparseTile{task: task, worker: worker, i0: task % j.downs * j.tall}
	t.i1 = min(t.i0+j.tall, j.m)
	t.j0, t.j1 = j.columns(task)
	j.place(&t)
	call := &j.calls[worker].sparseCall
	call.panel = &t.panel[0]
	for k := 0; k < j.k; k += sparseDepth {
		depth := min(sparseDepth, j.k-k)
		j.pack(t.panel, k, depth, t.j0, t.j1)
		final := k+depth == j.k
		call.first, call.last, call.accumulate, call.bias, call.relu = 0, 0, 0, nil, 0
		if k%gemmKC == 0 {
			call.first = 1
		}
		if (k+depth)%gemmKC == 0 || final {
			call.last = 1
		}
		if k >= gemmKC || j.accumulate {
			call.accumulate = 1
		}
		if final && t.out == nil {
			if j.epilogue.Bias != nil {
				call.bias = &j.epilogue.Bias[t.j0]
			}
			if j.epilogue.ReLU {
				call.relu = 1
			}
		}
		j.rows(call, &t, k)
	}
	if t.out != nil {
		j.finish(&t)
	} else {
		j.handOver(t.i0, t.i1-t.i0, t.j0, t.j1-t.j0, j.c[t.i0*j.ldc+t.j0:], j.ldc, worker)
	}
}

// columns returns the columns of a task's tile.
func (j *sparseJob) columns(task int) (j0, j1 int) {
	j0 = task / j.downs * sparseCols
	return j0, min(j0+sparseCols, j.n)
}

// place sets the memory of a tile. It is computed apart from C when C is not stored, or turned, or has
// fewer columns than the kernel writes.
func (j *sparseJob) place(t *sparseTile) {
	const panel = sparseDepth * sparseCols
	size := j.tall * sparseCols
	all := floats(j.pool.Scratch(t.worker, 4*(panel+3*size)))
	t.panel, t.sums = all[:panel], all[panel:panel+size]
	if j.c != nil && !j.turned && t.j1-t.j0 == sparseCols {
		return
	}
	t.out = all[panel+size:]
	if j.accumulate {
		for i := t.i0; i < t.i1; i++ {
			copy(t.out[(i-t.i0)*sparseCols:], j.c[i*j.ldc+t.j0:i*j.ldc+t.j1])
		}
	}
}

// rows multiplies the rows of a tile, products k on, by the packed panel of B and fetches the next one meanwhile.
func (j *sparseJob) rows(call *sparseCall, t *sparseTile, k int) {
	next := j.next(t, k)
	step := sparseGroup
	if t.i1-t.i0 <= fewRows {
		step = sparseShort
	}
	var l lists
	for i := t.i0; i < t.i1; i += step {
		in := i % sparseGroup // a tile begins with a group
		call.begin = 0
		if in == 0 {
			l = j.list(i/sparseGroup, k/sparseDepth)
		} else {
			call.begin = int(l.ends[in-1])
		}
		call.rows, call.values, call.places, call.ends = min(step, t.i1-i), &l.values[0], &l.places[0], &l.ends[in]
		call.sums = &t.sums[(i-t.i0)*sparseCols]
		if t.out != nil {
			call.c, call.ldc = &t.out[(i-t.i0)*sparseCols], 4*sparseCols
		} else {
			call.c, call.ldc = &j.c[i*j.ldc+t.j0], 4*j.ldc
		}
		next.fetch(i-t.i0, call.rows, t.i1-t.i0)
		sparseRows(call, t.j1-t.j0)
	}
}

// next is the panel of B that is packed after that of products k on: the next one, or the first of the tile that
// the worker is likely to come to next.
func (j *sparseJob) next(t *sparseTile, k int) stream {
	k, j0, j1 := k+sparseDepth, t.j0, t.j1
	if k >= j.k {
		task := t.task + j.pool.Threads()
		if task >= j.downs*ceilDiv(j.n, sparseCols) {
			return stream{}
		}
		k = 0
		j0, j1 = j.columns(task)
	}
	depth := min(sparseDepth, j.k-k)
	if j.b.Trans {
		return stream{x: j.b, start: j0*j.b.Stride + k, width: depth, rows: j1 - j0}
	}
	return stream{x: j.b, start: k*j.b.Stride + j0, width: j1 - j0, rows: depth}
}

// pack packs a panel of B: products [k, k+depth), columns [j0, j1).
func (j *sparseJob) pack(panel []float32, k, depth, j0, j1 int) {
	if j.b.Trans {
		transposeTo(panel, sparseCols, j.b.Data[j0*j.b.Stride+k:], j.b.Stride, j1-j0, depth)
		return
	}
	copyPanel(panel, j.b.Data[k*j.b.Stride+j0:], j.b.Stride, depth, j1-j0)
}

// finish takes a tile that was computed apart from C to where it goes.
func (j *sparseJob) finish(t *sparseTile) {
	i0, rows, j0, cols, c, ld := t.i0, t.i1-t.i0, t.j0, t.j1-t.j0, t.out, sparseCols
	if j.turned {
		c, ld = t.out[j.tall*sparseCols:], j.tall
		transposeTo(c, ld, t.out, sparseCols, rows, cols)
		i0, rows, j0, cols = j0, cols, i0, rows
	}
	for r := range rows {
		row := c[r*ld : r*ld+cols]
		if j.epilogue.Bias != nil {
			for i, x := range j.epilogue.Bias[j0 : j0+cols] {
				row[i] += x
			}
		}
		if j.epilogue.ReLU {
			ReLU(row, row)
		}
		if j.c != nil {
			copy(j.c[(i0+r)*j.ldc+j0:], row)
		}
	}
	j.handOver(i0, rows, j0, cols, c, ld, t.worker)
}

// handOver calls Epilogue.Tile for each row of a tile, and fetches what lies beside a later one.
func (j *sparseJob) handOver(i0, rows, j0, cols int, c []float32, ld, worker int) {
	if j.epilogue.Tile == nil {
		return
	}
	const before = 3
	for r := -before; r < rows; r++ {
		if later := r + before; later < rows {
			for _, x := range j.epilogue.Beside {
				part := stream{x: x, start: (i0+later)*x.Stride + j0, width: cols, rows: 1}
				part.fetch(0, 1, 1)
			}
		}
		if r >= 0 {
			j.epilogue.Tile(i0+r, 1, j0, cols, c[r*ld:], ld, worker)
		}
	}
}
