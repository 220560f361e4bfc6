// Package tfrecord owns the TFRecord framing of TensorFlow: a streaming reader
// that checks both checksums of every record, and a writer. It knows nothing of
// what the payloads mean.
//
// A file is a plain sequence of records, without header or footer:
//
//	offset      bytes
//	+0          8      length of the payload, unsigned, little-endian
//	+8          4      masked CRC-32C of those 8 bytes, little-endian
//	+12         length payload
//	+12+length  4      masked CRC-32C of the payload, little-endian
//
// The mask keeps a checksum of data that itself holds checksums from being
// degenerate: masked(c) = rotate_right(c, 15) + 0xa282ead8 (mod 2^32).
//
// Source: tensorflow/core/lib/io/record_writer.h and core/lib/hash/crc32c.h.
package tfrecord

import (
	"fmt"
	"hash/crc32"
	"math/bits"
)

const (
	headerBytes = 12 // length and its checksum
	footerBytes = 4  // checksum of the payload

	// Overhead is how many bytes a record takes in a file beside its payload.
	Overhead = headerBytes + footerBytes

	// DefaultMaxRecord is the longest payload, in bytes, that a Reader accepts
	// unless told otherwise. A frame-level YouTube-8M record takes about 0.4 MB.
	DefaultMaxRecord = 16 << 20

	maskDelta = 0xa282ead8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MaskedCRC returns the masked CRC-32C of data, as TFRecord files store it.
func MaskedCRC(data []byte) uint32 {
	return bits.RotateLeft32(crc32.Checksum(data, castagnoli), -15) + maskDelta
}

// Problem is the kind of damage that a CorruptError reports.
type Problem int

const (
	// BadLengthCRC: the checksum of a record's length does not fit, so neither
	// the length nor anything behind it can be trusted.
	BadLengthCRC Problem = iota + 1
	// BadDataCRC: the checksum of a payload does not fit. The record's length
	// is known to be good, so reading can go on behind it.
	BadDataCRC
	// Truncated: the file ends inside a record.
	Truncated
	// TooLong: the length is intact but above the reader's limit.
	TooLong
)

// String names the damaged part, as messages print it.
func (p Problem) String() string {
	switch p {
	case BadLengthCRC:
		return "checksum of the record length"
	case BadDataCRC:
		return "checksum of the record data"
	case Truncated:
		return "record cut short"
	case TooLong:
		return "record length"
	}
	return fmt.Sprintf("problem %d", int(p))
}

// A CorruptError says which record of which file is damaged, and how.
type CorruptError struct {
	File     string  // name given to the reader
	Offset   int64   // file offset of the record's first byte
	Record   int64   // number of the record in its file, from 0
	Problem  Problem // kind of damage
	Expected string  // what an intact file would hold
	Found    string  // what is there
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: record %d at offset %d: %v: expected %s, found %s",
		e.File, e.Record, e.Offset, e.Problem, e.Expected, e.Found)
}

// Recoverable reports whether the records behind the damaged one can still be
// read: true for a damaged payload, false where the chain of lengths is broken.
func (e *CorruptError) Recoverable() bool { return e.Problem == BadDataCRC }
