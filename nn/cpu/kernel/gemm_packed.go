package kernel

// Where many tiles lie beside one another, each row of A is packed as many
// times. Then A is better packed once, before all tiles:
//
//	packed: block of products 0            block 1
//	        rows of tiles 0 | 1 | ...      0 | 1 | ...
//	        panel 0 | 1 | ...              of mr x kc values, or kc x aStep
//
// The tiles read it from memory or the cache that all cores share, each panel
// fetched while the one before it is multiplied. Tasks then go across, so that
// a row of tiles reads the same part of A.
const packedTiles = 6 // tiles beside one another from which packing once pays

// GemmPacked is the number of values of 4 bytes, 96 MB, that a product keeps a
// packed operand in at most. The memory stays for later products.
const GemmPacked = 24 << 20

// blocks returns the number of blocks of products.
func (j *gemmJob) blocks() int { return ceilDiv(j.k, j.block) }

// panelSize returns the values from one packed panel of A to the next.
func (j *gemmJob) panelSize() int {
	if j.a.Trans {
		return j.isa.aStep * j.isa.kc
	}
	return j.isa.mr * j.isa.kc
}

// planPacked decides whether A is packed once, and has the memory for it.
func (j *gemmJob) planPacked() bool {
	g := &j.grid
	size := j.blocks() * g.downs * ceilDiv(g.rows, j.isa.mr) * j.panelSize()
	if j.strassen {
		size *= len(strassen)
	}
	if g.acrosses < packedTiles || size > GemmPacked || size == 0 {
		return false
	}
	j.packed = j.packedMemory.atLeast(size)
	g.byRows = true
	return true
}

// panelAt returns where panel p of the tile and block t is in packed.
func (j *gemmJob) panelAt(t *block, p int) int {
	perTile := ceilDiv(j.grid.rows, j.isa.mr)
	return (((t.product*j.blocks()+t.k0/j.block)*j.grid.downs+t.i0/j.grid.rows)*perTile + p) * j.panelSize()
}

// packAll packs the panels of A of one row of tiles and one block of products.
func (j *gemmJob) packAll(task, worker int) {
	t := block{a: j.a}
	task, t.k0 = task/j.blocks(), task%j.blocks()*j.block
	t.product, t.i0 = task/j.grid.downs, task%j.grid.downs*j.grid.rows
	t.depth = min(j.block, j.k-t.k0)
	t.i1 = min(t.i0+j.grid.rows, j.m)
	if j.strassen {
		t.a = j.strassenA(t.product)
		_, _, t.stage = workBuffers(j.pool, worker, j.isa, j.stageSize())
	}
	for i, p := t.i0, 0; i < t.i1; {
		rows, count := j.cut(&t, i)
		if j.a.Trans {
			count = min(count, j.isa.group)
		} else {
			count = 1
		}
		j.packA(j.packed[j.panelAt(&t, p):], &t, i, rows, count)
		i, p = i+rows*count, p+count
	}
}

// aheadPacked is panel p of A, of the given rows. A panel past the last does
// no harm.
func (j *gemmJob) aheadPacked(t *block, p, rows int) stream {
	at := j.panelAt(t, p)
	units := ceilDiv(t.depth, j.isa.per)
	if j.a.Trans {
		return stream{x: Matrix{Data: j.packed}, start: at, width: units * j.isa.aStep, rows: 1}
	}
	return stream{x: Matrix{Data: j.packed, Stride: j.isa.kc}, start: at, width: units, rows: rows}
}
