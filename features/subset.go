package features

import (
	"fmt"
	"math"
)

// Subset is an ordered selection of rows of a split, ascending. It does not change and is safe for concurrent use.
type Subset struct {
	split *Split
	n     int
	rows  []int32 // nil: row i is i
}

// All returns all rows of p.
func All(p *Split) *Subset { return &Subset{split: p, n: p.Rows()} }

// Head returns the first n rows of s, or all if it has fewer.
func (s *Subset) Head(n int) *Subset {
	if n < 0 {
		panic(fmt.Sprintf("features: Head of %d rows", n))
	}
	h := *s
	h.n = min(n, s.n)
	if s.rows != nil {
		h.rows = s.rows[:h.n:h.n]
	}
	return &h
}

// ByHash parts s by a hash of the ids: held gets about fraction (0 to 1) of the rows, rest the others. A row's part depends only on
// its id, fraction and seed, so that equal ids stay together and more data does not move old rows. It reads all ids, so it checks
// all chunks.
//
// A row is held if (h >> 11) / 2^53 < fraction with h = mix(fnv(id) ^ mix(seed)); fnv is 64-bit FNV-1a, mix the output function of
// SplitMix64 (see Order).
func (s *Subset) ByHash(fraction float64, seed uint64) (rest, held *Subset, err error) {
	if !(fraction >= 0 && fraction <= 1) {
		return nil, nil, fmt.Errorf("a fraction of %v of the rows: expected 0 to 1", fraction)
	}
	if err := s.split.CheckAll(); err != nil {
		return nil, nil, err
	}
	rest = &Subset{split: s.split, rows: make([]int32, 0, s.n)}
	held = &Subset{split: s.split, rows: make([]int32, 0, int(math.Ceil(float64(s.n)*fraction)))}
	key := mix(seed)
	for i := range s.n {
		row := s.Row(i)
		part := rest
		if h := mix(fnv1a(s.split.ID(row)) ^ key); float64(h>>11)/(1<<53) < fraction {
			part = held
		}
		part.rows = append(part.rows, int32(row))
	}
	rest.n, held.n = len(rest.rows), len(held.rows)
	return rest, held, nil
}

// Split returns the split that s selects from.
func (s *Subset) Split() *Split { return s.split }

// Rows returns the number of rows selected.
func (s *Subset) Rows() int { return s.n }

// Row returns the row of the split at position i of the selection.
func (s *Subset) Row(i int) int {
	if uint(i) >= uint(s.n) {
		panic(fmt.Sprintf("features: position %d of %d", i, s.n))
	}
	if s.rows == nil {
		return i
	}
	return int(s.rows[i])
}

// spans returns the positions of s in each chunk that has any: spans[k] to spans[k+1], in chunk chunks[k].
func (s *Subset) spans() (chunks, spans []int) {
	for i := 0; i < s.n; {
		c := s.split.chunkOf(s.Row(i))
		chunks, spans = append(chunks, c), append(spans, i)
		end := s.split.starts[c+1]
		if s.rows == nil {
			i = min(end, s.n)
			continue
		}
		for i < s.n && int(s.rows[i]) < end {
			i++
		}
	}
	return chunks, append(spans, s.n)
}

func fnv1a(p []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range p {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
