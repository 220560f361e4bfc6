package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sdnn/eval"
	"sdnn/train"
)

type predictOptions struct {
	scoringOptions
	out  string
	topK int
}

func newPredict(a *app) *cobra.Command {
	o := &predictOptions{}
	cmd := newVerb(a, "predict --run RUN --data STORE --out FILE.csv", "Write predictions as a submission file",
		`Write the --top-k best classes of each video of a split as a submission file: the header VideoId,LabelConfidencePairs, then
a line "id,label score label score ..." a video. The file appears when it is complete. Measured with sdnn eval
--predictions it has the metrics of the run.`,
		[]string{"sdnn predict --run subclass --data store --split test --out predictions.csv",
			"sdnn predict --run plain --data store --checkpoint last --out predictions.csv --json"},
		func(ctx context.Context, _ []string) error { return runPredict(ctx, a, o) })
	f := cmd.Flags()
	o.declare(f)
	f.StringVar(&o.out, "out", "", "the submission `file`")
	f.IntVar(&o.topK, "top-k", 20, "classes of a video that are written")
	require(cmd, "run", "data", "out")
	return cmd
}

// predictResult is what predict prints.
type predictResult struct {
	Run        string  `json:"run"`
	Checkpoint string  `json:"checkpoint"`
	Data       string  `json:"data"`
	Split      string  `json:"split"`
	Out        string  `json:"out"`
	Videos     int64   `json:"videos"` // or images
	TopK       int     `json:"top_k"`
	PerSecond  float64 `json:"examples_per_s"`
}

func runPredict(ctx context.Context, a *app, o *predictOptions) error {
	if o.topK < 1 {
		return usagef("--top-k %d: it must be at least 1", o.topK)
	}
	s, err := newScoring(a, &o.scoringOptions)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := train.OpenRun(o.run, o.checkpoint)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Dir(o.out)); err != nil {
		return usagef("--out %s: its folder is not there; make it first", o.out)
	}
	begun := time.Now()
	w, err := eval.CreateSubmission(o.out, run.Config.Classes, o.topK)
	if err != nil {
		return err
	}
	videos := int64(0)
	classes := run.Config.Classes
	err = s.each(ctx, "predict", run, func(b *train.ScoredBatch) error {
		for i, row := range b.Rows {
			if err := w.Write(s.split.ID(row), b.Scores[i*classes:(i+1)*classes]); err != nil {
				return err
			}
		}
		videos += int64(len(b.Rows))
		return nil
	})
	if err != nil {
		w.Abort()
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	a.print.result(predictResult{run.Dir, run.Checkpoint, o.data, s.split.Name(), o.out, videos, o.topK, perSecond(int(videos), time.Since(begun))})
	return nil
}

func (r predictResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: the %d best classes of %d examples of %s, split %s, by %s (%s), %.0f/s\n", r.Out, r.TopK, r.Videos, r.Data, r.Split, r.Run, r.Checkpoint, r.PerSecond)
}
