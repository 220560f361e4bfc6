package features

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// augmentGolden is testdata/augment.json: one image, and what torchvision's transforms and the paper's cutout make of it.
type augmentGolden struct {
	Image    [][][]int `json:"image_hwc"`
	CropFlip []struct {
		Top, Left int
		Flip      bool
		Out       [][][]int `json:"out_hwc_uint8"`
		Sum       float64   `json:"normalised_chw_sum"`
		FirstRow  []float64 `json:"normalised_first_row_c0"`
	} `json:"crop_flip"`
	Normalise struct {
		Mean     []float64 `json:"mean255"`
		Std      []float64 `json:"std255"`
		SVHNMean []float64 `json:"svhn_mean255"`
		SVHNStd  []float64 `json:"svhn_std255"`
	}
	Normalised [][][]float64 `json:"normalised_chw"`
	Cutout     struct {
		Cases []struct {
			Length, Y, X, Masked int
			Rows, Cols           []int
		}
	}
}

func readAugmentGolden(t testing.TB) (g augmentGolden, pixels []byte) {
	t.Helper()
	doc, err := os.ReadFile("testdata/augment.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &g); err != nil {
		t.Fatal(err)
	}
	return g, planes(g.Image)
}

// planes returns rows of pixels as a store has them.
func planes(hwc [][][]int) []byte {
	var out []byte
	for c := range 3 {
		for _, row := range hwc {
			for _, pixel := range row {
				out = append(out, byte(pixel[c]))
			}
		}
	}
	return out
}

func mustAugmenter(t testing.TB, g augmentGolden, a Augment, run Parallel) *Augmenter {
	t.Helper()
	out, err := NewAugmenter(32, g.Normalise.Mean, g.Normalise.Std, a, run)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNormaliseGolden(t *testing.T) {
	g, pixels := readAugmentGolden(t)
	dst := make([]float32, 3072)
	mustAugmenter(t, g, Augment{}, nil).Normalise(dst, pixels)
	for c := range 3 {
		for y := range 32 {
			for x := range 32 {
				if got, want := dst[(y*32+x)*3+c], float32(g.Normalised[c][y][x]); got != want {
					t.Fatalf("plane %d, row %d, column %d: %v, want %v", c, y, x, got, want)
				}
			}
		}
	}
}

func TestCropFlipGolden(t *testing.T) {
	g, pixels := readAugmentGolden(t)
	a := mustAugmenter(t, g, Augment{Pad: 4, Flip: true}, nil)
	dst, want := make([]float32, 3072), make([]float32, 3072)
	for _, c := range g.CropFlip {
		a.window(dst, pixels, imageDraw{top: c.Top, left: c.Left, flip: c.Flip})
		a.Normalise(want, planes(c.Out))
		if !slices.Equal(dst, want) {
			t.Errorf("top %d, left %d, flip %v: other pixels", c.Top, c.Left, c.Flip)
		}
		sum := 0.0
		for _, v := range dst {
			sum += float64(v)
		}
		if math.Abs(sum-c.Sum) > 1e-3 {
			t.Errorf("top %d, left %d, flip %v: sum %v, want %v", c.Top, c.Left, c.Flip, sum, c.Sum)
		}
		for x, v := range c.FirstRow {
			if dst[3*x] != float32(v) {
				t.Errorf("top %d, left %d, flip %v: column %d is %v, want %v", c.Top, c.Left, c.Flip, x, dst[3*x], v)
			}
		}
	}
}

func TestCutoutGolden(t *testing.T) {
	g, _ := readAugmentGolden(t)
	dst := make([]float32, 3072)
	for _, c := range g.Cutout.Cases {
		for i := range dst {
			dst[i] = 1
		}
		mustAugmenter(t, g, Augment{Cutout: c.Length}, nil).cutout(dst, c.Y, c.X)
		masked := 0
		for i, v := range dst {
			y, x := i/3/32, i/3%32
			in := y >= c.Rows[0] && y < c.Rows[1] && x >= c.Cols[0] && x < c.Cols[1]
			if in != (v == 0) {
				t.Fatalf("length %d at %d, %d: row %d, column %d is %v", c.Length, c.Y, c.X, y, x, v)
			}
			if v == 0 {
				masked++
			}
		}
		if masked != 3*c.Masked {
			t.Errorf("length %d at %d, %d: %d values masked, want %d pixels", c.Length, c.Y, c.X, masked, c.Masked)
		}
	}
}

// naive does it the long way: pad, crop, flip, normalise, cut out, each on a whole image.
func naive(pixels []byte, side, pad, cut int, d imageDraw, mean, std []float64) []float32 {
	padded := func(c, y, x int) byte {
		if y -= pad; y < 0 || y >= side {
			return 0
		}
		if x -= pad; x < 0 || x >= side {
			return 0
		}
		return pixels[c*side*side+y*side+x]
	}
	out := make([]float32, 3*side*side)
	for y := range side {
		for x := range side {
			from := x
			if d.flip {
				from = side - 1 - x
			}
			for c := range 3 {
				v := padded(c, y+d.top, from+d.left)
				out[(y*side+x)*3+c] = (float32(v)/255 - float32(mean[c]/255)) / float32(std[c]/255)
				if y >= d.y-cut/2 && y < d.y+cut/2 && x >= d.x-cut/2 && x < d.x+cut/2 {
					out[(y*side+x)*3+c] = 0
				}
			}
		}
	}
	return out
}

func TestImageLikeNaive(t *testing.T) {
	mean, std := []float64{109.9, 109.7, 113.8}, []float64{50.1, 50.6, 50.8}
	for _, side := range []int{1, 3, 8, 32} {
		pixels := make([]byte, 3*side*side)
		for i := range pixels {
			pixels[i] = byte(i*73 + i>>8)
		}
		for _, o := range []Augment{{}, {Pad: 1}, {Flip: true}, {Cutout: min(3, side)}, {Pad: side, Flip: true, Cutout: side}} {
			a, err := NewAugmenter(side, mean, std, o, nil)
			if err != nil {
				t.Fatal(err)
			}
			dst := make([]float32, len(pixels))
			for key := range uint64(300) {
				d := a.draw(key)
				if o.Cutout == 0 {
					d.y = -100
				}
				a.Image(dst, pixels, key)
				if !slices.Equal(dst, naive(pixels, side, o.Pad, o.Cutout, d, mean, std)) {
					t.Fatalf("side %d, %+v, %+v: other values", side, o, d)
				}
			}
		}
	}
}

// TestDraw checks that all outcomes are equally frequent, by chi-square, and that the numbers of an image are those documented.
func TestDraw(t *testing.T) {
	g, _ := readAugmentGolden(t)
	a := mustAugmenter(t, g, Augment{Pad: 4, Flip: true, Cutout: 16}, nil)
	const n = 90000
	var top, left, flip, y, x, both [128]int
	for key := range uint64(n) {
		d := a.draw(key)
		top[d.top]++
		left[d.left]++
		y[d.y]++
		x[d.x]++
		both[d.top*9+d.left]++
		if d.flip {
			flip[0]++
		} else {
			flip[1]++
		}
	}
	for _, c := range []struct {
		what   string
		counts []int
	}{{"top", top[:9]}, {"left", left[:9]}, {"flip", flip[:2]}, {"y", y[:32]}, {"x", x[:32]}, {"top and left", both[:81]}} {
		chi, want := 0.0, float64(n)/float64(len(c.counts))
		for _, k := range c.counts {
			chi += (float64(k) - want) * (float64(k) - want) / want
		}
		df := float64(len(c.counts) - 1)
		if chi > df+4*math.Sqrt(2*df) {
			t.Errorf("%s: chi-square %.1f of %.0f degrees", c.what, chi, df)
		}
	}
	if got, want := a.draw(12345), (imageDraw{top: int(drawOf(12345, 0, 9)), left: int(drawOf(12345, 1, 9)),
		flip: drawOf(12345, 2, 2) == 1, y: int(drawOf(12345, 3, 32)), x: int(drawOf(12345, 4, 32))}); got != want {
		t.Errorf("key 12345: %+v, want %+v", got, want)
	}
}

// drawOf is the documented formula, by SplitMix64 as published.
func drawOf(key, i, n uint64) uint64 {
	z := (key ^ 0x6175676d656e7421) + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return uint64(float64(z>>11) / (1 << 53) * float64(n))
}

// imageStore writes a store of images whose bytes follow from their row.
func imageStore(t testing.TB, rows int) *Split {
	t.Helper()
	s := Schema{Dataset: "toy", Classes: 10, Columns: []Column{{"image", Uint8, 3072}}}
	dir := filepath.Join(t.TempDir(), "store")
	w, err := NewWriter(dir, "train", s, WriterOptions{RowsPerBatch: 50})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		id := fmt.Sprint(i)
		r := &Rows{IDs: []byte(id), IDOffsets: []int32{0, int32(len(id))}, Labels: []int32{int32(i % 10)}, LabelOffsets: []int32{0, 1}, Bytes: [][]byte{storedImage(i)}}
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	p, err := store.Split("train")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func storedImage(row int) []byte {
	b := make([]byte, 3072)
	for i := range b {
		b[i] = byte(row*31 + i*7 + i>>8)
	}
	return b
}

// threads is a Parallel of n goroutines.
func threads(n int) Parallel {
	return func(tasks int, f func(task, worker int)) {
		var wg sync.WaitGroup
		for w := range n {
			wg.Go(func() {
				for task := tasks - 1 - w; task >= 0; task -= n { // in no natural order
					f(task, w)
				}
			})
		}
		wg.Wait()
	}
}

func TestGatherImages(t *testing.T) {
	g, _ := readAugmentGolden(t)
	p := imageStore(t, 333)
	o := Augment{Pad: 4, Flip: true, Cutout: 16}
	var rows []int
	var keys []uint64
	for i := range 200 {
		rows, keys = append(rows, i*91%333), append(keys, uint64(i)*gamma)
	}
	one := mustAugmenter(t, g, o, nil)
	want, plain := make([]float32, 200*3072), make([]float32, 200*3072)
	for i, row := range rows {
		one.Image(want[i*3072:(i+1)*3072], storedImage(row), keys[i])
		one.Normalise(plain[i*3072:(i+1)*3072], storedImage(row))
	}
	got := make([]float32, 200*3072)
	for _, n := range []int{1, 2, 7} {
		a := mustAugmenter(t, g, o, threads(n))
		for range 2 { // an Augmenter is used again
			clear(got)
			if err := p.GatherImages(0, rows, keys, got, a); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%d threads: other values", n)
			}
		}
		if err := p.GatherImages(0, rows, nil, got, a); err != nil || !slices.Equal(got, plain) {
			t.Fatalf("%d threads: evaluation: other values, or %v", n, err)
		}
	}
	if err := p.GatherImages(0, nil, nil, nil, one); err != nil {
		t.Errorf("no rows: %v", err)
	}
	if n := testing.AllocsPerRun(10, func() { _ = p.GatherImages(0, rows, keys, got, one) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestGatherImagesDamage: a flipped byte is an error with its place, whatever the order of the tasks.
func TestGatherImagesDamage(t *testing.T) {
	g, _ := readAugmentGolden(t)
	p := imageStore(t, 200)
	path := p.shards[0].path
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := p.shards[0].info.Blocks[3] // rows 100 to 149
	doc[b.Offset+b.Bytes-5] ^= 4
	if err := os.WriteFile(path, doc, 0o666); err != nil {
		t.Fatal(err)
	}
	rows := []int{}
	for i := range 200 {
		rows = append(rows, i)
	}
	err = p.GatherImages(0, rows, nil, make([]float32, 200*3072), mustAugmenter(t, g, Augment{}, threads(3)))
	if e, ok := errors.AsType[*CorruptError](err); !ok || e.Offset != b.Offset || e.File != path {
		t.Errorf("got %v, want a CorruptError at %d of %s", err, b.Offset, path)
	}
}

func TestNewAugmenterRefuses(t *testing.T) {
	mean, std := []float64{1, 2, 3}, []float64{1, 2, 3}
	for _, c := range []struct {
		side      int
		mean, std []float64
		a         Augment
	}{{32, nil, nil, Augment{}}, {32, mean, []float64{1, 0, 1}, Augment{}}, {32, mean, []float64{1, math.NaN(), 1}, Augment{}}, {0, mean, std, Augment{}},
		{32, mean, std, Augment{Pad: -1}}, {32, mean, std, Augment{Pad: 33}}, {32, mean, std, Augment{Cutout: -2}}, {32, mean, std, Augment{Cutout: 65}}} {
		if _, err := NewAugmenter(c.side, c.mean, c.std, c.a, nil); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func BenchmarkGatherImages(b *testing.B) {
	g, _ := readAugmentGolden(b)
	p := imageStore(b, 4096)
	rows, keys := make([]int, 128), make([]uint64, 128)
	for i := range rows {
		rows[i], keys[i] = i*1237%4096, mix(uint64(i))
	}
	dst := make([]float32, 128*3072)
	for _, c := range []struct {
		name string
		run  Parallel
		keys []uint64
	}{{"train/1", nil, keys}, {"eval/1", nil, nil}, {"train/2", threads(2), keys}} {
		a := mustAugmenter(b, g, Augment{Pad: 4, Flip: true, Cutout: 16}, c.run)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := p.GatherImages(0, rows, c.keys, dst, a); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*128/b.Elapsed().Seconds(), "images/s")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/128, "ns/image")
		})
	}
}
