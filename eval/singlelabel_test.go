package eval

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSingleLabel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rows, classes = 500, 9
	scores := make([]float32, rows*classes)
	labels := make([]int32, rows)
	for i := range scores {
		scores[i] = float32(r.IntN(12)) // many ties
	}
	wrong, wrong5 := 0, 0
	wrongOf, of := make([]int, classes), make([]int, classes)
	for i := range labels {
		labels[i] = int32(r.IntN(classes - 1)) // class 8 does not occur
		row := scores[i*classes : (i+1)*classes]
		order := make([]int, classes)
		for c := range order {
			order[c] = c
		}
		slices.SortStableFunc(order, func(a, b int) int { return int(row[b] - row[a]) })
		of[labels[i]]++
		if order[0] != int(labels[i]) {
			wrong++
			wrongOf[labels[i]]++
		}
		if !slices.Contains(order[:5], int(labels[i])) {
			wrong5++
		}
	}
	s := NewSingleLabel(classes)
	for _, part := range [][2]int{{0, 100}, {100, 101}, {101, rows}} {
		if err := s.Add(scores[part[0]*classes:part[1]*classes], labels[part[0]:part[1]]); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Result()
	near(t, "error rate", got.ErrorRate, float64(wrong)/rows, 1e-12)
	near(t, "top-5 error rate", got.Top5ErrorRate, float64(wrong5)/rows, 1e-12)
	for c, e := range got.PerClass {
		if e.Images != int64(of[c]) {
			t.Errorf("class %d: %d images, want %d", c, e.Images, of[c])
		}
		near(t, "class error", e.ErrorRate, float64(wrongOf[c])/math.Max(1, float64(of[c])), 1e-12)
	}
	if n := testing.AllocsPerRun(10, func() { s.Add(scores, labels) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSingleLabelNaN(t *testing.T) {
	s := NewSingleLabel(2)
	err := s.Add([]float32{1, 2, 3, float32(math.NaN())}, []int32{0, 1})
	var bad *ScoreError
	if !errors.As(err, &bad) || bad.Row != 1 || bad.Class != 1 || s.Result().Images != 0 {
		t.Errorf("error %v, %d images", err, s.Result().Images)
	}
}

func TestConfusion(t *testing.T) {
	s := NewSingleLabel(3)
	if err := s.Add([]float32{1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0}, []int32{0, 0, 1, 2}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.WriteConfusion(&b, []string{"cat", "dog, wet", "owl"}); err != nil {
		t.Fatal(err)
	}
	want := "true \\ predicted,cat,\"dog, wet\",owl\ncat,1,0,1\n\"dog, wet\",0,1,0\nowl,0,1,0\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "confusion.csv")
	for _, names := range [][]string{nil, {"cat", "dog, wet", "owl"}} { // the second in place of the first
		if err := s.SaveConfusion(path, names); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(path)
	if files, _ := os.ReadDir(dir); string(got) != want || len(files) != 1 {
		t.Errorf("saved %q, want %q; %d files", got, want, len(files))
	}
	b.Reset()
	if err := s.WriteConfusion(&b, nil); err != nil || !bytes.HasPrefix(b.Bytes(), []byte("true \\ predicted,0,1,2\n0,")) {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestCompare(t *testing.T) {
	before := MultiLabelResult{PerClass: []ClassAP{{0, "", 5, .5}, {1, "", 2, .25}, {2, "", 0, 0}, {3, "", 9, 1}}}
	after := MultiLabelResult{PerClass: []ClassAP{{0, "", 5, .25}, {1, "", 2, .75}, {2, "", 0, 0}, {3, "", 9, 1}}}
	c, err := Compare(before.Values(), after.Values(), []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Group{Classes: 1, Before: .25, After: .75, Delta: .5, Better: 1}); c.Neglected != want {
		t.Errorf("neglected %+v, want %+v", c.Neglected, want)
	}
	if want := (Group{Classes: 2, Before: .75, After: .625, Delta: -.125, Worse: 1}); c.Rest != want {
		t.Errorf("rest %+v, want %+v", c.Rest, want)
	}
	if c.All.Classes != 3 || len(c.PerClass) != 3 || c.PerClass[0].Class != 1 || c.PerClass[2].Class != 0 {
		t.Errorf("all %+v, classes %+v", c.All, c.PerClass)
	}
	after.PerClass[0].Positives = 6
	if _, err := Compare(before.Values(), after.Values(), nil); err == nil {
		t.Error("different data is no error")
	}
	images := SingleLabelResult{PerClass: []ClassError{{0, "", 3, .25}}}
	if v := images.Values(); v[0].Value != .75 {
		t.Errorf("%+v", v)
	}
}
