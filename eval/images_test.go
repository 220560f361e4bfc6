package eval

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var animals = []string{"cat", "dog", "emu, the bird", "frog", "gnu", "hen", "ibis"}

func writeImages(t *testing.T, ids []string, scores [][]float32, topK int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "images.csv")
	w, err := CreateImages(path, animals, topK)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if err := w.Write([]byte(id), scores[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func evaluateImages(text string, truth Truth) (*SingleLabel, SubmissionReport, error) {
	return EvaluateImages(strings.NewReader(text), "file.csv", len(animals), truth)
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestImagesText(t *testing.T) {
	path := writeImages(t, []string{"a/1", "b"}, [][]float32{{0.5, 0.25, 1, 0, 0, 0, 0}, {0, 0, 0, 0.1, 0, 0.1, 0}}, 2)
	const want = `image,rank,class,name,score
a/1,1,2,"emu, the bird",1
a/1,2,0,cat,0.5
b,1,3,frog,0.1
b,2,5,hen,0.1
`
	if got := readText(t, path); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// A file with five classes an image has the metrics of the scores, confusion
// matrix included, in whatever order its lines are.
func TestImagesGiveTheSameMetrics(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	truth := listTruth{}
	want := NewSingleLabel(len(animals))
	var scores [][]float32
	for i := range 300 {
		row := make([]float32, len(animals))
		for c := range row {
			row[c] = float32(r.IntN(6)) / 6 // with ties
		}
		label := int32(r.IntN(len(animals)))
		truth.ids, truth.labels = append(truth.ids, fmt.Sprint("image", i)), append(truth.labels, []int32{label})
		scores = append(scores, row)
		if err := want.Add(row, []int32{label}); err != nil {
			t.Fatal(err)
		}
	}
	text := readText(t, writeImages(t, truth.ids, scores, 5))
	lines := strings.SplitAfter(text, "\n")
	r.Shuffle(len(lines)-2, func(i, j int) { lines[i+1], lines[j+1] = lines[j+1], lines[i+1] })
	for _, text := range []string{text, "\xef\xbb\xbf" + strings.ReplaceAll(strings.Join(lines, ""), "\n", "\r\n")} {
		got, report, err := evaluateImages(text, truth)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || report != (SubmissionReport{}) {
			t.Errorf("got %+v, want %+v (report %+v)", got.Result(), want.Result(), report)
		}
	}
}

// Leaving out an image cannot lower the error.
func TestImagesMissingAndUnknown(t *testing.T) {
	truth := listTruth{[]string{"a", "b", "c"}, [][]int32{{0}, {1}, {1}}}
	s, report, err := evaluateImages("image,rank,class,name,score\na,1,0,cat,1\nz,1,0,cat,1\nz,2,1,dog,0\nb,1,1,dog,1\n", truth)
	if err != nil {
		t.Fatal(err)
	}
	if report != (SubmissionReport{Missing: 1, Unknown: 1, ExampleUnknown: "z"}) {
		t.Errorf("report is %+v", report)
	}
	r := s.Result()
	if r.Images != 3 || r.ErrorRate != 1./3 || r.Top5ErrorRate != 1./3 || r.PerClass[1].Images != 2 || r.PerClass[1].ErrorRate != 0.5 {
		t.Errorf("result is %+v", r)
	}
}

func TestImagesErrors(t *testing.T) {
	truth := listTruth{[]string{"a"}, [][]int32{{0}}}
	const header = "image,rank,class,name,score\n"
	for text, want := range map[string]string{
		"":                                    "file.csv:1: expected the header image,rank,class,name,score of a file that sdnn predict made of images, found",
		"VideoId,LabelConfidencePairs\na,0 1": "file.csv:1: expected the header",
		header + "a,1,0,cat\n":                "file.csv:2:1: expected 5 fields, found \"4\"",
		header + "a,1,7,yak,1\n":              "file.csv:2:5: expected a class from 0 to 6, found \"7\"",
		header + "a,1,0,cat,NaN\n":            "file.csv:2:11: expected a score, found \"NaN\"",
		header + "a,1,0,cat,1\na,2,0,cat,0\n": "file.csv:3:5: expected each class of an image once, found \"0\"",
		header + "a,\"1,0,cat,1\n":            "file.csv:2:14: expected a line of CSV, found",
	} {
		_, _, err := evaluateImages(text, truth)
		if _, ok := errors.AsType[*SubmissionError](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error is %v, want %s", text, err, want)
		}
	}
	w, err := CreateImages(filepath.Join(t.TempDir(), "x.csv"), animals, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	row := make([]float32, len(animals))
	row[2] /= row[2]
	if err := w.Write([]byte("a"), row); err == nil || !strings.Contains(err.Error(), "score of class 2 is NaN") {
		t.Errorf("a NaN: error is %v", err)
	}
}
