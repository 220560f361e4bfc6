package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sdnn/cnn"
	"sdnn/features"
	"sdnn/ingest/yt8m"
	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/train"
)

type benchOptions struct {
	net       string
	batch     int
	reps      int
	classes   int
	engine    string
	precision string
	profile   bool
	flags     *pflag.FlagSet
}

func newBench(a *app) *cobra.Command {
	o := &benchOptions{}
	cmd := newVerb(a, "bench --net NET", "Measure the speed of this machine",
		`Measure the speed of this machine: a training step and an evaluation step of a network on random input, after two steps to
warm up. Examples per second are given for the best and the median of --reps steps, and the most memory the process has had.

A training step is forward, subclass cross-entropy, backward and the optimiser's update; an evaluation step is forward only.
The networks are those of sdnn train: video networks with Adam, without dropout and noise; image networks on 3 x 32 x 32
images, with their dropout and SGD.`,
		[]string{"sdnn bench --net mlp --batch 1024", "sdnn bench --net vgg16 --batch 128 --reps 20 --threads 2 --json"},
		func(ctx context.Context, _ []string) error { return runBench(ctx, a, o) })
	f := cmd.Flags()
	o.flags = f
	f.StringVar(&o.net, "net", "", "`network`: one of those of sdnn train")
	f.IntVar(&o.batch, "batch", 0, "examples a step (default 1024, for image networks 128)")
	f.IntVar(&o.reps, "reps", 5, "steps that are timed")
	f.IntVar(&o.classes, "classes", 0, "outputs of the network (default 3962, YouTube-8M's classes and 100 subclasses; for image networks 12)")
	f.StringVar(&o.engine, "engine", "auto", strings.Join(engineNames, ", "))
	f.StringVar(&o.precision, "precision", string(nn.F32), "f32 or bf16, where the engine has it")
	f.BoolVar(&o.profile, "profile", false, "also the time of each op, if the engine measures it")
	require(cmd, "net")
	return cmd
}

// benchResult is a line that bench prints.
type benchResult struct {
	Net       string  `json:"net"`
	What      string  `json:"what"` // "train" or "eval"
	Batch     int     `json:"batch"`
	Threads   int     `json:"threads"`
	Engine    string  `json:"engine"`
	Precision string  `json:"precision"`
	Classes   int     `json:"classes"`
	Best      float64 `json:"best_per_s"`
	Median    float64 `json:"median_per_s"`
	PeakRSS   int64   `json:"peak_rss_mib"`

	Profile []opTime `json:"profile,omitempty"`
}

// opTime is what an op costs in one step.
type opTime struct {
	Kind   string  `json:"kind"`
	Name   string  `json:"name"`
	Millis float64 `json:"ms"`
	Share  float64 `json:"share"`  // of the step
	GFlops float64 `json:"gflops"` // a second; 0 for an op bound by memory
	GBytes float64 `json:"gbytes"` // a second, of the least traffic that the op can do with
}

func (r benchResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s %-5s  batch %d, %d outputs, %s, engine %s, %s: best %.1f/s, median %.1f/s, peak memory %d MiB\n",
		r.Net, r.What, r.Batch, r.Classes, count(r.Threads, "thread"), r.Engine, r.Precision, r.Best, r.Median, r.PeakRSS)
	if len(r.Profile) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms\tshare\tGF/s\tGB/s\t  op")
	for _, o := range r.Profile {
		fmt.Fprintf(t, "%.3f\t%.1f%%\t%.1f\t%.1f\t  %s %s\n", o.Millis, 100*o.Share, o.GFlops, o.GBytes, o.Kind, o.Name)
	}
	t.Flush()
}

// benchWarmUp is the number of steps that are not timed.
const benchWarmUp = 2

func runBench(ctx context.Context, a *app, o *benchOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	engine, stop, err := newEngine(o.engine, a.threads)
	if err != nil {
		return err
	}
	defer stop()
	model, optimizer, err := o.model()
	if err != nil {
		return err
	}
	session, err := engine.Compile(model, nn.CompileOptions{Purpose: nn.Training, Optimizer: optimizer, Precision: nn.Precision(o.precision), Seed: a.seed})
	if err != nil {
		return err
	}
	defer session.Close()
	fillRandom(session.Feed(0), model, o.batch, a.seed)
	threads := a.threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	r := benchResult{Net: o.net, Batch: o.batch, Threads: threads, Engine: engine.Name(), Precision: o.precision, Classes: o.classes}
	step := int64(0)
	steps := []struct {
		what string
		f    func() error
	}{
		{"train", func() error {
			step++
			return errors.Join(session.TrainStep(0, nn.StepParams{LR: 1e-3, Step: step}), session.Sync())
		}},
		{"eval", func() error {
			_, _, err := session.Forward(0)
			return err
		}},
	}
	for _, s := range steps {
		if s.what == "eval" {
			session.Feed(0).Targets.Reset() // without targets there is no loss to compute
		}
		took, err := timed(ctx, o.reps, s.f)
		if err != nil {
			return err
		}
		if o.profile {
			if r.Profile, err = profiled(session, engine.Name(), s.what == "train", o.reps, s.f); err != nil {
				return err
			}
		}
		r.What, r.PeakRSS = s.what, peakRSS()>>20
		r.Best, r.Median = perSecond(o.batch, took[0]), perSecond(o.batch, took[len(took)/2])
		a.print.result(r)
	}
	return nil
}

func (o *benchOptions) check() error {
	if err := knownNet(o.net); err != nil {
		return err
	}
	batch, classes := 1024, 3962
	if cnn.Known(o.net) == nil {
		batch, classes = 128, 12
	}
	if !o.flags.Changed("batch") {
		o.batch = batch
	}
	if !o.flags.Changed("classes") {
		o.classes = classes
	}
	if err := known("--precision", o.precision, []string{string(nn.F32), string(nn.BF16)}); err != nil {
		return err
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"batch", o.batch}, {"reps", o.reps}, {"classes", o.classes}} {
		if n.value < 1 {
			return usagef("--%s %d: it must be at least 1", n.flag, n.value)
		}
	}
	return nil
}

// model is the network with the sizes that sdnn train has by default, and its optimiser.
func (o *benchOptions) model() (*nn.Model, nn.Optimizer, error) {
	d, err := train.NewConfig("", o.net, &features.Manifest{})
	if err != nil {
		return nil, nn.Optimizer{}, err
	}
	if d.Images() {
		m, err := cnn.Build(cnn.Spec{Net: o.net, Batch: o.batch, Outputs: o.classes, Size: 32, Channels: 3, Dropout: d.Dropout})
		return m, nn.NewSGD(d.WeightDecay), err
	}
	m, err := mlp.Build(mlp.Spec{
		Net: o.net, Batch: o.batch, Outputs: o.classes, Hidden: d.Hidden, Experts: d.Experts, Filters: d.Filters,
		Columns: []mlp.Column{{Name: yt8m.MeanRGB, Width: yt8m.RGBWidth}, {Name: yt8m.MeanAudio, Width: yt8m.AudioWidth}},
	})
	return m, nn.NewAdam(), err
}

// fillRandom fills a feed with rows of N(0, 1) features, each of one class.
func fillRandom(feed *nn.Feed, m *nn.Model, rows int, seed uint64) {
	feed.Rows = rows
	for i := range feed.Features {
		nn.FillNormal(feed.Features[i], nn.RowKey(seed, i, 0))
	}
	feed.Targets.Reset()
	for r := range rows {
		feed.Keys[r] = nn.RowKey(seed, 0, uint64(r))
		feed.Targets.Add(int32(nn.Hash32(seed, uint32(r))%uint32(m.Outputs())), 1, 1)
		feed.Targets.EndRow()
	}
}

// timed calls step to warm up and then reps times; it returns those times in ascending order.
func timed(ctx context.Context, reps int, step func() error) ([]time.Duration, error) {
	var took []time.Duration
	for i := range benchWarmUp + reps {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		begun := time.Now()
		if err := step(); err != nil {
			return nil, err
		}
		if i >= benchWarmUp {
			took = append(took, time.Since(begun))
		}
	}
	slices.Sort(took)
	return took, nil
}

// perSecond is rounded to a tenth.
func perSecond(batch int, d time.Duration) float64 {
	return math.Round(float64(batch)/d.Seconds()*10) / 10
}

// profiled runs reps more steps with the engine's clocks on. They cost time themselves, so these steps are not in the figures.
func profiled(session nn.Session, engine string, training bool, reps int, step func() error) ([]opTime, error) {
	p, ok := session.(nn.Profiler)
	if !ok {
		return nil, usagef("--profile: engine %s does not measure its ops", engine)
	}
	p.SetProfiling(true)
	defer p.SetProfiling(false)
	for range reps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	ops := p.Profile(training)
	total := 0.0
	for _, o := range ops {
		total += o.Time.Seconds()
	}
	var times []opTime
	for _, o := range ops {
		s := o.Time.Seconds()
		if o.Calls == 0 || s <= 0 {
			continue
		}
		times = append(times, opTime{Kind: o.Kind, Name: o.Name, Millis: 1e3 * s / float64(o.Calls), Share: s / total,
			GFlops: o.Flops / s / 1e9, GBytes: o.Bytes / s / 1e9})
	}
	return times, nil
}
