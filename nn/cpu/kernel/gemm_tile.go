package kernel

import (
	"unsafe"

	"sdnn/nn/cpu/pool"
)

// gemmKC is the number of products in a block of the sum of Gemm. It is part of
// what defines the result's bits, so it is one constant for all its paths. It divides
// 1152 (the video nets' input) by three, and a panel of A (14 x 384 floats, 21 KB)
// stays in a first-level cache of 32 KB.
const gemmKC = 384

// fewRows is the height up to which a tile's rows of A stay in the second-level
// cache, so that it is the next block of B that is worth fetching early. Taller
// tiles spend long enough on a block of B for its packing not to matter.
const fewRows = 256

// shortLine is the length of rows of A up to which one call for a panel packs
// faster than one for each row.
const shortLine = 128

// gemmISA is what one code path brings to the product: sizes and inner loops.
type gemmISA struct {
	mr, nr  int     // a micro-tile is at most mr x nr values of C, held in registers
	per     int     // products in a packed value of 4 bytes: 1 float32, or 2 bfloat16
	kc      int     // packed values in a block of the sum at most
	aStep   int     // packed values between two k of a panel of A packed by columns, at least mr
	maxRows int     // of a tile
	maxCols int     // of a tile; maxCols*kc packed values stay in the second-level cache
	group   int     // panels of A packed together when A is stored transposed
	fmas    float64 // multiply-adds a cycle at best, for the cost model

	// micro computes mr rows of one panel of A by all panels of B.
	micro func(rows int, transposed bool, call *microCall)
	// packLine packs len(src) values that follow one another along k.
	packLine func(dst, src []float32)
	// packRows copies depth rows of src, ld values apart, cut in panels of
	// width columns (the last has last), to panels of dst: value (k, j) of panel
	// p goes to dst[p*panel + k*step + j], pair (k, k+1) to half of that k.
	packRows func(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int)
	// packTransposed writes value (j, k) of src to dst[k*nr + j], pairs as
	// packRows does, for nr rows j and depth columns k of src.
	packTransposed func(dst, src []float32, ld, depth int)
	// sums makes the right operands of Strassen's products: see gemm_strassen_pack.go.
	sums func(s *sumsCall)
}

// microCall is what the micro-kernels read. The assembly knows the order and
// that every field takes 8 bytes (gen/gemm.go).
type microCall struct {
	k          int      // packed values in the block
	a          *float32 // panel of A: row r, value k at r*kc + k, or k*aStep + r when packed by columns
	b          *float32 // first panel of B: value k, column j at k*nr + j
	bPanel     int      // bytes between panels of B
	panels     int      // panels of B, at least 1
	c          *float32 // C at the panel's first row and the first column
	ldc        int      // bytes between rows of C
	last       int      // columns of the last panel, 1 to nr
	accumulate int      // 1: add to C, 0: overwrite it
	bias       *float32 // of the first column, or nil
	relu       int      // 1: set negative values to 0

	// What is packed next, for the kernel to fetch while it computes: rows of
	// aheadLines cache lines, from one's end to the next's begin aheadJump bytes.
	ahead      uintptr
	aheadLines int
	aheadJump  int
	aheadOther [2]int // with each line those so many bytes on, on AVX-512
}

// block is a block of products of a tile: rows [i0, i1) and columns [j0, j1) of
// C, products [k0, k0+depth).
type block struct {
	task, worker   int
	i0, i1, j0, j1 int
	k0, depth      int
	begin, end     int       // the products of the tile: all, or a part
	final          bool      // the last block: the values of C are ready after it
	a              Matrix    // the left operand
	nextB          []float32 // the packed right operand of the next product of Strassen's
	product        int       // of the seven of Strassen's
	ending         bool      // the block's products are computed panel by panel, see endBlock
	stage          []float32 // memory for sums of rows of A: see packSumA

	// Row i of the tile is at c[(i-i0)*step], ldc values from the next.
	c         []float32
	ldc, step int
}

// tile computes one tile of C: for each block of products it packs the columns
// of B, then takes the panels of A one by one.
func (j *gemmJob) tile(task, worker int) {
	part := task / j.grid.tasks()
	t := block{task: task % j.grid.tasks(), worker: worker, end: j.k, a: j.a}
	if j.part > 0 {
		t.begin = part * j.part
		t.end = min(t.begin+j.part, j.k)
	}
	t.i0, t.i1, t.j0, t.j1 = j.grid.tile(t.task)
	call := j.callFor(&t)
	aBuf, bBuf := j.place(&t, part)
	for t.k0 = t.begin; t.k0 == t.begin || t.k0 < t.end; t.k0 += j.block { // once when k is 0
		t.depth = min(j.block, t.end-t.k0)
		t.final = t.k0+j.block >= t.end
		if t.depth > 0 {
			j.packB(bBuf, aBuf, &t)
		}
		j.blockOf(call, aBuf, bBuf, &t, j.accumulate || t.k0 > t.begin)
	}
}

// callFor returns the worker's argument of the micro-kernels, with what is the same in
// a tile's blocks.
func (j *gemmJob) callFor(t *block) *microCall {
	isa := j.isa
	call := &j.calls[t.worker].microCall
	call.bPanel = isa.kc * isa.nr * 4
	call.panels = ceilDiv(t.j1-t.j0, isa.nr)
	call.last = t.j1 - t.j0 - (call.panels-1)*isa.nr
	return call
}

// blockOf computes a block of products of a tile, or adds it to what is there. bBuf
// has the packed columns of B.
func (j *gemmJob) blockOf(call *microCall, aBuf, bBuf []float32, t *block, add bool) {
	j.setBlock(call, bBuf, t, add)
	for i, p := t.i0, 0; i < t.i1; {
		rows, count := j.group(t, i)
		j.panelsOf(call, aBuf, t, i, rows, count, p)
		i, p = i+rows*count, p+count
	}
}

// setBlock sets what is the same in all micro-tiles of a block.
func (j *gemmJob) setBlock(call *microCall, bBuf []float32, t *block, add bool) {
	call.k = ceilDiv(t.depth, j.isa.per)
	call.b = &bBuf[0]
	call.accumulate = 0
	if add {
		call.accumulate = 1
	}
	call.bias, call.relu = nil, 0
	if t.final && j.epilogue.Bias != nil {
		call.bias = &j.epilogue.Bias[t.j0]
	}
	if t.final && j.epilogue.ReLU {
		call.relu = 1
	}
}

// place says where the values of a tile go and returns the worker's memory for
// panels of A and B. A result that is not stored has room for the tile, or for
// a row of micro-tiles when one block finishes them.
func (j *gemmJob) place(t *block, part int) (aBuf, bBuf []float32) {
	if j.c != nil {
		aBuf, bBuf, _ = workBuffers(j.pool, t.worker, j.isa, 0)
		t.c, t.ldc, t.step = j.c[(part*j.m+t.i0)*j.ldc+t.j0:], j.ldc, j.ldc
		return aBuf, bBuf
	}
	rows := j.isa.mr
	t.ldc = roundUp(t.j1-t.j0, j.isa.nr)
	if j.block < j.k {
		rows, t.step = t.i1-t.i0, t.ldc
	}
	aBuf, bBuf, t.c = workBuffers(j.pool, t.worker, j.isa, rows*t.ldc)
	return aBuf, bBuf
}

// panels cuts rows [i0, i1) in panels of nearly equal height: the first high of
// them have low+1 rows, the others low.
func (j *gemmJob) panels(i0, i1 int) (panels, low, high int) {
	panels = ceilDiv(i1-i0, j.isa.mr)
	low = (i1 - i0) / panels
	return panels, low, i1 - i0 - low*panels
}

// cut returns the height of the panel that begins at row i of a tile, and how
// many of that height follow one another. With Epilogue.Place panels end with
// the rows that lie at equal distances.
func (j *gemmJob) cut(t *block, i int) (rows, equal int) {
	i0, i1 := t.i0, t.i1
	if p := j.epilogue.Place; p != nil {
		first := i - i%p.OW
		i0, i1 = max(i0, first), min(i1, first+p.OW)
	}
	_, low, high := j.panels(i0, i1)
	if tall := i0 + high*(low+1); i < tall {
		return low + 1, (tall - i) / (low + 1)
	}
	return low, (i1 - i) / low
}

// result returns C from row i and the first column of a tile on, and the
// values from that row to the next.
func (j *gemmJob) result(t *block, i int) (c []float32, ldc int) {
	if p := j.epilogue.Place; p != nil {
		return j.c[p.first(p.at(i))+t.j0:], p.Step * p.C
	}
	return t.c[(i-t.i0)*t.step:], t.ldc
}

// group returns the height of the panel that begins at row i of a tile, and how many of
// that height are packed together.
func (j *gemmJob) group(t *block, i int) (rows, count int) {
	rows, equal := j.cut(t, i)
	if j.a.Trans && j.packed == nil {
		return rows, min(j.isa.group, equal)
	}
	return rows, 1
}

// panelsOf multiplies count panels of A of equal height, the first at row i and panel p
// of the tile, by the packed columns of B.
func (j *gemmJob) panelsOf(call *microCall, aBuf []float32, t *block, i, rows, count, p int) {
	var streams [maxStreams]stream
	packed := aBuf
	if j.packed != nil {
		packed = j.packed[j.panelAt(t, p):]
	} else if t.depth > 0 {
		j.packA(aBuf, t, i, rows, count)
	}
	for g := range count {
		call.a = &packed[g*j.isa.aStep*j.isa.kc]
		c, ldc := j.result(t, i)
		call.c, call.ldc = &c[0], 4*ldc
		j.micro(call, rows, j.ahead(streams[:0], t, i, rows, g, count, p+g))
		if t.final && j.epilogue.Tile != nil {
			j.epilogue.Tile(i, rows, t.j0, t.j1-t.j0, c, ldc, t.worker)
		}
		i += rows
	}
}

// packA packs count panels of A, each of the given rows, the first at row i, for
// the block's products.
func (j *gemmJob) packA(dst []float32, t *block, i, rows, count int) {
	isa, a, depth := j.isa, &t.a, t.depth
	if a.other != nil {
		j.packSumA(dst, t, i, rows, count)
		return
	}
	if a.Trans {
		isa.packRows(dst, isa.aStep*isa.kc, isa.aStep, a.Data[t.k0*a.Stride+i:], a.Stride, depth, rows, count, rows)
		return
	}
	if a.Patches != nil {
		a.Patches.pack(isa, dst, isa.kc, a.Data, i, rows, t.k0, depth)
		return
	}
	if depth <= shortLine && isa.per == 1 {
		copyRows(isa, dst, isa.kc, isa.kc, a.Data[i*a.Stride+t.k0:], a.Stride, rows, depth)
		return
	}
	for r := range rows {
		at := (i+r)*a.Stride + t.k0
		isa.packLine(dst[r*isa.kc:], a.Data[at:at+depth])
	}
}

// packB packs the tile's columns of B for the block's products. temp is used for
// the columns of an incomplete panel. What it leaves beyond the last column is
// arbitrary: those columns are computed and never stored.
func (j *gemmJob) packB(dst, temp []float32, t *block) {
	nr, panel, b := j.isa.nr, j.isa.nr*j.isa.kc, &j.b
	k0, depth, j0, j1 := t.k0, t.depth, t.j0, t.j1
	if b.Patches != nil {
		j.packPatches(dst, temp, k0, depth, j0, j1)
		return
	}
	if !b.Trans {
		panels := ceilDiv(j1-j0, nr)
		j.isa.packRows(dst, panel, nr, b.Data[k0*b.Stride+j0:], b.Stride, depth, nr, panels, j1-j0-(panels-1)*nr)
		return
	}
	for ; j0+nr <= j1; j0 += nr {
		j.isa.packTransposed(dst, b.Data[j0*b.Stride+k0:], b.Stride, depth)
		dst = dst[panel:]
	}
	if j0 == j1 {
		return
	}
	ld := j.isa.kc * j.isa.per
	for r := range j1 - j0 {
		copy(temp[r*ld:r*ld+depth], b.Data[(j0+r)*b.Stride+k0:])
	}
	j.isa.packTransposed(dst, temp, ld, depth)
}

// workBuffers returns worker's memory for packed panels of A and of B, and room
// for extra values of C.
func workBuffers(p *pool.Pool, worker int, isa *gemmISA, extra int) (a, b, c []float32) {
	sizeA := max(isa.group*isa.aStep, isa.nr*isa.per) * isa.kc // nr rows for packB's temp
	sizeB := roundUp(isa.maxCols, isa.nr) * isa.kc
	size := sizeA + sizeB + extra
	raw := p.Scratch(worker, 4*size)
	all := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), size)
	return all[:sizeA:sizeA], all[sizeA : sizeA+sizeB : sizeA+sizeB], all[sizeA+sizeB:]
}
