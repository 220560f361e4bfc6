package eval

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"testing"
)

// goldenResult is what the YouTube-8M starter code's metrics gave.
type goldenResult struct {
	TopK        int        `json:"top_k"`
	HitAtOne    float64    `json:"hit_at_one"`
	PERR        float64    `json:"perr"`
	GAP         float64    `json:"gap"`
	APs         []float64  `json:"aps"` // of the classes with positives
	MAP         *float64   `json:"map"`
	GAPTieRange [2]float64 `json:"gap_tie_range"`
}

// tied says that the value depends on the order of equal scores.
func (g goldenResult) tied() bool { return g.GAPTieRange[1]-g.GAPTieRange[0] > 1e-9 }

type goldenCase struct {
	Name    string         `json:"name"`
	Pred    [][]float32    `json:"pred"`
	Labels  [][]int32      `json:"labels"`
	Classes int            `json:"num_classes"`
	Results []goldenResult `json:"results"`
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func smallCases(t testing.TB) []goldenCase {
	var file struct{ Cases []goldenCase }
	readJSON(t, "testdata/metrics_small.json", &file)
	if len(file.Cases) == 0 {
		t.Fatal("no golden cases")
	}
	return file.Cases
}

// flatten gives rows in the layout that Add takes.
func flatten(pred [][]float32, labels [][]int32) (scores []float32, offsets, flat []int32) {
	offsets = []int32{0}
	for r := range pred {
		scores = append(scores, pred[r]...)
		flat = append(flat, labels[r]...)
		offsets = append(offsets, int32(len(flat)))
	}
	return scores, offsets, flat
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %.10f, want %.10f", what, got, want)
	}
}

func TestGoldenSmall(t *testing.T) {
	for _, c := range smallCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			for _, want := range c.Results {
				m := NewMultiLabel(c.Classes, want.TopK, 2)
				if err := m.Add(flatten(c.Pred, c.Labels)); err != nil {
					t.Fatal(err)
				}
				checkGolden(t, m.Result(), want)
			}
		})
	}
}

func checkGolden(t *testing.T, got MultiLabelResult, want goldenResult) {
	t.Helper()
	near(t, "hit@1", got.HitAt1, want.HitAtOne, 1e-9)
	if got.GAP < want.GAPTieRange[0]-1e-9 || got.GAP > want.GAPTieRange[1]+1e-9 {
		t.Errorf("GAP = %.9f, outside %v", got.GAP, want.GAPTieRange)
	}
	if want.tied() {
		return // AP and PERR depend on the tie order too, and have no range
	}
	near(t, "PERR", got.PERR, want.PERR, 1e-9)
	near(t, "GAP", got.GAP, want.GAP, 1e-6)
	checkAPs(t, got, want, 1e-6)
}

func checkAPs(t *testing.T, got MultiLabelResult, want goldenResult, tolerance float64) {
	t.Helper()
	i := 0
	for _, c := range got.PerClass {
		if c.Positives == 0 {
			continue
		}
		if i >= len(want.APs) {
			t.Fatalf("class %d has positives but no golden AP", c.Class)
		}
		near(t, "AP", c.AP, want.APs[i], tolerance)
		i++
	}
	if i != len(want.APs) || i != got.Classes {
		t.Errorf("%d classes with positives (reported %d), want %d", i, got.Classes, len(want.APs))
	}
	if want.MAP != nil {
		near(t, "mAP", got.MAP, *want.MAP, 1e-6)
	}
}

// largeCase reads 5000 videos x 200 classes. A video is stored as the number of
// labels, the labels, and its 20 best (class, score): the other scores, all of them
// lower, do not reach a metric at top 20 with at most 20 labels, and are 0 here.
func largeCase(t testing.TB) (scores []float32, offsets, labels []int32, want goldenResult) {
	const videos, classes, stored = 5000, 200, 20
	b, err := os.ReadFile("testdata/metrics_large.bin.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	scores = make([]float32, videos*classes)
	offsets = []int32{0}
	for v := range videos {
		n := int(b[0])
		for _, l := range b[1 : 1+n] {
			labels = append(labels, int32(l))
		}
		offsets = append(offsets, int32(len(labels)))
		b = b[1+n:]
		for range stored {
			scores[v*classes+int(b[0])] = math.Float32frombits(binary.LittleEndian.Uint32(b[1:]))
			b = b[5:]
		}
	}
	readJSON(t, "testdata/metrics_large.json", &want)
	return scores, offsets, labels, want
}

func TestGoldenLarge(t *testing.T) {
	scores, offsets, labels, want := largeCase(t)
	m := NewMultiLabel(200, 20, 2)
	if err := m.Add(scores, offsets, labels); err != nil {
		t.Fatal(err)
	}
	got := m.Result()
	near(t, "hit@1", got.HitAt1, want.HitAtOne, 1e-9)
	near(t, "PERR", got.PERR, want.PERR, 1e-9)
	near(t, "GAP", got.GAP, want.GAP, 1e-6)
	// Two videos have the same score in one class: its AP depends on their order.
	checkAPs(t, got, want, 1e-4)
}
