package ingest

import (
	"context"
	"path/filepath"
	"testing"

	"sdnn/features"
	"sdnn/ingest/synth"
)

// TestSynthetic takes synthetic data all the way: what synth counts is what the
// store holds.
func TestSynthetic(t *testing.T) {
	raw, out := filepath.Join(t.TempDir(), "raw"), filepath.Join(t.TempDir(), "store")
	made, err := synth.YT8M(context.Background(), raw, synth.Options{Seed: 1, Videos: 60, Validate: 25, Classes: 8, Shards: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, split := range []string{"train", "validate"} {
		res, err := YT8M(context.Background(), Options{Paths: []string{filepath.Join(raw, split+"*.tfrecord")}, Out: out, Split: split,
			Vocabulary: filepath.Join(raw, "vocabulary.csv"), Warn: func(w Warning) { t.Errorf("%+v", w) }})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"train": 60, "validate": 25}[split]; res.Rows != int64(want) {
			t.Errorf("%s: %d rows, want %d", split, res.Rows, want)
		}
	}
	s, err := features.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	labels := int64(0)
	for _, split := range []string{"train", "validate"} {
		p, err := s.Split(split)
		if err == nil {
			err = p.CheckAll()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Rows() {
			labels += int64(len(p.Labels(i)))
		}
	}
	if m := s.Manifest(); labels != made.Labels || m.Classes != 8 || m.ClassNames[5] != "class 5" {
		t.Errorf("%d labels, want %d; %d classes %q", labels, made.Labels, m.Classes, m.ClassNames)
	}
}
