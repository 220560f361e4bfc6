package features

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// shard is a mapped Arrow file.
type shard struct {
	path  string
	info  *ShardInfo
	model *Manifest // what its columns must be
	data  []byte    // the mapping; nil once closed
	arrow *ipc.FileReader
}

// openShard maps a shard and verifies its header and footer. Errors: *CorruptError or one of the file system.
func openShard(dir string, info *ShardInfo, m *Manifest) (*shard, error) {
	s := &shard{path: filepath.Join(dir, info.File), info: info, model: m}
	f, err := openToRead(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &CorruptError{File: s.path, Bytes: info.Bytes, Want: fmt.Sprintf("a file of %d bytes", info.Bytes), Got: "no file", Err: err}
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	// The size first: touching a mapping beyond the end of its file kills the process.
	if err := s.checkSize(f); err != nil {
		return nil, err
	}
	if s.data, err = mapFile(f, int(info.Bytes)); err != nil {
		return nil, err
	}
	if err := s.parse(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *shard) checkSize(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != s.info.Bytes || s.info.Bytes > math.MaxInt {
		return &CorruptError{File: s.path, Offset: min(st.Size(), s.info.Bytes), Want: fmt.Sprintf("a file of %d bytes", s.info.Bytes),
			Got: fmt.Sprintf("%d bytes", st.Size())}
	}
	return nil
}

func (s *shard) parse() error {
	footer := len(s.info.Blocks) - 1
	for _, b := range []int{0, footer} {
		if err := s.verify(b); err != nil {
			return err
		}
	}
	return s.guard(footer, func() (err error) {
		if err := checkFooter(s.data, s.info.Blocks, len(s.model.Columns)+2); err != nil {
			return err
		}
		if s.arrow, err = ipc.NewMappedFileReader(s.data, ipc.WithAllocator(noMemory{})); err != nil {
			return err
		}
		if want := s.model.Schema().arrowSchema(); !s.arrow.Schema().Equal(want) {
			return fmt.Errorf("the columns %v instead of %v", s.arrow.Schema().Fields(), want.Fields())
		}
		return nil
	})
}

func (s *shard) close() error {
	data := s.data
	s.data, s.arrow = nil, nil
	if data == nil {
		return nil
	}
	return unmapFile(data)
}

func (s *shard) bytes(block int) []byte {
	b := s.info.Blocks[block]
	return s.data[b.Offset : b.Offset+b.Bytes : b.Offset+b.Bytes]
}

// verify compares a block with its checksum.
func (s *shard) verify(block int) error {
	return s.guard(block, func() error {
		b := &s.info.Blocks[block]
		if sum := checksum(s.bytes(block)); sum != b.CRC32C {
			return sumError(s.path, b, sum)
		}
		return nil
	})
}

func sumError(path string, b *BlockInfo, got Checksum) *CorruptError {
	return &CorruptError{File: path, Offset: b.Offset, Bytes: b.Bytes, Want: fmt.Sprintf("crc32c %v", b.CRC32C), Got: fmt.Sprintf("crc32c %v", got)}
}

// guard runs f, which reads a block, and makes a *CorruptError of its errors and panics: the Arrow library panics on damaged metadata
// (which gets past the checksum only if the manifest was forged), and the processor faults on a page that is gone since the file was
// cut short or the disk failed after it was mapped.
func (s *shard) guard(block int, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = s.corrupt(block, recovered(r))
		} else if err != nil && !errors.As(err, new(*CorruptError)) {
			err = s.corrupt(block, err)
		}
	}()
	return f()
}

func (s *shard) corrupt(block int, err error) *CorruptError {
	b := &s.info.Blocks[block]
	return &CorruptError{File: s.path, Offset: b.Offset, Bytes: b.Bytes, Want: "an Arrow file as sdnn writes it", Got: err.Error(), Err: err}
}

func recovered(r any) error {
	if _, fault := r.(interface{ Addr() uintptr }); fault {
		return errors.New("pages that cannot be read: the file was cut short, or the disk failed, after it was opened")
	}
	return fmt.Errorf("bytes that cannot be parsed: %v", r)
}

// noMemory is the allocator of the Arrow reader. A shard maps without a copy, so a reader that wants memory has met damage.
type noMemory struct{}

func (noMemory) Allocate(n int) []byte {
	if n == 0 {
		return nil
	}
	panic(fmt.Sprintf("%d bytes wanted for data that should map", n))
}
func (m noMemory) Reallocate(n int, _ []byte) []byte { return m.Allocate(n) }
func (noMemory) Free([]byte)                         {}

// chunk is a record batch. Its view is there once it was verified.
type chunk struct {
	shard *shard
	batch int // in the shard; its block is batch+1

	view atomic.Pointer[chunkView]
	mu   sync.Mutex // held while verifying
	err  error      // of the verification; it is not repeated
}

// chunkView has the buffers of a record batch, in the mapping.
type chunkView struct {
	idOffsets    []int32 // rows+1
	ids          []byte
	labelOffsets []int32 // rows+1
	labels       []int32
	float        [][]float32 // a column, nil for Uint8
	bytes        [][]byte    // a column, nil for Float32
}

func (c *chunk) check() error {
	if c.view.Load() != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view.Load() != nil || c.err != nil {
		return c.err
	}
	if c.shard.data == nil {
		panic("features: Check after Store.Close")
	}
	if c.err = c.shard.verify(c.batch + 1); c.err != nil {
		return c.err
	}
	v, err := c.shard.load(c.batch)
	if err != nil {
		c.err = err
		return err
	}
	c.view.Store(v)
	return nil
}

// load finds the buffers of a record batch of which every byte was verified.
func (s *shard) load(batch int) (v *chunkView, err error) {
	block := s.bytes(batch + 1)
	err = s.guard(batch+1, func() error {
		if err := checkMessage(block); err != nil {
			return err
		}
		rec, err := s.arrow.RecordBatchAt(batch)
		if err != nil {
			return err
		}
		defer rec.Release()
		l := viewer{block: block, rows: int(s.info.Blocks[batch+1].Rows)}
		if int(rec.NumRows()) != l.rows {
			return fmt.Errorf("%d rows instead of %d", rec.NumRows(), l.rows)
		}
		v = l.view(rec, s.model)
		return l.err
	})
	return v, err
}

// viewer takes the buffers out of a record batch and makes sure that they are what they say and lie inside their block.
type viewer struct {
	block []byte
	rows  int
	err   error
}

func (l *viewer) view(rec arrow.RecordBatch, m *Manifest) *chunkView {
	v := &chunkView{float: make([][]float32, len(m.Columns)), bytes: make([][]byte, len(m.Columns))}
	id, labels := rec.Column(0).Data(), rec.Column(1).Data()
	v.ids = buffer[byte](l, id, 2, -1)
	v.idOffsets = l.offsets(id, len(v.ids))
	v.labels = buffer[int32](l, labels.Children()[0], 1, labels.Children()[0].Len())
	v.labelOffsets = l.offsets(labels, len(v.labels))
	for i, c := range m.Columns {
		data := rec.Column(i + 2).Data()
		if c.Kind == Float32 {
			values := data.Children()[0]
			l.length(data, l.rows)
			l.length(values, l.rows*c.Width)
			v.float[i] = buffer[float32](l, values, 1, l.rows*c.Width)
		} else {
			l.length(data, l.rows)
			v.bytes[i] = buffer[byte](l, data, 1, l.rows*c.Width)
		}
	}
	for _, label := range v.labels {
		if label < 0 || int(label) >= m.Classes {
			l.fail("label %d of %d classes", label, m.Classes)
			break
		}
	}
	return v
}

func (l *viewer) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

func (l *viewer) length(data arrow.ArrayData, n int) {
	if data.Len() != n || data.NullN() != 0 || data.Offset() != 0 {
		l.fail("a column of %d elements, %d of them null, from %d on, instead of %d", data.Len(), data.NullN(), data.Offset(), n)
	}
}

// offsets returns the rows+1 offsets of a list or binary column into total elements.
func (l *viewer) offsets(data arrow.ArrayData, total int) []int32 {
	l.length(data, l.rows)
	v := buffer[int32](l, data, 1, l.rows+1)
	last := int32(0)
	for i, o := range v {
		if o < last || int(o) > total {
			l.fail("offset %d at row %d after %d, of %d elements", o, i, last, total)
			return nil
		}
		last = o
	}
	return v
}

// buffer views buffer i of data as n elements, or as all there are if n is negative.
func buffer[T byte | int32 | float32](l *viewer, data arrow.ArrayData, i, n int) []T {
	var raw *memory.Buffer
	if i < len(data.Buffers()) {
		raw = data.Buffers()[i]
	}
	if raw == nil || raw.Len() == 0 {
		if n > 0 {
			l.fail("no bytes for %d elements", n)
		}
		return nil
	}
	size := int(unsafe.Sizeof(*new(T)))
	if n < 0 {
		n = raw.Len() / size
	}
	p := unsafe.Pointer(unsafe.SliceData(raw.Bytes()))
	from, begin, end := uintptr(p), uintptr(unsafe.Pointer(unsafe.SliceData(l.block))), len(l.block)
	switch {
	case n > raw.Len()/size:
		l.fail("%d bytes for %d elements", raw.Len(), n)
	case from < begin || from-begin > uintptr(end) || raw.Len() > end-int(from-begin):
		l.fail("a buffer that leaves its record batch")
	case from%uintptr(size) != 0:
		l.fail("a buffer that is not aligned")
	default:
		return unsafe.Slice((*T)(p), n)
	}
	return nil
}
