package ingest

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"

	"sdnn/ingest/yt8m"
)

// A hashList keeps a 64-bit hash of the id of every row, in order: 8 bytes a
// row, in blocks, so that growing never copies. A hash table would need three
// times that for 6 million videos.
type hashList struct {
	blocks [][]uint64
	n      int
}

const hashBlock = 1 << 16 // hashes in a block

func (l *hashList) add(hashes []uint64) {
	for len(hashes) > 0 {
		if l.n%hashBlock == 0 {
			l.blocks = append(l.blocks, make([]uint64, 0, hashBlock))
		}
		last := &l.blocks[len(l.blocks)-1]
		k := min(len(hashes), hashBlock-len(*last))
		*last = append(*last, hashes[:k]...)
		hashes = hashes[k:]
		l.n += k
	}
}

// A pair is two rows with equal hashes: a later row and the first that has it.
type pair struct{ first, row int }

// pairs returns, ordered by row, a pair for every row whose hash an earlier row
// has. It sorts the hashes by parts of their range, of about partRows rows each,
// so that its own memory is small whatever the number of rows.
func (l *hashList) pairs(partRows int) []pair {
	partBits := bits.Len(uint(l.n / partRows))
	type entry struct {
		hash uint64
		row  int
	}
	var part []entry
	var out []pair
	for p := range uint64(1) << partBits {
		part = part[:0]
		for b, block := range l.blocks {
			for i, h := range block {
				if h>>(64-partBits) == p { // for partBits = 0 the shift gives 0
					part = append(part, entry{h, b*hashBlock + i})
				}
			}
		}
		slices.SortFunc(part, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.row, b.row))
		})
		first := 0
		for i := 1; i < len(part); i++ {
			if part[i].hash != part[first].hash {
				first = i
				continue
			}
			out = append(out, pair{part[first].row, part[i].row})
		}
	}
	slices.SortFunc(out, func(a, b pair) int { return cmp.Compare(a.row, b.row) })
	return out
}

const (
	// maxConfirmed bounds the memory and time spent on confirming: duplicates
	// beyond this many are counted by their 64-bit hashes alone.
	maxConfirmed = 1 << 16
	// maxShown is how many duplicates are reported one by one.
	maxShown = 20
)

// A place is where a row came from.
type place struct {
	id     string
	path   string
	record int64
}

// findDuplicates counts and reports rows whose id an earlier row has. Both stay:
// which one is right is for the user to say.
func (in *ingestion) findDuplicates(ctx context.Context) error {
	pairs := in.hashes.pairs(1 << 18)
	sure := pairs[:min(len(pairs), maxConfirmed)]
	in.res.Duplicates = int64(len(pairs) - len(sure))
	places, err := in.places(ctx, sure)
	if err != nil {
		return err
	}
	shown := 0
	for _, p := range sure {
		a, b := places[p.first], places[p.row]
		if a.id != b.id {
			continue
		}
		in.res.Duplicates++
		if shown < maxShown {
			shown++
			in.Warn(Warning{Kind: DuplicateID, Message: fmt.Sprintf(
				"duplicate id %q: record %d of %s and record %d of %s; both are kept", a.id, a.record, a.path, b.record, b.path)})
		}
	}
	if more := in.res.Duplicates - int64(shown); more > 0 {
		in.Warn(Warning{Kind: DuplicateID, Message: fmt.Sprintf("%d more rows with duplicate ids; all are kept", more)})
	}
	return nil
}

// places reads the input again as far as needed to tell where the rows of pairs
// came from, and what their ids are.
func (in *ingestion) places(ctx context.Context, pairs []pair) (map[int]place, error) {
	var rows []int
	for _, p := range pairs {
		rows = append(rows, p.first, p.row)
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	out := make(map[int]place, len(rows))
	videos := newVideoReader(in.classes)
	rec := &yt8m.Record{MeanRGB: make([]float32, yt8m.RGBWidth), MeanAudio: make([]float32, yt8m.AudioWidth)}
	for len(rows) > 0 {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		// The last file that begins at or before the row; files without rows begin where the next does.
		file, _ := slices.BinarySearchFunc(in.firstRow, rows[0]+1, cmp.Compare[int])
		file--
		path, row := in.files[file].path, in.firstRow[file]
		err := videos.each(path, rec, func(record int64) bool {
			if row == rows[0] {
				out[row] = place{string(rec.ID), path, record}
				rows = rows[1:]
			}
			row++
			return len(rows) > 0
		})
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 && (file+1 == len(in.files) || rows[0] < in.firstRow[file+1]) {
			return nil, fmt.Errorf("%s: the file changed while it was being read", path)
		}
	}
	return out, nil
}
