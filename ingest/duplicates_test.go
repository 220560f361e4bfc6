package ingest

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPairs compares the partitioned search with a map, for sizes around a block
// and for one part and many.
func TestPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 1000, hashBlock, hashBlock + 1, 2 * hashBlock} {
		var l hashList
		all := make([]uint64, n)
		for i := range all {
			all[i] = r.Uint64()
			if i > 0 && r.IntN(100) == 0 {
				all[i] = all[r.IntN(i)]
			}
		}
		for rest := all; len(rest) > 0; {
			k := min(len(rest), 1+r.IntN(300))
			l.add(rest[:k])
			rest = rest[k:]
		}
		var want []pair
		first := map[uint64]int{}
		for i, h := range all {
			if f, ok := first[h]; ok {
				want = append(want, pair{f, i})
			} else {
				first[h] = i
			}
		}
		for _, part := range []int{1 << 20, 1 << 12} {
			if got := l.pairs(part); !slices.Equal(got, want) {
				t.Errorf("%d hashes in parts of %d: %d pairs, want %d", n, part, len(got), len(want))
			}
		}
	}
}

func TestDuplicates(t *testing.T) {
	dir := t.TempDir()
	a := append(ids("a", 30), "twice")
	b := append([]string{"b0", "a0007"}, ids("b", 27)...)
	c := []string{"twice", "c1", "twice"}
	shard(t, filepath.Join(dir, "a.tfrecord"), a...)
	shard(t, filepath.Join(dir, "b.tfrecord"), b...)
	shard(t, filepath.Join(dir, "b1.tfrecord"))
	shard(t, filepath.Join(dir, "c.tfrecord"), c...)
	var got []string
	res, err := YT8M(context.Background(), Options{Paths: []string{dir}, Out: filepath.Join(dir, "store"), Split: "train", Classes: 50, chunkRows: 8,
		Warn: func(w Warning) {
			if w.Kind == DuplicateID {
				got = append(got, strings.ReplaceAll(w.Message, dir+string(filepath.Separator), ""))
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`duplicate id "a0007": record 7 of a.tfrecord and record 1 of b.tfrecord; both are kept`,
		`duplicate id "twice": record 30 of a.tfrecord and record 0 of c.tfrecord; both are kept`,
		`duplicate id "twice": record 30 of a.tfrecord and record 2 of c.tfrecord; both are kept`,
	}
	if !slices.Equal(got, want) || res.Duplicates != 3 {
		t.Errorf("%d duplicates: %q", res.Duplicates, got)
	}
	if rows := rowsOf(t, filepath.Join(dir, "store"), "train"); !slices.Equal(rows, slices.Concat(a, b, c)) {
		t.Errorf("%d rows", len(rows))
	}
}

// TestManyDuplicates: only the first few are printed one by one, all are counted.
func TestManyDuplicates(t *testing.T) {
	dir := t.TempDir()
	shard(t, filepath.Join(dir, "a.tfrecord"), ids("a", 50)...)
	shard(t, filepath.Join(dir, "b.tfrecord"), ids("a", 50)...)
	warned := 0
	res, err := YT8M(context.Background(), Options{Paths: []string{dir}, Out: filepath.Join(dir, "store"), Split: "train", Classes: 50,
		Warn: func(Warning) { warned++ }})
	if err != nil || res.Duplicates != 50 || warned != maxShown+1 {
		t.Errorf("%d duplicates, %d warnings, %v", res.Duplicates, warned, err)
	}
}
