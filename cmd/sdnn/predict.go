package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/train"
)

type predictOptions struct {
	scoringOptions
	out  string
	topK int
}

func newPredict(a *app) *cobra.Command {
	o := &predictOptions{}
	cmd := newVerb(a, "predict --run RUN --data STORE --out FILE.csv", "Write predictions to a CSV file",
		`Write the --top-k best classes of each example of a split. Of videos it is a submission file: the header
VideoId,LabelConfidencePairs, then a line "id,label score label score ..." a video. Of images it is a table with the header
image,rank,class,name,score and a line for each of an image's best classes.

The file appears when it is complete, and takes the place of an older one of predictions, but of nothing else. Measured with
sdnn eval --predictions it has the metrics of the run.`,
		[]string{"sdnn predict --run subclass --data store --split test --out predictions.csv",
			"sdnn predict --run images --data store --checkpoint last --top-k 1 --out labels.csv --json"},
		func(ctx context.Context, _ []string) error { return runPredict(ctx, a, o) })
	f := cmd.Flags()
	o.declare(f)
	f.StringVar(&o.out, "out", "", "the CSV `file`")
	f.IntVar(&o.topK, "top-k", 0, "classes of an example that are written (default 20, of images 5)")
	require(cmd, "run", "data", "out")
	return cmd
}

// predictResult is what predict prints: the number of videos, or of images.
type predictResult struct {
	Run        string  `json:"run"`
	Checkpoint string  `json:"checkpoint"`
	Data       string  `json:"data"`
	Split      string  `json:"split"`
	Out        string  `json:"out"`
	Videos     *int64  `json:"videos,omitempty"`
	Images     *int64  `json:"images,omitempty"`
	TopK       int     `json:"top_k"`
	Adjust     float64 `json:"logit_adjust"`
	PerSecond  float64 `json:"examples_per_s"`
}

// predictionWriter is a file of predictions in one of the formats.
type predictionWriter interface {
	Write(id []byte, scores []float32) error
	Close() error
	Abort()
}

func runPredict(ctx context.Context, a *app, o *predictOptions) error {
	if o.topK < 1 && o.flags.Changed("top-k") {
		return usagef("--top-k %d: it must be at least 1", o.topK)
	}
	if err := checkFile("--out", o.out, predictionsOutput); err != nil {
		return err
	}
	s, err := newScoring(a, &o.scoringOptions)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := o.openRun(o.run)
	if err != nil {
		return err
	}
	begun := time.Now()
	classes := run.Config.Classes
	r := predictResult{Run: run.Dir, Checkpoint: run.Checkpoint, Adjust: run.LogitAdjust(), Data: o.data,
		Split: s.split.Name(), Out: o.out}
	done := new(int64)
	var w predictionWriter
	if run.Config.Images() {
		r.Images, r.TopK = done, min(cmp.Or(o.topK, 5), classes)
		w, err = eval.CreateImages(o.out, classNames(s.split, classes), r.TopK)
	} else {
		r.Videos, r.TopK = done, cmp.Or(o.topK, 20)
		w, err = eval.CreateSubmission(o.out, classes, r.TopK)
	}
	if err != nil {
		return adviseWriting("--out", err)
	}
	err = s.each(ctx, "predict", run, func(b *train.ScoredBatch) error {
		for i, row := range b.Rows {
			if err := w.Write(s.split.ID(row), b.Scores[i*classes:(i+1)*classes]); err != nil {
				return adviseWriting("--out", err)
			}
		}
		*done += int64(len(b.Rows))
		return nil
	})
	if err != nil {
		w.Abort()
		return err
	}
	if err := w.Close(); err != nil {
		return adviseWriting("--out", err)
	}
	r.PerSecond = perSecond(int(*done), time.Since(begun))
	a.print.result(r)
	return nil
}

// classNames lists the names of a split's classes, or else their numbers.
func classNames(split *features.Split, classes int) []string {
	if names := split.Manifest().ClassNames; len(names) == classes {
		return names
	}
	names := make([]string, classes)
	for c := range names {
		names[c] = strconv.Itoa(c)
	}
	return names
}

func (r predictResult) text(w io.Writer) {
	what, n := "videos", r.Videos
	if r.Images != nil {
		what, n = "images", r.Images
	}
	fmt.Fprintf(w, "%s: the %d best classes of %d %s of %s, split %s, by %s (%s), %.0f/s\n", r.Out, r.TopK, *n, what, r.Data, r.Split, r.Run, r.Checkpoint, r.PerSecond)
}
