// Package cifar owns the binary files of CIFAR-10 and CIFAR-100: a streaming reader, an encoder, and the names of the
// classes. The store is package features'.
//
// A file is a plain sequence of records, without header, footer or checksum; its size is a multiple of the record's:
//
//	CIFAR-10   offset  bytes            CIFAR-100   offset  bytes
//	           +0      1     class                  +0      1     coarse class, 0 to 19
//	           +1      1024  red                    +1      1     class ("fine"), 0 to 99
//	           +1025   1024  green                  +2      1024  red
//	           +2049   1024  blue                   +1026   1024  green
//	                                                +2050   1024  blue
//
// A plane is 32 rows of 32 pixels, from the top. The pixels of a record are therefore one run of bytes, in just the order in
// which a store keeps them.
//
// Source: www.cs.toronto.edu/~kriz/cifar.html ("binary version").
package cifar

import (
	"errors"
	"fmt"
	"io"
)

// PixelBytes is how many bytes the pixels of an image take: three planes of 32 x 32.
const PixelBytes = 3 * 32 * 32

// A Format is one of the two kinds of file.
type Format struct {
	Classes int // labels are 0 .. Classes-1
	Coarse  int // coarse labels are 0 .. Coarse-1; 0: records have none
}

// The two kinds of file.
var (
	CIFAR10  = Format{Classes: 10}
	CIFAR100 = Format{Classes: 100, Coarse: 20}
)

// labelBytes is how many bytes come before the pixels.
func (f Format) labelBytes() int {
	if f.Coarse > 0 {
		return 2
	}
	return 1
}

// RecordBytes is how many bytes a record takes.
func (f Format) RecordBytes() int { return f.labelBytes() + PixelBytes }

// An Error says which record of a file is damaged, and how.
type Error struct {
	Record   int64  // number of the record, from 0
	Offset   int64  // of its first byte
	What     string // the damaged part
	Expected string
	Found    string
	Cut      bool // the file ends inside the record; otherwise reading can go on
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("record %d at offset %d: %s: expected %s, found %s", e.Record, e.Offset, e.What, e.Expected, e.Found)
}

// A Record is one image.
type Record struct {
	Class  int32
	Coarse int32            // CIFAR-100 only
	Pixels [PixelBytes]byte // planes R, G, B, each row by row
}

// A Reader reads one file. It asks its source for whole records, so give it one that is buffered.
type Reader struct {
	format Format
	src    io.Reader
	next   int64 // number of the next record
	labels [2]byte
}

// NewReader returns a reader of the records of r.
func NewReader(r io.Reader, f Format) *Reader { return &Reader{format: f, src: r} }

// Next reads one record. The error is io.EOF at the end, an *Error for damage, or one of the source. After an *Error without
// Cut, Next goes on with the record behind.
func (r *Reader) Next(rec *Record) error {
	e := &Error{Record: r.next, Offset: r.next * int64(r.format.RecordBytes())}
	labels := r.labels[:r.format.labelBytes()]
	n, err := io.ReadFull(r.src, labels)
	if err == io.EOF {
		return io.EOF
	}
	if err == nil {
		var m int
		m, err = io.ReadFull(r.src, rec.Pixels[:])
		n += m
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		e.What, e.Cut = "record cut short", true
		e.Expected, e.Found = fmt.Sprintf("%d bytes", r.format.RecordBytes()), fmt.Sprintf("%d before the end of the file", n)
		return e
	} else if err != nil {
		return err
	}
	r.next++
	fine := labels[len(labels)-1]
	if int(fine) >= r.format.Classes {
		e.What, e.Expected, e.Found = "label", fmt.Sprintf("0 to %d", r.format.Classes-1), fmt.Sprint(fine)
		return e
	}
	if r.format.Coarse > 0 && int(labels[0]) >= r.format.Coarse {
		e.What, e.Expected, e.Found = "coarse label", fmt.Sprintf("0 to %d", r.format.Coarse-1), fmt.Sprint(labels[0])
		return e
	}
	rec.Class, rec.Coarse = int32(fine), 0
	if r.format.Coarse > 0 {
		rec.Coarse = int32(labels[0])
	}
	return nil
}

// Record returns the number of the record that Next read last, from 0; -1 before the first.
func (r *Reader) Record() int64 { return r.next - 1 }

// CheckSize returns an *Error if a file of so many bytes does not end with the end of a record.
func (f Format) CheckSize(bytes int64) error {
	whole, rest := bytes/int64(f.RecordBytes()), bytes%int64(f.RecordBytes())
	if rest == 0 {
		return nil
	}
	return &Error{Record: whole, Offset: whole * int64(f.RecordBytes()), What: "record cut short", Cut: true,
		Expected: fmt.Sprintf("%d bytes", f.RecordBytes()), Found: fmt.Sprintf("%d before the end of the file", rest)}
}

// Append appends rec as a file of format f has it.
func (f Format) Append(dst []byte, rec *Record) []byte {
	if f.Coarse > 0 {
		dst = append(dst, byte(rec.Coarse))
	}
	dst = append(dst, byte(rec.Class))
	return append(dst, rec.Pixels[:]...)
}
