package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/train"
)

// imagesResult is what eval prints for a run on images.
type imagesResult struct {
	Run         string `json:"run,omitempty"`
	Checkpoint  string `json:"checkpoint,omitempty"`
	Epoch       int    `json:"epoch,omitempty"`
	Predictions string `json:"predictions,omitempty"`
	Data        string `json:"data"`
	Split       string `json:"split"`
	eval.SingleLabelResult
	Loss      *float64       `json:"loss"`                   // mean class cross-entropy; null for a file of predictions
	Adjust    *float64       `json:"logit_adjust,omitempty"` // of the run's scores
	PerSecond float64        `json:"examples_per_s"`
	Confusion string         `json:"confusion,omitempty"` // the file
	Fit       *imagesFit     `json:"fit,omitempty"`
	Against   *againstImages `json:"against,omitempty"`

	metrics *eval.SingleLabel
	all     bool // --per-class
}

// imagesFit is how a file of predictions and the split fit together.
type imagesFit struct {
	Missing        int64  `json:"missing_images"` // of the split: they count as wrong
	Unknown        int64  `json:"unknown_images"` // of the file: they are left out
	ExampleUnknown string `json:"example_unknown,omitempty"`
}

// againstImages compares a run on images with another one. The comparison is of accuracies.
type againstImages struct {
	Run           string  `json:"run"`
	ErrorRate     float64 `json:"error_rate"`
	Top5ErrorRate float64 `json:"top5_error_rate"`
	Loss          float64 `json:"loss"`
	Adjust        float64 `json:"logit_adjust"`
	// Chance is two standard errors of the difference of two such error rates on so many images: a smaller difference says nothing.
	Chance float64 `json:"chance"`
	eval.Comparison
}

// evalImages evaluates a run on images, and compares it with another one if that is not nil. If only the confusion matrix cannot
// be written, it returns the result with the error.
func evalImages(ctx context.Context, s *scoring, run, other *train.TrainedRun, o *evalOptions) (*imagesResult, error) {
	r, err := evalImagesRun(ctx, s, run)
	if err != nil {
		return nil, err
	}
	if other != nil {
		before, err := evalImagesRun(ctx, s, other)
		if err != nil {
			return nil, err
		}
		if r.Against, err = r.compare(before, run, other); err != nil {
			return nil, err
		}
	}
	r.Data, r.Split, r.all = o.data, s.split.Name(), o.perClass
	if !o.perClass {
		r.PerClass = nil
	}
	if o.confusion != "" {
		if err := r.metrics.SaveConfusion(o.confusion, s.split.Manifest().ClassNames); err != nil {
			return r, adviseWriting("--confusion", err)
		}
		r.Confusion = o.confusion
	}
	return r, nil
}

func evalImagesRun(ctx context.Context, s *scoring, run *train.TrainedRun) (*imagesResult, error) {
	begun := time.Now()
	r := &imagesResult{Run: run.Dir, Checkpoint: run.Checkpoint, Epoch: run.Epoch, Adjust: new(run.LogitAdjust()),
		metrics: eval.NewSingleLabel(run.Config.Classes)}
	loss := 0.0
	err := s.each(ctx, "eval "+run.Dir, run, func(b *train.ScoredBatch) error {
		loss += b.Loss * float64(len(b.Rows))
		return r.metrics.Add(b.Logits, b.Labels)
	})
	if err != nil {
		return nil, err
	}
	r.finish(s.split, begun)
	if r.Images > 0 {
		loss /= float64(r.Images)
	}
	r.Loss = &loss
	return r, nil
}

// finish computes the metrics, names the classes and notes the speed.
func (r *imagesResult) finish(split *features.Split, begun time.Time) {
	r.SingleLabelResult = r.metrics.Result()
	r.PerSecond = perSecond(int(r.Images), time.Since(begun))
	for i, name := range split.Manifest().ClassNames {
		r.PerClass[i].Name = name
	}
}

// runEvalImagePredictions evaluates a file of predictions of images and prints the result.
func runEvalImagePredictions(ctx context.Context, s *scoring, o *evalOptions) (err error) {
	var r *imagesResult
	err = unlessInterrupted(ctx, func() (err error) {
		r, err = evalImagePredictions(s.split, o)
		return err
	})
	if err == nil {
		s.a.print.result(r)
	}
	return err
}

// evalImagePredictions evaluates a file of predictions.
func evalImagePredictions(split *features.Split, o *evalOptions) (*imagesResult, error) {
	begun := time.Now()
	f, truth, err := openPredictions(split, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, fit, err := eval.EvaluateImages(f, o.predictions, split.Manifest().Classes, truth)
	if err != nil {
		return nil, err
	}
	r := &imagesResult{Predictions: o.predictions, Data: o.data, Split: split.Name(), metrics: m, all: o.perClass}
	r.finish(split, begun)
	if err := checkFit(fit, r.Images, "images", split, o); err != nil {
		return nil, err
	}
	r.Fit = (*imagesFit)(&fit)
	if !o.perClass {
		r.PerClass = nil
	}
	return r, nil
}

// compare compares r, of run, with before, of other.
func (r *imagesResult) compare(before *imagesResult, run, other *train.TrainedRun) (*againstImages, error) {
	neglected := run.Neglected()
	if len(neglected) == 0 {
		neglected = other.Neglected()
	}
	c, err := eval.Compare(before.Values(), r.Values(), neglected)
	if err != nil {
		return nil, err
	}
	a := &againstImages{before.Run, before.ErrorRate, before.Top5ErrorRate, *before.Loss, *before.Adjust, 0, c}
	if r.Images > 0 {
		variance := func(p float64) float64 { return p * (1 - p) / float64(r.Images) }
		a.Chance = 2 * math.Sqrt(variance(r.ErrorRate)+variance(before.ErrorRate))
	}
	return a, nil
}

func (r *imagesResult) text(w io.Writer) {
	what := r.Predictions
	if what == "" {
		what = describeRun(r.Run, r.Checkpoint, r.Epoch, r.Adjust)
	}
	fmt.Fprintf(w, "%s on %s, split %s: %d images, %.0f/s\n", what, r.Data, r.Split, r.Images, r.PerSecond)
	if r.Against != nil {
		r.Against.text(w, r)
	} else {
		fmt.Fprintf(w, "error rate %.4f, top-5 %.4f", r.ErrorRate, r.Top5ErrorRate)
		if r.Loss != nil {
			fmt.Fprintf(w, ", loss %.4f", *r.Loss)
		}
		fmt.Fprintln(w)
	}
	if f := r.Fit; f != nil && f.Missing+f.Unknown > 0 {
		fmt.Fprintf(w, "%d images of the split are not in the file and count as wrong; %d images of the file are not in the split\n", f.Missing, f.Unknown)
	}
	if r.Confusion != "" {
		fmt.Fprintf(w, "confusion matrix: %s\n", r.Confusion)
	}
	if len(r.PerClass) == 0 || r.Against != nil {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "class\timages\terror\t  name")
	for _, c := range r.PerClass {
		if c.Images > 0 {
			fmt.Fprintf(t, "%d\t%d\t%.4f\t  %s\n", c.Class, c.Images, c.ErrorRate, c.Name)
		}
	}
	t.Flush()
}

// mostChanged is how many classes are shown at either end where there are many.
const mostChanged = 10

// text writes the comparison: before is the run that r is compared with.
func (before *againstImages) text(w io.Writer, r *imagesResult) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s\t%s\tdifference\t\n", before.Run, r.Run)
	row := func(what string, before, after float64) {
		fmt.Fprintf(t, "%s\t%.4f\t%.4f\t%+.4f\t\n", what, before, after, after-before)
	}
	row("error rate", before.ErrorRate, r.ErrorRate)
	row("top-5 error rate", before.Top5ErrorRate, r.Top5ErrorRate)
	row("loss", before.Loss, *r.Loss)
	group := func(what string, g eval.Group) {
		if g.Classes > 0 {
			row(fmt.Sprintf("error, %d %s", g.Classes, what), 1-g.Before, 1-g.After)
		}
	}
	if group("neglected classes", before.Neglected); before.Neglected.Classes > 0 {
		group("other classes", before.Rest)
	}
	t.Flush()
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "class\timages\terror %s\terror %s\tdifference\t  name\n", before.Run, r.Run)
	n := len(before.PerClass)
	for i, d := range before.PerClass {
		mark := ""
		if d.Neglected {
			mark = " (neglected)"
		} else if !r.all && n > 2*mostChanged && i >= mostChanged && i < n-mostChanged {
			continue
		}
		fmt.Fprintf(t, "%d\t%d\t%.4f\t%.4f\t%+.4f\t  %s%s\n", d.Class, d.Count, 1-d.Before, 1-d.After, d.Before-d.After, d.Name, mark)
	}
	t.Flush()
	if !r.all && n > 2*mostChanged {
		shown := fmt.Sprintf("the %d that gained or lost most", 2*mostChanged)
		if before.Neglected.Classes > 0 {
			shown = "the neglected classes and " + shown
		}
		fmt.Fprintf(w, "(%s; --per-class shows all)\n", shown)
	}
	change := r.ErrorRate - before.ErrorRate
	verdict := "more than chance"
	if math.Abs(change) <= before.Chance {
		verdict = "within chance"
	}
	fmt.Fprintf(w, "\nAgainst %s: error rate %+.4f, %s (%.4f on %d images); ", withAdjust(before.Run, before.Adjust), change,
		verdict, before.Chance, r.Images)
	if before.Neglected.Classes == 0 {
		fmt.Fprintf(w, "%s (%d classes better, %d worse).\n", noneNeglected, before.Rest.Better, before.Rest.Worse)
		return
	}
	fmt.Fprintf(w, "of the neglected classes %d better, %d worse, of the others %d better, %d worse.\n",
		before.Neglected.Better, before.Neglected.Worse, before.Rest.Better, before.Rest.Worse)
}

// openRuns opens the run to evaluate and the one to compare it with, nil if there is none.
func (o *evalOptions) openRuns() (run, other *train.TrainedRun, err error) {
	if run, err = o.openRun(o.run); err != nil || o.against == "" {
		return run, nil, err
	}
	other, err = o.openRun(o.against)
	return run, other, err
}
