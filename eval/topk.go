package eval

import (
	"math"
	"slices"
	"unsafe"
)

// A ranked key orders (score, class) pairs so that ascending keys are descending
// scores, and ascending classes among equal scores:
//
//	 63                  32 31              0
//	+----------------------+----------------+
//	| descending score key |     class      |
//	+----------------------+----------------+
type rankedKey = uint64

// descending maps a score that is not NaN to a key that orders the other way
// round; -0 and +0 share a key.
func descending(score float32) uint32 {
	b := math.Float32bits(score + 0) // -0 + 0 = +0
	if b>>31 == 0 {
		return ^(b | 1<<31)
	}
	return b
}

// ascendingScore is the inverse of descending.
func ascendingScore(key uint32) float32 {
	if key>>31 == 0 {
		return math.Float32frombits(^key &^ (1 << 31))
	}
	return math.Float32frombits(key)
}

func makeKey(score float32, class int) rankedKey {
	return uint64(descending(score))<<32 | uint64(uint32(class))
}

func keyScore(k rankedKey) float32 { return ascendingScore(uint32(k >> 32)) }
func keyClass(k rankedKey) int     { return int(uint32(k)) }

// selectBlock is the number of scores whose maximum is taken together. Smaller
// blocks give a closer first threshold, larger ones fewer maxima to rank; 32 is
// the best of 16, 32 and 64 for 20 of 3862.
const selectBlock = 32

// selector picks the k best of a row. Its buffers are reused; one selector serves
// one goroutine.
type selector struct {
	maxima []uint32    // maximum of each block, as float bits
	best   []uint32    // the k largest maxima, descending
	cand   []rankedKey // candidates, at most candidateRoom(k)
}

// candidateRoom is how many candidates may wait before they are cut back to k.
func candidateRoom(k int) int { return 4*k + 32 }

// top returns the keys of the min(k, len(row)) best scores, best first, valid until
// the next call. bad is the index of the first NaN, or -1; with a NaN there is no
// ranking.
//
// Rows without negative scores (probabilities) take two passes: the first finds
// every block's maximum, without branches; the k-th largest maximum bounds the
// k-th largest score from below, so the second pass visits only the about k blocks
// that reach it.
func (s *selector) top(row []float32, k int) (keys []rankedKey, bad int) {
	k = min(k, len(row))
	if need := candidateRoom(k); cap(s.cand) < need {
		s.cand = make([]rankedKey, 0, need)
	}
	s.cand = s.cand[:0]
	if len(row) >= 2*selectBlock*k {
		if bound, ok := s.bound(row, k); ok {
			s.gather(row, k, bound)
			return s.rank(k), -1
		}
	}
	if bad := s.scan(row, k); bad >= 0 {
		return nil, bad
	}
	return s.rank(k), -1
}

// bound returns the bits of a score that at least k scores of the row reach. ok is
// false when the row holds a negative number or a NaN, whose bits do not order as
// the numbers do.
func (s *selector) bound(row []float32, k int) (bits uint32, ok bool) {
	blocks := (len(row) + selectBlock - 1) / selectBlock
	if cap(s.maxima) < blocks {
		s.maxima = make([]uint32, blocks)
	}
	s.maxima = s.maxima[:blocks]
	if cap(s.best) < k {
		s.best = make([]uint32, 0, k)
	}
	best := s.best[:0]
	all := floatBits(row)
	for b := range s.maxima {
		m := blockMax(all[b*selectBlock : min((b+1)*selectBlock, len(all))])
		s.maxima[b] = m
		if m > infinityBits {
			return 0, false
		}
		if len(best) == k {
			if m <= best[k-1] {
				continue
			}
			best = best[:k-1]
		}
		i := len(best)
		best = append(best, m)
		for ; i > 0 && best[i-1] < m; i-- {
			best[i] = best[i-1]
		}
		best[i] = m
	}
	return best[k-1], true
}

// infinityBits are the bits of +Inf: greater bits are NaN or have the sign set.
const infinityBits = 0x7f800000

// blockMax returns the largest of the bit patterns. Four chains of conditional
// moves keep the loop free of branches and of long dependencies.
func blockMax(block []uint32) uint32 {
	var a, b, c, d uint32
	for len(block) >= 8 {
		v := (*[8]uint32)(block)
		a = max(a, v[0])
		b = max(b, v[1])
		c = max(c, v[2])
		d = max(d, v[3])
		a = max(a, v[4])
		b = max(b, v[5])
		c = max(c, v[6])
		d = max(d, v[7])
		block = block[8:]
	}
	for _, v := range block {
		a = max(a, v)
	}
	return max(a, b, c, d)
}

// floatBits views scores as their bit patterns: loading floats and moving each to
// an integer register takes twice as long.
func floatBits(s []float32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
}

// gather collects the candidates of the blocks whose maximum reaches bound.
func (s *selector) gather(row []float32, k int, bound uint32) {
	limit := math.Float32frombits(bound)
	for b, m := range s.maxima {
		if m < bound {
			continue
		}
		from := b * selectBlock
		block := row[from:min(from+selectBlock, len(row))]
		for i, v := range block {
			if v < limit {
				continue
			}
			s.cand = append(s.cand, makeKey(v, from+i))
			if len(s.cand) == cap(s.cand) {
				limit = s.cut(k)
			}
		}
	}
}

// scan collects candidates from every score of the row, of any sign. It returns
// the index of the first NaN or -1.
func (s *selector) scan(row []float32, k int) (bad int) {
	limit := float32(math.Inf(-1))
	for i, v := range row {
		if v < limit {
			continue // a NaN is not less than anything and goes on
		}
		if v != v {
			return i
		}
		s.cand = append(s.cand, makeKey(v, i))
		if len(s.cand) == cap(s.cand) {
			limit = s.cut(k)
		}
	}
	return -1
}

// cut keeps the k best candidates and returns the least score that can still
// enter: the one above the k-th, since of equal scores the later class loses. (Above
// +Inf there is none; the NaN that stands for it lets everything pass, to be cut
// the next time.)
func (s *selector) cut(k int) float32 {
	slices.Sort(s.cand)
	s.cand = s.cand[:k]
	return ascendingScore(uint32(s.cand[k-1]>>32) - 1)
}

// rank sorts the candidates and returns the best k.
func (s *selector) rank(k int) []rankedKey {
	slices.Sort(s.cand)
	return s.cand[:min(k, len(s.cand))]
}
