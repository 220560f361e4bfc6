package features

import (
	"fmt"
	"math"
)

// Subset is an ordered selection of rows of a split, ascending, and of rows derived from them (see WithDerived). It does not change and
// is safe for concurrent use.
type Subset struct {
	split *Split
	n     int
	rows  []int32 // nil: row i is i
	base  []int32 // of each derived row
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

// WithDerived returns s with rows that are in no store: whoever fills a batch makes derived row j, which has the number
// Split().Rows()+j, from the stored row base[j], one of s, and whatever else it likes. In the selection it comes behind the rows of its
// base's chunk:
//
//	chunks   [ rows of A ][ rows of B ]        [ rows of A | derived from A ][ rows of B | derived from B ]
//
// so that a Shuffle spreads derived rows like their bases, and needs no more of the store at a time. Derived rows have no id and no
// labels here; ByHash, which wants ids, comes before WithDerived.
func (s *Subset) WithDerived(base []int32) *Subset {
	first := s.split.Rows()
	if s.base != nil || len(base) > math.MaxInt32-first {
		panic(fmt.Sprintf("features: %d rows derived from %d, %d of which are", len(base), first, len(s.base)))
	}
	derived := map[int][]int32{} // by chunk
	for j, b := range base {
		c := s.split.chunkOf(int(b))
		derived[c] = append(derived[c], int32(first+j))
	}
	d := &Subset{split: s.split, n: s.n + len(base), rows: make([]int32, 0, s.n+len(base)), base: base}
	chunks, spans := s.spans()
	for k, c := range chunks {
		for i := spans[k]; i < spans[k+1]; i++ {
			d.rows = append(d.rows, int32(s.Row(i)))
		}
		d.rows = append(d.rows, derived[c]...)
	}
	if len(d.rows) != d.n {
		panic("features: WithDerived: a base is no row of the subset")
	}
	return d
}

// home returns the chunk of a row, of a derived one that of its base.
func (s *Subset) home(row int) int {
	if first := s.split.Rows(); row >= first {
		row = int(s.base[row-first])
	}
	return s.split.chunkOf(row)
}

// Split returns the split that s selects from.
func (s *Subset) Split() *Split { return s.split }

// Rows returns the number of rows selected.
func (s *Subset) Rows() int { return s.n }

// Row returns the row of the split at position i of the selection, or the number of a derived row.
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
		c := s.home(s.Row(i))
		chunks, spans = append(chunks, c), append(spans, i)
		if s.rows == nil {
			i = min(s.split.starts[c+1], s.n)
			continue
		}
		for i < s.n && s.home(int(s.rows[i])) == c {
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
