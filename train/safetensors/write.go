package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
)

// chunk is the number of bytes encoded at a time: it fits the second cache.
const chunk = 256 << 10

// Write writes a file: the metadata, then each tensor as data gives it. data
// is called once a tensor, in order, and must append exactly its elements to
// the encoder. Nothing is held in memory but a small buffer. w is left at its
// end; it must be at offset 0 of an empty file.
func Write(w io.WriteSeeker, metadata map[string]string, tensors []Tensor, data func(i int, e *Encoder) error) error {
	header, err := encodeHeader(metadata, tensors)
	if err != nil {
		return err
	}
	e := &Encoder{w: w, buf: make([]byte, 0, chunk)}
	if err := e.write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err != nil {
		return err
	}
	if err := e.write(header); err != nil {
		return err
	}
	headerCRC := e.crc
	e.crc = 0
	for i := range tensors {
		e.left = tensors[i].Elements()
		e.dtype = tensors[i].DType
		if err := data(i, e); err != nil {
			return err
		}
		if e.left != 0 {
			panic(fmt.Sprintf("safetensors: tensor %q is short of %d elements", tensors[i].Name, e.left))
		}
	}
	if err := e.flush(); err != nil {
		return err
	}
	return putChecksums(w, headerCRC, e.crc)
}

func putChecksums(w io.WriteSeeker, header, data uint32) error {
	if _, err := w.Seek(checksumAt, io.SeekStart); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, checksumFormat, header, data); err != nil {
		return err
	}
	_, err := w.Seek(0, io.SeekEnd)
	return err
}

func encodeHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	h := append([]byte(headerStart), noChecksum+`"`...)
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		if k == ChecksumKey {
			panic("safetensors: the checksums are the writer's")
		}
		h = appendJSON(append(h, ','), k)
		h = appendJSON(append(h, ':'), metadata[k])
	}
	h = append(h, '}')
	var at int64
	for i := range tensors {
		t := &tensors[i]
		n := t.bytes()
		if t.DType.Size() == 0 || n < 0 || n > math.MaxInt64-at {
			panic(fmt.Sprintf("safetensors: tensor %q has type %q, shape %v", t.Name, t.DType, t.Shape))
		}
		h = appendJSON(append(h, ','), t.Name)
		h = appendJSON(append(h, ':'), entry{t.DType, slices.Concat([]int64{}, t.Shape), [2]int64{at, at + n}})
		at += n
	}
	h = append(h, '}')
	for (8+len(h))%alignment != 0 {
		h = append(h, ' ')
	}
	if len(h) > MaxHeader {
		return nil, fmt.Errorf("the header has %d bytes, the format allows %d", len(h), MaxHeader)
	}
	return h, nil
}

// entry is a tensor's JSON.
type entry struct {
	DType   DType    `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

func appendJSON(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("safetensors: " + err.Error())
	}
	return append(b, text...)
}

// Encoder takes the elements of one tensor after another.
type Encoder struct {
	w     io.Writer
	buf   []byte
	crc   uint32
	dtype DType
	left  int64 // elements of the tensor to come
}

func (e *Encoder) flush() error {
	b := e.buf
	e.buf = e.buf[:0]
	return e.write(b)
}

func (e *Encoder) write(b []byte) error {
	e.crc = crc32.Update(e.crc, castagnoli, b)
	_, err := e.w.Write(b)
	return err
}

// take says that n elements of a type come, and panics if they should not.
func (e *Encoder) take(d DType, n int) {
	if d != e.dtype || int64(n) > e.left {
		panic(fmt.Sprintf("safetensors: %d elements of %s where %d of %s are due", n, d, e.left, e.dtype))
	}
	e.left -= int64(n)
}

// encode appends the elements of x, each of size bytes, by put.
func encode[T any](e *Encoder, d DType, x []T, size int, put func(b []byte, v T)) error {
	e.take(d, len(x))
	for len(x) > 0 {
		n := min(len(x), (cap(e.buf)-len(e.buf))/size)
		if n == 0 {
			if err := e.flush(); err != nil {
				return err
			}
			continue
		}
		at := len(e.buf)
		e.buf = e.buf[:at+n*size]
		for i, v := range x[:n] {
			put(e.buf[at+i*size:], v)
		}
		x = x[n:]
	}
	return nil
}

// F32 appends elements of type F32.
func (e *Encoder) F32(x []float32) error {
	return encode(e, F32, x, 4, func(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) })
}

// F64 appends elements of type F64.
func (e *Encoder) F64(x []float64) error {
	return encode(e, F64, x, 8, func(b []byte, v float64) { binary.LittleEndian.PutUint64(b, math.Float64bits(v)) })
}

// I64 appends elements of type I64.
func (e *Encoder) I64(x []int64) error {
	return encode(e, I64, x, 8, func(b []byte, v int64) { binary.LittleEndian.PutUint64(b, uint64(v)) })
}

// I32 appends elements of type I32.
func (e *Encoder) I32(x []int32) error {
	return encode(e, I32, x, 4, func(b []byte, v int32) { binary.LittleEndian.PutUint32(b, uint32(v)) })
}

// U8 appends elements of type U8.
func (e *Encoder) U8(x []uint8) error {
	return encode(e, U8, x, 1, func(b []byte, v uint8) { b[0] = v })
}
