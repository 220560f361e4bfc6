package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sdnn/features"
	"sdnn/ingest/tfrecord"
	"sdnn/ingest/yt8m"
)

const golden = "../testdata/raw/"

// video makes a record whose content follows from its id. Its numbers are mostly
// zero, to be made quickly.
func video(id string) *yt8m.Record {
	seed := uint64(len(id))
	for _, c := range []byte(id) {
		seed = seed*131 + uint64(c)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	rec := &yt8m.Record{ID: []byte(id), MeanRGB: make([]float32, yt8m.RGBWidth), MeanAudio: make([]float32, yt8m.AudioWidth)}
	for i := r.IntN(9); i < yt8m.RGBWidth; i += 100 {
		rec.MeanRGB[i] = r.Float32()
	}
	for i := r.IntN(9); i < yt8m.AudioWidth; i += 50 {
		rec.MeanAudio[i] = r.Float32()
	}
	for range r.IntN(4) {
		if l := int32(r.IntN(50)); !slices.Contains(rec.Labels, l) {
			rec.Labels = append(rec.Labels, l)
		}
	}
	return rec
}

// shard writes a TFRecord file of videos and returns its path.
func shard(t testing.TB, path string, ids ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tfrecord.NewWriter(&b)
	for _, id := range ids {
		if err := w.Write(yt8m.AppendExample(nil, video(id))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%04d", prefix, i)
	}
	return out
}

// rowsOf checks every row of a split against video and returns the ids.
func rowsOf(t *testing.T, dir, split string) []string {
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
	rgb, err1 := p.Column("mean_rgb")
	audio, err2 := p.Column("mean_audio")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := range p.Rows() {
		id := string(p.ID(i))
		want := video(id)
		if !slices.Equal(p.Labels(i), want.Labels) || !slices.Equal(p.Float(rgb, i), want.MeanRGB) || !slices.Equal(p.Float(audio, i), want.MeanAudio) {
			t.Errorf("row %d, %s: wrong content", i, id)
		}
		out = append(out, id)
	}
	return out
}

// snapshot returns the files of a folder with their content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
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

// TestOrderWhateverTheThreads: shards of all sizes come out in the order of
// their names, to the same bytes, with one worker and with many.
func TestOrderWhateverTheThreads(t *testing.T) {
	in := t.TempDir()
	var want []string
	for i, n := range []int{9, 0, 1, 8, 17, 100, 3, 0, 40, 64} {
		list := ids(string(rune('a'+i)), n)
		shard(t, filepath.Join(in, fmt.Sprintf("x%02d.tfrecord", i)), list...)
		want = append(want, list...)
	}
	var first map[string]string
	for _, threads := range []int{1, 8} {
		out := filepath.Join(t.TempDir(), "store")
		var last Progress
		var empty int
		res, err := YT8M(context.Background(), Options{Paths: []string{in}, Out: out, Split: "train", Classes: 50, Threads: threads, chunkRows: 8,
			Progress: func(p Progress) {
				if p.Rows < last.Rows || p.Bytes < last.Bytes || p.Files < last.Files {
					t.Errorf("progress went from %+v to %+v", last, p)
				}
				last = p
			},
			Warn: func(w Warning) {
				if w.Kind == EmptyFile {
					empty++
				} else {
					t.Errorf("%+v", w)
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
		if got := rowsOf(t, out, "train"); !slices.Equal(got, want) {
			t.Fatalf("%d threads: %d rows, in another order than the input", threads, len(got))
		}
		if last.Rows != int64(len(want)) || last.Bytes != last.TotalBytes || last.Files != 10 || empty != 2 {
			t.Errorf("%d threads: ended at %+v, %d empty files", threads, last, empty)
		}
		if res.Rows != int64(len(want)) || res.Files != 10 || res.Shards != 1 || res.BytesIn != last.TotalBytes ||
			res.BytesOut != int64(len(snapshot(t, out)["train-00000-of-00001.arrow"])) || res.Skipped+res.Duplicates != 0 {
			t.Errorf("%d threads: %+v", threads, res)
		}
		if first == nil {
			first = snapshot(t, out)
		} else if !maps.Equal(first, snapshot(t, out)) {
			t.Errorf("%d threads: other bytes than with one", threads)
		}
	}
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	good := shard(t, filepath.Join(dir, "a.tfrecord"), ids("a", 3)...)
	csv := filepath.Join(dir, "v.csv")
	if err := os.WriteFile(csv, []byte("Index,Name\n0,a\n0,b\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		o      Options
		offset int64
		record int64
		want   string
	}{
		{"data checksum", Options{Paths: []string{golden + "yt8m_video_bad_data_crc_rec1.tfrecord"}}, 4709, 1, "checksum of the record data: expected 0x"},
		{"length checksum", Options{Paths: []string{golden + "yt8m_video_bad_length_crc_rec0.tfrecord"}}, 0, 0, "checksum of the record length: expected 0x"},
		{"truncated", Options{Paths: []string{golden + "yt8m_video_truncated.tfrecord"}}, 4709, 1, "the file is incomplete: fetch it again"},
		{"frame level", Options{Paths: []string{golden + "yt8m_frame.tfrecord"}}, 0, 0, "found a frame-level YouTube-8M record"},
		{"frame level, skipping", Options{Paths: []string{good, golden + "yt8m_frame.tfrecord"}, SkipBad: true}, 0, 0, "found a frame-level YouTube-8M record"},
		{"segments", Options{Paths: []string{golden + "yt8m_segment.tfrecord"}}, 0, 0, "with segment labels"},
		{"nothing in it", Options{Paths: []string{golden + "empty.tfrecord"}}, -1, -1, "expected at least one sound one, found none in 1 files"},
		{"nothing sound in it", Options{Paths: []string{golden + "yt8m_video_bad_length_crc_rec0.tfrecord"}, SkipBad: true}, -1, -1, "found only damaged ones (1)"},
		{"labels", Options{Paths: []string{golden + "yt8m_video.tfrecord"}, Classes: 300}, 0, 0, "labels: expected classes 0 to 299, found 3861 at position 2"},
		{"vocabulary", Options{Paths: []string{good}, Vocabulary: csv}, -1, 3, "v.csv: line 3: vocabulary: expected every index once"},
		{"no TFRecord", Options{Paths: []string{csv}}, 0, 0, "the file is damaged or no TFRecord file"},
	} {
		store := filepath.Join(t.TempDir(), "store")
		if _, err := YT8M(context.Background(), Options{Paths: []string{good}, Out: store, Split: "train"}); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, store)
		for _, out := range []string{store, filepath.Join(t.TempDir(), "new")} {
			o := c.o
			o.Out, o.Split, o.Overwrite = out, "train", true
			_, err := YT8M(context.Background(), o)
			var bad *BadDataError
			if !errors.As(err, &bad) || !errors.Is(err, features.ErrBadData) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.name, err, c.want)
				continue
			}
			if bad.Offset != c.offset || bad.Record != c.record || bad.File == "" {
				t.Errorf("%s: in %q, offset %d, record %d", c.name, bad.File, bad.Offset, bad.Record)
			}
			if after := snapshot(t, out); out == store && !maps.Equal(after, before) || out != store && len(after) > 0 {
				t.Errorf("%s: the store changed: %v", c.name, slices.Collect(maps.Keys(after)))
			}
		}
	}
}

// TestFirstErrorWins: which damage is reported does not depend on which worker
// meets damage first.
func TestFirstErrorWins(t *testing.T) {
	dir := t.TempDir()
	shard(t, filepath.Join(dir, "a.tfrecord"), ids("a", 100)...)
	a, err := os.ReadFile(filepath.Join(dir, "a.tfrecord"))
	if err != nil {
		t.Fatal(err)
	}
	a[len(a)-1] ^= 1 // the last of many records
	if err := os.WriteFile(filepath.Join(dir, "a.tfrecord"), a, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.tfrecord"), []byte("garbage"), 0o666); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := YT8M(context.Background(), Options{Paths: []string{dir}, Out: filepath.Join(t.TempDir(), "s"), Split: "train", Threads: 4, chunkRows: 8})
		var bad *BadDataError
		if !errors.As(err, &bad) || bad.Record != 99 {
			t.Fatal(err)
		}
	}
}

func TestSkipBad(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"yt8m_video_bad_data_crc_rec1.tfrecord", "yt8m_video_bad_length_crc_rec0.tfrecord",
		"yt8m_video_truncated.tfrecord", "empty.tfrecord"} {
		data, err := os.ReadFile(golden + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var kinds []WarningKind
	res, err := YT8M(context.Background(), Options{Paths: []string{dir}, Out: filepath.Join(t.TempDir(), "s"), Split: "test", SkipBad: true,
		Warn: func(w Warning) {
			kinds = append(kinds, w.Kind)
			if w.Message == "" || (w.Bad == nil) != (w.Kind == EmptyFile || w.Kind == DuplicateID) {
				t.Errorf("%+v", w)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	want := []WarningKind{EmptyFile, SkippedRecord, CutFile, CutFile, DuplicateID} // v000 is in two of the files
	if !slices.Equal(kinds, want) || res.Rows != 4 || res.Skipped != 3 || res.CutFiles != 2 || res.Duplicates != 1 {
		t.Errorf("%v, %+v", kinds, res)
	}
}

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	good := shard(t, filepath.Join(dir, "a.tfrecord"), "a")
	csv := filepath.Join(dir, "v.csv")
	if err := os.WriteFile(csv, []byte("Index,Name\n0,a\n1,b\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	empty, mixed := t.TempDir(), t.TempDir()
	shard(t, filepath.Join(mixed, "train0.tfrecord"), "a")
	shard(t, filepath.Join(mixed, "validate0.tfrecord"), "b")
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Split: "train"}, "no input given"},
		{Options{Split: "dev", Paths: []string{good}}, `split "dev": expected one of train, validate, test`},
		{Options{Split: "train", Paths: []string{filepath.Join(dir, "none")}}, "no such file or folder"},
		{Options{Split: "train", Paths: []string{good, filepath.Join(dir, "*.zip")}}, "*.zip: no file matches this pattern"},
		{Options{Split: "train", Paths: []string{filepath.Join(dir, "[")}}, "bad pattern"},
		{Options{Split: "train", Paths: []string{empty}}, "no *.tfrecord file in this folder"},
		{Options{Split: "test", Paths: []string{mixed}}, "files of several splits"},
		{Options{Split: "train", Paths: []string{os.DevNull}}, "not a regular file"},
		{Options{Split: "train", Paths: []string{good}, Classes: -1}, "expected a positive number"},
		{Options{Split: "train", Paths: []string{good}, Vocabulary: filepath.Join(dir, "none")}, "no such vocabulary file"},
		{Options{Split: "train", Paths: []string{good}, Vocabulary: csv, Classes: 3}, "names 2 classes, but 3 classes were asked for"},
	} {
		c.o.Out = filepath.Join(dir, "store")
		_, err := YT8M(context.Background(), c.o)
		var u *UsageError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if _, err := os.Stat(c.o.Out); err == nil {
			t.Errorf("%q left a store behind", c.want)
		}
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train1.tfrecord", "train0.tfrecord", "validate0.tfrecord", "other.csv", ".hidden.tfrecord"} {
		shard(t, filepath.Join(dir, name), strings.TrimSuffix(name, ".tfrecord"))
	}
	one := filepath.Join(dir, "validate0.tfrecord")
	for _, c := range []struct {
		paths  []string
		want   string
		warned bool
	}{
		{[]string{dir}, "train0 train1", true},
		{[]string{filepath.Join(dir, "*.tfrecord")}, ".hidden train0 train1 validate0", false},
		{[]string{filepath.Join(dir, "train?.tfrecord"), one, dir + "/./validate0.tfrecord"}, "train0 train1 validate0", false},
		{[]string{one, dir}, "train0 train1 validate0", true},
		{[]string{one}, "validate0", false}, // the user's word on the split counts
	} {
		warned := false
		files, err := findFiles(c.paths, ".tfrecord", "train", func(w Warning) { warned = w.Kind == OtherSplit })
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, strings.TrimSuffix(filepath.Base(f.path), ".tfrecord"))
		}
		if strings.Join(got, " ") != c.want || warned != c.warned {
			t.Errorf("%q: %q, warned %v", c.paths, got, warned)
		}
	}
}

func TestExistingSplit(t *testing.T) {
	dir := t.TempDir()
	a, b := shard(t, filepath.Join(dir, "a.tfrecord"), ids("a", 5)...), shard(t, filepath.Join(dir, "b.tfrecord"), ids("b", 7)...)
	o := Options{Paths: []string{a}, Out: filepath.Join(dir, "store"), Split: "train", Classes: 50}
	if _, err := YT8M(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	o.Paths = []string{b}
	_, err := YT8M(context.Background(), o)
	var exists *features.ExistsError
	if !errors.As(err, &exists) {
		t.Fatalf("got %v", err)
	}
	o.Split = "validate"
	if _, err := YT8M(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	o.Split, o.Overwrite = "train", true
	if _, err := YT8M(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	for _, split := range []string{"train", "validate"} {
		if got := rowsOf(t, o.Out, split); !slices.Equal(got, ids("b", 7)) {
			t.Errorf("%s: %v", split, got)
		}
	}
}

func TestCancel(t *testing.T) {
	dir := t.TempDir()
	for i := range 6 {
		shard(t, filepath.Join(dir, fmt.Sprintf("%d.tfrecord", i)), ids(fmt.Sprint(i), 30)...)
	}
	out := filepath.Join(dir, "store")
	o := Options{Paths: []string{filepath.Join(dir, "0.tfrecord")}, Out: out, Split: "train", Classes: 50}
	if _, err := YT8M(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, out)
	for _, threads := range []int{1, 8} {
		for _, at := range []int64{0, 1, 90} {
			ctx, cancel := context.WithCancel(context.Background())
			if at == 0 {
				cancel()
			}
			o.Paths, o.Overwrite, o.Threads, o.chunkRows = []string{dir}, true, threads, 8
			o.Progress = func(p Progress) {
				if p.Rows >= at {
					cancel()
				}
			}
			if _, err := YT8M(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("%d threads, cancelled at row %d: %v", threads, at, err)
			}
			cancel()
			if !maps.Equal(snapshot(t, out), before) {
				t.Errorf("%d threads, cancelled at row %d: the store changed", threads, at)
			}
		}
	}
}

func TestVocabularyNamesClasses(t *testing.T) {
	dir := t.TempDir()
	csv := filepath.Join(dir, "v.csv")
	var b strings.Builder
	b.WriteString("Name,Index\n")
	for i := 49; i >= 0; i-- {
		fmt.Fprintf(&b, "\"class, %d\",%d\n", i, i)
	}
	if err := os.WriteFile(csv, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "store")
	if _, err := YT8M(context.Background(), Options{Paths: []string{shard(t, filepath.Join(dir, "a.tfrecord"), ids("a", 5)...)},
		Out: out, Split: "train", Vocabulary: csv}); err != nil {
		t.Fatal(err)
	}
	s, err := features.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if m := s.Manifest(); m.Classes != 50 || m.ClassNames[7] != "class, 7" || m.Dataset != "yt8m" {
		t.Errorf("%d classes, %q", m.Classes, m.ClassNames)
	}
}
