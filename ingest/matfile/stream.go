package matfile

import (
	"bufio"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// bufferBytes is how much of a file is read at once.
const bufferBytes = 256 << 10

// A stream reads the content of one variable: the elements inside its matrix.
type stream struct {
	what  string // for messages
	file  *io.SectionReader
	start int64 // offset of file in the whole file
	buf   *bufio.Reader
	zip   io.ReadCloser // nil if the variable is not compressed
	src   io.Reader     // zip or buf
	left  int64         // bytes of the matrix that were not read yet
}

// open returns a stream of v; begin must be called first.
func (f *File) open(v *Variable) *stream {
	s := &stream{what: fmt.Sprintf("variable at offset %d", v.Offset), start: v.Offset + 8}
	if v.Name != "" {
		s.what = "variable " + v.Name
	}
	s.file = io.NewSectionReader(f.r, s.start, v.bytes)
	// The first read is of a description, and maybe of nothing else.
	s.buf = bufio.NewReaderSize(s.file, int(min(bufferBytes, max(v.bytes, 16))))
	s.left = v.bytes
	if v.Compressed {
		s.zip, s.left = &lazyZip{src: s.buf}, 8 // the tag of the matrix inside
		s.src = s.zip
		return s
	}
	s.src = s.buf
	return s
}

// lazyZip is a zlib stream whose header is read by the first Read, so that its errors come from there.
type lazyZip struct {
	src *bufio.Reader
	z   io.ReadCloser
}

func (l *lazyZip) Read(p []byte) (int, error) {
	if l.z == nil {
		z, err := zlib.NewReader(l.src)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		l.z = z
	}
	return l.z.Read(p)
}

func (l *lazyZip) Close() error {
	if l.z == nil {
		return nil
	}
	return l.z.Close()
}

// offset returns how far the file was used, as an offset in it.
func (s *stream) offset() int64 {
	at, _ := s.file.Seek(0, io.SeekCurrent) // a SectionReader knows its place
	return s.start + at - int64(s.buf.Buffered())
}

// damage returns an *Error at the place that was read last.
func (s *stream) damage(what, expected, found string) *Error {
	return &Error{Offset: s.offset(), What: s.what + ": " + what, Expected: expected, Found: found}
}

// begin goes to the first element inside the matrix.
func (s *stream) begin() error {
	if s.zip == nil {
		return nil
	}
	var tag [8]byte
	if err := s.read(tag[:], "type"); err != nil {
		return err
	}
	if kind := Type(binary.LittleEndian.Uint32(tag[:])); kind != typeMat {
		return s.damage("compressed element", "type 14 (matrix)", fmt.Sprintf("type %d", kind))
	}
	s.left = int64(binary.LittleEndian.Uint32(tag[4:]))
	return nil
}

// read fills p from inside the matrix.
func (s *stream) read(p []byte, what string) error {
	if int64(len(p)) > s.left {
		return s.damage(what, fmt.Sprintf("%d bytes", len(p)), fmt.Sprintf("%d before the end of the variable", s.left))
	}
	n, err := io.ReadFull(s.src, p)
	s.left -= int64(n)
	if err == nil {
		return nil
	}
	return s.failure(err, what)
}

// failure makes an *Error of an error of the source, but for those of the file system.
func (s *stream) failure(err error, what string) error {
	switch _, corrupt := errors.AsType[flate.CorruptInputError](err); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		e := s.damage(what, "more data", "the end of the file or of the variable in it")
		e.Cut = true
		return e
	case corrupt || err == zlib.ErrHeader || err == zlib.ErrDictionary:
		return s.damage(what, "sound compressed data", "damage ("+err.Error()+")")
	case err == zlib.ErrChecksum:
		return s.damage(what, "data that agree with their checksum (Adler-32)", "another checksum")
	}
	return err
}

// An element inside a matrix, whose data were not read yet.
type element struct {
	kind   Type
	bytes  int64
	inline []byte // of a small element, the data
}

// tag reads the beginning of an element.
func (s *stream) tag(what string) (element, error) {
	var t [8]byte
	if err := s.read(t[:], what); err != nil {
		return element{}, err
	}
	word := binary.LittleEndian.Uint32(t[:])
	if n := word >> 16; n != 0 {
		if n > 4 {
			return element{}, s.damage(what, "a small element of 1 to 4 bytes", fmt.Sprintf("%d bytes", n))
		}
		return element{Type(word & 0xffff), int64(n), t[4 : 4+n]}, nil
	}
	return element{kind: Type(word), bytes: int64(binary.LittleEndian.Uint32(t[4:]))}, nil
}

// small reads an element of least to most bytes, with its padding.
func (s *stream) small(what string, kind Type, least, most int64) ([]byte, error) {
	e, err := s.tag(what)
	if err != nil {
		return nil, err
	}
	if e.kind != kind || e.bytes < least || e.bytes > most {
		return nil, s.damage(what, fmt.Sprintf("%d to %d bytes of type %d", least, most, kind), fmt.Sprintf("%d bytes of type %d", e.bytes, e.kind))
	}
	if e.inline != nil {
		return e.inline, nil
	}
	data := make([]byte, (e.bytes+7)&^7)
	err = s.read(data, what)
	return data[:e.bytes], err
}
