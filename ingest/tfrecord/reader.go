package tfrecord

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// readBytes is the size of a Reader's buffer at the start, and so of its reads.
// Large enough to make system calls cheap, small enough to stay in the L2 cache.
const readBytes = 256 << 10

// A Reader streams the payloads of one TFRecord file. Its memory is its buffer:
// readBytes, or twice the longest record met. It allocates nothing per record.
// It is not safe for concurrent use. The zero value needs a Reset.
type Reader struct {
	// MaxRecord is the longest payload accepted, in bytes; 0 means
	// DefaultMaxRecord. It bounds what a hostile length can make us allocate.
	MaxRecord int64

	src    io.Reader
	name   string
	buf    []byte // buf[lo:hi] has been read and not yet consumed
	lo, hi int
	off    int64 // file offset of buf[lo]
	start  int64 // file offset of the record last returned or reported
	record int64 // number of the record last returned or reported; -1 before
	eof    bool
	err    error // sticky: the stream cannot be read further
}

// NewReader returns a Reader of src. name is the file's name, for messages.
func NewReader(src io.Reader, name string) *Reader {
	r := new(Reader)
	r.Reset(src, name)
	return r
}

// Reset makes r read src from its beginning; buffer and MaxRecord are kept.
func (r *Reader) Reset(src io.Reader, name string) {
	if r.buf == nil {
		r.buf = make([]byte, readBytes)
	}
	*r = Reader{MaxRecord: r.MaxRecord, src: src, name: name, buf: r.buf, record: -1}
}

// Offset returns the file offset of the record that Next last returned or reported.
func (r *Reader) Offset() int64 { return r.start }

// Record returns the number, from 0, of the record that Next last returned or
// reported; -1 before the first.
func (r *Reader) Record() int64 { return r.record }

// Consumed returns how many bytes of the file have been used so far.
func (r *Reader) Consumed() int64 { return r.off }

// Next returns the payload of the next record. The slice is a view of the
// reader's buffer, valid until the next call. At the end of an intact file the
// error is io.EOF; damage is a *CorruptError. After a recoverable one (see
// CorruptError.Recoverable) Next goes on with the record behind it; any other
// error is returned again by every later call.
func (r *Reader) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	payload, err := r.next()
	if err == nil {
		return payload, nil
	}
	var c *CorruptError
	if !errors.As(err, &c) || !c.Recoverable() {
		r.err = err
	}
	return nil, err
}

func (r *Reader) next() ([]byte, error) {
	have, err := r.fill(headerBytes)
	if err != nil {
		return nil, err
	}
	if have == 0 {
		return nil, io.EOF
	}
	r.start = r.off
	r.record++
	if have < headerBytes {
		return nil, r.corrupt(Truncated,
			fmt.Sprintf("%d bytes of length and checksum", headerBytes), fmt.Sprintf("%d before the end of the file", have))
	}
	head := r.buf[r.lo : r.lo+headerBytes]
	stored := binary.LittleEndian.Uint32(head[8:])
	if sum := MaskedCRC(head[:8]); sum != stored {
		return nil, r.corrupt(BadLengthCRC, crcText(sum), crcText(stored))
	}
	length := binary.LittleEndian.Uint64(head)
	limit := r.MaxRecord
	if limit <= 0 {
		limit = DefaultMaxRecord
	}
	if length > uint64(limit) {
		return nil, r.corrupt(TooLong, fmt.Sprintf("at most %d bytes", limit), fmt.Sprintf("%d", length))
	}
	whole := int(length) + Overhead
	if have, err = r.fill(whole); err != nil {
		return nil, err
	}
	if have < whole {
		return nil, r.corrupt(Truncated,
			fmt.Sprintf("%d bytes", whole), fmt.Sprintf("%d before the end of the file", have))
	}
	payload := r.buf[r.lo+headerBytes : r.lo+whole-footerBytes]
	stored = binary.LittleEndian.Uint32(r.buf[r.lo+whole-footerBytes:])
	sum := MaskedCRC(payload)
	r.lo += whole
	r.off += int64(whole)
	if sum != stored {
		return nil, r.corrupt(BadDataCRC, crcText(sum), crcText(stored))
	}
	return payload, nil
}

// fill reads until buf[lo:] holds n bytes or the file ends, and returns how
// many it holds, at most n. The buffer grows by doubling, only as bytes really
// arrive: a file that announces much and holds little costs little.
func (r *Reader) fill(n int) (int, error) {
	for empty := 0; r.hi-r.lo < n && !r.eof; {
		if r.lo > 0 && r.lo+n > len(r.buf) {
			r.hi = copy(r.buf, r.buf[r.lo:r.hi])
			r.lo = 0
		}
		if r.hi == len(r.buf) {
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
		k, err := r.src.Read(r.buf[r.hi:])
		r.hi += k
		switch {
		case err == io.EOF:
			r.eof = true
		case err != nil:
			return 0, fmt.Errorf("%s: reading at offset %d: %w", r.name, r.off+int64(r.hi-r.lo), err)
		case k > 0:
			empty = 0
		default:
			if empty++; empty == 100 { // as bufio does: a source that never delivers
				return 0, fmt.Errorf("%s: reading at offset %d: %w", r.name, r.off+int64(r.hi-r.lo), io.ErrNoProgress)
			}
		}
	}
	return min(r.hi-r.lo, n), nil
}

func (r *Reader) corrupt(p Problem, expected, found string) error {
	return &CorruptError{File: r.name, Offset: r.start, Record: r.record, Problem: p, Expected: expected, Found: found}
}

func crcText(sum uint32) string { return fmt.Sprintf("0x%08x", sum) }
