package synth

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sdnn/ingest/tfrecord"
	"sdnn/ingest/yt8m"
)

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

// TestContent reads everything back and compares it with what Result and the
// vocabulary say.
func TestContent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	o := Options{Seed: 1, Videos: 250, Validate: 90, Classes: 12, Shards: 3}
	res, err := YT8M(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"synth.json", "train0000.tfrecord", "train0001.tfrecord", "train0002.tfrecord", "validate0000.tfrecord", "vocabulary.csv"}
	got := files(t, dir)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Fatalf("files %q", names)
	}
	counts := map[string]int64{}
	seen := map[string]bool{}
	rows, labels, size := map[string]int{}, int64(0), int64(0)
	parser := yt8m.NewParser(12)
	rec := &yt8m.Record{MeanRGB: make([]float32, yt8m.RGBWidth), MeanAudio: make([]float32, yt8m.AudioWidth)}
	for name, data := range got {
		if !strings.HasSuffix(name, ".tfrecord") {
			continue
		}
		size += int64(len(data))
		r := tfrecord.NewReader(strings.NewReader(data), name)
		for {
			payload, err := r.Next()
			if err == io.EOF {
				break
			}
			if err := cmp.Or(err, parser.Parse(payload, rec)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if seen[string(rec.ID)] || len(rec.Labels) == 0 {
				t.Errorf("%s: %s comes twice or has no labels", name, rec.ID)
			}
			seen[string(rec.ID)] = true
			split := strings.TrimRight(name, "0123456789.tfrecod")
			rows[split]++
			labels += int64(len(rec.Labels))
			for _, l := range rec.Labels {
				counts[split+string(rune('a'+l))]++
			}
		}
	}
	if len(seen) != 340 || res.TrainVideos != 250 || res.ValidateVideos != 90 || res.TrainShards != 3 || res.ValidateShards != 1 ||
		res.Classes != 12 || res.HardClasses != 3 || res.Labels != labels || res.BytesOut != size {
		t.Errorf("%d videos, %d labels, %d bytes: %+v", len(seen), labels, size, res)
	}
	names, err := yt8m.ReadVocabulary(strings.NewReader(got["vocabulary.csv"]), "vocabulary.csv")
	if err != nil || len(names) != 12 || names[3] != "class 3" {
		t.Errorf("vocabulary %q, %v", names, err)
	}
}

// TestSameBytesEverywhere: the bytes depend neither on the threads nor, by the
// checksum that is written down here, on the machine.
func TestSameBytesEverywhere(t *testing.T) {
	var first map[string]string
	for _, threads := range []int{1, 4} {
		dir := t.TempDir()
		if _, err := YT8M(context.Background(), dir, Options{Seed: 7, Videos: 40, Validate: 10, Classes: 9, Shards: 4, Threads: threads}); err != nil {
			t.Fatal(err)
		}
		if got := files(t, dir); first == nil {
			first = got
		} else if !maps.Equal(got, first) {
			t.Error("other bytes with more threads")
		}
	}
	const want = 0x2853c08c
	if sum := crc32.ChecksumIEEE([]byte(first["train0003.tfrecord"])); sum != want {
		t.Errorf("checksum %#x, want %#x", sum, want)
	}
	dir := t.TempDir()
	if _, err := YT8M(context.Background(), dir, Options{Seed: 8, Videos: 40, Validate: 10, Classes: 9, Shards: 4}); err != nil {
		t.Fatal(err)
	}
	if files(t, dir)["train0000.tfrecord"] == first["train0000.tfrecord"] {
		t.Error("the seed changes nothing")
	}
}

func TestFolders(t *testing.T) {
	ctx, small := context.Background(), Options{Seed: 1, Videos: 20, Classes: 4, Shards: 4}
	foreign := t.TempDir()
	for _, name := range []string{"train0000.tfrecord", "notes.txt"} { // perhaps real data: not to be touched
		path := filepath.Join(foreign, name)
		if err := os.WriteFile(path, []byte("precious"), 0o666); err != nil {
			t.Fatal(err)
		}
		var exists *ExistsError
		if _, err := YT8M(ctx, foreign, small); !errors.As(err, &exists) || exists.File != name {
			t.Errorf("%s: %v", name, err)
		}
		if got := files(t, foreign); len(got) != 1 || got[name] != "precious" {
			t.Errorf("%s: the folder changed", name)
		}
		os.Remove(path)
	}

	dir := t.TempDir()
	if _, err := YT8M(ctx, dir, small); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := YT8M(cancelled, dir, small); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if !maps.Equal(files(t, dir), before) {
		t.Error("cancelling changed the folder")
	}
	// What a killed run leaves behind is overwritten; data of more shards goes.
	if err := os.WriteFile(filepath.Join(dir, "train0009.tfrecord.part"), []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	small.Shards = 1
	if _, err := YT8M(ctx, dir, small); err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(files(t, dir)))
	if want := []string{"synth.json", "train0000.tfrecord", "validate0000.tfrecord", "vocabulary.csv"}; !slices.Equal(names, want) {
		t.Errorf("files %q", names)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := YT8M(ctx, dir, small); !errors.As(err, new(*ExistsError)) {
		t.Errorf("a foreign file beside ours: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Videos: -1}, {Classes: 1}, {Videos: 10, Shards: 11}, {Modes: 17}, {Noise: math.NaN()}, {Noise: -1}, {Validate: -3}} {
		dir := filepath.Join(t.TempDir(), "d")
		if _, err := YT8M(context.Background(), dir, o); !errors.As(err, new(*UsageError)) {
			t.Errorf("%+v was accepted", o)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%+v made a folder", o)
		}
	}
}

// sample is a video, its features L2-normalised as networks see them.
type sample struct {
	x      []float64
	labels []int32
	modes  []int
}

func samples(w *world, purpose uint64, n int) []sample {
	out := make([]sample, n)
	rec := &yt8m.Record{MeanRGB: make([]float32, yt8m.RGBWidth), MeanAudio: make([]float32, yt8m.AudioWidth)}
	for i := range out {
		s := &out[i]
		w.video(purpose, uint64(i), rec, &s.modes)
		s.labels, s.modes = slices.Clone(rec.Labels), slices.Clone(s.modes)
		for _, part := range [][]float32{rec.MeanRGB, rec.MeanAudio} {
			norm := 0.0
			for _, v := range part {
				norm += float64(v) * float64(v)
			}
			for _, v := range part {
				s.x = append(s.x, float64(v)/math.Sqrt(norm))
			}
		}
	}
	return out
}

// area returns the probability that a positive scores above a negative.
func area(scores []float64, positive []bool) float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	below, wins, pos := 0.0, 0.0, 0.0
	for _, i := range order {
		if positive[i] {
			wins += below
			pos++
		} else {
			below++
		}
	}
	return wins / (pos * below)
}

// TestHiddenModes: what the package promises. A classifier that knows the mean of
// a class's videos tells easy classes and is near blind for hard ones; one that
// knows the mean of every mode tells both.
func TestHiddenModes(t *testing.T) {
	o := Options{Seed: 3, Classes: 16}
	if err := o.settle(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(&o)
	train, test := samples(w, forTrain, 1500), samples(w, forValidate, 500)
	const width = yt8m.RGBWidth + yt8m.AudioWidth
	overall := mean(train, width, func(sample) bool { return true })
	for c := range o.Classes {
		var heads [][]float64
		heads = append(heads, mean(train, width, func(s sample) bool { return slices.Contains(s.labels, int32(c)) }))
		for m := range w.modesOf(c) {
			heads = append(heads, mean(train, width, func(s sample) bool {
				k := slices.Index(s.labels, int32(c))
				return k >= 0 && s.modes[k] == m
			}))
		}
		whole, split := make([]float64, len(test)), make([]float64, len(test))
		positive := make([]bool, len(test))
		for i, s := range test {
			positive[i] = slices.Contains(s.labels, int32(c))
			split[i] = math.Inf(-1)
			for h, head := range heads {
				score := 0.0
				for j, x := range s.x {
					score += x * (head[j] - overall[j])
				}
				if h == 0 {
					whole[i] = score
				} else {
					split[i] = max(split[i], score)
				}
			}
		}
		a, b := area(whole, positive), area(split, positive)
		if b < 0.85 || !hard(c) && a < 0.75 || hard(c) && a > 0.7 {
			t.Errorf("class %d, hard %v: area under the curve %.3f by the class's mean, %.3f by its modes'", c, hard(c), a, b)
		}
	}
}

// mean averages the features of the videos that in picks.
func mean(videos []sample, width int, in func(sample) bool) []float64 {
	out := make([]float64, width)
	n := 0.0
	for _, s := range videos {
		if in(s) {
			n++
			for j, x := range s.x {
				out[j] += x
			}
		}
	}
	for j := range out {
		out[j] /= n
	}
	return out
}

// TestStatistics: class sizes fall as promised, videos have several labels, and
// companions come together more often than by chance.
func TestStatistics(t *testing.T) {
	o := Options{Seed: 1, Classes: 50}
	if err := o.settle(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(&o)
	const n = 4000
	videos := samples(w, forTrain, n)
	count := make([]float64, o.Classes)
	together := make([][]float64, o.Classes)
	for c := range together {
		together[c] = make([]float64, o.Classes)
	}
	total := 0
	for _, s := range videos {
		total += len(s.labels)
		for _, a := range s.labels {
			count[a]++
			for _, b := range s.labels {
				together[a][b]++
			}
		}
	}
	if perVideo := float64(total) / n; perVideo < 1.8 || perVideo > 3 {
		t.Errorf("%.2f labels a video", perVideo)
	}
	if count[0] < 5*count[25] || slices.Min(count) < 20 {
		t.Errorf("class sizes %v", count)
	}
	lifted := 0
	for c := range o.Classes {
		for _, f := range w.friends[c*companions : (c+1)*companions] {
			if f != c && together[c][f]*n > 1.5*count[c]*count[f] {
				lifted++
			}
		}
	}
	if lifted < o.Classes {
		t.Errorf("only %d of %d pairs of companions come together clearly more often than by chance", lifted, o.Classes*companions)
	}
}

func TestBell(t *testing.T) {
	r := newRandom(1, 2, 3)
	const n = 200_000
	var sum, squares float64
	for range n {
		x := float64(r.bell())
		sum += x
		squares += x * x
	}
	if m, v := sum/n, squares/n; math.Abs(m) > 0.01 || math.Abs(v-1) > 0.02 {
		t.Errorf("mean %g, variance %g", m, v)
	}
}
