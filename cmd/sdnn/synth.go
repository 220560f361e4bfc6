package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sdnn/ingest/synth"
)

func newSynth(a *app) *cobra.Command {
	o := &synth.Options{}
	var out string
	cmd := newVerb(a, "synth DATASET --out DIR", "Make up small raw files to try things on",
		`Make up small raw files in the format of DATASET, which is yt8m: TFRecord files train*.tfrecord and validate*.tfrecord with a
vocabulary.csv. The same --seed and sizes give the same files. Class sizes follow Zipf's law, a video has several labels,
classes have hidden modes, and some have two opposite ones, which plain training finds hard.

DIR must be new, empty, or hold what synth wrote before, which is then replaced.`,
		[]string{"sdnn synth yt8m --out raw", "sdnn synth yt8m --out raw --videos 500 --classes 20 --seed 7 --json"},
		func(ctx context.Context, args []string) error {
			if err := known("dataset", args[0], []string{"yt8m"}); err != nil {
				return err
			}
			return runSynth(ctx, a, o, out)
		})
	cmd.Args = takesArgs(1, 1, "DATASET")
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "the `folder`; made if need be")
	f.IntVar(&o.Videos, "videos", synth.DefaultVideos, "training videos")
	f.IntVar(&o.Validate, "validate", 0, "validation videos (default a third of --videos)")
	f.IntVar(&o.Classes, "classes", synth.DefaultClasses, "classes")
	f.IntVar(&o.Shards, "shards", 0, "training files (default one for every 1000 videos)")
	f.IntVar(&o.Modes, "modes", synth.DefaultModes, "hidden modes of a class")
	f.Float64Var(&o.Noise, "noise", synth.DefaultNoise, "standard deviation of the noise on features")
	require(cmd, "out")
	return cmd
}

// synthResult is what synth prints.
type synthResult struct {
	Out string `json:"out"`
	synth.Result
}

func runSynth(ctx context.Context, a *app, o *synth.Options, out string) error {
	o.Seed, o.Threads = a.seed, a.threads
	if o.Videos < 1 || o.Validate < 0 || o.Classes < 2 || o.Shards < 0 || o.Modes < 1 {
		return usagef("--videos and --modes must be at least 1, --classes at least 2, --validate and --shards not negative")
	}
	r, err := synth.YT8M(ctx, out, *o)
	if err != nil {
		return err
	}
	a.print.result(synthResult{out, r})
	return nil
}

func (r synthResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %d training videos in %s, %d validation videos in %s, %d classes (%d hard), %s, %.1f s\n", r.Out, r.TrainVideos,
		count(r.TrainShards, "file"), r.ValidateVideos, count(r.ValidateShards, "file"), r.Classes, r.HardClasses, size(r.BytesOut), r.Seconds)
}
