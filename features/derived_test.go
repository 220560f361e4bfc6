package features

import (
	"slices"
	"testing"
)

// TestDerivedRows: a shuffle visits derived rows once an epoch, in the window of their base's chunk.
func TestDerivedRows(t *testing.T) {
	for name, s := range subsets(t) {
		var base []int32
		for i := s.Rows() - 1; i >= 0; i -= 3 { // in no order of chunks, and some twice
			base = append(base, int32(s.Row(i)), int32(s.Row(i/2)))
		}
		first := s.Split().Rows()
		d := s.WithDerived(base)
		want := rowsOfSubset(s)
		for j := range base {
			want = append(want, first+j)
		}
		for _, o := range []*Order{Sequential(d), NewShuffle(d, 40, 1).Epoch(0), NewShuffle(d, 10000, 1).Epoch(2)} {
			got := rowsOf(o)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: rows %v, want %v", name, got, want)
			}
		}
		chunk := func(row int) int {
			if row >= first {
				row = int(base[row-first])
			}
			return s.split.chunkOf(row)
		}
		var seen []int
		for _, row := range rowsOf(NewShuffle(d, 1, 7).Epoch(1)) { // windows of one row: chunks are as they come
			if c := chunk(row); len(seen) == 0 || seen[len(seen)-1] != c {
				seen = append(seen, c)
			}
		}
		slices.Sort(seen)
		if len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Errorf("%s: the rows of a chunk are apart: %v", name, seen)
		}
	}
}

func TestDerivedFromAStranger(t *testing.T) {
	s := subsets(t)["head"]
	defer func() {
		if recover() == nil {
			t.Error("a row derived from one that is not selected")
		}
	}()
	s.WithDerived([]int32{int32(s.Split().Rows() - 1)})
}
