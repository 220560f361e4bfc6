package kernel

import (
	"unsafe"

	"sdnn/nn/cpu/pool"
)

// A product that skips the zeros of A takes a row of C at a time: its sums stay in registers while it adds,
// for each value of A's row that is not zero, that value times a row of B:
//
//	                       96 columns of B
//	list of a row of A   +----------------+
//	  x0, place 0    --> |                |
//	  x1, place 3    --> | panel: 64 rows |   sums of a row of C: 12 vectors
//	  x2, place 4    --> | of B, in L1    |   in registers
//	                     +----------------+
//
// The lists are made once, before the tiles. A tile is up to sparseTall rows by a panel's columns. It packs B's
// panels one after the other and goes over all its rows with each; the sums of a
// block of gemmKC products wait in the L2 cache in between, and are added to C when the block ends: the order is Gemm's.
// A multiply-add loads its row of B, so the kernel is bound by two loads a cycle, where that of Gemm does two
// multiply-adds a cycle on 8 loads for 12: skipping pays from two fifths of zeros on.
const (
	sparseDepth = 64  // products of a panel of B: 64 x 96 values stay in the first-level cache
	sparseCols  = 96  // columns of a panel of B
	sparseGroup = 64  // rows whose lists lie together
	sparseTall  = 384 // rows of a tile at most, a multiple of sparseGroup: their sums stay in the second-level cache
	sparseShort = 16  // rows of a short tile between two fetches of a part of the next panel
)

// sparseCall is what the kernel reads. The assembly knows the order and that
// every field takes 8 bytes (gen/sparse.go).
type sparseCall struct {
	rows       int
	values     *float32 // of the rows of A, one row after the other, an even number of each
	places     *uint16  // of their rows in the panel of B, in bytes
	ends       *uint32  // of each row: values to its end
	begin      int      // the first row's value
	panel      *float32 // of B: value k, column j at k*sparseCols + j
	sums       *float32 // of each row, sparseCols values, between the panels of a block of the sum
	first      int      // 1: a block begins, sums are 0
	last       int      // 1: a block ends, its sums go to C
	c          *float32
	ldc        int // bytes between rows of C
	accumulate int // 1: add to C, 0: overwrite it
	bias       *float32
	relu       int
}

// sparseJob is one call of GemmSparse, kept for reuse as a gemmJob is.
type sparseJob struct {
	pool        *pool.Pool
	turned      bool // B's zeros are skipped: the operands are exchanged, and C's tiles computed transposed
	m, n, k     int
	a, b        Matrix
	c           []float32
	ldc         int
	accumulate  bool
	epilogue    Epilogue
	tall, downs int // rows of a tile, tiles below one another
	calls       []paddedSparse

	lists  lists // of the whole A
	memory keptMemory

	runLists, run func(task, worker int)
}

// paddedSparse keeps the argument blocks of two workers out of each other's
// cache lines.
type paddedSparse struct {
	sparseCall
	_ [128 - unsafe.Sizeof(sparseCall{})%128]byte
}

// freeSparse holds the jobs not in use.
var freeSparse freeList[sparseJob]

// takeSparse returns a job for a pool of the given number of threads.
func takeSparse(threads int) *sparseJob {
	j := freeSparse.take()
	if j == nil {
		j = &sparseJob{}
		j.run, j.runLists = j.tile, j.listRows
	}
	if len(j.calls) < threads {
		j.calls = make([]paddedSparse, threads)
	}
	return j
}

// release gives the job back without its references to the caller's memory.
func (j *sparseJob) release() {
	clear(j.calls)
	*j = sparseJob{calls: j.calls, run: j.run, runLists: j.runLists, memory: j.memory}
	freeSparse.give(j)
}

// multiply computes the product, A, or B when j.turned is set, being the operand with zeros.
func (j *sparseJob) multiply(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	j.pool, j.m, j.n, j.k, j.a, j.b, j.c, j.ldc, j.accumulate = p, m, n, k, a, b, c, ldc, accumulate
	if e != nil {
		j.epilogue = *e
	}
	if j.turned {
		j.m, j.n = n, m
		j.a, j.b = Matrix{Data: b.Data, Stride: b.Stride, Trans: !b.Trans}, Matrix{Data: a.Data, Stride: a.Stride, Trans: !a.Trans}
	}
	groups, acrosses := ceilDiv(j.m, sparseGroup), ceilDiv(j.n, sparseCols)
	parts := ceilDiv(j.m, sparseTall)
	for parts*acrosses < 4*p.Threads() && parts < groups {
		parts++
	}
	j.tall = ceilDiv(groups, parts) * sparseGroup
	j.downs = ceilDiv(j.m, j.tall)
	j.reserve()
	p.Run(groups*ceilDiv(k, gemmKC), j.runLists)
	p.Run(j.downs*acrosses, j.run)
}

// lists are what is not zero in groups of sparseGroup rows by sparseDepth products: row by row the
// values, where their rows of the panel of B begin, in bytes, and of each row the number of values
// to its end. A row has an even number, for the kernel takes two at a time: the last may be a 0.
type lists struct {
	values []float32
	places []uint16
	ends   []uint32
}

const (
	listValues = sparseGroup * sparseDepth
	// sparseListSize is the size of a list in values of 4 bytes.
	sparseListSize = listValues + listValues/2 + sparseGroup
)

// sparseMost is the size of all lists of an operand at most, 48 MB. The memory stays for later products.
const sparseMost = 12 << 20

// sparseLists returns the number of lists of m rows of k products.
func sparseLists(m, k int) int { return ceilDiv(m, sparseGroup) * ceilDiv(k, sparseDepth) }

// reserve has the memory for all lists.
func (j *sparseJob) reserve() {
	n := sparseLists(j.m, j.k)
	memory := j.memory.atLeast(n * sparseListSize)
	all := unsafe.Pointer(unsafe.SliceData(memory))
	j.lists.values = memory[:n*listValues]
	j.lists.places = unsafe.Slice((*uint16)(unsafe.Add(all, 4*n*listValues)), n*listValues)
	j.lists.ends = unsafe.Slice((*uint32)(unsafe.Add(all, 6*n*listValues)), n*sparseGroup)
}

// list returns the list of a group of rows for products part*sparseDepth on.
func (j *sparseJob) list(group, part int) lists {
	i := part*ceilDiv(j.m, sparseGroup) + group
	lo, hi := i*listValues, (i+1)*listValues
	return lists{j.lists.values[lo:hi], j.lists.places[lo:hi], j.lists.ends[i*sparseGroup : (i+1)*sparseGroup]}
}

// listRows lists what is not zero in a group of rows, for a block of the sum.
func (j *sparseJob) listRows(task, worker int) {
	groups := ceilDiv(j.m, sparseGroup)
	group, k0 := task%groups, task/groups*gemmKC
	i0 := group * sparseGroup
	i1 := min(i0+sparseGroup, j.m)
	for k := k0; k < min(k0+gemmKC, j.k); k += sparseDepth {
		depth := min(sparseDepth, j.k-k)
		var rows []float32
		ld := j.a.Stride
		if j.a.Trans {
			rows, ld = floats(j.pool.Scratch(worker, 4*listValues)), sparseDepth
			transposeTo(rows, ld, j.a.Data[k*j.a.Stride+i0:], j.a.Stride, depth, i1-i0)
		} else {
			rows = j.a.Data[i0*j.a.Stride+k:]
		}
		l, n := j.list(group, k/sparseDepth), 0
		for i := range i1 - i0 {
			n = l.add(n, rows[i*ld:i*ld+depth])
			l.ends[i] = uint32(n)
		}
	}
}

// add appends what is not zero in row, at most sparseDepth values, to the n values that there are, and
// returns the new number.
func (l *lists) add(n int, row []float32) int {
	values, places := l.values, l.places[:len(l.values)]
	at := uint16(0)
	for _, x := range row {
		values[n], places[n] = x, at
		at += 4 * sparseCols
		n += notZero(x)
	}
	if n%2 != 0 {
		values[n], places[n] = 0, 0
		n++
	}
	return n
}

// floats returns memory as values.
func floats(raw []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/4)
}

// transposeTo writes value (j, k) of src to dst[k*ldDst + j], for rows j and depth columns k.
func transposeTo(dst []float32, ldDst int, src []float32, ld, rows, depth int) {
	j := 0
	for ; j+8 <= rows; j += 8 {
		transpose8(dst[j:], ldDst, src[j*ld:], ld, depth)
	}
	for ; j < rows; j++ {
		for k, x := range src[j*ld : j*ld+depth] {
			dst[k*ldDst+j] = x
		}
	}
}
