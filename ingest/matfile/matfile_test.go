package matfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// content is all that a file says: its variables, each with its numbers.
type content struct {
	variables []string
	numbers   map[string][]float64
}

// readAll reads a file whole.
func readAll(r io.ReaderAt, size int64) (c content, err error) {
	f, err := Open(r, size)
	if err != nil {
		return c, err
	}
	c.numbers = map[string][]float64{}
	for _, v := range f.Variables {
		c.variables = append(c.variables, v.String())
		d, err := f.Data(v)
		if err != nil {
			return c, err
		}
		var all []float64
		for left := v.Len(); left > 0; {
			part := make([]float64, min(left, 1000))
			if err := d.ReadFloats(part); err != nil {
				return c, err
			}
			all, left = append(all, part...), left-int64(len(part))
		}
		if err := d.Finish(); err != nil {
			return c, err
		}
		c.numbers[v.Name] = all
	}
	if f.Cut != nil {
		return c, f.Cut
	}
	return c, nil
}

func readBytes(data []byte) (content, error) {
	return readAll(bytes.NewReader(data), int64(len(data)))
}

// TestGolden compares files that SciPy wrote, compressed and not, with small elements, in either order, with SciPy's arrays.
func TestGolden(t *testing.T) {
	var g struct {
		SVHN map[string]struct {
			Y      []float64 `json:"y_raw"`
			Images string    `json:"images_nhwc_b64"`
			Shapes [][]int   `json:"loadmat_shapes"`
		}
	}
	doc, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &g); err != nil || len(g.SVHN) != 5 {
		t.Fatal(err, len(g.SVHN))
	}
	for name, want := range g.SVHN {
		data, err := os.ReadFile("../../testdata/raw/" + name)
		if err != nil {
			t.Fatal(err)
		}
		images, err := base64.StdEncoding.DecodeString(want.Images)
		if err != nil {
			t.Fatal(err)
		}
		c, err := readBytes(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(c.numbers["y"], want.Y) {
			t.Errorf("%s: y is %v, want %v", name, c.numbers["y"], want.Y)
		}
		x := c.numbers["X"]
		if len(x) != len(images) {
			t.Errorf("%s: X has %d numbers, want %d", name, len(x), len(images))
			continue
		}
		for i, v := range images { // i = ((image*32 + row)*32 + column)*3 + plane
			plane, column, row, image := i%3, i/3%32, i/96%32, i/3072
			if got := x[row+32*column+1024*plane+3072*image]; got != float64(v) {
				t.Errorf("%s: image %d, plane %d, row %d, column %d: %v, want %d", name, image, plane, row, column, got, v)
				break
			}
		}
		if got := fmt.Sprintf("X uint8 %dx%dx%dx%d", want.Shapes[0][0], want.Shapes[0][1], want.Shapes[0][2], want.Shapes[0][3]); !slices.Contains(c.variables, got) {
			t.Errorf("%s: %v, want %s", name, c.variables, got)
		}
	}
}

// zipped returns a file of the given variables, each compressed.
func zipped(t testing.TB, variables ...[]byte) []byte {
	t.Helper()
	out := Header("a test")
	for _, v := range variables {
		out = appendZip(t, out, v)
	}
	return out
}

// TestTypes: each type of numbers, at its limits, whatever the class says.
func TestTypes(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		kind Type
		raw  []byte
		want []float64
	}{
		{Int8, []byte{0x80, 0x7f, 1}, []float64{-128, 127, 1}},
		{Uint8, []byte{0, 255, 1, 2, 3}, []float64{0, 255, 1, 2, 3}},
		{Int16, le.AppendUint16([]byte{0, 0x80}, 5), []float64{-32768, 5}},
		{Uint16, le.AppendUint16(nil, 65535), []float64{65535}},
		{Int32, le.AppendUint32(le.AppendUint32(nil, 0x80000000), 7), []float64{-1 << 31, 7}},
		{Uint32, le.AppendUint32(nil, math.MaxUint32), []float64{math.MaxUint32}},
		{Single, le.AppendUint32(nil, math.Float32bits(0.5)), []float64{0.5}},
		{Double, le.AppendUint64(nil, math.Float64bits(math.Pi)), []float64{math.Pi}},
		{Int64, le.AppendUint64(nil, 1<<63), []float64{-1 << 63}},
		{Uint64, le.AppendUint64(nil, 1<<63), []float64{1 << 63}},
		{Uint8, nil, nil},
	} {
		v := AppendVariable(nil, "name", ClassDouble, []int{len(c.want), 1}, c.kind, c.raw)
		for _, data := range [][]byte{append(Header(""), v...), zipped(t, v)} {
			got, err := readBytes(data)
			if err != nil || !slices.Equal(got.numbers["name"], c.want) {
				t.Errorf("type %d: %v, %v; want %v", c.kind, got.numbers, err, c.want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	good := AppendVariable(nil, "x", ClassUint8, []int{1, 6}, Uint8, []byte("abcdef"))
	edit := func(at int, b ...byte) []byte {
		v := slices.Clone(good)
		copy(v[at:], b)
		return append(Header(""), v...)
	}
	header := func(at int, s string) []byte {
		h := append(Header(""), good...)
		copy(h[at:], s)
		return h
	}
	// Of good: tag 0, flags 8 (data 16), dimensions 24 (data 32), name 40 (data 44), numbers 48 (data 56).
	for _, c := range []struct {
		what   string
		data   []byte
		text   string
		offset int64
	}{
		{"big-endian", header(124, "\x01\x00MI"), "big-endian", 126},
		{"version 7.3", header(124, "\x00\x02IM"), "HDF5", 124},
		{"HDF5", header(0, "\x89HDF\r\n\x1a\n"), "HDF5", 0},
		{"other file", header(124, "abcd"), `"abcd"`, 124},
		{"short", []byte("MATLAB 5.0"), "end of the file after 10", 10},
		{"empty", nil, "end of the file after 0", 0},
		{"no matrix", edit(0, 9), "type 9", 128},
		{"class", edit(16, 1), "cell", 152},
		{"sparse", edit(16, 5), "sparse", 152},
		{"complex", edit(17, 8), "complex", 176},
		{"flags of another type", edit(8, 5), "flags", 144},
		{"negative dimension", edit(32, 0xff, 0xff, 0xff, 0xff), "dimensions", 168},
		{"huge dimensions", edit(32, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f), "dimensions", 168},
		{"dimensions that do not fit", edit(36, 7), "numbers: expected 7", 184},
		{"name of another type", edit(40, 2), "name", 176},
		{"small element of 5 bytes", edit(42, 5), "small element", 176},
		{"unknown numbers", edit(48, 8), "type 8", 184},
		{"numbers beyond the variable", edit(4, 48)[:184], "before the end of the variable", 184},
		{"variable behind the numbers too long", append(edit(4, 0x38, 8), make([]byte, 2048)...), "more bytes", 190},
		{"not zlib", append(Header(""), "\x0f\x00\x00\x00\x08\x00\x00\x00abcdefgh"...), "damage", 0},
	} {
		_, err := readBytes(c.data)
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(err.Error(), c.text) || c.offset != 0 && e.Offset != c.offset {
			t.Errorf("%s: %v, want %q at %d", c.what, err, c.text, c.offset)
		}
	}
}

// TestCutAnywhere: a file of which the end is missing is an error that says so, wherever it ends, and what can be read is right.
func TestCutAnywhere(t *testing.T) {
	names, err := filepath.Glob("../../testdata/raw/*.mat")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if strings.Contains(name, "truncated") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := readBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		ends := 0
		for n := 0; n < len(data); n += 1 + n/100 {
			got, err := readBytes(data[:n])
			e, ok := errors.AsType[*Error](err)
			if err == nil && len(got.variables) < len(whole.variables) {
				ends++ // between two variables
				continue
			}
			if !ok || !e.Cut || e.Offset > int64(n) {
				t.Fatalf("%s: %d bytes: %v", name, n, err)
			}
			for name, numbers := range got.numbers {
				if !slices.Equal(numbers, whole.numbers[name]) {
					t.Fatalf("%s: %d bytes: %s differs", name, n, name)
				}
			}
		}
		if ends > 2 {
			t.Errorf("%s: %d cuts were not noticed", name, ends)
		}
	}
}

// TestFlipAnywhere: no damage to compressed data goes unnoticed.
func TestFlipAnywhere(t *testing.T) {
	raw := make([]byte, 5000)
	for i := range raw {
		raw[i] = byte(i * i >> 3)
	}
	v := AppendVariable(nil, "X", ClassUint8, []int{len(raw), 1}, Uint8, raw)
	data := zipped(t, v)
	for at := 136; at < len(data); at++ {
		bad := slices.Clone(data)
		bad[at] ^= 1 << (at % 8)
		got, err := readBytes(bad)
		if _, ok := errors.AsType[*Error](err); !ok {
			// The two bytes of the zlib header have bits without meaning here.
			if err != nil || at > 137 || len(got.numbers["X"]) != len(raw) {
				t.Errorf("bit flipped at %d: %v", at, err)
			}
		}
	}
}

// TestWriteCompressed: the streaming writer makes what the reader reads, behind other variables.
func TestWriteCompressed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.mat")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw := bytes.Repeat([]byte("0123456789abc"), 100000)
	if _, err := f.Write(AppendVariable(Header("test"), "y", ClassDouble, []int{3, 1}, Uint8, []byte{1, 2, 3})); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X", "Z"} {
		if err := WriteCompressed(f, name, ClassUint8, []int{13, 100000}, Uint8, bytes.NewReader(raw), int64(len(raw))); err != nil {
			t.Fatal(err)
		}
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	c, err := readAll(f, info.Size())
	if err != nil || !slices.Equal(c.variables, []string{"y double 3x1", "X uint8 13x100000", "Z uint8 13x100000"}) {
		t.Fatalf("%v, %v", c.variables, err)
	}
	for i, v := range c.numbers["Z"] {
		if v != float64(raw[i]) {
			t.Fatalf("number %d is %v", i, v)
		}
	}
}

func TestReadError(t *testing.T) {
	if _, err := Open(failing{}, 1000); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

var errDisk = errors.New("disk failed")

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

// FuzzOpen: no bytes make the reader panic or use memory that is not there in the file; what it reads, it reads twice alike, and
// what can be written again is read again.
func FuzzOpen(f *testing.F) {
	small := AppendVariable(nil, "X", ClassUint8, []int{2, 3, 1}, Uint8, []byte("abcdef"))
	f.Add(append(Header(""), small...))
	f.Add(zipped(f, small, AppendVariable(nil, "y", ClassDouble, []int{1, 2}, Uint8, []byte{10, 1})))
	// Small seeds only: long ones are minimised for ever.
	data, err := os.ReadFile("../../testdata/raw/svhn_n1.mat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readBytes(data)
		if _, ok := errors.AsType[*Error](err); err != nil && !ok {
			t.Fatalf("an error without a place: %v", err)
		}
		again, err2 := readBytes(data)
		if (err == nil) != (err2 == nil) || !slices.Equal(c.variables, again.variables) {
			t.Fatalf("first %v, %v; then %v, %v", c.variables, err, again.variables, err2)
		}
	})
}
