package ingest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sdnn/features"
	"sdnn/ingest/cifar"
	"sdnn/ingest/matfile"
)

// storedImages is a split as it is read back.
type storedImages struct {
	ids    []string
	labels []int32
	pixels [][]byte
}

func readImages(t *testing.T, dir, split string) (out storedImages) {
	t.Helper()
	s, err := features.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := s.Split(split)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckAll(); err != nil {
		t.Fatal(err)
	}
	for i := range p.Rows() {
		out.ids = append(out.ids, string(p.ID(i)))
		out.labels = append(out.labels, p.Labels(i)...)
		out.pixels = append(out.pixels, bytes.Clone(p.Bytes(0, i)))
	}
	return out
}

func readManifest(t *testing.T, dir string) *features.Manifest {
	t.Helper()
	s, err := features.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Manifest()
}

func ingestImages(t *testing.T, dataset string, o Options) (ImageResult, []Warning, error) {
	t.Helper()
	var warnings []Warning
	o.Warn = func(w Warning) { warnings = append(warnings, w) }
	r, err := Images(context.Background(), dataset, o)
	return r, warnings, err
}

func mustIngestImages(t *testing.T, dataset string, o Options) (ImageResult, []Warning) {
	t.Helper()
	r, warnings, err := ingestImages(t, dataset, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, warnings
}

// image makes a record whose content follows from its number.
func image(i int) *cifar.Record {
	rec := &cifar.Record{Class: int32(i % 10), Coarse: int32(i % 20)}
	for j := range rec.Pixels {
		rec.Pixels[j] = byte(i*29 + j*7 + j>>5)
	}
	return rec
}

// imageFile writes images from..to-1 as a file of CIFAR.
func imageFile(t *testing.T, path string, f cifar.Format, from, to int) string {
	t.Helper()
	var data []byte
	for i := from; i < to; i++ {
		data = f.Append(data, image(i))
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// check compares images with those of the given numbers.
func (s storedImages) check(t *testing.T, numbers ...int) {
	t.Helper()
	if len(s.labels) != len(numbers) {
		t.Fatalf("%d images, want %d", len(s.labels), len(numbers))
	}
	for row, i := range numbers {
		if want := image(i); s.labels[row] != want.Class || !bytes.Equal(s.pixels[row], want.Pixels[:]) {
			t.Fatalf("row %d is not image %d", row, i)
		}
	}
}

func upTo(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func TestCIFARFolder(t *testing.T) {
	in := t.TempDir()
	imageFile(t, filepath.Join(in, "test_batch.bin"), cifar.CIFAR10, 0, 9)
	imageFile(t, filepath.Join(in, "data_batch_2.bin"), cifar.CIFAR10, 40, 75)
	imageFile(t, filepath.Join(in, "data_batch_1.bin"), cifar.CIFAR10, 10, 40)
	imageFile(t, filepath.Join(in, "notes.bin"), cifar.CIFAR10, 0, 1)
	if err := os.WriteFile(filepath.Join(in, "batches.meta.txt"), []byte("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "store")
	var last Progress
	r, warnings, err := ingestImages(t, "cifar10", Options{Paths: []string{in}, Out: out, chunkRows: 8, Progress: func(p Progress) { last = p }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Rows != 74 || r.Files != 3 || r.Shards != 2 || r.BytesIn != 74*3073 || !maps.Equal(r.Splits, map[string]int64{"train": 65, "test": 9}) {
		t.Errorf("%+v", r)
	}
	if last.Rows != 74 || last.Bytes != last.TotalBytes {
		t.Errorf("progress ended with %+v", last)
	}
	if len(warnings) != 1 || warnings[0].Kind != UnknownFile || !strings.Contains(warnings[0].Message, "notes.bin") {
		t.Errorf("warnings %v", warnings)
	}
	train := readImages(t, out, "train")
	train.check(t, upTo(10, 75)...)
	readImages(t, out, "test").check(t, upTo(0, 9)...)
	if train.ids[0] != "data_batch_1/00000000" || train.ids[64] != "data_batch_2/00000034" {
		t.Errorf("ids %v", train.ids)
	}
	m := readManifest(t, out)
	if m.Dataset != "cifar10" || m.Classes != 10 || !slices.Equal(m.ClassNames, strings.Split("abcdefghij", "")) ||
		!slices.Equal(m.PixelMean, []float64{125.3, 123.0, 113.9}) || !slices.Equal(m.PixelStd, []float64{63.0, 62.1, 66.7}) ||
		m.Columns[0] != (features.Column{Name: "image", Kind: features.Uint8, Width: 3072}) {
		t.Errorf("manifest %+v", m)
	}
}

// TestCIFARGolden goes from the golden files to a store.
func TestCIFARGolden(t *testing.T) {
	var g struct {
		Images string  `json:"images_nchw_b64"`
		Class  []int32 `json:"cifar10_labels"`
		Fine   []int32 `json:"cifar100_fine"`
	}
	readJSON(t, "cifar/testdata/expected.json", &g)
	images, err := base64.StdEncoding.DecodeString(g.Images)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dataset, file string
		labels        []int32
		name          string // of class 1
	}{{"cifar10", "cifar10_batch.bin", g.Class, "automobile"}, {"cifar100", "cifar100.bin", g.Fine, "aquarium_fish"}} {
		out := filepath.Join(t.TempDir(), "store")
		mustIngestImages(t, c.dataset, Options{Paths: []string{"../testdata/raw/" + c.file}, Out: out, Split: "validate"})
		got := readImages(t, out, "validate")
		if !slices.Equal(got.labels, c.labels) || !bytes.Equal(slices.Concat(got.pixels...), images) {
			t.Errorf("%s: other content", c.dataset)
		}
		if m := readManifest(t, out); m.ClassNames[1] != c.name {
			t.Errorf("%s: classes %v", c.dataset, m.ClassNames)
		}
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, v); err != nil {
		t.Fatal(err)
	}
}

// TestSVHNGolden goes from the golden files, which SciPy wrote, to a store.
func TestSVHNGolden(t *testing.T) {
	var g struct {
		SVHN map[string]struct {
			Labels []int32
			Images string `json:"images_nhwc_b64"`
		}
	}
	readJSON(t, "matfile/testdata/expected.json", &g)
	for name, want := range g.SVHN {
		out := filepath.Join(t.TempDir(), "store")
		mustIngestImages(t, "svhn", Options{Paths: []string{"../testdata/raw/" + name}, Out: out, Split: "train", chunkRows: 2})
		images, err := base64.StdEncoding.DecodeString(want.Images)
		if err != nil {
			t.Fatal(err)
		}
		got := readImages(t, out, "train")
		if !slices.Equal(got.labels, want.Labels) {
			t.Errorf("%s: labels %v, want %v", name, got.labels, want.Labels)
		}
		for i, v := range slices.Concat(got.pixels...) { // i = ((image*3 + plane)*32 + row)*32 + column
			column, row, plane, image := i%32, i/32%32, i/1024%3, i/3072
			if v != images[((image*32+row)*32+column)*3+plane] {
				t.Errorf("%s: image %d, plane %d, row %d, column %d: %d", name, image, plane, row, column, v)
				break
			}
		}
		if m := readManifest(t, out); m.Dataset != "svhn" || m.ClassNames[0] != "0" || !slices.Equal(m.PixelMean, []float64{109.9, 109.7, 113.8}) {
			t.Errorf("%s: manifest %+v", name, m)
		}
	}
}

// digits returns X and y of images from..to-1, in the layout of .mat files.
func digits(from, to int) (x, y []byte) {
	for i := from; i < to; i++ {
		rec := image(i)
		for j := range rec.Pixels { // j = (plane*32 + column)*32 + row
			x = append(x, rec.Pixels[j/1024*1024+j%32*32+j/32%32])
		}
		y = append(y, byte((rec.Class+9)%10+1)) // 10 for the digit 0
	}
	return x, y
}

// digitFile writes images from..to-1 as a file of SVHN.
func digitFile(t *testing.T, path string, from, to int) string {
	t.Helper()
	x, y := digits(from, to)
	data := matfile.AppendVariable(matfile.Header("test"), "X", matfile.ClassUint8, []int{32, 32, 3, to - from}, matfile.Uint8, x)
	data = matfile.AppendVariable(data, "y", matfile.ClassDouble, []int{to - from, 1}, matfile.Uint8, y)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSVHNFolder(t *testing.T) {
	in := t.TempDir()
	digitFile(t, filepath.Join(in, "extra_32x32.mat"), 30, 50)
	digitFile(t, filepath.Join(in, "train_32x32.mat"), 0, 30)
	digitFile(t, filepath.Join(in, "test_32x32.mat"), 100, 103)
	out := filepath.Join(t.TempDir(), "store")
	r, warnings := mustIngestImages(t, "svhn", Options{Paths: []string{in}, Out: out, chunkRows: 8})
	if len(warnings) != 0 || !maps.Equal(r.Splits, map[string]int64{"train": 50, "test": 3}) {
		t.Errorf("%+v, %v", r, warnings)
	}
	train := readImages(t, out, "train")
	train.check(t, upTo(0, 50)...) // the extra images last
	readImages(t, out, "test").check(t, 100, 101, 102)
	if train.ids[0] != "train_32x32/00000000" || train.ids[49] != "extra_32x32/00000019" {
		t.Errorf("ids %v", train.ids)
	}
	// A split of one's own choice; by pattern.
	mustIngestImages(t, "svhn", Options{Paths: []string{filepath.Join(in, "ex*.mat")}, Out: out, Split: "validate"})
	readImages(t, out, "validate").check(t, upTo(30, 50)...)
	// Of a folder only the split that is asked for.
	_, warnings = mustIngestImages(t, "svhn", Options{Paths: []string{in}, Out: filepath.Join(t.TempDir(), "s"), Split: "test"})
	if len(warnings) != 1 || warnings[0].Kind != OtherSplit {
		t.Errorf("warnings %v", warnings)
	}
}

// badFile says how a file is damaged and what is to be said of it.
type badFile struct {
	what    string
	dataset string
	data    []byte
	offset  int64
	record  int64
	text    string
	kept    int // images that --skip-bad keeps; -1: it fails too
}

func badFiles(t *testing.T) []badFile {
	ten := func(n int) (data []byte) {
		for i := range n {
			data = cifar.CIFAR10.Append(data, image(i))
		}
		return data
	}
	labelled := ten(4)
	labelled[3073*2] = 10
	x, y := digits(0, 9)
	variable := func(data []byte, name string, class matfile.Class, dims []int, raw []byte) []byte {
		return matfile.AppendVariable(data, name, class, dims, matfile.Uint8, raw)
	}
	yThenX := func(labels []byte) []byte {
		data := variable(matfile.Header(""), "y", matfile.ClassUint8, []int{9, 1}, labels)
		return variable(data, "X", matfile.ClassUint8, []int{32, 32, 3, 9}, x)
	}
	good := yThenX(y)
	eleven := bytes.Clone(y)
	eleven[4], eleven[6] = 11, 0
	zipped, err := os.ReadFile("../testdata/raw/svhn_zip.mat")
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(zipped)
	altered[9000] ^= 64
	only := variable(matfile.Header(""), "X", matfile.ClassUint8, []int{32, 32, 3, 9}, x)
	return []badFile{
		{"label", "cifar10", labelled, 2 * 3073, 2, "label: expected 0 to 9, found 10", 3},
		{"cut short", "cifar10", ten(3)[:3*3073-1], 2 * 3073, 2, "record cut short: expected 3073 bytes, found 3072", 2},
		{"CIFAR-100", "cifar10", cifar.CIFAR100.Append(nil, image(0)), 3073, 1, "right for cifar100: ingest it as that", -1},
		{"CIFAR-10", "cifar100", ten(1), 0, 0, "right for cifar10: ingest it as that", -1},
		{"empty", "cifar10", nil, -1, -1, "at least one sound one, found none", -1},
		{"no .mat file", "svhn", ten(1), 124, -1, "expected a MATLAB 5 file", -1},
		{"images cut short", "svhn", good[:len(good)-2*3072-8], int64(len(good) - 2*3072 - 8), -1, "found the end of the file after", 6},
		{"labels cut short", "svhn", append(bytes.Clone(only), good[128:190]...), int64(len(only)) + 62, -1, "the file is incomplete", -1},
		{"no labels", "svhn", only, -1, -1, "expected X and y, found X uint8 32x32x3x9", -1},
		{"labels", "svhn", yThenX(eleven), 128, 4, "expected 1 to 10 (10 means the digit 0), found 11", 7},
		{"fewer labels", "svhn", variable(bytes.Clone(only), "y", matfile.ClassUint8, []int{8, 1}, y[:8]), int64(len(only)), -1, "y 9x1: a label for each image", -1},
		{"wrong shape", "svhn", variable(variable(matfile.Header(""), "X", matfile.ClassUint8, []int{9, 3072}, x), "y", matfile.ClassUint8, []int{9, 1}, y), 128, -1, "expected X uint8 32x32x3xN, found X uint8 9x3072", -1},
		{"doubles", "svhn", variable(variable(matfile.Header(""), "X", matfile.ClassDouble, []int{32, 32, 3, 9}, x), "y", matfile.ClassUint8, []int{9, 1}, y), 128, -1, "found X double", -1},
		{"altered", "svhn", altered, unknown, unknown, "expected ", -1},
		{"compressed images cut short", "svhn", zipped[:9000], 9000, -1, "the file is incomplete", -1}, // the labels are behind
	}
}

// unknown is the place of damage that shows somewhere behind it.
const unknown = -2

func TestBadImages(t *testing.T) {
	for _, c := range badFiles(t) {
		dir := t.TempDir()
		in, out := filepath.Join(dir, "in.bin"), filepath.Join(dir, "store")
		mustIngestImages(t, c.dataset, Options{Paths: []string{goodFile(t, c.dataset)}, Out: out, Split: "train"})
		before := snapshot(t, out)
		if err := os.WriteFile(in, c.data, 0o666); err != nil {
			t.Fatal(err)
		}
		o := Options{Paths: []string{goodFile(t, c.dataset), in}, Out: out, Split: "train", Overwrite: true}
		if c.what == "empty" {
			o.Paths = o.Paths[1:]
		}
		_, _, err := ingestImages(t, c.dataset, o)
		bad, ok := errors.AsType[*BadDataError](err)
		if !ok || !errors.Is(err, features.ErrBadData) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "in.bin") ||
			c.offset != unknown && bad.Offset != c.offset || c.record != unknown && bad.Record != c.record ||
			strings.Contains(err.Error(), ": record ") != (bad.Record >= 0) {
			t.Errorf("%s: %v, want %q, offset %d, record %d", c.what, err, c.text, c.offset, c.record)
		}
		if !maps.Equal(before, snapshot(t, out)) {
			t.Errorf("%s: the store was changed", c.what)
		}
		o.SkipBad, o.Paths = true, []string{in}
		r, warnings, err := ingestImages(t, c.dataset, o)
		switch {
		case c.kept < 0:
			if !errors.Is(err, features.ErrBadData) || !maps.Equal(before, snapshot(t, out)) {
				t.Errorf("%s: with SkipBad: %v", c.what, err)
			}
		case err != nil || r.Rows != int64(c.kept) || r.Skipped == 0 || int(r.Skipped) != len(warnings) || warnings[0].Bad == nil:
			t.Errorf("%s: with SkipBad: %+v, %v, %v", c.what, r, warnings, err)
		}
	}
}

// goodFile returns a file without damage.
func goodFile(t *testing.T, dataset string) string {
	switch dataset {
	case "cifar10":
		return "../testdata/raw/cifar10_batch.bin"
	case "cifar100":
		return "../testdata/raw/cifar100.bin"
	}
	return "../testdata/raw/svhn_raw.mat"
}

func TestImagesUsage(t *testing.T) {
	in := t.TempDir()
	file := imageFile(t, filepath.Join(in, "data_batch_1.bin"), cifar.CIFAR10, 0, 2)
	odd := imageFile(t, filepath.Join(in, "odd.bin"), cifar.CIFAR10, 0, 2)
	empty := t.TempDir()
	other := t.TempDir()
	same := imageFile(t, filepath.Join(other, "data_batch_1.bin"), cifar.CIFAR10, 0, 2)
	if err := os.WriteFile(filepath.Join(other, "batches.meta.txt"), []byte("a\nb\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	only := t.TempDir()
	imageFile(t, filepath.Join(only, "what.bin"), cifar.CIFAR10, 0, 2)
	out := filepath.Join(t.TempDir(), "store")
	for _, c := range []struct {
		o    Options
		text string
	}{
		{Options{Paths: []string{file}}, "no folder given"},
		{Options{Out: out}, "no input given"},
		{Options{Out: out, Paths: []string{"nix.bin"}}, "nix.bin: no such file"},
		{Options{Out: out, Paths: []string{filepath.Join(in, "x*.bin")}}, "no file matches"},
		{Options{Out: out, Paths: []string{empty}}, "no *.bin file"},
		{Options{Out: out, Paths: []string{odd}}, "odd.bin: the name tells no split (known are data_batch_*.bin, test_batch.bin); give --split"},
		{Options{Out: out, Paths: []string{only}}, "no name in this folder tells a split"},
		{Options{Out: out, Paths: []string{in}, Split: "test"}, "none of test by its name"},
		{Options{Out: out, Paths: []string{file}, Split: "training"}, `split "training"`},
		{Options{Out: out, Paths: []string{file}, Classes: 11}, "cifar10 has 10"},
		{Options{Out: out, Paths: []string{file, same}}, "have the same name"},
	} {
		_, _, err := ingestImages(t, "cifar10", c.o)
		if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %q", c.o.Paths, err, c.text)
		}
	}
	_, _, err := ingestImages(t, "cifar10", Options{Out: out, Paths: []string{same}})
	if bad, ok := errors.AsType[*BadDataError](err); !ok || bad.Record != 2 || !strings.Contains(bad.File, "batches.meta.txt") {
		t.Errorf("short names file: %v", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Error("a store was made")
	}
}

func TestImagesCancel(t *testing.T) {
	in := t.TempDir()
	imageFile(t, filepath.Join(in, "data_batch_1.bin"), cifar.CIFAR10, 0, 50)
	out := filepath.Join(t.TempDir(), "store")
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := Images(ctx, "cifar10", Options{Paths: []string{in}, Out: out, chunkRows: 8, Progress: func(p Progress) {
		if p.Rows >= 16 {
			cancel(stopped)
		}
	}})
	if !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Error("a store was made")
	}
}

func ExampleImageDatasets() {
	fmt.Println(ImageDatasets())
	// Output: [cifar10 cifar100 svhn]
}
