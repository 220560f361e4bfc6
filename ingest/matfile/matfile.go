// Package matfile owns MATLAB's level 5 .mat files, as far as arrays of numbers go: a reader that lists the variables and
// streams the numbers of any of them in constant memory, compressed or not, in files larger than memory; and an encoder. The
// layout of a file, all numbers little-endian:
//
//	offset 0    116 bytes of text, 8 of subsystem data, version 0x0100, "IM"
//	offset 128  ┌ element ┬ element ┬ ... to the end of the file
//
//	element     type u32, bytes u32, then that many bytes; of two kinds on this level:
//	            14  matrix: a variable, see below
//	            15  compressed: a zlib stream of one element of type 14, without padding behind
//
//	matrix      elements, each padded to 8 bytes, in this order:
//	            6   u32[2]   flags: class in the lowest byte, 0x0800 complex, 0x0400 global, 0x0200 logical
//	            5   i32[n]   dimensions, n >= 2
//	            1   i8[]     name
//	            *   numbers, column-major: the first index moves fastest. Their type may be narrower than the class, as
//	                MATLAB stores doubles that are small integers as bytes
//
//	small element: if the upper half of the type is not 0 it is the number of bytes (1 to 4), and the data are in the 4 bytes
//	            where the number of bytes was
//
// What the format calls level 4 and 7.3 (HDF5), big-endian files, complex and sparse arrays are refused with a message.
//
// Source: The MathWorks, "MAT-File Format", chapter 1.
package matfile

import (
	"fmt"
	"math"
)

// headerBytes is where the first element begins.
const headerBytes = 128

// A Type is the type of an element.
type Type uint32

// The types of elements that matter here.
const (
	Int8    Type = 1
	Uint8   Type = 2
	Int16   Type = 3
	Uint16  Type = 4
	Int32   Type = 5
	Uint32  Type = 6
	Single  Type = 7
	Double  Type = 9
	Int64   Type = 12
	Uint64  Type = 13
	typeMat Type = 14
	typeZip Type = 15
)

// Size is how many bytes a number takes; 0 if t is no type of numbers.
func (t Type) Size() int {
	switch t {
	case Int8, Uint8:
		return 1
	case Int16, Uint16:
		return 2
	case Int32, Uint32, Single:
		return 4
	case Double, Int64, Uint64:
		return 8
	}
	return 0
}

// A Class is what kind of array a variable is.
type Class uint8

// The classes of arrays that can be read.
const (
	ClassDouble Class = 6
	ClassSingle Class = 7
	ClassInt8   Class = 8
	ClassUint8  Class = 9
	ClassUint64 Class = 15
)

var classNames = [...]string{1: "cell", "struct", "object", "char", "sparse", "double", "single",
	"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "function", "opaque"}

// String returns MATLAB's name of the class.
func (c Class) String() string {
	if int(c) < len(classNames) && c > 0 {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// numeric tells that the array's numbers can be read.
func (c Class) numeric() bool { return c >= ClassDouble && c <= ClassUint64 }

// A Variable is an array in a file.
type Variable struct {
	Name       string
	Class      Class
	Dims       []int // at least two; empty for classes that cannot be read
	Compressed bool
	Offset     int64 // of its element
	bytes      int64 // of its element in the file, without the tag; the file may be cut short of them
	complex    bool
}

// Len returns the number of elements.
func (v *Variable) Len() int64 {
	n := int64(1)
	for _, d := range v.Dims {
		n *= int64(d)
	}
	return n
}

// String describes the variable as MATLAB does: "X uint8 32x32x3x5".
func (v *Variable) String() string {
	s := ""
	for i, d := range v.Dims {
		if i > 0 {
			s += "x"
		}
		s += fmt.Sprint(d)
	}
	return fmt.Sprintf("%s %v %s", v.Name, v.Class, s)
}

// An Error says which part of a file is damaged or cannot be read, and how.
type Error struct {
	Offset   int64 // in the file; of compressed data, where decompression had come to
	What     string
	Expected string
	Found    string
	Cut      bool   // the file ends too early
	Hint     string // what to do; may be empty
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("offset %d: %s: expected %s, found %s", e.Offset, e.What, e.Expected, e.Found)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// product multiplies dimensions; -1 if one is negative or the product is beyond what a file can hold.
func product(dims []int) int64 {
	n := int64(1)
	for _, d := range dims {
		if d < 0 || d > math.MaxInt32 {
			return -1
		}
		if n *= int64(d); n > math.MaxUint32 {
			return -1
		}
	}
	return n
}
