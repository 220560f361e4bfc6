package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var sample = []Tensor{
	{Name: "double", DType: F64, Shape: []int64{2}},
	{Name: "long", DType: I64, Shape: []int64{1, 2}},
	{Name: "weight", DType: F32, Shape: []int64{2, 3}},
	{Name: "empty", DType: F32, Shape: []int64{0, 5}},
	{Name: "int", DType: I32, Shape: []int64{}},
	{Name: "bytes \"quoted\"", DType: U8, Shape: []int64{3}},
}

var (
	doubles = []float64{math.Pi, math.Inf(-1)}
	longs   = []int64{math.MinInt64, 7}
	weights = []float32{1, -2.5, float32(math.Inf(1)), 1e-45, 0, 3}
	ints    = []int32{-5}
	octets  = []uint8{0, 127, 255}
)

func putSample(i int, e *Encoder) error {
	switch i {
	case 0:
		return e.F64(doubles)
	case 1:
		return e.I64(longs)
	case 2:
		return errors.Join(e.F32(weights[:4]), e.F32(weights[4:]))
	case 4:
		return e.I32(ints)
	case 5:
		return e.U8(octets)
	}
	return nil
}

// write writes a file and returns its bytes.
func write(t testing.TB, meta map[string]string, tensors []Tensor, data func(int, *Encoder) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, meta, tensors, data); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sampleFile(t testing.TB) []byte {
	return write(t, map[string]string{"a": "1", "b": "two \"2\" \u2028 é"}, sample, putSample)
}

func TestRoundTrip(t *testing.T) {
	b := sampleFile(t)
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !f.Checked || !reflect.DeepEqual(f.Metadata, map[string]string{"a": "1", "b": "two \"2\" \u2028 é"}) {
		t.Errorf("checked %v, metadata %q", f.Checked, f.Metadata)
	}
	if len(f.Tensors) != len(sample) {
		t.Fatalf("%d tensors", len(f.Tensors))
	}
	var (
		d = make([]float64, 2)
		l = make([]int64, 2)
		w = make([]float32, 6)
		i = make([]int32, 1)
		o = make([]uint8, 3)
	)
	for n := 0; ; n++ {
		err := f.Next(func(x *Tensor, dec *Decoder) error {
			if x.Name != sample[n].Name || x.DType != sample[n].DType || fmt.Sprint(x.Shape) != fmt.Sprint(sample[n].Shape) {
				t.Errorf("tensor %d is %+v", n, x)
			}
			switch n {
			case 0:
				return dec.F64(d)
			case 1:
				return dec.I64(l)
			case 2:
				return errors.Join(dec.F32(w[:1]), dec.F32(w[1:]))
			case 4:
				return dec.I32(i)
			case 5:
				return dec.U8(o)
			}
			return nil
		})
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, pair := range [][2]any{{d, doubles}, {l, longs}, {w, weights}, {i, ints}, {o, octets}} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("read %v, wrote %v", pair[0], pair[1])
		}
	}
}

// TestLayout checks the rules of the specification on the raw bytes.
func TestLayout(t *testing.T) {
	b := sampleFile(t)
	n := int64(binary.LittleEndian.Uint64(b))
	if (8+n)%8 != 0 || b[8] != '{' {
		t.Errorf("header of %d bytes begins with %q", n, b[8])
	}
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for _, x := range f.Tensors {
		if x.Begin != at || x.Begin%x.DType.Size() != 0 {
			t.Errorf("%s begins at %d, after %d", x.Name, x.Begin, at)
		}
		at = x.End
	}
	if 8+n+at != int64(len(b)) {
		t.Errorf("%d bytes of data in a file of %d", at, len(b))
	}
	if got := math.Float32frombits(binary.LittleEndian.Uint32(b[8+n+32+4:])); got != weights[1] {
		t.Errorf("second weight is %v in the file", got)
	}
}

// TestLarge crosses the buffers' ends.
func TestLarge(t *testing.T) {
	x := make([]float32, chunk/2+13)
	for i := range x {
		x[i] = float32(i)
	}
	b := write(t, nil, []Tensor{{Name: "u", DType: U8, Shape: []int64{3}}, {Name: "x", DType: F32, Shape: []int64{int64(len(x))}}}, func(i int, e *Encoder) error {
		if i == 0 {
			return e.U8(octets)
		}
		return e.F32(x)
	})
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, len(x))
	for n := range 3 {
		err = f.Next(func(_ *Tensor, d *Decoder) error {
			if n == 0 {
				return nil
			}
			return d.F32(y)
		})
	}
	if err != io.EOF || !reflect.DeepEqual(x, y) {
		t.Errorf("error %v, same %v", err, reflect.DeepEqual(x, y))
	}
}

// TestEveryFlip: no flipped bit and no cut goes unseen.
func TestEveryFlip(t *testing.T) {
	good := sampleFile(t)
	read := func(b []byte) error {
		f, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return err
		}
		if !f.Checked {
			return &FormatError{checksumAt, "unchecked"}
		}
		return f.Verify()
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	var bad *FormatError
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if err := read(b); !errors.As(err, &bad) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
		if err := read(good[:i]); !errors.As(err, &bad) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// raw builds a file from a header, without a checksum.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestForeignFiles(t *testing.T) {
	for _, c := range []struct {
		header string
		data   int
		want   string // "" if the file is good
	}{
		{`{}`, 0, ""},
		{`{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   `, 8, ""},
		{`{"a":{"dtype":"BOOL","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1, ""},
		{` {}`, 0, "begin with {"},
		{`{"a":1}`, 0, "header"},
		{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`, 4, "header"},
		{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}x`, 4, "follow"},
		{`{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}`, 4, `unknown type "Q4"`},
		{`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4, "offsets"},
		{`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4, "offsets"},
		{`{"a":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}}`, 16, "offsets"},
		{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8, "begins at data offset 4"},
		{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6, "begins at data offset 2"},
		{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 5, "calls for 4 bytes of data, the file has 5"},
		{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 3, "the file has 3"},
		{`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, `"a" occurs twice`},
		{`{"__metadata__":{"a":1}}`, 0, "header"},
	} {
		b := raw(c.header, c.data)
		f, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			err = f.Verify()
		}
		var bad *FormatError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.header, err)
		case c.want != "" && (!errors.As(err, &bad) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v does not say %q", c.header, err, c.want)
		}
	}
	for _, b := range [][]byte{nil, {1, 2, 3}, {255, 255, 255, 255, 255, 255, 255, 255}, raw("{}", 0)[:9]} {
		if _, err := NewFile(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%v is accepted", b)
		}
	}
}

func TestWrongUsePanics(t *testing.T) {
	for name, put := range map[string]func(int, *Encoder) error{
		"short":      func(int, *Encoder) error { return nil },
		"long":       func(_ int, e *Encoder) error { return e.F32(weights) },
		"wrong type": func(_ int, e *Encoder) error { return e.I32(ints) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			write(t, nil, []Tensor{{Name: "x", DType: F32, Shape: []int64{5}}}, put)
		}()
	}
}

// FuzzNewFile: no input panics, or makes the reader believe in data that is not there.
func FuzzNewFile(f *testing.F) {
	f.Add(sampleFile(f))
	f.Add(raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Add(raw(`{"__metadata__":{"sdnn.crc32c":"00000000-00000000"},"a":{"dtype":"U8","shape":[2,0],"data_offsets":[0,0]}}`, 0))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := NewFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			var bad *FormatError
			if !errors.As(err, &bad) {
				t.Fatalf("error %T %v", err, err)
			}
			return
		}
		total := int64(0)
		for _, x := range st.Tensors {
			if x.Elements()*x.DType.Size() != x.End-x.Begin {
				t.Fatalf("%+v", x)
			}
			total += x.End - x.Begin
		}
		if total > int64(len(b)) {
			t.Fatalf("%d bytes of data in a file of %d", total, len(b))
		}
		if err := st.Verify(); err != nil && !st.Checked {
			t.Fatal(err)
		}
	})
}

// A file that ends early says so; one whose first bytes are no length of a header is something else.
func TestShortFiles(t *testing.T) {
	for _, c := range []struct {
		length uint64
		want   string
	}{{100, "the header has 100 bytes, of which the file holds 8: the file was cut short"}, {1 << 40, "this is no safetensors file, or it is damaged"}} {
		file := make([]byte, 16)
		binary.LittleEndian.PutUint64(file, c.length)
		if _, err := NewFile(bytes.NewReader(file), 16); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("header of %d bytes: error %v, want %q", c.length, err, c.want)
		}
	}
}
