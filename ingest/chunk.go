package ingest

import (
	"hash/maphash"

	"sdnn/features"
	"sdnn/ingest/yt8m"
)

// defaultChunkRows is the number of videos in a chunk: 0.3 MB, enough to make the
// hand-over cheap, and few enough to be still in the cache when they are copied.
const defaultChunkRows = 64

// A chunk is a group of parsed videos on its way from a worker to the writer.
// Its memory is used again and again.
type chunk struct {
	rows   features.Rows
	rgb    []float32 // capacity * yt8m.RGBWidth
	audio  []float32 // capacity * yt8m.AudioWidth
	hashes []uint64  // of the ids
	notes  []Warning // what happened while it was filled
	bytes  int64     // of input, read for it
	home   chan *chunk
}

// newChunk returns an empty chunk of so many rows that goes back to home when it
// is used up.
func newChunk(rows int, home chan *chunk) *chunk {
	c := &chunk{
		rgb:    make([]float32, rows*yt8m.RGBWidth),
		audio:  make([]float32, rows*yt8m.AudioWidth),
		hashes: make([]uint64, 0, rows),
		home:   home,
	}
	c.rows.Float = make([][]float32, 2)
	c.reset()
	return c
}

func (c *chunk) reset() {
	c.rows.IDOffsets = append(c.rows.IDOffsets[:0], 0)
	c.rows.IDs = c.rows.IDs[:0]
	c.rows.LabelOffsets = append(c.rows.LabelOffsets[:0], 0)
	c.rows.Labels = c.rows.Labels[:0]
	c.hashes, c.notes, c.bytes = c.hashes[:0], nil, 0
}

func (c *chunk) full() bool { return len(c.hashes) == cap(c.hashes) }

// room points the features of rec at the next free row.
func (c *chunk) room(rec *yt8m.Record) {
	n := len(c.hashes)
	rec.MeanRGB = c.rgb[n*yt8m.RGBWidth : (n+1)*yt8m.RGBWidth]
	rec.MeanAudio = c.audio[n*yt8m.AudioWidth : (n+1)*yt8m.AudioWidth]
}

// add takes rec, whose features are in the chunk already, as the next row.
func (c *chunk) add(rec *yt8m.Record) {
	r := &c.rows
	r.IDs = append(r.IDs, rec.ID...)
	r.IDOffsets = append(r.IDOffsets, int32(len(r.IDs)))
	r.Labels = append(r.Labels, rec.Labels...)
	r.LabelOffsets = append(r.LabelOffsets, int32(len(r.Labels)))
	c.hashes = append(c.hashes, maphash.Bytes(idSeed, rec.ID))
	n := len(c.hashes)
	r.Float[0], r.Float[1] = c.rgb[:n*yt8m.RGBWidth], c.audio[:n*yt8m.AudioWidth]
}

// idSeed keys the hashes of the ids. It differs from run to run; nothing that
// comes out depends on it, as equal hashes are confirmed by the ids themselves.
var idSeed = maphash.MakeSeed()
