package features

import (
	"fmt"
	"path/filepath"
	"testing"
)

var videoSchema = Schema{Dataset: "yt8m", Classes: 3862, Columns: []Column{{"mean_rgb", Float32, 1024}, {"mean_audio", Float32, 128}}}

// videoRows makes n rows as wide as YouTube-8M's.
func videoRows(n int) *Rows {
	r := &Rows{IDOffsets: []int32{0}, LabelOffsets: []int32{0}, Float: [][]float32{make([]float32, n*1024), make([]float32, n*128)}}
	for i := range n {
		r.IDs = fmt.Appendf(r.IDs, "v%03d", i)
		r.Labels = append(r.Labels, int32(i%3862), int32(i*7%3862), int32(i*13%3862))
		r.IDOffsets, r.LabelOffsets = append(r.IDOffsets, int32(len(r.IDs))), append(r.LabelOffsets, int32(len(r.Labels)))
		for k := range 1024 {
			r.Float[0][i*1024+k] = float32(i*31+k) / 7
		}
	}
	return r
}

func writeVideos(b testing.TB, dir string, r *Rows, times int) {
	w, err := NewWriter(dir, "train", videoSchema, WriterOptions{Overwrite: true})
	if err != nil {
		b.Fatal(err)
	}
	for range times {
		if err := w.Append(r); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Commit(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite writes and commits 67 MB of video features, flushes included.
func BenchmarkWrite(b *testing.B) {
	r := videoRows(291) // as many as a real shard has
	dir := filepath.Join(b.TempDir(), "store")
	b.SetBytes(50 * 291 * 1152 * 4)
	for b.Loop() {
		writeVideos(b, dir, r, 50)
	}
}

func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	writeVideos(b, dir, videoRows(291), 50)
	b.SetBytes(50 * 291 * 1152 * 4)
	for b.Loop() {
		p := mustOpen(b, dir, "train")
		if err := p.CheckAll(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGather gathers a shuffled epoch in batches of 1024.
func BenchmarkGather(b *testing.B) {
	dir := b.TempDir()
	writeVideos(b, dir, videoRows(291), 50)
	p := mustOpen(b, dir, "train")
	o := NewShuffle(All(p), 8192, 1).Epoch(0)
	rows, dst := make([]int, 1024), make([]float32, 1024*1152)
	b.SetBytes(int64(o.Len()) * 1152 * 4)
	for b.Loop() {
		for from := 0; from < o.Len(); from += len(rows) {
			batch := o.Rows(from, rows)
			if err := p.GatherFloat(0, batch, dst, 1152); err != nil {
				b.Fatal(err)
			}
			if err := p.GatherFloat(1, batch, dst[1024:], 1152); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*o.Len())/b.Elapsed().Seconds(), "rows/s")
}
