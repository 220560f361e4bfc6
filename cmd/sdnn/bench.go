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
	fast      bool
	profile   bool
	sort      string
	flags     *pflag.FlagSet
}

func newBench(a *app) *cobra.Command {
	o := &benchOptions{}
	cmd := newVerb(a, "bench --net NET", "Measure the speed of this machine",
		`Measure the speed of this machine: a training step and an evaluation step of a network on random input, after two steps to
warm up. Examples per second are given for the best and the median of --reps steps, and the most memory the process has had.

A training step is forward, subclass cross-entropy, backward and the optimiser's update; an evaluation step is forward only.
An engine that works on while its batches are fed does twenty steps in a row each time, each with a batch that is copied to it.
The networks are those of sdnn train: video networks with Adam, without dropout and noise; image networks on 3 x 32 x 32
images, with their dropout and SGD.

--profile runs --reps steps more of each kind with the engine's clocks on and lists the ops, each with its fastest call. The
floor of an op is the least time that this machine can do it in: the operations of the algorithm in use over the peak of
multiply-adds, or the op's operands and results over the bandwidth of memory, of a cache if that holds them, whichever is
longer. Peak and bandwidths are measured with the same threads and code path, and printed. GF/s counts a convolution as the
direct algorithm does; the floor of one by Winograd's, as of a large product by Strassen's, counts the multiplications that it
leaves. Both count zeros of a dense layer's operand, which the CPU engine may skip: a layer can then take less time than its
floor.`,
		[]string{"sdnn bench --net mlp --batch 1024", "sdnn bench --net vgg16 --batch 128 --reps 20 --threads 2 --profile"},
		func(ctx context.Context, _ []string) error { return runBench(ctx, a, o) })
	f := cmd.Flags()
	o.flags = f
	f.StringVar(&o.net, "net", "", "`network`: one of those of sdnn train")
	f.IntVar(&o.batch, "batch", 0, "examples a step (default 1024, for image networks 128)")
	f.IntVar(&o.reps, "reps", 5, "steps that are timed")
	f.IntVar(&o.classes, "classes", 0, "outputs of the network (default 3962, YouTube-8M's classes and 100 subclasses; for image networks 12)")
	f.StringVar(&o.engine, "engine", "auto", strings.Join(engineNames, ", "))
	f.StringVar(&o.precision, "precision", string(nn.F32), precisionHelp)
	f.BoolVar(&o.fast, "fast", false, fastHelp)
	f.BoolVar(&o.profile, "profile", false, "also the time of each op and how far it is from its floor, if the engine measures it")
	f.StringVar(&o.sort, "sort", opsByLost, "--profile: `order` of the ops: lost (time above the floor) or time, the largest first; run, all in the order of the step")
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
}

func (r benchResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s %-5s  batch %d, %d outputs, %s, engine %s, %s: best %.1f/s, median %.1f/s, peak memory %d MiB\n",
		r.Net, r.What, r.Batch, r.Classes, count(r.Threads, "thread"), r.Engine, r.Precision, r.Best, r.Median, r.PeakRSS)
}

// benchWarmUp is the number of steps that are not timed.
const benchWarmUp = 2

func runBench(ctx context.Context, a *app, o *benchOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	engine, stop, err := newEngine(a, o.engine, o.fast)
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
	threads := a.threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	bench := &benchRun{o: o, session: session, model: model, seed: a.seed}
	if err := bench.speed(ctx, a, benchResult{Net: o.net, Batch: o.batch, Threads: threads, Engine: engine.Name(), Precision: o.precision, Classes: o.classes}); err != nil {
		return err
	}
	if o.profile {
		return bench.profile(ctx, a, engine.Name(), threads)
	}
	return nil
}

// benchRun is a session whose steps are timed.
type benchRun struct {
	o       *benchOptions
	session nn.Session
	model   *nn.Model
	seed    uint64
	steps   int64
}

// speed times both kinds of step and prints what they take.
func (b *benchRun) speed(ctx context.Context, a *app, r benchResult) error {
	for _, r.What = range benchSteps {
		step, steps := b.row(r.What)
		took, err := timed(ctx, benchWarmUp, b.o.reps, step)
		if err != nil {
			return err
		}
		r.PeakRSS = peakRSS() >> 20
		r.Best, r.Median = perSecond(steps*b.o.batch, took[0]), perSecond(steps*b.o.batch, took[len(took)/2])
		a.print.result(r)
	}
	return nil
}

// benchSteps are the kinds of step.
var benchSteps = []string{"train", "eval"}

// benchRow is the number of steps that are timed together where the engine
// works on while the next batch is fed: what comes before the first and after the
// last of them is then next to nothing, as in an epoch.
const benchRow = 20

// row returns what does a row of steps of a kind, and how many they are: one
// where the engine is done when a step returns.
func (b *benchRun) row(what string) (f func() error, steps int) {
	starter, ahead := b.session.(nn.Starter)
	if !ahead {
		return b.step(what), 1
	}
	slots := b.session.Slots()
	for slot := range slots {
		b.fill(slot, what)
	}
	if what == "eval" {
		return func() error {
			err := starter.Start(0)
			for i := 0; i < benchRow && err == nil; i++ {
				if i+1 < benchRow {
					err = starter.Start((i + 1) % slots)
				}
				if err == nil {
					_, _, err = b.session.Forward(i % slots)
				}
			}
			return err
		}, benchRow
	}
	return func() error {
		for i := range benchRow {
			b.steps++
			if err := b.session.TrainStep(i%slots, nn.StepParams{LR: 1e-3, Step: b.steps}); err != nil {
				return err
			}
		}
		return b.session.Sync()
	}, benchRow
}

// fill fills a slot's feed for a kind of step.
func (b *benchRun) fill(slot int, what string) {
	feed := b.session.Feed(slot)
	fillRandom(feed, b.model, b.o.batch, b.seed)
	if what == "eval" {
		feed.Targets.Reset() // without targets there is no loss to compute
	}
}

// step fills the session's feed for a kind of step and returns what does one.
func (b *benchRun) step(what string) func() error {
	b.fill(0, what)
	if what == "eval" {
		return func() error {
			_, _, err := b.session.Forward(0)
			return err
		}
	}
	return func() error {
		b.steps++
		return errors.Join(b.session.TrainStep(0, nn.StepParams{LR: 1e-3, Step: b.steps}), b.session.Sync())
	}
}

func (o *benchOptions) check() error {
	if err := knownNet(o.net, train.Nets()); err != nil {
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
	if err := known("--precision", o.precision, precisionNames); err != nil {
		return err
	}
	if err := known("--sort", o.sort, opOrders); err != nil {
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

// timed calls step warmUp times and then reps times; it returns the latter's times in ascending order.
func timed(ctx context.Context, warmUp, reps int, step func() error) ([]time.Duration, error) {
	var took []time.Duration
	for i := range warmUp + reps {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		begun := time.Now()
		if err := step(); err != nil {
			return nil, err
		}
		if i >= warmUp {
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
