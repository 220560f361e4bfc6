package kernel

// grid cuts C in tiles of at most rows x cols values; a task computes a tile.
type grid struct {
	m, n            int
	rows, cols      int  // of a tile, but for the last of each direction
	downs, acrosses int  // tiles down and across
	byRows          bool // tasks go across first
}

// tasks returns the number of tiles.
func (g grid) tasks() int { return g.downs * g.acrosses }

// tile returns the rows [i0, i1) and columns [j0, j1) of a task. Tasks that
// follow one another go down, so that they read the same columns of B while
// these are in the shared cache, or across with byRows, for the rows of A.
func (g grid) tile(task int) (i0, i1, j0, j1 int) {
	i, j := task%g.downs, task/g.downs
	if g.byRows {
		i, j = task/g.acrosses, task%g.acrosses
	}
	i0, j0 = i*g.rows, j*g.cols
	return i0, min(i0+g.rows, g.m), j0, min(j0+g.cols, g.n)
}

// planGrid chooses the grid that the model of gridCost finds fastest. Any grid
// gives the same bits.
func planGrid(isa *gemmISA, m, n, k, threads int) grid {
	maxCols := isa.maxCols
	if m <= fewRows {
		maxCols -= maxCols / 3 // room for the next block of B beside the packed one
	}
	var best grid
	bestCost := -1.0
	for downs := ceilDiv(m, isa.maxRows); ; downs++ {
		rows := ceilDiv(m, downs)
		minAcross := ceilDiv(n, maxCols)
		for across := minAcross; across <= minAcross+4*threads; across++ {
			cols := roundUp(ceilDiv(n, across), isa.nr)
			g := grid{m: m, n: n, rows: rows, cols: cols, downs: ceilDiv(m, rows), acrosses: ceilDiv(n, cols)}
			if cost := gridCost(isa, g, k, threads); bestCost < 0 || cost < bestCost {
				best, bestCost = g, cost
			}
			if cols == isa.nr {
				break
			}
		}
		if rows <= isa.mr || downs > ceilDiv(m, isa.maxRows)+4*threads {
			return best
		}
	}
}

// gridCost estimates the time of a grid in processor cycles: of the thread
// with most tiles, each of which packs its columns of B and its rows of A once
// and multiplies, and a quarter of a tile for threads that do not go at equal speed.
func gridCost(isa *gemmISA, g grid, k, threads int) float64 {
	const (
		// Cycles a value, fitted to products of the video nets on grids of all
		// shapes on two threads: more than packing alone takes, as a narrow tile
		// reads its rows of A from the shared cache for few products.
		packA, packB = 1.0, 0.8
		perTile      = 2000 // cycles
	)
	rows, cols := float64(g.rows), float64(g.cols)
	depth := float64(max(k, 16))
	tile := depth*(rows*cols/isa.fmas+rows*packA+cols*packB) + perTile
	rounds := float64(ceilDiv(g.tasks(), threads))
	if threads > 1 {
		rounds += 0.25
	}
	return rounds * tile
}

// ceilDiv returns a/b rounded up, for a >= 0 and b > 0.
func ceilDiv(a, b int) int { return (a + b - 1) / b }

// roundUp returns the smallest multiple of b that is at least a.
func roundUp(a, b int) int { return ceilDiv(a, b) * b }
