package yt8m

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"sdnn/ingest/tfrecord"
)

func newRecord() *Record {
	return &Record{MeanRGB: make([]float32, RGBWidth), MeanAudio: make([]float32, AudioWidth)}
}

// payloads returns the records of a golden file.
func payloads(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "testdata", "raw", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tfrecord.NewReader(f, name)
	var out [][]byte
	for {
		p, err := r.Next()
		if err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Clone(p))
	}
}

type expectations struct {
	Video struct {
		Records []struct {
			ID        string    `json:"id"`
			Labels    []int32   `json:"labels"`
			MeanRGB   []float32 `json:"mean_rgb"`
			MeanAudio []float32 `json:"mean_audio"`
		} `json:"records"`
	} `json:"yt8m_video"`
}

func TestGolden(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want expectations
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"yt8m_video.tfrecord", "yt8m_video_unpacked.tfrecord"} {
		recs := payloads(t, name)
		if len(recs) != len(want.Video.Records) {
			t.Fatalf("%s: %d records", name, len(recs))
		}
		p, rec := NewParser(DefaultClasses), newRecord()
		for i, payload := range recs {
			w := want.Video.Records[i]
			// The bytes that make a SequenceExample of it must change nothing.
			for _, variant := range [][]byte{payload, append(bytes.Clone(payload), 0x12, 0x00)} {
				if err := p.Parse(variant, rec); err != nil {
					t.Fatalf("%s, record %d: %v", name, i, err)
				}
				if string(rec.ID) != w.ID || !slices.Equal(rec.Labels, w.Labels) ||
					!slices.Equal(rec.MeanRGB, w.MeanRGB) || !slices.Equal(rec.MeanAudio, w.MeanAudio) {
					t.Errorf("%s, record %d: wrong content", name, i)
				}
			}
		}
	}
}

func TestOtherKinds(t *testing.T) {
	audioSet := frames(t, map[string]int{"audio_embedding": 10})
	for _, c := range []struct{ name, want string }{
		{"yt8m_frame.tfrecord", "a frame-level YouTube-8M record (audio of 3 frames, rgb of 3 frames)"},
		{"yt8m_segment.tfrecord", "a frame-level YouTube-8M record with segment labels (rgb of 30 frames, audio of 30 frames)"},
		{"", "an AudioSet record (audio_embedding of 10 frames)"},
	} {
		payload := audioSet
		if c.name != "" {
			payload = payloads(t, c.name)[0]
		}
		err := NewParser(DefaultClasses).Parse(payload, newRecord())
		var k *KindError
		if !errors.As(err, &k) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		// The order of map keys is the file's own.
		for _, part := range strings.FieldsFunc(c.want, func(r rune) bool { return r == '(' || r == ',' }) {
			if part = strings.Trim(part, " )"); !strings.Contains(k.Found, part) {
				t.Errorf("%s: %q lacks %q", c.name, k.Found, part)
			}
		}
	}
}

// frames builds a SequenceExample whose context has a video_id only.
func frames(t testing.TB, lists map[string]int) []byte {
	t.Helper()
	var all []byte
	for name, n := range lists {
		var list []byte
		for range n {
			list = sub(list, 1, sub(nil, 1, sub(nil, 1, []byte("128 bytes"))))
		}
		all = sub(all, 1, sub(sub(nil, 1, []byte(name)), 2, list))
	}
	return sub(sub(nil, 1, entry("video_id", 1, sub(nil, 1, []byte("x")))), 2, all)
}

// sub appends a length-delimited field.
func sub(dst []byte, num protowire.Number, val []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), val)
}

// entry is a field of Features: a map entry whose feature has list kind.
func entry(key string, kind protowire.Number, list []byte) []byte {
	return sub(nil, 1, sub(sub(nil, 1, []byte(key)), 2, sub(nil, kind, list)))
}

func floats(v ...float32) []byte { return sub(nil, 1, appendFloats(nil, v)) }

func ints(v ...int64) []byte {
	var b []byte
	for _, x := range v {
		b = protowire.AppendVarint(b, uint64(x))
	}
	return sub(nil, 1, b)
}

func example(entries ...[]byte) []byte { return sub(nil, 1, bytes.Join(entries, nil)) }

// sound returns the entries of a good record, by key.
func sound() map[string][]byte {
	rgb, audio := make([]float32, RGBWidth), make([]float32, AudioWidth)
	for i := range rgb {
		rgb[i] = float32(i) / 7
	}
	for i := range audio {
		audio[i] = -float32(i)
	}
	return map[string][]byte{
		"id":      entry("id", 1, sub(nil, 1, []byte("abcd"))),
		"labels":  entry("labels", 3, ints(3, 1)),
		MeanRGB:   entry(MeanRGB, 2, floats(rgb...)),
		MeanAudio: entry(MeanAudio, 2, floats(audio...)),
	}
}

func join(m map[string][]byte) []byte {
	return example(m["id"], m["labels"], m[MeanRGB], m[MeanAudio], m["more"])
}

func TestBadRecords(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	wide := func(n int, at int, v float32) []byte {
		x := make([]float32, n)
		x[at] = v
		return floats(x...)
	}
	for _, c := range []struct {
		name, key string
		value     []byte
		want      string
	}{
		{"no id", "id", nil, "id: expected a feature id or video_id, found neither"},
		{"empty id", "id", entry("id", 1, sub(nil, 1, nil)), "id: expected one value of 1 to 256 bytes, found 0 bytes"},
		{"two ids", "id", entry("id", 1, sub(sub(nil, 1, []byte("a")), 1, []byte("b"))), "found 2 values"},
		{"long id", "id", entry("id", 1, sub(nil, 1, make([]byte, 257))), "found 257 bytes"},
		{"numeric id", "id", entry("id", 3, ints(1)), "id: expected a bytes list, found an int64 list"},
		{"no rgb", MeanRGB, nil, "mean_rgb: expected this feature, found only id, labels, mean_audio"},
		{"no audio", MeanAudio, nil, "mean_audio: expected this feature, found only id, labels, mean_rgb"},
		{"narrow", MeanRGB, entry(MeanRGB, 2, wide(1023, 0, 1)), "mean_rgb: expected 1024 values, found 1023"},
		{"wide", MeanAudio, entry(MeanAudio, 2, wide(129, 128, 1)), "mean_audio: expected 128 values, found 129"},
		{"NaN", MeanRGB, entry(MeanRGB, 2, wide(1024, 1000, nan)), "mean_rgb: expected finite values, found NaN at position 1000"},
		{"infinity", MeanAudio, entry(MeanAudio, 2, wide(128, 0, inf)), "mean_audio: expected finite values, found -Inf at position 0"},
		{"ints", MeanAudio, entry(MeanAudio, 3, ints(1)), "mean_audio: expected a float list, found an int64 list"},
		{"no list", MeanAudio, sub(nil, 1, sub(nil, 1, []byte(MeanAudio))), "mean_audio: expected a float list, found no list"},
		{"label too high", "labels", entry("labels", 3, ints(0, 10)), "labels: expected classes 0 to 9, found 10 at position 1"},
		{"label negative", "labels", entry("labels", 3, ints(-1)), "found -1 at position 0"},
		{"label huge", "labels", entry("labels", 3, ints(1<<32+1)), "found 4294967297 at position 0"},
		{"float labels", "labels", entry("labels", 2, floats(1)), "labels: expected an int64 list, found a float list"},
		{"half a float", MeanRGB, entry(MeanRGB, 2, sub(nil, 1, []byte{1, 2, 3})), "message: expected packed floats of 4 bytes each, found 3 bytes"},
		{"garbage", "more", []byte{0x0a, 0x7f}, "message: expected a whole value of field 1"},
		{"half a tag", "more", []byte{0x80}, "message: expected a field tag"},
	} {
		m := sound()
		m[c.key] = c.value
		err := NewParser(10).Parse(join(m), newRecord())
		var r *RecordError
		if !errors.As(err, &r) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestAllowedVariants(t *testing.T) {
	both := entry("video_id", 1, sub(nil, 1, []byte("other")))
	for _, c := range []struct {
		name, key string
		value     []byte
		id        string
		labels    []int32
	}{
		{"plain", "", nil, "abcd", []int32{3, 1}},
		{"no labels feature", "labels", nil, "abcd", nil},
		{"empty labels", "labels", entry("labels", 3, nil), "abcd", nil},
		{"labels without a list", "labels", sub(nil, 1, sub(nil, 1, []byte("labels"))), "abcd", nil},
		{"duplicate labels", "labels", entry("labels", 3, ints(2, 1, 2, 1, 0)), "abcd", []int32{2, 1, 0}},
		{"both ids", "more", both, "abcd", []int32{3, 1}},
		{"video_id", "id", both, "other", []int32{3, 1}},
		{"last of equal keys", "more", entry("labels", 3, ints(5)), "abcd", []int32{5}},
		{"unknown feature", "more", entry("else", 2, floats(1)), "abcd", []int32{3, 1}},
		{"unknown field", "more", protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 5), "abcd", []int32{3, 1}},
		{"value before key", "labels", sub(nil, 1, sub(sub(nil, 2, sub(nil, 3, ints(4))), 1, []byte("labels"))), "abcd", []int32{4}},
	} {
		m := sound()
		if c.key != "" {
			m[c.key] = c.value
		}
		rec := newRecord()
		if err := NewParser(10).Parse(join(m), rec); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if string(rec.ID) != c.id || !slices.Equal(rec.Labels, c.labels) {
			t.Errorf("%s: id %s, labels %v", c.name, rec.ID, rec.Labels)
		}
	}
}

func TestEncodeParse(t *testing.T) {
	want := newRecord()
	want.ID, want.Labels = []byte("\xff\x00id"), []int32{3861, 0, 127, 128}
	for i := range want.MeanRGB {
		want.MeanRGB[i] = float32(math.Sin(float64(i)))
	}
	want.MeanAudio[127] = math.SmallestNonzeroFloat32
	got := newRecord()
	if err := NewParser(DefaultClasses).Parse(AppendExample(nil, want), got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.ID, want.ID) || !slices.Equal(got.Labels, want.Labels) ||
		!slices.Equal(got.MeanRGB, want.MeanRGB) || !slices.Equal(got.MeanAudio, want.MeanAudio) {
		t.Error("what was parsed is not what was encoded")
	}
	// The encoder writes what the published files hold, byte for byte.
	for i, p := range payloads(t, "yt8m_video.tfrecord") {
		if err := NewParser(DefaultClasses).Parse(p, got); err != nil {
			t.Fatal(err)
		}
		if len(got.Labels) > 0 && !bytes.Equal(AppendExample(nil, got), p) {
			t.Errorf("record %d: encoded differently", i)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	p, rec := NewParser(DefaultClasses), newRecord()
	for _, name := range []string{"yt8m_video.tfrecord", "yt8m_video_unpacked.tfrecord"} {
		recs := payloads(t, name)
		if n := testing.AllocsPerRun(100, func() {
			for _, payload := range recs {
				if err := p.Parse(payload, rec); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a file", name, n)
		}
	}
}

// FuzzParse compares the parser with the reference on arbitrary bytes: whatever
// the reference understands, the parser must understand the same way; what only
// the parser finds malformed is a mistake.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"yt8m_video.tfrecord", "yt8m_video_unpacked.tfrecord", "yt8m_frame.tfrecord"} {
		f.Add(payloads(f, name)[0])
	}
	f.Add(join(sound()))
	f.Add(frames(f, map[string]int{"audio_embedding": 2}))
	f.Add(example(entry("labels", 3, ints(1, 2, -3)), entry("id", 1, sub(nil, 1, []byte("v")))))
	rec, p := newRecord(), NewParser(10)
	f.Fuzz(func(t *testing.T, payload []byte) {
		err := p.Parse(payload, rec)
		get, lists, refErr := reference(payload)
		if refErr != nil {
			return // also refused there; ours may not have looked at the damaged part
		}
		var r *RecordError
		var k *KindError
		switch {
		case errors.As(err, &k):
			if lists == 0 {
				t.Fatalf("%v, but there are no feature lists", err)
			}
		case errors.As(err, &r) && r.Field == "message":
			t.Fatalf("the reference parses it: %v", err)
		default:
			checkAgainst(t, get, err, rec)
		}
	})
}

// checkAgainst compares the outcome of a parse with the features that the
// reference found.
func checkAgainst(t *testing.T, get func(string) refFeature, err error, rec *Record) {
	t.Helper()
	id := get("id")
	if !id.here {
		id = get("video_id")
	}
	var labels []int32
	good := len(id.bytes) == 1 && len(id.bytes[0]) > 0 && len(id.bytes[0]) <= 256
	l := get("labels")
	good = good && (l.kind == "" || l.kind == "int64_list")
	for _, x := range l.ints {
		good = good && x >= 0 && x < 10
		if !slices.Contains(labels, int32(x)) {
			labels = append(labels, int32(x))
		}
	}
	rgb, audio := get(MeanRGB).floats, get(MeanAudio).floats
	good = good && len(rgb) == RGBWidth && len(audio) == AudioWidth
	for _, v := range slices.Concat(rgb, audio) {
		good = good && !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
	}
	if good != (err == nil) {
		t.Fatalf("sound by the reference: %v; parser: %v", good, err)
	}
	if good && (!bytes.Equal(rec.ID, id.bytes[0]) || !slices.Equal(rec.Labels, labels) ||
		!slices.Equal(rec.MeanRGB, rgb) || !slices.Equal(rec.MeanAudio, audio)) {
		t.Fatal("other content than the reference")
	}
}

func BenchmarkParse(b *testing.B) {
	recs := payloads(b, "yt8m_video.tfrecord")
	p, rec := NewParser(DefaultClasses), newRecord()
	b.SetBytes(int64(len(recs[0])))
	for b.Loop() {
		if err := p.Parse(recs[0], rec); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFirstNotFinite(t *testing.T) {
	odd := []float32{0, -0.5, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 3}
	bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.Float32frombits(0xffffffff), math.Float32frombits(0x7f800001)}
	for n := range 14 {
		v := make([]float32, n)
		for i := range v {
			v[i] = odd[i%len(odd)]
		}
		if at := firstNotFinite(v); at != -1 {
			t.Errorf("%v: %d", v, at)
		}
		for want := range v {
			for _, x := range bad {
				w := slices.Clone(v)
				w[want], w[n-1] = x, x
				if at := firstNotFinite(w); at != want {
					t.Errorf("%v: %d, want %d", w, at, want)
				}
			}
		}
	}
}
