package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/train"
)

type evalOptions struct {
	scoringOptions
	topK        int
	perClass    bool
	predictions string
	against     string
	confusion   string
}

func newEval(a *app) *cobra.Command {
	o := &evalOptions{}
	cmd := newVerb(a, "eval --run RUN --data STORE", "Measure a run or a submission file",
		`Measure a run on a split: of videos Hit@1, PERR, mAP and GAP over the --top-k best classes of each, of images the error
rate and the top-5 error rate. --predictions measures what sdnn predict wrote in place of a run.

--against compares with another run, say the plain one: the mean average precision, or of images the error rate, of the
neglected classes, of the others, and of each. A gain of the neglected classes that the others pay for is none.`,
		[]string{"sdnn eval --run subclass --data store --split validate --against plain",
			"sdnn eval --predictions predictions.csv --data store --per-class --json"},
		func(ctx context.Context, _ []string) error { return runEval(ctx, a, o) })
	f := cmd.Flags()
	o.declare(f)
	f.IntVar(&o.topK, "top-k", 20, "classes of a video that count")
	f.BoolVar(&o.perClass, "per-class", false, "also the average precision, or error rate, of every class")
	f.StringVar(&o.predictions, "predictions", "", "measure this `file` of predictions in place of a run")
	f.StringVar(&o.against, "against", "", "compare with the run in this `folder`")
	f.StringVar(&o.confusion, "confusion", "", "images: write the confusion matrix to this CSV `file`, a line a true class")
	require(cmd, "data")
	return cmd
}

// evalResult is what eval prints.
type evalResult struct {
	Run         string `json:"run,omitempty"`
	Checkpoint  string `json:"checkpoint,omitempty"`
	Epoch       int    `json:"epoch,omitempty"`
	Predictions string `json:"predictions,omitempty"`
	Data        string `json:"data"`
	Split       string `json:"split"`
	eval.MultiLabelResult
	Loss      *float64               `json:"loss"`                   // mean class cross-entropy; null for a submission file
	Adjust    *float64               `json:"logit_adjust,omitempty"` // of the run's scores
	PerSecond float64                `json:"examples_per_s"`
	Fit       *eval.SubmissionReport `json:"fit,omitempty"`
	Against   *againstResult         `json:"against,omitempty"`
}

// againstResult compares a run with another one.
type againstResult struct {
	Run    string  `json:"run"`
	HitAt1 float64 `json:"hit_at_1"`
	PERR   float64 `json:"perr"`
	MAP    float64 `json:"map"`
	GAP    float64 `json:"gap"`
	Loss   float64 `json:"loss"`
	Adjust float64 `json:"logit_adjust"`
	eval.Comparison
}

func runEval(ctx context.Context, a *app, o *evalOptions) error {
	switch {
	case o.topK < 1:
		return usagef("--top-k %d: it must be at least 1", o.topK)
	case (o.run == "") == (o.predictions == ""):
		return usagef("give either --run or --predictions; see sdnn eval --help")
	case o.run == "" && (o.flags.Changed("checkpoint") || o.flags.Changed("logit-adjust")):
		return usagef("--checkpoint and --logit-adjust are for a run: the scores in a file of predictions are as they are; " +
			"see sdnn eval --help")
	case o.confusion != "" && o.run == "":
		return usagef("--confusion wants a run: give --run; see sdnn eval --help")
	case o.against != "" && o.run == "":
		return usagef("--against compares runs: give --run; see sdnn eval --help")
	}
	if o.confusion != "" {
		if err := checkFile("--confusion", o.confusion, confusionOutput); err != nil {
			return err
		}
	}
	s, err := newScoring(a, &o.scoringOptions)
	if err != nil {
		return err
	}
	defer s.close()
	var r *evalResult
	if o.predictions != "" && s.holdsImages() {
		return runEvalImagePredictions(ctx, s, o)
	}
	if o.predictions != "" {
		err = unlessInterrupted(ctx, func() (err error) {
			r, err = evalPredictions(s.split, o)
			return err
		})
	} else {
		run, other, openErr := o.openRuns()
		switch {
		case openErr != nil:
			return openErr
		case run.Config.Images():
			images, err := evalImages(ctx, s, run, other, o)
			if images != nil {
				a.print.result(images)
			}
			return err
		case o.confusion != "":
			return usagef("--confusion is for images: %s is a run on videos, which have several labels", o.run)
		}
		r, err = evalRunAgainst(ctx, s, run, other, o)
	}
	if err != nil {
		return err
	}
	r.Data, r.Split, r.TopK = o.data, s.split.Name(), o.topK
	if r.IgnoredLabels > 0 {
		a.log.Warn("labels outside the classes were left out", "labels", r.IgnoredLabels)
	}
	if !o.perClass {
		r.PerClass = nil
	}
	a.print.result(r)
	return nil
}

// evalRunAgainst evaluates a run, and compares it with another one if that is not nil.
func evalRunAgainst(ctx context.Context, s *scoring, run, other *train.TrainedRun, o *evalOptions) (*evalResult, error) {
	r, err := evalRun(ctx, s, run, o.topK)
	if err != nil || other == nil {
		return r, err
	}
	before, err := evalRun(ctx, s, other, o.topK)
	if err != nil {
		return nil, err
	}
	neglected := run.Neglected()
	if len(neglected) == 0 {
		neglected = other.Neglected()
	}
	c, err := eval.Compare(before.Values(), r.Values(), neglected)
	if err != nil {
		return nil, err
	}
	if !o.perClass {
		c.PerClass = slices.DeleteFunc(c.PerClass, func(d eval.ClassDelta) bool { return !d.Neglected })
	}
	r.Against = &againstResult{Run: other.Dir, HitAt1: before.HitAt1, PERR: before.PERR, MAP: before.MAP, GAP: before.GAP,
		Loss: *before.Loss, Adjust: *before.Adjust, Comparison: c}
	return r, nil
}

func evalRun(ctx context.Context, s *scoring, run *train.TrainedRun, topK int) (*evalResult, error) {
	begun := time.Now()
	m := eval.NewMultiLabel(run.Config.Classes, topK, s.a.threads)
	loss := 0.0
	err := s.each(ctx, "eval "+run.Dir, run, func(b *train.ScoredBatch) error {
		loss += b.Loss * float64(len(b.Rows))
		return m.Add(b.Scores, b.LabelOffsets, b.Labels)
	})
	if err != nil {
		return nil, err
	}
	r := &evalResult{Run: run.Dir, Checkpoint: run.Checkpoint, Epoch: run.Epoch, Adjust: new(run.LogitAdjust()),
		MultiLabelResult: m.Result()}
	if r.Videos > 0 {
		loss /= float64(r.Videos)
	}
	r.Loss = &loss
	r.finish(s.split, begun)
	return r, nil
}

// finish names the classes and notes the speed.
func (r *evalResult) finish(split *features.Split, begun time.Time) {
	r.PerSecond = perSecond(int(r.Videos), time.Since(begun))
	for i, name := range split.Manifest().ClassNames {
		r.PerClass[i].Name = name
	}
}

func evalPredictions(split *features.Split, o *evalOptions) (*evalResult, error) {
	begun := time.Now()
	f, truth, err := openPredictions(split, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, fit, err := eval.EvaluateSubmission(eval.NewSubmission(f, o.predictions, split.Manifest().Classes), truth, o.topK)
	if err != nil {
		return nil, err
	}
	if err := checkFit(fit, m.Videos, "videos", split, o); err != nil {
		return nil, err
	}
	r := &evalResult{Predictions: o.predictions, MultiLabelResult: m, Fit: &fit}
	r.finish(split, begun)
	return r, nil
}

// openPredictions opens the file of predictions, and the labels that they are measured by.
func openPredictions(split *features.Split, o *evalOptions) (*os.File, *splitTruth, error) {
	f, err := os.Open(o.predictions)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	truth, err := newSplitTruth(split)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, truth, nil
}

// checkFit refuses a file of predictions for other examples than the n of the split.
func checkFit(fit eval.SubmissionReport, n int64, examples string, split *features.Split, o *evalOptions) error {
	if n > 0 && fit.Missing == n && fit.Unknown > 0 {
		return usagef("%s: none of its %d %s is in split %s of %s (the first is %q): it belongs to another split or store",
			o.predictions, fit.Unknown, examples, split.Name(), o.data, fit.ExampleUnknown)
	}
	return nil
}

// splitTruth is the labels of a split by id.
type splitTruth struct {
	*features.Split
	rows map[string]int
}

func newSplitTruth(split *features.Split) (*splitTruth, error) {
	if err := split.CheckAll(); err != nil {
		return nil, err
	}
	t := &splitTruth{split, make(map[string]int, split.Rows())}
	for row := split.Rows() - 1; row >= 0; row-- { // of a duplicate id the first row counts
		t.rows[string(split.ID(row))] = row
	}
	return t, nil
}

func (t *splitTruth) Len() int { return t.Rows() }

func (t *splitTruth) Find(id []byte) (row int, ok bool) {
	row, ok = t.rows[string(id)]
	return row, ok
}

func (r *evalResult) text(w io.Writer) {
	what := r.Predictions
	if what == "" {
		what = describeRun(r.Run, r.Checkpoint, r.Epoch, r.Adjust)
	}
	fmt.Fprintf(w, "%s on %s, split %s: %d videos, %.0f/s\n", what, r.Data, r.Split, r.Videos, r.PerSecond)
	if r.Against != nil {
		r.Against.text(w, r)
	} else {
		fmt.Fprintf(w, "GAP@%d %.4f, mAP %.4f, Hit@1 %.4f, PERR %.4f", r.TopK, r.GAP, r.MAP, r.HitAt1, r.PERR)
		if r.Loss != nil {
			fmt.Fprintf(w, ", loss %.4f", *r.Loss)
		}
		fmt.Fprintln(w)
	}
	if f := r.Fit; f != nil && f.Missing+f.Unknown > 0 {
		fmt.Fprintf(w, "%d videos of the split are not in the file and count as without predictions; %d videos of the file are not in the split\n", f.Missing, f.Unknown)
	}
	if len(r.PerClass) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "class\tvideos\tAP\t  name")
	for _, c := range r.PerClass {
		if c.Positives > 0 {
			fmt.Fprintf(t, "%d\t%d\t%.4f\t  %s\n", c.Class, c.Positives, c.AP, c.Name)
		}
	}
	t.Flush()
}

// text writes the comparison: before is the run that r is compared with.
func (before *againstResult) text(w io.Writer, r *evalResult) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s\t%s\tdifference\t\n", before.Run, r.Run)
	row := func(what string, before, after float64) {
		fmt.Fprintf(t, "%s\t%.4f\t%.4f\t%+.4f\t\n", what, before, after, after-before)
	}
	row(fmt.Sprintf("GAP@%d", r.TopK), before.GAP, r.GAP)
	row("mAP", before.MAP, r.MAP)
	row("Hit@1", before.HitAt1, r.HitAt1)
	row("PERR", before.PERR, r.PERR)
	row("loss", before.Loss, *r.Loss)
	if before.Neglected.Classes > 0 {
		row(fmt.Sprintf("AP, %d neglected classes", before.Neglected.Classes), before.Neglected.Before, before.Neglected.After)
		row(fmt.Sprintf("AP, %d other classes", before.Rest.Classes), before.Rest.Before, before.Rest.After)
	}
	t.Flush()
	if len(before.PerClass) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "class\tvideos\tAP %s\tAP %s\tdifference\t  name\n", before.Run, r.Run)
		for _, d := range before.PerClass {
			mark := ""
			if d.Neglected {
				mark = " (neglected)"
			}
			fmt.Fprintf(t, "%d\t%d\t%.4f\t%.4f\t%+.4f\t  %s%s\n", d.Class, d.Count, d.Before, d.After, d.Delta, d.Name, mark)
		}
		t.Flush()
	}
	fmt.Fprintf(w, "\nAgainst %s: GAP %s; ", withAdjust(before.Run, before.Adjust), change(r.GAP-before.GAP))
	if before.Neglected.Classes == 0 {
		fmt.Fprintf(w, "%s (%d classes better, %d worse).\n", noneNeglected, before.Rest.Better, before.Rest.Worse)
		return
	}
	fmt.Fprintf(w, "the neglected classes %s (%d better, %d worse), the others %s.\n", change(before.Neglected.Delta), before.Neglected.Better,
		before.Neglected.Worse, change(before.Rest.Delta))
}

// describeRun says what was evaluated.
func describeRun(dir, checkpoint string, epoch int, adjust *float64) string {
	text := fmt.Sprintf("%s (%s, epoch %d", dir, checkpoint, epoch)
	if adjust != nil && *adjust != 0 {
		text += fmt.Sprintf(", logit adjustment %g", *adjust)
	}
	return text + ")"
}

// withAdjust is a run and its logit adjustment, if it has one.
func withAdjust(dir string, adjust float64) string {
	if adjust == 0 {
		return dir
	}
	return fmt.Sprintf("%s (logit adjustment %g)", dir, adjust)
}

// noneNeglected is said of a comparison without groups.
const noneNeglected = "neither run has neglected classes"

// change words a difference.
func change(d float64) string {
	switch cmp.Compare(d, 0) {
	case 1:
		return fmt.Sprintf("gained %.4f", d)
	case -1:
		return fmt.Sprintf("lost %.4f", -d)
	}
	return "stayed the same"
}
