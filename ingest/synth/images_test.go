package synth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sdnn/ingest/cifar"
	"sdnn/ingest/matfile"
)

// An exampleImage is an image with its class.
type exampleImage struct {
	class  int
	pixels []byte
}

// readExamples reads a file back.
func readExamples(t *testing.T, dataset, path string) (out []exampleImage) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if dataset == "svhn" {
		return readDigits(t, data)
	}
	format := map[string]cifar.Format{"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}[dataset]
	r := cifar.NewReader(bytes.NewReader(data), format)
	for {
		var rec cifar.Record
		if err := r.Next(&rec); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if format.Coarse > 0 && rec.Coarse != cifar.CoarseOf(rec.Class) {
			t.Fatalf("coarse class %d of class %d", rec.Coarse, rec.Class)
		}
		out = append(out, exampleImage{int(rec.Class), rec.Pixels[:]})
	}
}

func readDigits(t *testing.T, data []byte) (out []exampleImage) {
	m, err := matfile.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(m.Variables) != 2 {
		t.Fatal(err, len(m.Variables))
	}
	read := func(v *matfile.Variable) []byte {
		d, err := m.Data(v)
		if err != nil {
			t.Fatal(err)
		}
		all := make([]byte, v.Len())
		if err := errors.Join(d.Read(all), d.Finish()); err != nil {
			t.Fatal(err)
		}
		return all
	}
	x, y := read(m.Variables[0]), read(m.Variables[1])
	for i, label := range y {
		e := exampleImage{int(label) % 10, make([]byte, 3072)}
		for j := range e.pixels { // j = (plane*32 + row)*32 + column
			e.pixels[j] = x[i*3072+j/1024*1024+j%32*32+j/32%32]
		}
		out = append(out, e)
	}
	return out
}

func makeImages(t *testing.T, dataset string, o ImageOptions) (dir string, r ImageResult) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "raw")
	r, err := Images(context.Background(), dir, dataset, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// TestImageFiles reads everything back and compares it with what was asked for.
func TestImageFiles(t *testing.T) {
	for _, c := range []struct {
		dataset string
		files   map[string]int // images of each
		texts   []string
	}{
		{"cifar10", map[string]int{"data_batch_1.bin": 60, "data_batch_2.bin": 60, "data_batch_3.bin": 60, "data_batch_4.bin": 60, "data_batch_5.bin": 60, "test_batch.bin": 50},
			[]string{"batches.meta.txt"}},
		{"cifar100", map[string]int{"train.bin": 300, "test.bin": 50}, []string{"coarse_label_names.txt", "fine_label_names.txt"}},
		{"svhn", map[string]int{"train_32x32.mat": 200, "extra_32x32.mat": 100, "test_32x32.mat": 50}, nil},
	} {
		dir, r := makeImages(t, c.dataset, ImageOptions{Seed: 3, Images: 300, Test: 50})
		want := slices.Sorted(maps.Keys(c.files))
		names := slices.Sorted(slices.Values(slices.Concat(want, c.texts, []string{"synth.json"})))
		got := files(t, dir)
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, names) {
			t.Errorf("%s: files %q, want %q", c.dataset, have, names)
		}
		counts, size := map[int]int{}, int64(0)
		for name, n := range c.files {
			size += int64(len(got[name]))
			examples := readExamples(t, c.dataset, filepath.Join(dir, name))
			if len(examples) != n {
				t.Errorf("%s: %s: %d images, want %d", c.dataset, name, len(examples), n)
			}
			for _, e := range examples {
				counts[e.class]++
			}
		}
		if r.TrainImages != 300 || r.TestImages != 50 || r.Files != len(c.files) || r.BytesOut != size || len(counts) != r.Classes {
			t.Errorf("%s: %+v, %d bytes, %d classes", c.dataset, r, size, len(counts))
		}
		if c.dataset == "svhn" && counts[1] < 2*counts[9] || c.dataset == "cifar10" && counts[1] != counts[9] {
			t.Errorf("%s: classes %v", c.dataset, counts)
		}
		var m imageMark
		if err := json.Unmarshal([]byte(got["synth.json"]), &m); err != nil || m.Dataset != c.dataset || len(m.Classes) != r.Classes {
			t.Errorf("%s: mark %+v, %v", c.dataset, m, err)
		}
	}
}

// TestImageBytes: the bytes of the images never change, on no machine. (Compressed ones may with the compressor.)
func TestImageBytes(t *testing.T) {
	sums := map[string]string{}
	for _, dataset := range ImageDatasets() {
		dir, _ := makeImages(t, dataset, ImageOptions{Seed: 1, Images: 30, Test: 10})
		for name := range files(t, dir) {
			if filepath.Ext(name) != ".bin" && filepath.Ext(name) != ".mat" {
				continue
			}
			h := crc32.NewIEEE()
			for _, e := range readExamples(t, dataset, filepath.Join(dir, name)) {
				h.Write(append([]byte{byte(e.class)}, e.pixels...))
			}
			sums[name] = fmt.Sprintf("%08x", h.Sum32())
		}
	}
	want := map[string]string{"data_batch_1.bin": "b56a4348", "data_batch_2.bin": "43f82f94", "data_batch_3.bin": "37b419da",
		"data_batch_4.bin": "7bf98a74", "data_batch_5.bin": "27f11912", "test_batch.bin": "b3ea0376", "train.bin": "d7b88f63",
		"test.bin": "cc2c17a8", "train_32x32.mat": "566ff52a", "extra_32x32.mat": "aa5c9192", "test_32x32.mat": "31afa014"}
	if !maps.Equal(sums, want) {
		t.Errorf("sums %#v", sums)
	}
}

// TestImagesAreLearnable: comparing small pictures with their neighbours tells most classes, so there is something to learn; one
// mean image a class tells far fewer, above all of the hard classes, whose looks cancel.
func TestImagesAreLearnable(t *testing.T) {
	dir, _ := makeImages(t, "cifar10", ImageOptions{Seed: 1, Images: 3000, Test: 300})
	var train []exampleImage
	for i := range 5 {
		train = append(train, readExamples(t, "cifar10", filepath.Join(dir, fmt.Sprintf("data_batch_%d.bin", i+1)))...)
	}
	test := readExamples(t, "cifar10", filepath.Join(dir, "test_batch.bin"))
	var points [][]float64
	for _, e := range train {
		points = append(points, shrink(e.pixels))
	}
	means := make([][]float64, 10)
	for i, e := range train {
		if means[e.class] == nil {
			means[e.class] = make([]float64, len(points[0]))
		}
		for j, v := range points[i] {
			means[e.class][j] += v / float64(len(train)/10)
		}
	}
	near, mean, hardMean, hards := 0, 0, 0, 0
	for _, e := range test {
		p := shrink(e.pixels)
		if train[nearest(points, p)].class == e.class {
			near++
		}
		right := nearest(means, p) == e.class
		if right {
			mean++
		}
		if hard(e.class) {
			hards++
			if right {
				hardMean++
			}
		}
	}
	t.Logf("nearest neighbour %d, nearest mean %d of %d; hard classes %d of %d", near, mean, len(test), hardMean, hards)
	if near < 75*len(test)/100 || mean > near-len(test)/10 || hardMean > 40*hards/100 {
		t.Errorf("nearest neighbour %d, nearest mean %d of %d; hard classes %d of %d", near, mean, len(test), hardMean, hards)
	}
}

// shrink returns the means of blocks of 8 x 8 pixels.
func shrink(pixels []byte) []float64 {
	out := make([]float64, 3*4*4)
	for i, v := range pixels {
		out[i/1024*16+i/256%4*4+i%32/8] += float64(v) / 64
	}
	return out
}

func nearest(points [][]float64, p []float64) int {
	best, at := 0.0, -1
	for i, q := range points {
		d := 0.0
		for j, v := range q {
			d += (v - p[j]) * (v - p[j])
		}
		if at < 0 || d < best {
			best, at = d, i
		}
	}
	return at
}

func TestImagesClaim(t *testing.T) {
	o := ImageOptions{Seed: 1, Images: 20, Test: 5}
	dir, _ := makeImages(t, "cifar100", o)
	first := files(t, dir)
	o.Seed = 2
	if _, err := Images(context.Background(), dir, "cifar100", o); err != nil {
		t.Fatal(err)
	}
	second := files(t, dir)
	if second["train.bin"] == first["train.bin"] || len(second) != len(first) {
		t.Error("the data was not replaced")
	}
	for _, dataset := range []string{"cifar10", "svhn"} {
		if _, err := Images(context.Background(), dir, dataset, o); !errors.As(err, new(*ExistsError)) {
			t.Errorf("%s over cifar100: %v", dataset, err)
		}
	}
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stopped)
	for _, dataset := range []string{"cifar100", "svhn"} {
		target := filepath.Join(t.TempDir(), "raw")
		if _, err := Images(ctx, target, dataset, o); !errors.Is(err, stopped) {
			t.Errorf("%s: cancelled: %v", dataset, err)
		}
		if left := files(t, target); len(left) != 0 {
			t.Errorf("%s: left %v", dataset, slices.Sorted(maps.Keys(left)))
		}
	}
	if !maps.Equal(second, files(t, dir)) {
		t.Error("the data was changed")
	}
	for _, o := range []ImageOptions{{Images: 4}, {Images: -1}, {Test: -1}, {Modes: 17}, {Noise: -1}} {
		if _, err := Images(context.Background(), dir, "cifar10", o); !errors.As(err, new(*UsageError)) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
