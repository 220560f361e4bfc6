package matfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Data streams the numbers of a variable.
type Data struct {
	Type   Type // of the numbers as they are stored
	s      *stream
	inline []byte // numbers of a small element, not read yet
	left   int64  // bytes of numbers not read yet
	raw    []byte
}

// Data begins to read the numbers of v. Errors are *Error, or those of the file system.
func (f *File) Data(v *Variable) (*Data, error) {
	s := f.open(v)
	again := *v
	if err := s.describe(&again); err != nil {
		return nil, err
	}
	switch {
	case !v.Class.numeric():
		return nil, s.damage("class", "an array of numbers", v.Class.String())
	case v.complex:
		return nil, s.damage("class", "real numbers", "complex ones")
	}
	e, err := s.tag("numbers")
	if err != nil {
		return nil, err
	}
	size := int64(e.kind.Size())
	if size == 0 || e.bytes != v.Len()*size {
		return nil, s.damage("numbers", fmt.Sprintf("%d of them, for %v", v.Len(), v), fmt.Sprintf("%d bytes of type %d", e.bytes, e.kind))
	}
	if e.inline == nil && e.bytes > s.left {
		return nil, s.damage("numbers", fmt.Sprintf("%d bytes", e.bytes), fmt.Sprintf("%d before the end of the variable", s.left))
	}
	return &Data{Type: e.kind, s: s, inline: e.inline, left: e.bytes}, nil
}

// Offset returns how far the file was used, as an offset in it: a measure of progress.
func (d *Data) Offset() int64 { return d.s.offset() }

// Read fills p with the next stored bytes. It panics if there are not so many left. Errors are *Error, or those of the file
// system.
func (d *Data) Read(p []byte) error {
	if int64(len(p)) > d.left {
		panic(fmt.Sprintf("matfile: Read of %d bytes, %d left", len(p), d.left))
	}
	d.left -= int64(len(p))
	if d.inline != nil {
		d.inline = d.inline[copy(p, d.inline):]
		return nil
	}
	return d.s.read(p, "numbers")
}

// ReadFloats fills dst with the next numbers, whatever their type; 64-bit integers may be rounded. It panics if there are not so
// many left. Errors are those of Read.
func (d *Data) ReadFloats(dst []float64) error {
	size := d.Type.Size()
	if need := len(dst) * size; cap(d.raw) < need {
		d.raw = make([]byte, need)
	}
	raw := d.raw[:len(dst)*size]
	if err := d.Read(raw); err != nil {
		return err
	}
	for i := range dst {
		dst[i] = d.Type.number(raw[i*size:])
	}
	return nil
}

// number decodes the number at the beginning of p.
func (t Type) number(p []byte) float64 {
	le := binary.LittleEndian
	switch t {
	case Int8:
		return float64(int8(p[0]))
	case Uint8:
		return float64(p[0])
	case Int16:
		return float64(int16(le.Uint16(p)))
	case Uint16:
		return float64(le.Uint16(p))
	case Int32:
		return float64(int32(le.Uint32(p)))
	case Uint32:
		return float64(le.Uint32(p))
	case Single:
		return float64(math.Float32frombits(le.Uint32(p)))
	case Double:
		return math.Float64frombits(le.Uint64(p))
	case Int64:
		return float64(int64(le.Uint64(p)))
	case Uint64:
		return float64(le.Uint64(p))
	}
	panic(fmt.Sprintf("matfile: numbers of type %d", t))
}

// Finish reads what is behind the numbers, which verifies the checksum of compressed data. All numbers must have been read.
// Errors are those of Read.
func (d *Data) Finish() error {
	if d.left > 0 {
		panic(fmt.Sprintf("matfile: Finish with %d bytes left", d.left))
	}
	const maxTail = 1 << 10 // padding takes at most 7 bytes
	if d.s.left > maxTail {
		return d.s.damage("end", "padding", fmt.Sprintf("%d more bytes", d.s.left))
	}
	var tail [maxTail]byte
	if err := d.s.read(tail[:d.s.left], "end"); err != nil {
		return err
	}
	if d.s.zip == nil {
		return nil
	}
	switch n, err := io.ReadFull(d.s.zip, tail[:1]); {
	case n > 0:
		return d.s.damage("end", "the end of the compressed data", "more data")
	case err == io.EOF:
		return nil
	default:
		return d.s.failure(err, "end")
	}
}
