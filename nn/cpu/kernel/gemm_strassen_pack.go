package kernel

// The right operands of the seven products are made together, so that B is read
// once: gemmISA.sums adds the values of the four quarters, panel by panel.

// sumsCall is what gemmISA.sums reads. The assembly knows the order and that every
// field takes 8 bytes (gen/strassen.go).
type sumsCall struct {
	x       [4]*float32 // values of the quarters 11, 12, 21, 22
	panels  int         // groups of nr values, at least 1
	dst     *float32    // of the first product
	product int         // bytes from one product's values to the next one's
	step    int         // bytes from one group to the next, in dst
	ahead   int         // bytes from what is read to what is fetched
}

const (
	// sumsAhead is the number of rows of B from what is read to what is fetched.
	sumsAhead = 8

	// sumsDepth is the number of products of a transposed B that are summed before
	// they are transposed, in the first-level cache, and sumsStride what a row of
	// them takes: rows of a power of two would share their places in it.
	sumsDepth  = 64
	sumsStride = sumsDepth + 16
)

// packStrassenB packs a part of a block of the right operands of all products,
// products [k0, k1): piece of the given number of pieces.
func (j *gemmJob) packStrassenB(dst []float32, w *strassenMemory, t *block, k0, k1, piece, pieces int) {
	if j.b.Trans {
		j.packStrassenTransposed(dst, w, t, k0, k1, piece, pieces)
		return
	}
	nr, stride := j.isa.nr, j.b.Stride
	begin, end := (k1-k0)*piece/pieces, (k1-k0)*(piece+1)/pieces
	s := &w.sums7
	s.product, s.step, s.ahead = 4*w.sizeB, 4*nr*j.isa.kc, 4*sumsAhead*stride
	for k := begin; k < end; k++ {
		j.sums(w, (k0+k)*stride+t.j0, t.j1-t.j0, dst[k*nr:])
	}
}

// packStrassenTransposed is packStrassenB for a transposed B, of which a piece is a
// number of panels.
func (j *gemmJob) packStrassenTransposed(dst []float32, w *strassenMemory, t *block, k0, k1, piece, pieces int) {
	isa, nr, stride, width := j.isa, j.isa.nr, j.b.Stride, t.j1-t.j0
	panels := ceilDiv(width, nr)
	size := nr*sumsStride + cacheLine/4
	s := &w.sums7
	s.product, s.step, s.ahead = 4*size, 4*nr, 4*sumsDepth
	for p := panels * piece / pieces; p < panels*(piece+1)/pieces; p++ {
		for k := k0; k < k1; k += sumsDepth {
			depth := min(sumsDepth, k1-k)
			for r := range min(nr, width-p*nr) {
				j.sums(w, (t.j0+p*nr+r)*stride+k, depth, w.stage[r*sumsStride:])
			}
			for q := range strassen {
				isa.packTransposed(dst[q*w.sizeB+p*nr*isa.kc+(k-k0)*nr:], w.stage[q*size:], sumsStride, depth)
			}
		}
	}
}

// sumsStage returns the values of strassenMemory.stage.
func (j *gemmJob) sumsStage() int { return len(strassen) * (j.isa.nr*sumsStride + cacheLine/4) }

// sums makes n values of each product's right operand from those of the quarters of B
// from index at on. dst is the first product's place.
func (j *gemmJob) sums(w *strassenMemory, at, n int, dst []float32) {
	s, nr := &w.sums7, j.isa.nr
	s.panels, s.dst = n/nr, &dst[0]
	for i := range s.x {
		s.x[i] = &w.quarters[i][at]
	}
	if s.panels > 0 {
		j.isa.sums(s)
	}
	for i := s.panels * nr; i < n; i++ {
		to := s.panels*s.step/4 + i - s.panels*nr
		sevenSums(&dst[to], s.product/4, w.quarters[0][at+i], w.quarters[1][at+i], w.quarters[2][at+i], w.quarters[3][at+i])
	}
}

// sevenSums sets the values of the seven right operands, product values apart.
func sevenSums(dst *float32, product int, x00, x01, x10, x11 float32) {
	for q, v := range [...]float32{x00 + x11, x00, x01 - x11, x10 - x00, x11, x00 + x01, x10 + x11} {
		*after(dst, q*product) = v
	}
}

// sumsPortable is gemmISA.sums of panels of nr values.
func sumsPortable(nr int, s *sumsCall) {
	for p := range s.panels {
		dst := after(s.dst, p*s.step/4)
		for i := range nr {
			from := func(q int) float32 { return *after(s.x[q], p*nr+i) }
			sevenSums(after(dst, i), s.product/4, from(0), from(1), from(2), from(3))
		}
	}
}
