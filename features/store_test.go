package features

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 11, 173} {
		dir := filepath.Join(t.TempDir(), "made", "store")
		info := mustWrite(t, dir, "train", 1, n, small)
		if info.Rows != int64(n) {
			t.Errorf("%d rows committed, want %d", info.Rows, n)
		}
		if n == 173 && len(info.Shards) < 3 {
			t.Errorf("%d shards: the test wants several", len(info.Shards))
		}
		p := mustOpen(t, dir, "train")
		if err := checkSplit(p, 1, n); err != nil {
			t.Error(err)
		}
		total := 0
		for _, rows := range p.Chunks() {
			total += rows
		}
		if total != n {
			t.Errorf("chunks %v for %d rows", p.Chunks(), n)
		}
		names := []string{"manifest.json"}
		for _, sh := range info.Shards {
			names = append(names, sh.File)
		}
		slices.Sort(names)
		have := files(t, dir)
		if len(have) != len(names) {
			t.Errorf("files %v left, want %v", keys(have), names)
		}
		if r, err := Verify(dir, nil); err != nil || r.Rows != int64(n) || r.Files != len(names) {
			t.Errorf("Verify: %+v, %v", r, err)
		}
	}
}

func keys(m map[string]string) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// Any Arrow implementation must be able to read a shard: here the ordinary reader, which copies.
func TestShardsAreArrowFiles(t *testing.T) {
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 57, small)
	row := 0
	for _, sh := range info.Shards {
		f, err := os.Open(filepath.Join(dir, sh.File))
		if err != nil {
			t.Fatal(err)
		}
		r, err := ipc.NewFileReader(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.Schema().String(), testSchema.arrowSchema().String(); got != want {
			t.Fatalf("schema\n%s\nwant\n%s", got, want)
		}
		for {
			rec, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			ids, labels := rec.Column(0).(*array.Binary), rec.Column(1).(*array.List)
			rgb, image := rec.Column(2).(*array.FixedSizeList), rec.Column(3).(*array.FixedSizeBinary)
			for i := range int(rec.NumRows()) {
				if string(ids.Value(i)) != string(rowID(1, row)) {
					t.Fatalf("row %d: id %q", row, ids.Value(i))
				}
				from, to := labels.ValueOffsets(i)
				got := labels.ListValues().(*array.Int32).Int32Values()[from:to]
				if !slices.Equal(got, rowLabels(1, row)) {
					t.Fatalf("row %d: labels %v", row, got)
				}
				from, _ = rgb.ValueOffsets(i)
				if v := rgb.ListValues().(*array.Float32).Value(int(from) + 4); v != rowFloat(1, row, 4) {
					t.Fatalf("row %d: mean_rgb[4] %v", row, v)
				}
				if image.Value(i)[5] != rowByte(1, row, 5) {
					t.Fatalf("row %d: image %v", row, image.Value(i))
				}
				row++
			}
		}
		if err := errors.Join(r.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if row != 57 {
		t.Errorf("%d rows", row)
	}
}

// Zero copy: every view must point into the mapping of its shard, inside the block of its record batch.
func TestViewsPointIntoTheMapping(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 57, small)
	p := mustOpen(t, dir, "train")
	if err := p.CheckAll(); err != nil {
		t.Fatal(err)
	}
	for row := range p.Rows() {
		c := &p.chunks[p.chunkOf(row)]
		block := c.shard.bytes(c.batch + 1)
		begin := uintptr(unsafe.Pointer(&block[0]))
		inside := func(what string, at unsafe.Pointer, n int) {
			if n > 0 && (uintptr(at) < begin || uintptr(at)+uintptr(n) > begin+uintptr(len(block))) {
				t.Errorf("row %d: %s is not in the mapping", row, what)
			}
		}
		id, labels := p.ID(row), p.Labels(row)
		rgb, image := p.Float(0, row), p.Bytes(1, row)
		inside("id", unsafe.Pointer(unsafe.SliceData(id)), len(id))
		inside("labels", unsafe.Pointer(unsafe.SliceData(labels)), 4*len(labels))
		inside("mean_rgb", unsafe.Pointer(unsafe.SliceData(rgb)), 4*len(rgb))
		inside("image", unsafe.Pointer(unsafe.SliceData(image)), len(image))
	}
}

func TestGather(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 173, small)
	p := mustOpen(t, dir, "train")
	rows := rand.New(rand.NewPCG(1, 2)).Perm(173)[:40]
	rgb, err := p.Column("mean_rgb")
	if err != nil {
		t.Fatal(err)
	}
	audio, _ := p.Column("mean_audio")
	image, _ := p.Column("image")
	const stride = 8
	dst, pixels := make([]float32, 40*stride), make([]byte, 40*6)
	err = errors.Join(p.GatherFloat(rgb, rows, dst, stride), p.GatherFloat(audio, rows, dst[5:], stride), p.GatherBytes(image, rows, pixels, 6))
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		for k := range 5 {
			if dst[i*stride+k] != rowFloat(1, row, k) {
				t.Fatalf("row %d: mean_rgb[%d] = %v", row, k, dst[i*stride+k])
			}
		}
		for k := range 2 {
			if dst[i*stride+5+k] != -rowFloat(1, row, k) {
				t.Fatalf("row %d: mean_audio[%d] = %v", row, k, dst[i*stride+5+k])
			}
		}
		if dst[i*stride+7] != 0 {
			t.Fatalf("row %d: the gap between rows was written", row)
		}
		if pixels[i*6+5] != rowByte(1, row, 5) {
			t.Fatalf("row %d: image", row)
		}
	}
	if n := testing.AllocsPerRun(10, func() { _ = p.GatherFloat(rgb, rows, dst, stride) }); n != 0 {
		t.Errorf("a gather allocates %v times", n)
	}
}

func TestSplitsAndOverwrite(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 100, small)
	mustWrite(t, dir, "validate", 2, 30, small)
	before := files(t, dir)

	_, err := writeSplit(dir, "train", 3, 10, small)
	if ee := (*ExistsError)(nil); !errors.As(err, &ee) || ee.Rows != 100 || !strings.Contains(err.Error(), "--overwrite") {
		t.Errorf("an existing split: %v", err)
	}
	for field, change := range map[string]func(*Schema){
		"dataset": func(s *Schema) { s.Dataset = "other" },
		"classes": func(s *Schema) { s.Classes, s.ClassNames = 8, nil },
		"columns": func(s *Schema) { s.Columns = s.Columns[:2] },
		"class 2": func(s *Schema) { s.ClassNames[2] = "x" },
		"pixel":   func(s *Schema) { s.PixelMean[0] = 0 },
	} {
		s := testSchema.clone()
		change(&s)
		_, err := NewWriter(dir, "test", s, WriterOptions{})
		if se := (*SchemaError)(nil); !errors.As(err, &se) || !strings.Contains(se.Field, field) {
			t.Errorf("another %s: %v", field, err)
		}
	}
	if after := files(t, dir); !equalFiles(before, after) {
		t.Errorf("refused writes changed the store: %v", keys(after))
	}

	old := mustOpen(t, dir, "train") // stays whole: its files are replaced, not changed
	o := small
	o.Overwrite = true
	mustWrite(t, dir, "train", 3, 12, o)
	if err := checkSplit(old, 1, 100); err != nil {
		t.Errorf("a split opened before it was overwritten: %v", err)
	}
	if err := errors.Join(readStore(dir, "train", 3, 12), readStore(dir, "validate", 2, 30)); err != nil {
		t.Error(err)
	}
	if n := len(files(t, dir)); n != 3 {
		t.Errorf("outdated files left: %v", keys(files(t, dir)))
	}

	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Split("test")
	if se := (*SplitError)(nil); !errors.As(err, &se) || !slices.Equal(se.Have, []string{"train", "validate"}) {
		t.Errorf("a missing split: %v", err)
	}
	p, _ := s.Split("train")
	if _, err := p.Column("rgb"); err == nil || !strings.Contains(err.Error(), "mean_audio float32[2]") {
		t.Errorf("a missing column: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func equalFiles(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// A row must not be handed out before its bytes were verified.
func TestUncheckedAccessPanics(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 20, small)
	p := mustOpen(t, dir, "train")
	if err := p.Check(0); err != nil {
		t.Fatal(err)
	}
	_ = p.ID(9)
	for name, f := range map[string]func(){
		"unchecked chunk": func() { p.ID(10) },
		"row":             func() { p.ID(20) },
		"kind":            func() { p.Float(1, 0) },
		"short dst":       func() { _ = p.GatherFloat(0, []int{0, 1}, make([]float32, 9), 5) },
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.HasPrefix(s, "features: ") {
					t.Errorf("%s: recovered %q", name, s)
				}
			}()
			f()
		}()
	}
}
