// Package safetensors reads and writes the safetensors format
// (github.com/huggingface/safetensors, format specification), which holds
// named tensors and a map of strings:
//
//	offset 0         ┌────────────────────────────────────────────┐
//	                 │ N, uint64 little-endian                    │
//	8                ├────────────────────────────────────────────┤
//	                 │ JSON, N bytes, padded with spaces so that  │
//	                 │ 8+N is a multiple of 8:                    │
//	                 │ {"__metadata__":{                          │
//	                 │   "sdnn.crc32c":"01234567-89abcdef",...},  │
//	                 │  "weight":{"dtype":"F32","shape":[2,3],    │
//	                 │   "data_offsets":[0,24]},...}              │
//	8+N              ├────────────────────────────────────────────┤
//	                 │ data, little-endian, row-major; the        │
//	                 │ offsets count from here and tile it        │
//	end of file      └────────────────────────────────────────────┘
//
// The format has no checksum. Files written here carry two as the first entry
// of the metadata, where any other reader ignores them: the CRC-32C of all before
// the data with the checksums' own digits taken as zeros, and that of the data.
// So the header is known to be whole before anything in it is believed. Tensors
// are in the order of the writer, which aligns them if the widest types come first.
package safetensors

import (
	"fmt"
	"hash/crc32"
	"math"
)

// DType is an element type.
type DType string

// The element types of the format that this package knows.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
	I16  DType = "I16"
	I8   DType = "I8"
	U64  DType = "U64"
	U32  DType = "U32"
	U16  DType = "U16"
	U8   DType = "U8"
	Bool DType = "BOOL"
)

var sizes = map[DType]int64{F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, Bool: 1}

// Size is the number of bytes of an element, 0 for an unknown type.
func (d DType) Size() int64 { return sizes[d] }

// MaxHeader is the longest JSON that readers accept (the limit of the
// reference implementation).
const MaxHeader = 100_000_000

// ChecksumKey is the key of the checksums in the metadata.
const ChecksumKey = "sdnn.crc32c"

const (
	headerStart    = `{"__metadata__":{"` + ChecksumKey + `":"`
	checksumAt     = 8 + int64(len(headerStart)) // offset of the checksums in the file
	noChecksum     = "00000000-00000000"
	checksumFormat = "%08x-%08x"
	alignment      = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Tensor describes a tensor. Shape [] is a scalar.
type Tensor struct {
	Name  string
	DType DType
	Shape []int64
	// Begin and End are byte offsets into the data; set by the reader, and
	// ignored by the writer.
	Begin, End int64
}

// Elements is the number of elements.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// bytes is the size that type and shape call for, or -1 if it overflows or a
// dimension is negative.
func (t *Tensor) bytes() int64 {
	n := t.DType.Size()
	zero := false
	for _, d := range t.Shape {
		switch {
		case d < 0:
			return -1
		case d == 0:
			zero = true
		case n > math.MaxInt64/d:
			return -1
		default:
			n *= d
		}
	}
	if zero {
		return 0
	}
	return n
}

// FormatError says what is wrong with a file, and at which byte of it.
type FormatError struct {
	Offset int64
	What   string
}

// Error implements error.
func (e *FormatError) Error() string { return fmt.Sprintf("offset %d: %s", e.Offset, e.What) }
