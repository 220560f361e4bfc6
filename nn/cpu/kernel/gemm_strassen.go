package kernel

import (
	"fmt"

	"sdnn/nn/cpu/pool"
)

// Strassen's algorithm computes the four quarters of C from seven products of
// sums of quarters of A and B in place of eight of quarters (Strassen, Gaussian
// elimination is not optimal, 1969), here one level deep:
//
//	A = | A11 A12 |   M1 = (A11+A22)(B11+B22)   C11 = M1+M4-M5+M7
//	    | A21 A22 |   M2 = (A21+A22) B11        C12 = M3+M5
//	              .   M3 = A11 (B12-B22)        C21 = M2+M4
//	                  M4 = A22 (B21-B11)        C22 = M1-M2+M3+M6
//	                  M5 = (A11+A12) B22
//	                  M6 = (A21-A11)(B11+B12)
//	                  M7 = (A12-A22)(B21+B22)
//
// No matrix of sums is ever in memory. Sums of quarters are made where Gemm would copy
// them, in packing, and products are tiles in the shared cache (Huang et al., Strassen's
// algorithm reloaded, 2016). A task computes a strip of columns of each quarter of C:
//
//	packed sums of A      tiles of M1..M7           tiles of C
//	  of a block          +----+----+-- --+         +----+....+----+
//	      x               |    |    | ... |  --->   |C11 |    |C12 |
//	packed sums of B      +----+----+-- --+         +----+    +----+
//	  of a block,                                   :              :
//	  all seven                                     +----+    +----+
//	                                                |C21 |    |C22 |
//	                                                +----+....+----+
//
// block of products after block, and in each the seven products, so that quarters are
// read once (gemm_strassen_pack.go).

// quarter is a quarter of an operand, row i and column j of the four.
type quarter struct{ i, j int }

// strassenSum is a quarter, or the sum or difference of two.
type strassenSum struct {
	x, y quarter
	sign int // of y: 1, -1, or 0
}

// strassen lists the left operands of the seven products; sevenSums has the right ones.
var strassen = [7]strassenSum{
	{quarter{0, 0}, quarter{1, 1}, 1},
	{quarter{1, 0}, quarter{1, 1}, 1},
	{x: quarter{0, 0}},
	{x: quarter{1, 1}},
	{quarter{0, 0}, quarter{0, 1}, 1},
	{quarter{1, 0}, quarter{0, 0}, -1},
	{quarter{0, 1}, quarter{1, 1}, -1},
}

const (
	// strassenRows is the most rows of a tile: seven of them, of 176 columns, are 2.5 MB.
	strassenRows = 512

	// strassenDepth is the number of products that are computed at a time, so that the
	// sums of A are packed once for all strips (gemm_packed.go). It is part of what
	// defines the result's bits.
	strassenDepth = 24 * gemmKC

	// strassenStage is the number of rows of a sum that is packed by columns of B,
	// or of a transposed A: they are added in the first-level cache.
	strassenStage = 4

	// strassenLeast is the length of the shortest side, and strassenWork the number of
	// multiply-adds, from which seven products are worth the additions.
	strassenLeast = 1 << 10
	strassenWork  = 1 << 36
)

// StrassenFits reports whether GemmStrassen computes a product of these sizes by
// Strassen's algorithm: it is large, and its sides are even.
func StrassenFits(m, n, k int) bool {
	return m%2 == 0 && n%2 == 0 && k%2 == 0 && min(m, n, k) >= strassenLeast && float64(m)*float64(n)*float64(k) >= strassenWork
}

// StrassenScratch is about the number of values of a thread's workspace.
const StrassenScratch = 5 << 19

// GemmStrassen is GemmSparse, but by Strassen's algorithm where that fits, whatever the
// density, for the bits must not depend on that: it takes 5 to 10 % less time.
//
// Each of its seven products is summed as Gemm sums; sums of operands are rounded
// once, and those of products in one order, for strassenDepth products at a time. The
// bits therefore are as reproducible as Gemm's, but differ from them, and a row of C
// depends on rows of A that are not its own: it is for a training step. The error, of
// conv1d's products of random values, is 6 to 7e-7 of C in the l2 norm where Gemm's is
// 4e-7; it is bounded relative to the largest values of A and B, not to each value's own products
// (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 23.2).
func GemmStrassen(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	if accumulate || !StrassenFits(m, n, k) || a.Patches != nil || b.Patches != nil || e != nil && e.Place != nil || c == nil && k > strassenDepth {
		GemmSparse(p, m, n, k, a, b, c, ldc, accumulate, e)
		return
	}
	gemmStrassen(p, gemmPaths[path], m, n, k, a, b, c, ldc, e)
}

// gemmStrassen is GemmStrassen where it fits.
func gemmStrassen(p *pool.Pool, isa *gemmISA, m, n, k int, a, b Matrix, c []float32, ldc int, e *Epilogue) {
	checkGemm(m, n, k, a, b, c, ldc, false, e)
	if m%2+n%2+k%2 != 0 || min(m, n, k) == 0 || c == nil && k > strassenDepth {
		panic(fmt.Sprintf("kernel: gemmStrassen of sizes m=%d n=%d k=%d", m, n, k))
	}
	for k0 := 0; k0 < k; k0 += strassenDepth {
		depth, ends := min(strassenDepth, k-k0), e
		if k0+depth < k {
			ends = nil
		}
		j := takeJob(p.Threads())
		j.strassen = true
		j.set(p, isa, gemmKC, m/2, n/2, depth/2, a.from(0, k0), b.from(k0, 0), c, ldc, k0 > 0, ends)
		j.runStrassen()
		j.release()
	}
}

// from returns x without its first rows and columns.
func (x *Matrix) from(rows, cols int) Matrix {
	y := *x
	if x.Trans {
		rows, cols = cols, rows
	}
	y.Data = x.Data[rows*x.Stride+cols:]
	return y
}

// strassenA returns the left operand of product q.
func (j *gemmJob) strassenA(q int) Matrix { return strassen[q].of(j.a, j.m, j.k) }

// of returns the sum of quarters, of the given sizes, of x.
func (s *strassenSum) of(x Matrix, rows, cols int) Matrix {
	sum := x
	sum.Data = x.quarter(s.x, rows, cols)
	if s.sign != 0 {
		sum.other, sum.minus = x.quarter(s.y, rows, cols), s.sign < 0
	}
	return sum
}

// quarter returns a quarter of an operand, of the given sizes, and what follows it.
func (x *Matrix) quarter(q quarter, rows, cols int) []float32 {
	return x.from(q.i*rows, q.j*cols).Data
}

// row sets dst to values of the sum from index at on.
func (x *Matrix) row(dst []float32, at int) {
	one, other := x.Data[at:at+len(dst)], x.other[at:at+len(dst)]
	if x.minus {
		vec().axpby(dst, one, other, 1, -1) // a rounding, as of a difference
		return
	}
	vec().sum2(dst, one, other)
}

// packSumA is packA for a sum of two matrices.
func (j *gemmJob) packSumA(dst []float32, t *block, i, rows, count int) {
	isa, a := j.isa, &t.a
	if !a.Trans {
		for r := range rows {
			a.row(dst[r*isa.kc:][:t.depth], (i+r)*a.Stride+t.k0)
		}
		return
	}
	width := rows * count
	for k := 0; k < t.depth; k += strassenStage {
		n := min(strassenStage, t.depth-k)
		for r := range n {
			a.row(t.stage[r*width:][:width], (t.k0+k+r)*a.Stride+i)
		}
		isa.packRows(dst[k*isa.aStep:], isa.aStep*isa.kc, isa.aStep, t.stage, width, n, rows, count, rows)
	}
}

// runStrassen computes the product. A task is a strip of columns of a quarter of C.
func (j *gemmJob) runStrassen() {
	p, isa := j.pool, j.isa
	downs := ceilDiv(j.m, strassenRows)
	maxCols := isa.maxCols - isa.maxCols/3 // room for the next product's B beside that of this one
	var best grid
	for least, across := ceilDiv(j.n, maxCols), 0; across < 4*p.Threads(); across++ {
		cols := roundUp(ceilDiv(j.n, least+across), isa.nr)
		g := grid{m: j.m, n: j.n, rows: j.m, cols: cols, downs: 1, acrosses: ceilDiv(j.n, cols)}
		if across == 0 || gridCost(isa, g, j.k, p.Threads()) < gridCost(isa, best, j.k, p.Threads()) {
			best = g
		}
	}
	best.rows, best.downs = ceilDiv(j.m, downs), downs
	j.grid = best
	if j.planPacked() {
		p.Run(len(strassen)*j.grid.downs*j.blocks(), j.runPack)
	}
	p.Run(j.grid.acrosses, j.runStrip)
}

// strassenMemory is the memory of a worker for a strip.
type strassenMemory struct {
	size, sizeB int       // values of a tile of a product, and of a packed block of a right operand
	sums        []float32 // a tile of each product
	packed      [2][]float32
	holds       [2]int       // the first product of the block that is packed there, or -1
	a           []float32    // panels of A
	quarters    [4][]float32 // of B
	stage       []float32    // see packStrassenTransposed
	sums7       sumsCall
}

// strassenStrip computes a strip of columns, the same in the quarters of C: tile
// after tile downwards, and of each the seven products block after block. The
// next block of B is packed a seventh after each product of a block: reading it is spread.
// Two blocks stay packed for all tiles.
func (j *gemmJob) strassenStrip(task, worker int) {
	t := &block{worker: worker, j0: task * j.grid.cols}
	t.j1 = min(t.j0+j.grid.cols, j.n)
	call := j.callFor(t)
	w := j.strassenMemory(t)
	for t.i0 = 0; t.i0 < j.m; t.i0 = t.i1 {
		t.i1 = min(t.i0+j.grid.rows, j.m)
		for t.k0 = 0; t.k0 < j.k; t.k0 += j.block {
			j.strassenBlock(call, t, w)
		}
	}
}

// strassenMemory returns the worker's memory for a strip.
func (j *gemmJob) strassenMemory(t *block) *strassenMemory {
	nr, products := j.isa.nr, len(strassen)
	t.ldc = roundUp(t.j1-t.j0, nr)
	t.step = t.ldc
	w := &j.calls[t.worker].strassen
	*w = strassenMemory{holds: [2]int{-1, -1}}
	// A line, or a row and a line, more, so that the same place of different products is in different sets of the caches.
	w.size = (j.grid.rows+1)*t.ldc + cacheLine/4
	w.sizeB = t.ldc*j.isa.kc + cacheLine/4
	var rest []float32
	take := func(n int) []float32 {
		x := rest[:n:n]
		rest = rest[n:]
		return x
	}
	w.a, _, rest = workBuffers(j.pool, t.worker, j.isa, products*(w.size+2*w.sizeB)+j.stageSize()+j.sumsStage())
	w.sums, w.packed[0], w.packed[1] = take(products*w.size), take(products*w.sizeB), take(products*w.sizeB)
	t.stage, w.stage = take(j.stageSize()), take(j.sumsStage())
	for q := range w.quarters {
		w.quarters[q] = j.b.quarter(quarter{q / 2, q % 2}, j.k, j.n)
	}
	return w
}

// strassenBlock adds a block to the seven products of a tile.
func (j *gemmJob) strassenBlock(call *microCall, t *block, w *strassenMemory) {
	t.depth = min(j.block, j.k-t.k0)
	at := t.k0 / j.block % 2
	packed := w.packed[at]
	if w.holds[at] != t.k0 {
		j.packStrassenB(packed, w, t, t.k0, t.k0+t.depth, 0, 1)
		w.holds[at] = t.k0
	}
	next := t.k0 + j.block
	if t.ending = next >= j.k; t.ending {
		j.endBlock(call, t, w, packed)
		return
	}
	pack := w.holds[1-at] != next
	for t.product = range strassen {
		q := t.product
		t.a, t.c = j.strassenA(q), w.sums[q*w.size:]
		t.nextB = packed[min(q+1, len(strassen)-1)*w.sizeB:][:w.sizeB]
		j.blockOf(call, w.a, packed[q*w.sizeB:], t, t.k0 > 0)
		if pack {
			j.packStrassenB(w.packed[1-at], w, t, next, min(next+j.block, j.k), q, len(strassen))
		}
	}
	if pack {
		w.holds[1-at] = next
	}
}

// endBlock adds the last block to the seven products of a tile, panel of A by panel, and
// takes the rows of each to the quarters of C while they are in the second-level cache:
// what Epilogue.Tile reads from memory comes with the work for all panels, not after it.
func (j *gemmJob) endBlock(call *microCall, t *block, w *strassenMemory, packed []float32) {
	var m [len(strassen)][]float32
	for i, p := t.i0, 0; i < t.i1; {
		rows, count := j.group(t, i)
		for t.product = range strassen {
			t.a, t.c = j.strassenA(t.product), w.sums[t.product*w.size:]
			j.setBlock(call, packed[t.product*w.sizeB:], t, t.k0 > 0)
			j.panelsOf(call, w.a, t, i, rows, count, p)
		}
		for end := i + rows*count; i < end; i++ {
			for q := range m {
				m[q] = w.sums[q*w.size+(i-t.i0)*t.ldc:][:t.j1-t.j0]
			}
			j.strassenRow(t, i, &m)
		}
		p += count
	}
}

// aheadStrassenB is the part of the packed right operand of the next product that
// falls to a panel of A, rows from row i on.
func (j *gemmJob) aheadStrassenB(t *block, i, rows int) stream {
	from, to, all := i-t.i0, i+rows-t.i0, t.i1-t.i0 // of the tile's rows
	at, end := len(t.nextB)*from/all, len(t.nextB)*to/all
	return stream{x: Matrix{Data: t.nextB}, start: at, width: end - at, rows: 1}
}

// stageSize returns the values of block.stage.
func (j *gemmJob) stageSize() int { return strassenStage * j.isa.group * j.isa.mr }

// strassenRow adds up row i of the products to rows of the quarters of C. It
// overwrites them.
func (j *gemmJob) strassenRow(t *block, i int, m *[len(strassen)][]float32) {
	v := vec()
	minus := func(dst, x, y []float32) { v.axpby(dst, x, y, 1, -1) }
	v.add(m[5], m[2])
	v.add(m[5], m[0])
	j.finishRow(t, i, quarter{1, 1}, minus, m[5], m[1])
	v.add(m[6], m[0])
	v.add(m[6], m[3])
	j.finishRow(t, i, quarter{0, 0}, minus, m[6], m[4])
	j.finishRow(t, i, quarter{0, 1}, v.sum2, m[2], m[4])
	j.finishRow(t, i, quarter{1, 0}, v.sum2, m[3], m[1])
}

// finishRow stores the last sum of a row of a quarter, in C or in place of x, and
// applies the epilogue.
func (j *gemmJob) finishRow(t *block, i int, q quarter, last func(dst, x, y []float32), x, y []float32) {
	row, col, to := q.i*j.m+i, q.j*j.n+t.j0, x
	if j.c != nil {
		to = j.c[row*j.ldc+col:][:len(x)]
	}
	if j.accumulate {
		last(x, x, y)
		vec().add(to, x)
	} else {
		last(to, x, y)
	}
	e := &j.epilogue
	if e.Bias != nil {
		vec().add(to, e.Bias[col:][:len(to)])
	}
	if e.ReLU {
		vec().relu(to, to)
	}
	if e.Tile != nil {
		e.Tile(row, 1, col, len(to), to, len(to), t.worker)
	}
}
