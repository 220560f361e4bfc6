package features

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// arrowSchema returns the columns of a shard: id, labels, features.
func (s Schema) arrowSchema() *arrow.Schema {
	fields := []arrow.Field{
		{Name: idColumn, Type: arrow.BinaryTypes.Binary},
		{Name: labelColumn, Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int32)},
	}
	for _, c := range s.Columns {
		var t arrow.DataType = &arrow.FixedSizeBinaryType{ByteWidth: c.Width}
		if c.Kind == Float32 {
			t = arrow.FixedSizeListOfNonNullable(int32(c.Width), arrow.PrimitiveTypes.Float32)
		}
		fields = append(fields, arrow.Field{Name: c.Name, Type: t})
	}
	return arrow.NewSchema(fields, nil)
}

// batch is a record batch under construction. Its slabs have room for all its rows and are used again and again.
type batch struct {
	schema       Schema
	limit, n     int // rows
	idOffsets    []int32
	ids          []byte
	labelOffsets []int32
	labels       []int32
	float        [][]float32
	bytes        [][]byte
}

func newBatch(s Schema, limit int) *batch {
	b := &batch{schema: s, limit: limit, idOffsets: make([]int32, 1, limit+1), labelOffsets: make([]int32, 1, limit+1)}
	for _, c := range s.Columns {
		if c.Kind == Float32 {
			b.float = append(b.float, make([]float32, limit*c.Width))
		} else {
			b.bytes = append(b.bytes, make([]byte, limit*c.Width))
		}
	}
	return b
}

func (b *batch) empty() bool { return b.n == 0 }
func (b *batch) full() bool  { return b.n == b.limit }

func (b *batch) reset() {
	b.n, b.ids, b.labels = 0, b.ids[:0], b.labels[:0]
	b.idOffsets, b.labelOffsets = b.idOffsets[:1], b.labelOffsets[:1]
}

// append copies rows of r from row from on while there is room, and returns the first row that it left.
func (b *batch) append(r *Rows, from int) (to int, err error) {
	for to = from; to < r.Len() && b.n+to-from < b.limit; to++ {
		id := r.IDs[r.IDOffsets[to]:r.IDOffsets[to+1]]
		labels := r.Labels[r.LabelOffsets[to]:r.LabelOffsets[to+1]]
		if len(id) > MaxIDBytes || len(labels) > MaxLabels {
			return from, fmt.Errorf("row %.40q: id of %d bytes and %d labels; a store takes at most %d bytes and %d labels a row",
				id, len(id), len(labels), MaxIDBytes, MaxLabels)
		}
		if len(b.ids)+4*len(b.labels) > maxTailBytes {
			break
		}
		b.ids, b.labels = append(b.ids, id...), append(b.labels, labels...)
		b.idOffsets, b.labelOffsets = append(b.idOffsets, int32(len(b.ids))), append(b.labelOffsets, int32(len(b.labels)))
	}
	f, u := 0, 0
	for _, c := range b.schema.Columns {
		if c.Kind == Float32 {
			copy(b.float[f][b.n*c.Width:], r.Float[f][from*c.Width:to*c.Width])
			f++
		} else {
			copy(b.bytes[u][b.n*c.Width:], r.Bytes[u][from*c.Width:to*c.Width])
			u++
		}
	}
	b.n += to - from
	return to, nil
}

// record returns the batch as an Arrow record batch that borrows its memory.
func (b *batch) record(schema *arrow.Schema) arrow.RecordBatch {
	columns := make([]arrow.Array, 0, schema.NumFields())
	add := func(n int, children []arrow.ArrayData, buffers ...*memory.Buffer) {
		t := schema.Field(len(columns)).Type
		columns = append(columns, array.MakeFromData(array.NewData(t, n, buffers, children, 0, 0)))
	}
	add(b.n, nil, nil, bytesBuffer(b.idOffsets), memory.NewBufferBytes(b.ids))
	labels := array.NewData(arrow.PrimitiveTypes.Int32, len(b.labels), []*memory.Buffer{nil, bytesBuffer(b.labels)}, nil, 0, 0)
	add(b.n, []arrow.ArrayData{labels}, nil, bytesBuffer(b.labelOffsets))
	f, u := 0, 0
	for _, c := range b.schema.Columns {
		m := b.n * c.Width
		if c.Kind == Float32 {
			values := array.NewData(arrow.PrimitiveTypes.Float32, m, []*memory.Buffer{nil, bytesBuffer(b.float[f][:m])}, nil, 0, 0)
			add(b.n, []arrow.ArrayData{values}, nil)
			f++
		} else {
			add(b.n, nil, nil, memory.NewBufferBytes(b.bytes[u][:m]))
			u++
		}
	}
	return array.NewRecordBatch(schema, columns, int64(b.n))
}

// bytesBuffer views numbers as bytes; Arrow is little-endian, as are the machines that this program is built for.
func bytesBuffer[T int32 | float32](v []T) *memory.Buffer {
	return memory.NewBufferBytes(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v)))
}

// shardSet writes the batches of a split into shards, in a goroutine of its own.
type shardSet struct {
	fsys       fileSystem
	dir, split string
	schema     *arrow.Schema
	shardBytes int64
	header     int64 // size of a shard's first block
	free, full chan *batch
	finished   chan struct{} // closed when the goroutine has ended
	ended      bool          // by finish
	err        atomic.Pointer[error]

	// Of the goroutine, until it has ended:
	cur    *shardFile
	shards []ShardInfo // without names: those need the number of shards
}

// batches is one that is filled and one that is written.
const batches = 2

func newShardSet(fsys fileSystem, dir, split string, s Schema, rowsPerBatch int, shardBytes int64) (*shardSet, error) {
	t := &shardSet{fsys: fsys, dir: dir, split: split, schema: s.arrowSchema(), shardBytes: shardBytes,
		free: make(chan *batch, batches), full: make(chan *batch), finished: make(chan struct{})}
	var err error
	if t.header, err = headerBytes(t.schema); err != nil {
		return nil, err
	}
	if err := t.roll(); err != nil {
		return nil, err
	}
	for range batches {
		t.free <- newBatch(s, rowsPerBatch)
	}
	go t.run()
	return t, nil
}

func (t *shardSet) run() {
	defer close(t.finished)
	for b := range t.full {
		if t.failure() == nil {
			if err := t.write(b); err != nil {
				t.err.Store(&err)
			}
		}
		b.reset()
		t.free <- b
	}
}

// failure returns the first error of the goroutine so far.
func (t *shardSet) failure() error {
	if err := t.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (t *shardSet) write(b *batch) error {
	if t.cur.offset >= t.shardBytes && len(t.cur.blocks) > 1 {
		if err := t.roll(); err != nil {
			return err
		}
	}
	rec := b.record(t.schema)
	defer rec.Release()
	if err := t.cur.arrow.Write(rec); err != nil {
		return t.cur.failure(err)
	}
	t.cur.cut(int64(b.n))
	return nil
}

// roll ends the current shard, if there is one, and begins the next.
func (t *shardSet) roll() error {
	if t.cur != nil {
		info, err := t.cur.finish()
		if err != nil {
			return err
		}
		t.shards = append(t.shards, info)
	}
	f, err := createShard(t.fsys, filepath.Join(t.dir, shardPartName(t.split, len(t.shards))), t.schema, t.header)
	if err != nil {
		return err
	}
	t.cur = f
	return nil
}

// finish ends the goroutine and the last shard, and returns the shards, without their names. Only the first call does anything.
func (t *shardSet) finish() ([]ShardInfo, error) {
	if t.ended {
		return nil, t.failure()
	}
	t.ended = true
	close(t.full)
	<-t.finished
	if err := t.failure(); err != nil {
		t.cur.discard()
		return nil, err
	}
	info, err := t.cur.finish()
	return append(t.shards, info), err
}

// shardFile writes one Arrow file and keeps the checksum of each block.
type shardFile struct {
	path   string
	f      storeFile
	arrow  *ipc.FileWriter
	header int64 // size of the first block
	offset int64 // bytes written
	start  int64 // where the current block began
	sum    Checksum
	blocks []BlockInfo
	err    error // first failure to write
}

func createShard(fsys fileSystem, path string, schema *arrow.Schema, header int64) (*shardFile, error) {
	f, err := fsys.Create(path)
	if err != nil {
		return nil, writeError(path, 0, err)
	}
	s := &shardFile{path: path, f: f, header: header}
	if s.arrow, err = ipc.NewFileWriter(s, ipc.WithSchema(schema)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// sumBytes is how much is written after its checksum was taken, while it is still in the cache.
const sumBytes = 256 << 10

// Write takes the bytes of the Arrow file: it is the io.Writer of the Arrow library.
func (s *shardFile) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) && s.err == nil {
		piece := p[done:min(len(p), done+sumBytes)]
		if s.offset < s.header { // the library writes the header with the first batch, but it is a block of its own
			piece = piece[:min(int64(len(piece)), s.header-s.offset)]
		}
		s.sum = update(s.sum, piece)
		n, err := s.f.Write(piece)
		done += n
		s.offset += int64(n)
		if err != nil {
			s.err = writeError(s.path, s.offset, err)
		}
		if s.offset == s.header {
			s.cut(0)
		}
	}
	return done, s.err
}

// cut ends a block of rows rows.
func (s *shardFile) cut(rows int64) {
	s.blocks = append(s.blocks, BlockInfo{Offset: s.start, Bytes: s.offset - s.start, Rows: rows, CRC32C: s.sum})
	s.start, s.sum = s.offset, 0
}

// failure returns the error of the file below rather than that of the Arrow library, which hides where it happened.
func (s *shardFile) failure(err error) error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("%s: offset %d: %w", s.path, s.offset, err)
}

// finish writes the footer and makes the file durable.
func (s *shardFile) finish() (ShardInfo, error) {
	if err := s.arrow.Close(); err != nil {
		return ShardInfo{}, errors.Join(s.failure(err), s.f.Close())
	}
	s.cut(0)
	if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil {
		return ShardInfo{}, writeError(s.path, s.offset, err)
	}
	info := ShardInfo{Bytes: s.offset, Blocks: s.blocks}
	for _, b := range s.blocks {
		info.Rows += b.Rows
		info.CRC32C = combine(info.CRC32C, b.CRC32C, b.Bytes)
	}
	return info, nil
}

// discard closes the file, which may be closed already; whoever holds the store's lock removes it.
func (s *shardFile) discard() { _ = s.f.Close() }

// headerBytes returns the size of what the Arrow library writes before the first record batch: all of an empty file but the mark
// of its end (8 bytes), the footer, the footer's length (4) and the magic (6).
func headerBytes(schema *arrow.Schema) (int64, error) {
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(&file, ipc.WithSchema(schema))
	if err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	footer := binary.LittleEndian.Uint32(file.Bytes()[file.Len()-10:])
	return int64(file.Len()) - 8 - int64(footer) - 10, nil
}
