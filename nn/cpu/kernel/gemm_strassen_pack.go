package kernel

// The right operands of the seven products are made together, so that B is read
// once: gemmISA.sums adds the values of the four quarters, in a panel row after row.

// sumsCall is what gemmISA.sums reads. The assembly knows the order and that every
// field takes 8 bytes (gen/strassen.go).
type sumsCall struct {
	x       [4]*float32 // values of the quarters 11, 12, 21, 22
	stepX   int         // bytes from one group of nr values to the next, in x
	groups  int         // at least 1
	dst     *float32    // of the first product
	product int         // bytes from one product's values to the next one's
	step    int         // bytes from one group to the next, in dst
	ahead   int         // bytes from what is read to what is fetched
}

const (
	// sumsRows is the number of rows of B that are summed panel by panel: a row's panels, which lie a
	// multiple of 4 KB apart in memory, share their places in the first-level cache, and written one
	// after the other they would drive each other out. The rows after them are fetched meanwhile.
	sumsRows = 8

	// sumsDepth is the number of products of a transposed B that are transposed before
	// they are summed, in the first-level cache.
	sumsDepth = 32
)

// packStrassenB packs a part of a block of the right operands of all products,
// products [k0, k1): piece of the given number of pieces.
func (j *gemmJob) packStrassenB(dst []float32, w *strassenMemory, t *block, k0, k1, piece, pieces int) {
	if j.b.Trans {
		j.packStrassenTransposed(dst, w, t, k0, k1, piece, pieces)
		return
	}
	isa, nr, stride, width := j.isa, j.isa.nr, j.b.Stride, t.j1-t.j0
	begin, end := (k1-k0)*piece/pieces, (k1-k0)*(piece+1)/pieces
	s := &w.sums7
	s.product, s.stepX, s.step, s.ahead = 4*w.sizeB, 4*stride, 4*nr, 4*sumsRows*stride
	for k := begin; k < end; k += sumsRows {
		s.groups = min(sumsRows, end-k)
		at := (k0+k)*stride + t.j0
		for p := 0; p < width/nr; p++ {
			s.dst = &dst[p*nr*isa.kc+k*nr]
			for q := range s.x {
				s.x[q] = &w.quarters[q][at+p*nr]
			}
			isa.sums(s)
		}
		for i := width / nr * nr; i < width; i++ {
			for r := range s.groups {
				from := at + r*stride + i
				to := &dst[i/nr*nr*isa.kc+(k+r)*nr+i%nr]
				sevenSums(to, w.sizeB, w.quarters[0][from], w.quarters[1][from], w.quarters[2][from], w.quarters[3][from])
			}
		}
	}
}

// packStrassenTransposed is packStrassenB for a transposed B, of which a piece is a
// number of panels: the four quarters' parts are transposed, and then added.
func (j *gemmJob) packStrassenTransposed(dst []float32, w *strassenMemory, t *block, k0, k1, piece, pieces int) {
	isa, nr := j.isa, j.isa.nr
	panels := ceilDiv(t.j1-t.j0, nr)
	s := &w.sums7
	s.product, s.stepX, s.step, s.ahead = 4*w.sizeB, 4*nr, 4*nr, 0
	for p := panels * piece / pieces; p < panels*(piece+1)/pieces; p++ {
		for k := k0; k < k1; k += sumsDepth {
			depth := min(sumsDepth, k1-k)
			nextP, nextK := p, k+depth
			if nextK == k1 {
				nextP, nextK = p+1, k0
			}
			for q := range w.quarters {
				j.fetchPanel(w, q, t.j0+nextP*nr, min(nr, t.j1-t.j0-nextP*nr), nextK)
				to := w.stage[q*sumsDepth*nr:]
				j.transposePanel(to, w, q, t.j0+p*nr, min(nr, t.j1-t.j0-p*nr), k, depth)
				s.x[q] = &to[0]
			}
			s.groups, s.dst = depth, &dst[p*nr*isa.kc+(k-k0)*nr]
			isa.sums(s)
		}
	}
}

// fetchPanel fetches what transposePanel reads.
func (j *gemmJob) fetchPanel(w *strassenMemory, q, col, cols, k int) {
	if cols > 0 {
		part := stream{x: Matrix{Data: w.quarters[q], Stride: j.b.Stride}, start: col*j.b.Stride + k, width: sumsDepth, rows: cols}
		part.fetch(0, 1, 1)
	}
}

// transposePanel packs a panel of quarter q, columns [col, col+cols) and products
// [k, k+depth), of a transposed B. What it leaves beyond the columns is arbitrary.
func (j *gemmJob) transposePanel(to []float32, w *strassenMemory, q, col, cols, k, depth int) {
	nr, stride := j.isa.nr, j.b.Stride
	from := w.quarters[q][col*stride+k:]
	if cols < nr {
		temp := w.stage[len(w.quarters)*sumsDepth*nr:]
		for r := range cols {
			copy(temp[r*sumsDepth:][:depth], from[r*stride:])
		}
		from, stride = temp, sumsDepth
	}
	j.isa.packTransposed(to, from, stride, depth)
}

// sumsStage returns the values of strassenMemory.stage: a part of a panel of each
// quarter, and of the rows of one.
func (j *gemmJob) sumsStage() int { return (len(strassenMemory{}.quarters) + 1) * sumsDepth * j.isa.nr }

// sevenSums sets the values of the seven right operands, product values apart.
func sevenSums(dst *float32, product int, x00, x01, x10, x11 float32) {
	for q, v := range [...]float32{x00 + x11, x00, x01 - x11, x10 - x00, x11, x00 + x01, x10 + x11} {
		*after(dst, q*product) = v
	}
}

// sumsPortable is gemmISA.sums of panels of nr values.
func sumsPortable(nr int, s *sumsCall) {
	for p := range s.groups {
		dst := after(s.dst, p*s.step/4)
		for i := range nr {
			from := func(q int) float32 { return *after(s.x[q], p*s.stepX/4+i) }
			sevenSums(after(dst, i), s.product/4, from(0), from(1), from(2), from(3))
		}
	}
}
