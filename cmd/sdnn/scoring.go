package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"sdnn/features"
	"sdnn/ingest"
	"sdnn/nn"
	"sdnn/train"
)

// scoringOptions are the flags of the verbs that apply a run to a split.
type scoringOptions struct {
	run, data, split   string
	checkpoint, engine string
	logitAdjust        string
	batch              int // 0: by the kind of examples
	flags              *pflag.FlagSet
}

func (o *scoringOptions) declare(f *pflag.FlagSet) {
	o.flags = f
	f.StringVar(&o.run, "run", "", "the `folder` of a training")
	f.StringVar(&o.data, "data", "", "the `store`")
	f.StringVar(&o.split, "split", "", "split of the store (default validate if there is one, else test)")
	f.StringVar(&o.checkpoint, "checkpoint", train.Best, "best or last")
	f.StringVar(&o.engine, "engine", "auto", strings.Join(engineNames, ", "))
	f.StringVar(&o.logitAdjust, "logit-adjust", train.AdjustAuto,
		"logit adjustment: auto (the run's own), none, or a `number`; see sdnn train --help")
	f.IntVar(&o.batch, "batch", 0, "examples a step (default 1024, of images 256)")
}

// openSplit opens a store and one of its splits: name, or if that is empty validate, or else test.
func openSplit(dir, name string) (*features.Store, *features.Split, error) {
	store, err := features.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		splits := store.Manifest().Splits
		name = "validate"
		if splits[name] == nil && splits["test"] != nil {
			name = "test"
		}
	}
	split, err := store.Split(name)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return store, split, nil
}

// openRun opens a run to be scored as the flags say.
func (o *scoringOptions) openRun(dir string) (*train.TrainedRun, error) {
	run, err := train.OpenRun(dir, o.checkpoint)
	if err != nil {
		return nil, err
	}
	return run, run.SetLogitAdjust(o.logitAdjust)
}

// scoring applies runs to a split.
type scoring struct {
	a      *app
	split  *features.Split
	engine nn.Engine
	batch  int // 0: by the kind of examples
	close  func()
}

// newScoring opens what o names, but for the run.
func newScoring(a *app, o *scoringOptions) (*scoring, error) {
	if o.batch < 1 && o.flags.Changed("batch") {
		return nil, usagef("--batch %d: it must be at least 1", o.batch)
	}
	store, split, err := openSplit(o.data, o.split)
	if err != nil {
		return nil, err
	}
	engine, stop, err := newEngine(a, o.engine, false)
	if err != nil {
		store.Close()
		return nil, err
	}
	closeAll := func() {
		stop()
		store.Close()
	}
	return &scoring{a, split, engine, o.batch, closeAll}, nil
}

// holdsImages says whether the store is one of images.
func (s *scoring) holdsImages() bool {
	return slices.Contains(ingest.ImageDatasets(), s.split.Manifest().Dataset)
}

// each scores all rows of the split, in order, and shows the progress as what.
func (s *scoring) each(ctx context.Context, what string, run *train.TrainedRun, f func(b *train.ScoredBatch) error) error {
	all := features.All(s.split)
	bar := s.a.newProgress(what, false)
	defer bar.end()
	done := int64(0)
	batch := cmp.Or(s.batch, 1024)
	if run.Config.Images() {
		batch = cmp.Or(s.batch, 256)
	}
	return run.Score(ctx, s.engine, all, batch, func(b *train.ScoredBatch) error {
		if err := f(b); err != nil {
			return err
		}
		done += int64(len(b.Rows))
		bar.set(done, int64(all.Rows()))
		return nil
	})
}
