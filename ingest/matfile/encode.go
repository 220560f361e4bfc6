package matfile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
)

// Header returns the 128 bytes that a file begins with. text, of at most 116 bytes, is for people.
func Header(text string) []byte {
	h := bytes.Repeat([]byte{' '}, headerBytes-8)
	copy(h[:116], "MATLAB 5.0 MAT-file, "+text)
	clear(h[116:])
	return append(h, "\x00\x00\x00\x00\x00\x01IM"...)
}

// AppendVariable appends an uncompressed variable. data are its numbers, of type t, column-major. It panics if they are not as
// many as dims say, and if they take 4 GiB or more.
func AppendVariable(dst []byte, name string, class Class, dims []int, t Type, data []byte) []byte {
	dst, at := appendDescription(dst, name, class, dims, t, int64(len(data)))
	dst = appendElement(dst, t, data)
	binary.LittleEndian.PutUint32(dst[at-4:], uint32(len(dst)-at))
	return dst
}

// appendDescription appends all of a variable but its numbers, and returns where its first element begins.
func appendDescription(dst []byte, name string, class Class, dims []int, t Type, size int64) ([]byte, int) {
	if n := product(dims); n < 0 || n*int64(t.Size()) != size || size > 1<<32-1<<16 {
		panic(fmt.Sprintf("matfile: variable %s of dimensions %v with %d bytes of type %d", name, dims, size, t))
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(le.AppendUint32(dst, uint32(typeMat)), 0)
	at := len(dst)
	dst = appendElement(dst, Uint32, []byte{byte(class), 0, 0, 0, 0, 0, 0, 0})
	var d []byte
	for _, n := range dims {
		d = le.AppendUint32(d, uint32(n))
	}
	dst = appendElement(dst, Int32, d)
	return appendElement(dst, Int8, []byte(name)), at
}

func appendElement(dst []byte, t Type, data []byte) []byte {
	le := binary.LittleEndian
	if n := len(data); n > 0 && n <= 4 {
		dst = le.AppendUint32(dst, uint32(n)<<16|uint32(t))
		dst = append(dst, data...)
		return append(dst, make([]byte, 4-n)...)
	}
	dst = le.AppendUint32(le.AppendUint32(dst, uint32(t)), uint32(len(data)))
	dst = append(dst, data...)
	return append(dst, make([]byte, -len(data)&7)...)
}

// WriteCompressed writes a compressed variable at the current place of w, in constant memory: data is a stream of its size bytes
// of numbers (more than 4), as AppendVariable has them. Errors are those of w and data.
func WriteCompressed(w io.WriteSeeker, name string, class Class, dims []int, t Type, data io.Reader, size int64) error {
	head, at := appendDescription(nil, name, class, dims, t, size)
	le := binary.LittleEndian
	head = le.AppendUint32(le.AppendUint32(head, uint32(t)), uint32(size))
	padding := -size & 7
	le.PutUint32(head[at-4:], uint32(int64(len(head)-at)+size+padding))
	start, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	tag := le.AppendUint32(le.AppendUint32(nil, uint32(typeZip)), 0)
	if _, err := w.Write(tag); err != nil {
		return err
	}
	z := zlib.NewWriter(w)
	for _, part := range []io.Reader{bytes.NewReader(head), io.LimitReader(data, size), bytes.NewReader(make([]byte, padding))} {
		if _, err := io.Copy(z, part); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	end, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if end-start-8 > 1<<32-1 {
		return fmt.Errorf("variable %s takes %d bytes compressed: a .mat file holds at most 4 GiB", name, end-start-8)
	}
	le.PutUint32(tag[4:], uint32(end-start-8))
	if _, err := w.Seek(start, io.SeekStart); err != nil {
		return err
	}
	if _, err := w.Write(tag); err != nil {
		return err
	}
	_, err = w.Seek(end, io.SeekStart)
	return err
}
