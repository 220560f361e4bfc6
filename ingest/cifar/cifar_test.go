package cifar

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type goldenCIFAR struct {
	Images string                                        `json:"images_nchw_b64"`
	Class  []int32                                       `json:"cifar10_labels"`
	Fine   []int32                                       `json:"cifar100_fine"`
	Coarse []int32                                       `json:"cifar100_coarse"`
	Pixel  struct{ Image, Channel, Row, Col, Value int } `json:"pixel_example"`
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("../../testdata/raw/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readGolden(t testing.TB) (g goldenCIFAR, images []byte) {
	t.Helper()
	doc, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &g); err != nil {
		t.Fatal(err)
	}
	images, err = base64.StdEncoding.DecodeString(g.Images)
	if err != nil {
		t.Fatal(err)
	}
	return g, images
}

func readAll(r *Reader) (out []Record, err error) {
	for {
		var rec Record
		if err := r.Next(&rec); err == io.EOF {
			return out, nil
		} else if err != nil {
			return out, err
		}
		out = append(out, rec)
	}
}

func TestGolden(t *testing.T) {
	g, images := readGolden(t)
	for _, c := range []struct {
		file   string
		format Format
		class  []int32
		coarse []int32
	}{{"cifar10_batch.bin", CIFAR10, g.Class, make([]int32, len(g.Class))}, {"cifar100.bin", CIFAR100, g.Fine, g.Coarse}} {
		data := readFile(t, c.file)
		recs, err := readAll(NewReader(iotest.OneByteReader(bytes.NewReader(data)), c.format))
		if err != nil || len(recs) != len(c.class) || len(recs) == 0 {
			t.Fatalf("%s: %d records, %v", c.file, len(recs), err)
		}
		var again []byte
		for i := range recs {
			again = c.format.Append(again, &recs[i])
			if recs[i].Class != c.class[i] || recs[i].Coarse != c.coarse[i] {
				t.Errorf("%s: record %d: labels %d, %d, want %d, %d", c.file, i, recs[i].Class, recs[i].Coarse, c.class[i], c.coarse[i])
			}
			if !bytes.Equal(recs[i].Pixels[:], images[i*PixelBytes:(i+1)*PixelBytes]) {
				t.Errorf("%s: record %d: other pixels", c.file, i)
			}
		}
		p := g.Pixel
		if got := recs[p.Image].Pixels[p.Channel*1024+p.Row*32+p.Col]; int(got) != p.Value {
			t.Errorf("%s: pixel %+v is %d", c.file, p, got)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("%s: encodes to other bytes", c.file)
		}
		if err := c.format.CheckSize(int64(len(data))); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
	}
}

func TestCut(t *testing.T) {
	data := readFile(t, "cifar10_truncated.bin")
	for _, n := range []int{len(data), 3073 + 1, 2*3073 - 1} {
		r := NewReader(bytes.NewReader(data[:n]), CIFAR10)
		recs, err := readAll(r)
		want := &Error{Record: int64(len(recs)), Offset: int64(len(recs)) * 3073, Cut: true}
		for _, err := range []error{err, CIFAR10.CheckSize(int64(n))} {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Record != want.Record || e.Offset != want.Offset || !e.Cut || len(recs) != n/3073 {
				t.Errorf("%d bytes: %d records, %v", n, len(recs), err)
			}
		}
	}
}

// TestBadLabels: a record with an impossible label is an error, and the next is read as if nothing had been.
func TestBadLabels(t *testing.T) {
	for _, c := range []struct {
		file   string
		format Format
		at     int // of the label in the record
		value  byte
		what   string
	}{{"cifar10_batch.bin", CIFAR10, 0, 10, "label"}, {"cifar100.bin", CIFAR100, 0, 20, "coarse label"}, {"cifar100.bin", CIFAR100, 1, 100, "label"}} {
		data := readFile(t, c.file)
		size := c.format.RecordBytes()
		data[2*size+c.at] = c.value
		r := NewReader(bytes.NewReader(data), c.format)
		recs, err := readAll(r)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Record != 2 || e.Offset != int64(2*size) || e.Cut || e.What != c.what || len(recs) != 2 || r.Record() != 2 {
			t.Errorf("%s, %s %d: %v after %d records", c.file, c.what, c.value, err, len(recs))
		}
		if rest, err := readAll(r); err != nil || len(rest) != 3 {
			t.Errorf("%s, %s %d: %d more records, %v", c.file, c.what, c.value, len(rest), err)
		}
	}
}

func TestSourceError(t *testing.T) {
	broken := errors.New("disk failed")
	_, err := readAll(NewReader(io.MultiReader(bytes.NewReader(make([]byte, 5000)), iotest.ErrReader(broken)), CIFAR10))
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, f := range []Format{CIFAR10, CIFAR100} {
		names := f.Names()
		if len(names) != f.Classes || !slices.IsSorted(names) {
			t.Errorf("%d names, in order: %v", len(names), slices.IsSorted(names))
		}
		got, err := ReadNames(strings.NewReader(strings.Join(names, "\n")+"\n\n"), f.Classes)
		if err != nil || !slices.Equal(got, names) {
			t.Errorf("read %v, %v", got, err)
		}
	}
	coarse := CoarseNames()
	counts := make([]int, len(coarse))
	for c, name := range CIFAR100.Names() {
		counts[CoarseOf(int32(c))]++
		if name == "maple_tree" && coarse[CoarseOf(int32(c))] != "trees" || name == "whale" && coarse[CoarseOf(int32(c))] != "aquatic_mammals" {
			t.Errorf("%s is one of %s", name, coarse[CoarseOf(int32(c))])
		}
	}
	for i, n := range counts {
		if n != 5 {
			t.Errorf("%d classes of %s, want 5", n, coarse[i])
		}
	}
}

func TestReadNames(t *testing.T) {
	for _, c := range []struct {
		text string
		line int // of the error; 0: none
	}{
		{"a\nb\nc", 0}, {"a\r\nb\r\nc\r\n", 0}, {"a\nb\n", 2}, {"", 1}, {"a\nb\nc\nd\n", 4}, {"a\n\nb\nc\n", 2},
		{"a\n" + strings.Repeat("b", 300) + "\nc\n", 2}, {"a\nb\n" + strings.Repeat("c", 70000), 3},
	} {
		names, err := ReadNames(strings.NewReader(c.text), 3)
		if c.line == 0 {
			if err != nil || len(names) != 3 || names[2] != "c" {
				t.Errorf("%q: %v, %v", c.text, names, err)
			}
			continue
		}
		if e, ok := errors.AsType[*NamesError](err); !ok || e.Line != c.line {
			t.Errorf("%.20q: %v, want an error on line %d", c.text, err, c.line)
		}
	}
}

// FuzzReader: whatever the bytes, the records are those at their offsets with good labels, and the rest is errors.
func FuzzReader(f *testing.F) {
	f.Add(readFile(f, "cifar10_truncated.bin")[:3073+7], false)
	f.Add(readFile(f, "cifar100.bin")[:3074+7], true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, hundred bool) {
		format := CIFAR10
		if hundred {
			format = CIFAR100
		}
		size := format.RecordBytes()
		r := NewReader(bytes.NewReader(data), format)
		var rec Record
		for i := 0; ; i++ {
			err := r.Next(&rec)
			if i == len(data)/size {
				if e, ok := errors.AsType[*Error](err); err != io.EOF && (!ok || !e.Cut) || (err == io.EOF) != (len(data)%size == 0) {
					t.Fatalf("at the end: %v", err)
				}
				return
			}
			at := data[i*size:]
			class, good := at[0], at[0] < 10
			if hundred {
				class, good = at[1], at[0] < 20 && at[1] < 100
			}
			if good != (err == nil) {
				t.Fatalf("record %d: %v", i, err)
			}
			if good && (rec.Class != int32(class) || !bytes.Equal(rec.Pixels[:], at[size-PixelBytes:size])) {
				t.Fatalf("record %d: other content", i)
			}
		}
	})
}
