package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// File is a file being read, from its beginning to its end: the header was
// parsed and checked, the tensors come by Next.
type File struct {
	Metadata map[string]string // without the checksums
	Tensors  []Tensor          // in the order of their data
	// Checked says that the file carries checksums: the header's was found right,
	// the data's is checked by the last Next, or Verify.
	Checked bool

	r    *bufio.Reader
	size int64 // of the whole file
	at   int64 // offset of the next byte
	next int   // tensor
	crc  uint32
	want uint32
	buf  []byte
}

// NewFile reads the header from r, which has size bytes in all. Errors:
// *FormatError, or one of r.
func NewFile(r io.Reader, size int64) (*File, error) {
	buffer := int(min(max(size, 16), chunk)) &^ 7
	f := &File{r: bufio.NewReaderSize(r, buffer), size: size, buf: make([]byte, buffer)}
	if size < 8 {
		return nil, &FormatError{0, fmt.Sprintf("the file has %d bytes, a safetensors file at least 8", size)}
	}
	var prefix [8]byte
	if err := f.fill(prefix[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case n > MaxHeader:
		return nil, &FormatError{0, fmt.Sprintf("the header's length is %d, and at most %d are allowed: this is no safetensors file, or it is damaged", n, MaxHeader)}
	case int64(n) > size-8:
		return nil, &FormatError{0, fmt.Sprintf("the header has %d bytes, of which the file holds %d: the file was cut short", n, size-8)}
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(f.r, header); err != nil {
		return nil, truncated(8, err)
	}
	f.at += int64(n)
	want := f.takeChecksums(header)
	if got := crc32.Update(f.crc, castagnoli, header); f.Checked && got != want {
		return nil, &FormatError{checksumAt, fmt.Sprintf("the header's checksum is %08x, its content has %08x: the file is damaged", want, got)}
	}
	f.crc = 0
	if err := f.parse(header); err != nil {
		return nil, err
	}
	return f, f.checkLayout()
}

// takeChecksums takes the checksums from where Write puts them, leaving zeros,
// and returns the header's. Only the digits that Write would put there count, so
// that no byte is unchecked.
func (f *File) takeChecksums(header []byte) (headerCRC uint32) {
	rest, ok := bytes.CutPrefix(header, []byte(headerStart))
	if !ok || len(rest) < len(noChecksum) {
		return 0
	}
	digits := string(rest[:len(noChecksum)])
	var dataCRC uint32
	if _, err := fmt.Sscanf(digits, checksumFormat, &headerCRC, &dataCRC); err != nil || digits != fmt.Sprintf(checksumFormat, headerCRC, dataCRC) {
		return 0
	}
	f.Checked, f.want = true, dataCRC
	copy(rest, noChecksum)
	return headerCRC
}

// fill reads exactly len(b) bytes and counts them in the checksum.
func (f *File) fill(b []byte) error {
	if _, err := io.ReadFull(f.r, b); err != nil {
		return truncated(f.at, err)
	}
	f.at += int64(len(b))
	f.crc = crc32.Update(f.crc, castagnoli, b)
	return nil
}

func truncated(at int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FormatError{at, "the file ends early"}
	}
	return err
}

// parse reads the header's JSON. Token by token, because a key that occurs
// twice is an error of the format that json.Unmarshal would not see.
func (f *File) parse(header []byte) error {
	if len(header) == 0 || header[0] != '{' {
		return &FormatError{8, "the header does not begin with {"}
	}
	d := json.NewDecoder(bytes.NewReader(header))
	bad := func(err error) error { return &FormatError{8 + d.InputOffset(), "header: " + err.Error()} }
	if _, err := d.Token(); err != nil {
		return bad(err)
	}
	seen := map[string]bool{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return bad(err)
		}
		name := tok.(string) // the decoder lets nothing else be a key
		if seen[name] {
			return bad(fmt.Errorf("%q occurs twice", name))
		}
		seen[name] = true
		if err := f.parseEntry(d, name); err != nil {
			return bad(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return bad(err)
	}
	if rest := bytes.Trim(header[d.InputOffset():], " "); len(rest) > 0 {
		return bad(fmt.Errorf("%d bytes follow its end", len(rest)))
	}
	return nil
}

func (f *File) parseEntry(d *json.Decoder, name string) error {
	if name == "__metadata__" {
		if err := d.Decode(&f.Metadata); err != nil {
			return err
		}
		delete(f.Metadata, ChecksumKey)
		return nil
	}
	var e entry
	if err := d.Decode(&e); err != nil {
		return err
	}
	t := Tensor{Name: name, DType: e.DType, Shape: e.Shape, Begin: e.Offsets[0], End: e.Offsets[1]}
	if e.DType.Size() == 0 {
		return fmt.Errorf("tensor %q has the unknown type %q", name, e.DType)
	}
	if n := t.bytes(); n < 0 || t.Begin < 0 || t.End < t.Begin || t.End-t.Begin != n {
		return fmt.Errorf("tensor %q of type %s and shape %v has the offsets %d to %d", name, e.DType, e.Shape, t.Begin, t.End)
	}
	f.Tensors = append(f.Tensors, t)
	return nil
}

// checkLayout checks that the tensors tile the data, as the format demands.
func (f *File) checkLayout() error {
	slices.SortStableFunc(f.Tensors, func(a, b Tensor) int {
		if a.Begin != b.Begin {
			return int(min(1, max(-1, a.Begin-b.Begin)))
		}
		return int(min(1, max(-1, a.End-b.End)))
	})
	var at int64
	for _, t := range f.Tensors {
		if t.Begin != at {
			return &FormatError{f.at + at, fmt.Sprintf("tensor %q begins at data offset %d, the one before it ends at %d", t.Name, t.Begin, at)}
		}
		at = t.End
	}
	if have := f.size - f.at; have != at {
		return &FormatError{f.at + min(at, have), fmt.Sprintf("the header calls for %d bytes of data, the file has %d", at, have)}
	}
	return nil
}

// Next reads the next tensor of Tensors: read takes as many of its elements as
// it wants from the decoder. After the last tensor Next returns io.EOF if the
// checksum is right, so what was read is only to be trusted then.
func (f *File) Next(read func(t *Tensor, d *Decoder) error) error {
	if f.next == len(f.Tensors) {
		if f.Checked && f.crc != f.want {
			return &FormatError{checksumAt, fmt.Sprintf("the data's checksum is %08x, the content has %08x: the file is damaged", f.want, f.crc)}
		}
		return io.EOF
	}
	t := &f.Tensors[f.next]
	f.next++
	d := &Decoder{f: f, left: t.Elements(), dtype: t.DType}
	if err := read(t, d); err != nil {
		return err
	}
	return d.skip()
}

// Verify reads what is left and checks the checksum.
func (f *File) Verify() error {
	for {
		if err := f.Next(func(*Tensor, *Decoder) error { return nil }); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Decoder gives the elements of one tensor, in order.
type Decoder struct {
	f     *File
	left  int64
	dtype DType
}

// skip reads past what was not asked for.
func (d *Decoder) skip() error {
	for n := d.left * d.dtype.Size(); n > 0; {
		b := d.f.buf[:min(n, int64(len(d.f.buf)))]
		if err := d.f.fill(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	d.left = 0
	return nil
}

// decode fills dst by get from elements of size bytes.
func decode[T any](d *Decoder, t DType, dst []T, size int, get func(b []byte) T) error {
	if t != d.dtype || int64(len(dst)) > d.left {
		return &FormatError{d.f.at, fmt.Sprintf("%d elements of %s are needed, %d of %s are there", len(dst), t, d.left, d.dtype)}
	}
	d.left -= int64(len(dst))
	for len(dst) > 0 {
		n := min(len(dst), len(d.f.buf)/size)
		b := d.f.buf[:n*size]
		if err := d.f.fill(b); err != nil {
			return err
		}
		for i := range n {
			dst[i] = get(b[i*size:])
		}
		dst = dst[n:]
	}
	return nil
}

// F32 fills dst with the next elements of a tensor of type F32.
func (d *Decoder) F32(dst []float32) error {
	return decode(d, F32, dst, 4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) })
}

// F64 is F32 for the type F64.
func (d *Decoder) F64(dst []float64) error {
	return decode(d, F64, dst, 8, func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) })
}

// I64 is F32 for the type I64.
func (d *Decoder) I64(dst []int64) error {
	return decode(d, I64, dst, 8, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) })
}

// I32 is F32 for the type I32.
func (d *Decoder) I32(dst []int32) error {
	return decode(d, I32, dst, 4, func(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) })
}

// U8 is F32 for the type U8.
func (d *Decoder) U8(dst []uint8) error {
	return decode(d, U8, dst, 1, func(b []byte) uint8 { return b[0] })
}
