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
	images := &synth.ImageOptions{}
	var out string
	var cmd *cobra.Command
	cmd = newVerb(a, "synth DATASET --out DIR", "Make up small raw files to try things on",
		`Make up small raw files in the format and with the names of DATASET. The same --seed and sizes give the same data. Classes have
hidden modes, and every fourth has two opposite ones, which plain training finds hard. DATASET is one of

  yt8m      TFRecord files train*.tfrecord and validate*.tfrecord with a vocabulary.csv; class sizes follow Zipf's law, a
            video has several labels
  cifar10, cifar100
            the binary version with the names of the classes, which mean nothing here; classes of equal size
  svhn      train_32x32.mat, extra_32x32.mat (a third of --images) and test_32x32.mat; small digits are more frequent

DIR must be new, empty, or hold what synth wrote for the same dataset before, which is then replaced.`,
		[]string{"sdnn synth yt8m --out raw --videos 500 --classes 20 --seed 7 --json", "sdnn synth cifar10 --out raw --images 2000"},
		func(ctx context.Context, args []string) error {
			if err := known("dataset", args[0], datasets); err != nil {
				return err
			}
			foreign := imageFlags
			if args[0] != "yt8m" {
				foreign = videoFlags
			}
			for _, name := range foreign {
				if cmd.Flags().Changed(name) {
					return usagef("--%s does not go with %s", name, args[0])
				}
			}
			if err := checkFolder("--out", out); err != nil {
				return err
			}
			if args[0] == "yt8m" {
				return runSynth(ctx, a, o, out)
			}
			images.Modes, images.Noise = o.Modes, o.Noise
			return runSynthImages(ctx, a, args[0], images, out)
		})
	cmd.Args = takesArgs(1, 1, "DATASET")
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "the `folder`; made if need be")
	f.IntVar(&o.Videos, "videos", synth.DefaultVideos, "training videos")
	f.IntVar(&o.Validate, "validate", 0, "validation videos (default a third of --videos)")
	f.IntVar(&o.Classes, "classes", synth.DefaultClasses, "classes of videos")
	f.IntVar(&o.Shards, "shards", 0, "training files of videos (default one for every 1000)")
	f.IntVar(&images.Images, "images", synth.DefaultImages, "training images")
	f.IntVar(&images.Test, "test", 0, "test images (default a quarter of --images)")
	f.IntVar(&o.Modes, "modes", synth.DefaultModes, "hidden modes of a class")
	f.Float64Var(&o.Noise, "noise", synth.DefaultNoise, "standard deviation of the noise on features, or in units of 40 grey levels on pixels")
	require(cmd, "out")
	return cmd
}

// The flags that go with one kind of data only.
var (
	videoFlags = []string{"videos", "validate", "classes", "shards"}
	imageFlags = []string{"images", "test"}
)

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
		return adviseWriting("--out", err)
	}
	a.print.result(synthResult{out, r})
	return nil
}

func (r synthResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %d training videos in %s, %d validation videos in %s, %d classes (%d hard), %s, %.1f s\n", r.Out, r.TrainVideos,
		count(r.TrainShards, "file"), r.ValidateVideos, count(r.ValidateShards, "file"), r.Classes, r.HardClasses, size(r.BytesOut), r.Seconds)
}

// synthImagesResult is what synth prints for images.
type synthImagesResult struct {
	Out string `json:"out"`
	synth.ImageResult
}

func runSynthImages(ctx context.Context, a *app, dataset string, o *synth.ImageOptions, out string) error {
	o.Seed = a.seed
	if o.Images < 5 || o.Test < 0 || o.Modes < 1 {
		return usagef("--images must be at least 5, --modes at least 1, --test not negative")
	}
	r, err := synth.Images(ctx, out, dataset, *o)
	if err != nil {
		return adviseWriting("--out", err)
	}
	a.print.result(synthImagesResult{out, r})
	return nil
}

func (r synthImagesResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %d training and %d test images in %s, %d classes (%d hard), %s, %.1f s\n", r.Out, r.TrainImages, r.TestImages,
		count(r.Files, "file"), r.Classes, r.HardClasses, size(r.BytesOut), r.Seconds)
}
