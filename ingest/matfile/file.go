package matfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A File is a .mat file whose variables have been listed.
type File struct {
	Variables []*Variable // in the order of the file

	// Cut is not nil if the file ends inside its last element, whose variable is listed only if its description is whole.
	Cut *Error

	r io.ReaderAt
}

// maxVariables bounds what is listed of a file of nothing but empty elements.
const maxVariables = 1 << 16

// Open lists the variables of a file of size bytes. It reads only their descriptions, never their numbers. Errors are *Error, or
// those of r.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r}
	if err := checkHeader(r, size); err != nil {
		return nil, err
	}
	for at := int64(headerBytes); at < size; {
		if len(f.Variables) == maxVariables {
			return nil, &Error{Offset: at, What: "variables", Expected: fmt.Sprintf("at most %d", maxVariables), Found: "more"}
		}
		next, err := f.element(at, size)
		if err != nil {
			return nil, err
		}
		at = next
	}
	return f, nil
}

// checkHeader looks at the first 128 bytes.
func checkHeader(r io.ReaderAt, size int64) error {
	var h [headerBytes]byte
	n, err := r.ReadAt(h[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	const hint = "it must be a level 5 file, as MATLAB's save -v7 and SciPy's savemat write it"
	e := &Error{What: "header", Expected: "a MATLAB 5 file", Hint: hint}
	version := string(h[124:])
	switch {
	case bytes.HasPrefix(h[:], []byte("\x89HDF")):
		e.Found = "an HDF5 file"
	case n < headerBytes:
		e.Offset, e.Cut, e.Expected, e.Hint = size, true, "128 bytes", ""
		e.Found = fmt.Sprintf("the end of the file after %d", n)
	case version == "\x00\x01IM":
		return nil
	case version == "\x01\x00MI":
		e.Offset, e.Expected, e.Found = 126, `byte order "IM" (little-endian)`, `"MI" (big-endian)`
		e.Hint = "load and save it on a machine of today: they are little-endian"
	case version[2:] == "IM" && version[1] == 2:
		e.Offset, e.Found = 124, "version 7.3 (HDF5)"
	default:
		e.Offset, e.Found = 124, fmt.Sprintf("version and byte order %q", version)
	}
	return e
}

// element lists the element at offset at, and returns where the next begins.
func (f *File) element(at, size int64) (next int64, err error) {
	var tag [8]byte
	if n, err := f.r.ReadAt(tag[:], at); n < len(tag) {
		if err != io.EOF {
			return 0, err
		}
		f.Cut = &Error{Offset: size, What: fmt.Sprintf("variable at offset %d", at), Cut: true, Expected: "8 bytes of type and length",
			Found: fmt.Sprintf("the end of the file after %d", n)}
		return size, nil
	}
	kind, length := Type(binary.LittleEndian.Uint32(tag[:])), int64(binary.LittleEndian.Uint32(tag[4:]))
	if kind != typeMat && kind != typeZip {
		return 0, &Error{Offset: at, What: "variable", Expected: "type 14 (matrix) or 15 (compressed)", Found: fmt.Sprintf("type %d", kind)}
	}
	next = at + 8 + length
	if next > size {
		f.Cut = &Error{Offset: size, What: fmt.Sprintf("variable at offset %d", at), Cut: true, Expected: fmt.Sprintf("%d bytes", length),
			Found: fmt.Sprintf("the end of the file after %d", size-at-8)}
		next = size
	}
	v := &Variable{Offset: at, Compressed: kind == typeZip, bytes: length}
	s := f.open(v)
	err = s.describe(v)
	if e, ok := errors.AsType[*Error](err); ok && e.Cut && f.Cut != nil {
		return size, nil
	} else if err != nil {
		return 0, err
	}
	f.Variables = append(f.Variables, v)
	return next, nil
}

// maxDims and maxName bound a description. MATLAB's names have at most 63 bytes.
const (
	maxDims = 32
	maxName = 1024
)

// describe reads the description of the variable, and leaves s before its numbers.
func (s *stream) describe(v *Variable) error {
	if err := s.begin(); err != nil {
		return err
	}
	flags, err := s.small("flags", Uint32, 8, 8)
	if err != nil {
		return err
	}
	word := binary.LittleEndian.Uint32(flags)
	if v.Class, v.complex = Class(word), word&0x0800 != 0; !v.Class.numeric() {
		return nil
	}
	dims, err := s.small("dimensions", Int32, 8, 4*maxDims)
	if err != nil {
		return err
	}
	v.Dims = make([]int, len(dims)/4)
	for i := range v.Dims {
		v.Dims[i] = int(int32(binary.LittleEndian.Uint32(dims[4*i:])))
	}
	if len(dims)%4 != 0 || product(v.Dims) < 0 {
		return s.damage("dimensions", "whole numbers of which the product fits a file", fmt.Sprint(v.Dims))
	}
	name, err := s.small("name", Int8, 0, maxName)
	v.Name = string(name)
	return err
}
