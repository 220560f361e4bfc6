package features

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A small store with both kinds of column: the content of a row follows from its number alone.
var testSchema = Schema{Dataset: "toy", Classes: 7, ClassNames: []string{"a", "b", "c", "d", "e", "f", "g"},
	Columns:   []Column{{"mean_rgb", Float32, 5}, {"image", Uint8, 6}, {"mean_audio", Float32, 2}},
	PixelMean: []float64{1, 2, 3}, PixelStd: []float64{4, 5, 6}}

func rowID(salt, i int) []byte {
	if i%11 == 3 {
		return nil // empty ids are rows too
	}
	return fmt.Appendf(nil, "v%d-%d", salt, i)
}

func rowLabels(salt, i int) []int32 {
	labels := []int32{}
	for k := range (i + salt) % 4 {
		labels = append(labels, int32((i*3+k*2+salt)%7))
	}
	return labels
}

func rowFloat(salt, i, k int) float32 { return float32(salt*1000000+i) + float32(k)/16 }
func rowByte(salt, i, k int) byte     { return byte(salt*31 + i*7 + k) }

// testRows makes rows from..to-1. Their offsets begin at 3: a Rows may be a part of something larger.
func testRows(salt, from, to int) *Rows {
	n := to - from
	r := &Rows{IDs: []byte("xyz"), Labels: []int32{9, 9, 9}, IDOffsets: []int32{3}, LabelOffsets: []int32{3},
		Float: [][]float32{make([]float32, 0, 5*n), make([]float32, 0, 2*n)}, Bytes: [][]byte{make([]byte, 0, 6*n)}}
	for i := from; i < to; i++ {
		r.IDs = append(r.IDs, rowID(salt, i)...)
		r.Labels = append(r.Labels, rowLabels(salt, i)...)
		r.IDOffsets, r.LabelOffsets = append(r.IDOffsets, int32(len(r.IDs))), append(r.LabelOffsets, int32(len(r.Labels)))
		for k := range 5 {
			r.Float[0] = append(r.Float[0], rowFloat(salt, i, k))
		}
		for k := range 6 {
			r.Bytes[0] = append(r.Bytes[0], rowByte(salt, i, k))
		}
		for k := range 2 {
			r.Float[1] = append(r.Float[1], -rowFloat(salt, i, k))
		}
	}
	return r
}

// writeSplit writes rows 0..n-1 in pieces of various sizes.
func writeSplit(dir, split string, salt, n int, o WriterOptions) (SplitInfo, error) {
	w, err := NewWriter(dir, split, testSchema, o)
	if err != nil {
		return SplitInfo{}, err
	}
	for from, step := 0, 1; from < n; from, step = from+step, step*3%17 {
		if err := w.Append(testRows(salt, from, min(from+step, n))); err != nil {
			return SplitInfo{}, errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

// small options make several shards of several batches out of a few rows.
var small = WriterOptions{RowsPerBatch: 10, ShardBytes: 3000}

func mustWrite(t testing.TB, dir, split string, salt, n int, o WriterOptions) SplitInfo {
	t.Helper()
	info, err := writeSplit(dir, split, salt, n, o)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func mustOpen(t testing.TB, dir, split string) *Split {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := s.Split(split)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkSplit returns an error unless the split has exactly the rows 0..n-1 of writeSplit.
func checkSplit(p *Split, salt, n int) error {
	if err := p.CheckAll(); err != nil {
		return err
	}
	if p.Rows() != n {
		return fmt.Errorf("%d rows, want %d", p.Rows(), n)
	}
	for i := range n {
		if got, want := p.ID(i), rowID(salt, i); !bytes.Equal(got, want) {
			return fmt.Errorf("row %d: id %q, want %q", i, got, want)
		}
		if got, want := fmt.Sprint(p.Labels(i)), fmt.Sprint(rowLabels(salt, i)); got != want {
			return fmt.Errorf("row %d: labels %v, want %v", i, got, want)
		}
		for k, v := range p.Float(0, i) {
			if v != rowFloat(salt, i, k) {
				return fmt.Errorf("row %d: mean_rgb %v", i, p.Float(0, i))
			}
		}
		for k, v := range p.Bytes(1, i) {
			if v != rowByte(salt, i, k) {
				return fmt.Errorf("row %d: image %v", i, p.Bytes(1, i))
			}
		}
		for k, v := range p.Float(2, i) {
			if v != -rowFloat(salt, i, k) {
				return fmt.Errorf("row %d: mean_audio %v", i, p.Float(2, i))
			}
		}
	}
	return nil
}

// readStore opens a store and checks a split against writeSplit.
func readStore(dir, split string, salt, n int) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	p, err := s.Split(split)
	if err == nil {
		err = checkSplit(p, salt, n)
	}
	return errors.Join(err, s.Close())
}

// files returns the content of every file in dir.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

// restore makes dir hold exactly all.
func restore(t testing.TB, dir string, all map[string]string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	for name, data := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// reseal replaces the checksum of a manifest or journal by the right one.
func reseal(key string, doc []byte) []byte {
	head := sealHead(key, 0)
	doc = append(bytes.Clone(head), doc[len(head):]...)
	copy(doc, sealHead(key, checksum(doc)))
	return doc
}

func putUint32(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }
