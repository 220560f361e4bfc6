package kernel

import (
	"fmt"
	"sync"
	"unsafe"

	"sdnn/nn/cpu/pool"
)

// Matrix is an operand of a product: row-major float32 values of which row i
// starts at Data[i*Stride]. Trans says that the operand is stored transposed:
// of an operand with r rows and c columns Data then holds c rows of r values.
// With Patches the operand is what those make of the images in Data.
type Matrix struct {
	Data    []float32
	Stride  int
	Trans   bool
	Patches *Patches

	// With other the operand is Data+other, or Data-other: see gemm_strassen.go.
	other []float32
	minus bool
}

// Epilogue is work done on a part of the result as soon as it is finished and
// while it is in cache. The zero value and a nil pointer do nothing.
type Epilogue struct {
	Bias []float32 // added to every row: one value a column, or nil
	ReLU bool      // then negative values become 0; NaN and -0 stay

	// Tile, when not nil, is called once for each part of the result, a
	// partition of it, after Bias and ReLU: rows [row, row+rows) and columns
	// [col, col+cols), c being the value at (row, col) and ldc the stride. It
	// runs on the pool's thread worker and must not write outside the part,
	// nor depend on how the result is cut, which follows sizes, code path and
	// number of threads.
	Tile func(row, rows, col, cols int, c []float32, ldc, worker int)

	// Place, when not nil, says where C's rows lie: row i begins at the first
	// value of window i of the images in c. ldc then is not used.
	Place *Patches

	// Beside lists matrices of C's shape, three at most, of which Tile reads or
	// changes the part that it is called for: they are fetched from memory beforehand.
	Beside []Matrix
}

// maxBeside is the number of matrices beside C at most.
const maxBeside = 3

// Gemm computes C = op(A) op(B), or C += op(A) op(B) when accumulate is set,
// and applies the epilogue. op(A) is m x k, op(B) k x n, C m x n, row-major in
// c with stride ldc. C must not overlap the operands. It panics when a slice
// is too short or a stride too small.
//
// Every value of C is a sum of blocks of gemmKC products. Inside a block the
// products are summed from 0 by fused multiply-add in ascending order of k;
// the blocks are added to C in ascending order. The bits therefore depend
// neither on the number of threads nor on the shape, and are the same on the
// AVX2 and the AVX-512 path; on the portable path they may differ, for there
// the product may be rounded before it is added.
func Gemm(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	multiply(p, gemmPaths[path], gemmKC, m, n, k, a, b, c, ldc, accumulate, e)
}

// multiply is Gemm with the inner loops of isa and blocks of the given number
// of products.
func multiply(p *pool.Pool, isa *gemmISA, block, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	j := takeJob(p.Threads())
	j.multiply(p, isa, block, m, n, k, a, b, c, ldc, accumulate, e)
	j.release()
}

// multiply computes the product, or its parts, one after the other in c.
func (j *gemmJob) multiply(p *pool.Pool, isa *gemmISA, block, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	checkGemm(m, n, k, a, b, c, ldc, accumulate, e)
	if isa.per != 1 && (a.Patches != nil || b.Patches != nil) {
		panic("kernel: GemmBF16 of patches")
	}
	if m == 0 || n == 0 {
		return
	}
	j.set(p, isa, block, m, n, k, a, b, c, ldc, accumulate, e)
	parts := 1
	if j.part > 0 {
		parts = ceilDiv(k, j.part)
	}
	j.grid = planGrid(j.isa, m, n, ceilDiv(k, parts), ceilDiv(p.Threads(), parts))
	if x := j.epilogue.Place; x != nil {
		j.grid.rows = roundUp(j.grid.rows, x.OW)
		j.grid.downs = ceilDiv(m, j.grid.rows)
	} else if j.planPacked() {
		p.Run(j.grid.downs*j.blocks(), j.runPack)
	}
	p.Run(j.grid.tasks()*parts, j.run)
}

// set sets what the product is of, once that is checked.
func (j *gemmJob) set(p *pool.Pool, isa *gemmISA, block, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	j.pool, j.isa, j.block = p, isa, block
	j.m, j.n, j.k, j.a, j.b, j.c, j.ldc, j.accumulate = m, n, k, a, b, c, ldc, accumulate
	if e != nil {
		j.epilogue = *e
	}
}

// checkGemm panics on operands that do not fit the sizes.
func checkGemm(m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	if m < 0 || n < 0 || k < 0 {
		panic(fmt.Sprintf("kernel: Gemm of sizes m=%d n=%d k=%d", m, n, k))
	}
	checkOperand("A", a, m, k)
	checkOperand("B", b, k, n)
	if e != nil && e.Place != nil {
		e.Place.check("C", c, m, n)
	} else if c != nil || e == nil || e.Tile == nil {
		checkOperand("C", Matrix{Data: c, Stride: ldc}, m, n)
	} else if accumulate {
		panic("kernel: Gemm accumulates to a C that is not stored")
	}
	if e == nil {
		return
	}
	if e.Bias != nil && len(e.Bias) < n {
		panic(fmt.Sprintf("kernel: Gemm of %d columns with %d bias values", n, len(e.Bias)))
	}
	if len(e.Beside) > maxBeside {
		panic(fmt.Sprintf("kernel: Gemm with %d matrices beside C", len(e.Beside)))
	}
	for _, x := range e.Beside {
		checkOperand("beside C", x, m, n)
	}
}

// checkOperand panics unless x can hold a matrix of the given rows and columns.
func checkOperand(name string, x Matrix, rows, cols int) {
	if x.Trans {
		rows, cols = cols, rows
	}
	if rows == 0 || cols == 0 {
		return
	}
	if x.Patches != nil {
		x.Patches.check(name, x.Data, rows, cols)
		return
	}
	if x.Stride < cols || len(x.Data) < (rows-1)*x.Stride+cols {
		panic(fmt.Sprintf("kernel: Gemm operand %s stores %d x %d values, but has stride %d and length %d",
			name, rows, cols, x.Stride, len(x.Data)))
	}
}

// gemmJob is one call of Gemm. Jobs are kept for reuse, since a call must not
// allocate and run must live on the heap.
type gemmJob struct {
	pool       *pool.Pool
	isa        *gemmISA
	grid       grid
	m, n, k    int
	block      int // products between two visits of C
	part       int // 0, or the products of a part: see GemmDeep
	a, b       Matrix
	c          []float32
	ldc        int
	accumulate bool
	strassen   bool // m, n and k are those of a quarter
	epilogue   Epilogue
	calls      []paddedCall // one for each worker
	run        func(task, worker int)
	runStrip   func(task, worker int) // see gemm_strassen.go

	// All panels of A, or nil when each tile packs those that it needs. See
	// gemm_packed.go.
	packed       []float32
	packedMemory keptMemory
	runPack      func(task, worker int)

	deep deepJob
}

// paddedCall keeps the argument blocks of two workers out of each other's
// cache lines.
type paddedCall struct {
	microCall
	strassen strassenMemory
	_        [128 - (unsafe.Sizeof(microCall{})+unsafe.Sizeof(strassenMemory{}))%128]byte
}

// freeJobs holds the jobs not in use.
var freeJobs freeList[gemmJob]

// takeJob returns a job for a pool of the given number of threads.
func takeJob(threads int) *gemmJob {
	j := freeJobs.take()
	if j == nil {
		j = &gemmJob{}
		j.run, j.runStrip, j.runPack, j.deep.run = j.tile, j.strassenStrip, j.packAll, j.deep.add
	}
	if len(j.calls) < threads {
		j.calls = make([]paddedCall, threads)
	}
	return j
}

// release gives the job back without its references to the caller's memory.
func (j *gemmJob) release() {
	clear(j.calls)
	*j = gemmJob{calls: j.calls, run: j.run, runStrip: j.runStrip, packedMemory: j.packedMemory, runPack: j.runPack, deep: deepJob{run: j.deep.run}}
	freeJobs.give(j)
}

// freeList holds what calls of a product need and none uses.
type freeList[T any] struct {
	mu   sync.Mutex
	free []*T
}

// take returns one, or nil.
func (l *freeList[T]) take() (x *T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.free) - 1; last >= 0 {
		x, l.free = l.free[last], l.free[:last]
	}
	return x
}

// give takes one back.
func (l *freeList[T]) give(x *T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, x)
}

// keptMemory is memory that is kept from call to call. It is not left to the collector: a step asks
// for more several times, and what it has outgrown would stay part of the process.
type keptMemory struct {
	floats []float32
	free   func()
}

// atLeast returns n values.
func (m *keptMemory) atLeast(n int) []float32 {
	if len(m.floats) < n {
		if m.free != nil {
			m.free()
		}
		m.floats, m.free = pool.Alloc(n)
	}
	return m.floats[:n]
}
