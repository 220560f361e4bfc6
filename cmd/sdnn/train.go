package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sdnn/features"
	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/train"
)

// trainOptions are the flags that do not change the result of a run; the others are settings of train.Config.
type trainOptions struct {
	data, out         string
	resume, overwrite bool
	checkpointMinutes float64
	flags             *pflag.FlagSet
}

func newTrain(a *app) *cobra.Command {
	o := &trainOptions{}
	cmd := newVerb(a, "train --data STORE --out RUN", "Train a network, plainly or with subclasses",
		`Train a network on the train split of a store.

With --subclass, stage 1 trains the plain network for a few epochs and measures how neglected every class is, stage 2
splits the --neglected classes into --subclasses each, stage 3 trains a network for the subclasses from scratch. At test
time a subclass answers for its class. Without --subclass there is stage 3 alone, on the plain network. Of features of
fewer than 100000 rows a stage 4 follows, when the held-out rows have chosen the best epoch: stage 3 once more on all
rows, up to that epoch (--refit).

RUN gets config.json (every setting), metrics.jsonl, best.safetensors, last.safetensors, and with --subclass
neglection.json and subclasses.json. Ctrl-C saves and stops; --resume goes on, also after a crash, to the same bits as a
run that was never interrupted. Results do not depend on --threads.

Settings not given have the recipe's value, or else the defaults below. For features of videos --epochs, --batch, --lr
and --neglect-epochs follow from the net and the number of rows; the log shows them. With a schedule of steps, as recipes
for images have, other --epochs keep each step's part of the training: 30 epochs of step:0.2@60,120,160,220,260 have
step:0.2@6,12,16,22,26.

Every output starts at the log odds of its class in the training rows (--bias-init prior): from a bias of 0, which says
that half of all rows have each class, rare classes spend most of a training on unlearning that, and vgg16 dies in its
first epoch at the paper's rate. When training is over, one number is chosen on the held-out rows (--logit-adjust auto):
TAU, from -0.5 to 0.5, with which TAU ln(n) is added to the score, before the sigmoid, of a class that n training rows
have, less what leaves the scores of a typical label where they were. eval and predict apply it.

Images of neglected classes get, in the last two stages, a copy each that is mixed with another training image (--no-pairing:
none). Recipes train with subclasses; with --subclass=false they train the baseline.

--protocol authors follows the authors' code where sdnn does otherwise by default: it starts from a bias of 0 at their
rate and schedule, ranks classes by a score that follows their frequency, mixes images in bytes that overflow, and trains
on the whole train split with the best checkpoint chosen on the test split, so that the error rate there is better than on
new images.`,
		[]string{"sdnn train --data store --net mlp --epochs 10 --subclass --neglected 50 --out subclass --resume",
			"sdnn train --data images --recipe cifar10-vgg16 --out vgg16"},
		func(ctx context.Context, _ []string) error { return runTrain(ctx, a, o) })
	f := cmd.Flags()
	o.flags = f
	f.StringVar(&o.data, "data", "", "the `store` to train on")
	f.StringVar(&o.out, "out", "", "the `folder` of the run: new or empty, or with --resume or --overwrite one that holds a run")
	f.BoolVar(&o.resume, "resume", false, "go on with the run in --out if there is one")
	f.BoolVar(&o.overwrite, "overwrite", false, "remove the run in --out first")
	f.Float64Var(&o.checkpointMinutes, "checkpoint-minutes", 10, "minutes between checkpoints inside an epoch")
	require(cmd, "data", "out")
	addSettingFlags(f)
	return cmd
}

func runTrain(ctx context.Context, a *app, o *trainOptions) error {
	if err := checkFolder("--out", o.out); err != nil {
		return err
	}
	store, err := features.Open(o.data)
	if err != nil {
		return err
	}
	defer store.Close()
	cfg, resume, err := o.config(store.Manifest())
	if err != nil {
		return err
	}
	engine, stop, err := newEngine(a, cfg.Engine, cfg.Fast)
	if err != nil {
		return err
	}
	defer stop()
	cfg.Engine = engine.Name()
	cfg.Version = version
	rep := &trainReporter{a: a, settings: fmt.Sprintf("learning rate %g, schedule %s, %s, batch %d",
		cfg.LR, cfg.Schedule, count(cfg.Epochs, "epoch"), cfg.Batch)}
	defer rep.end()
	res, err := train.Run(ctx, cfg, train.Options{
		Dir: o.out, Store: store, Engine: engine, Resume: resume, Overwrite: o.overwrite,
		CheckpointEvery: time.Duration(o.checkpointMinutes * float64(time.Minute)), Reporter: rep,
	})
	if err != nil {
		return err
	}
	rep.end()
	a.print.result(trainResult{res})
	return nil
}

// config resolves the settings: the run's own when one is resumed, else the recipe's or the net's; then the flags that were
// given. resume says whether there is a run to go on with.
func (o *trainOptions) config(m *features.Manifest) (cfg train.Config, resume bool, err error) {
	if o.resume && o.overwrite {
		return cfg, false, usagef("--resume goes on with the run in --out, --overwrite removes it: give one of them")
	}
	if o.checkpointMinutes <= 0 {
		return cfg, false, usagef("--checkpoint-minutes %g: it must be more than 0", o.checkpointMinutes)
	}
	net := "" // the recipe's, or that of the store's kind
	if f := o.flags.Lookup("net"); f.Changed {
		net = f.Value.String()
		if err := knownNet(net, train.NetsFor(m)); err != nil {
			return cfg, false, err
		}
	}
	if o.resume {
		cfg, err = train.LoadConfig(o.out)
		resume = true
		if as[*train.NoRunError](err) {
			resume, err = false, nil // killed before it began: nothing to go on with
		}
	}
	if !resume && err == nil {
		cfg, err = train.NewConfig(o.flags.Lookup("recipe").Value.String(), net, m)
	}
	if err != nil {
		return cfg, resume, err
	}
	if f := o.flags.Lookup("protocol"); f.Changed && !resume {
		if err := cfg.UseProtocol(f.Value.String()); err != nil {
			return cfg, resume, err
		}
	}
	if !resume {
		if err := o.fitLimit(&cfg, m); err != nil {
			return cfg, resume, err
		}
	}
	customary := cfg.Epochs // that the schedule is made for
	for _, name := range train.Flags() {
		f := o.flags.Lookup(name)
		if f == nil || !f.Changed || name == "engine" && f.Value.String() == "auto" {
			continue
		}
		if err := cfg.Set(name, f.Value.String()); err != nil {
			return cfg, resume, err
		}
	}
	if o.flags.Changed("epochs") && !resume {
		if !o.flags.Changed("schedule") {
			cfg.FitSchedule(customary)
		}
		if !o.flags.Changed("neglect-epochs") {
			cfg.FitNeglectEpochs()
		}
	}
	if !resume { // a run that goes on has what it began with
		if err := o.fitRefit(&cfg); err != nil {
			return cfg, resume, err
		}
	}
	if o.flags.Changed("beta2") && cfg.Optimizer != string(nn.Adam) {
		return cfg, resume, usagef("--beta2 is for --optimizer adam; this is %s", cfg.Optimizer)
	}
	for name, net := range netFlags {
		if f := o.flags.Lookup(name); f.Changed && cfg.Net != net {
			return cfg, resume, usagef("--%s is for --net %s; this is %s", name, net, cfg.Net)
		}
	}
	for _, name := range train.SubclassFlags() {
		if f := o.flags.Lookup(name); f.Changed && !cfg.Subclass {
			return cfg, resume, usagef("--%s means nothing without --subclass", name)
		}
	}
	return cfg, resume, nil
}

// fitLimit chooses the defaults for the rows that --limit leaves.
func (o *trainOptions) fitLimit(cfg *train.Config, m *features.Manifest) error {
	f := o.flags.Lookup("limit")
	if !f.Changed {
		return nil
	}
	if err := cfg.Set("limit", f.Value.String()); err != nil {
		return err
	}
	if rows := train.Rows(m); cfg.Limit > 0 && cfg.Limit < rows {
		cfg.FitRows(cfg.Limit)
	}
	return nil
}

// fitRefit leaves the last stage out where it would train on what was trained on: where nothing of the train split is
// held out.
func (o *trainOptions) fitRefit(cfg *train.Config) error {
	if !cfg.Refit || cfg.ValidateSplit == "" && cfg.ValidateFraction > 0 {
		return nil
	}
	if o.flags.Changed("refit") {
		return usagef("--refit trains on the held-out part of the train split too, and there is none: " +
			"leave out --validate-split, and --validate-fraction 0")
	}
	cfg.Refit = false
	return nil
}

// netFlags are settings of one network alone.
var netFlags = map[string]string{"hidden": mlp.MLP, "experts": mlp.MoE, "filters": mlp.Conv1D}

// knownNet says what is wrong with a value of --net. Nets are those to choose from.
func knownNet(net string, nets []string) error {
	err := train.CheckNet(net)
	if err != nil && !strings.HasPrefix(net, "wrn-") {
		return known("--net", net, nets)
	}
	return err
}

// trainResult is what train prints.
type trainResult struct{ *train.Result }

func (r trainResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %d classes", r.Dir, r.Net, r.Classes)
	if r.Outputs > r.Classes {
		fmt.Fprintf(w, ", %d subclasses", r.Outputs)
	}
	took := fmt.Sprintf("%.0f s", r.Seconds)
	if r.Finished {
		took = "finished before"
	}
	fmt.Fprintf(w, ", engine %s: %s, %s, training loss %.4f, %s\n", r.Engine, count(r.Epochs, "epoch"), count(int(r.Steps), "step"), r.Loss, took)
	if v := r.Best; v != nil {
		fmt.Fprintf(w, "best epoch %d, validated: %s\n", r.BestEpoch, metricsText(v))
	}
	if a := r.Adjust; a != nil && a.Tau != 0 {
		fmt.Fprintf(w, "logit adjustment %g", a.Tau)
		if a.Validate != nil {
			fmt.Fprintf(w, ", validated: %s", metricsText(a.Validate))
		}
		fmt.Fprintln(w)
	}
	if f := r.Refit; f != nil {
		fmt.Fprintf(w, "trained anew on all %d videos, held-out ones too, for %s: training loss %.4f\n",
			f.Rows, count(f.Epochs, "epoch"), f.Loss)
	}
	if n := len(r.Neglected); n > 0 {
		shown := slices.Clone(r.Neglected[:min(n, 20)])
		fmt.Fprintf(w, "neglected classes, most neglected first: %s", strings.Trim(fmt.Sprint(shown), "[]"))
		if n > len(shown) {
			fmt.Fprint(w, " ...")
		}
		was := "were"
		if len(r.Split) == 1 {
			was = "was"
		}
		fmt.Fprintf(w, "; %d of %d %s split\n", len(r.Split), n, was)
	}
}

func metricsText(v *train.Validation) string {
	if v.ImageMetrics != nil {
		return fmt.Sprintf("error rate %.4f, top-5 %.4f, loss %.4f", v.ErrorRate, v.Top5ErrorRate, v.Loss)
	}
	return fmt.Sprintf("GAP %.4f, mAP %.4f, Hit@1 %.4f, PERR %.4f, loss %.4f", v.GAP, v.MAP, v.Hit1, v.PERR, v.Loss)
}

// trainReporter shows how a training gets on: a bar a stage and a log line an epoch; with --json an event an epoch.
type trainReporter struct {
	a        *app
	settings string // said before the first stage: what is refused has none
	bar      *progress
	total    int64
}

// epochEvent is what --json prints after each epoch.
type epochEvent struct {
	Event    string            `json:"event"` // "epoch"
	Stage    int               `json:"stage"`
	Epoch    int               `json:"epoch"`
	Step     int64             `json:"step"`
	Loss     float64           `json:"loss"`
	LR       float64           `json:"lr"`
	PerSec   float64           `json:"examples_per_s"`
	Validate *train.Validation `json:"validate,omitempty"`
}

func (r *trainReporter) Stage(stage int, what string, total, done int64) {
	r.end()
	r.total = total
	if r.settings != "" {
		r.a.log.Info(r.settings)
		r.settings = ""
	}
	r.a.log.Info(fmt.Sprintf("stage %d: %s", stage, what))
	if total > 0 {
		r.bar = r.a.newProgress(fmt.Sprintf("stage %d", stage), false)
		r.bar.set(done, total)
	}
}

func (r *trainReporter) Progress(p *train.Progress) {
	if r.bar != nil {
		r.bar.set(p.Examples, p.Total)
	}
}

func (r *trainReporter) Epoch(p *train.Progress, v *train.Validation) {
	text := fmt.Sprintf("stage %d, epoch %d of %d: training loss %.4f; ", p.Stage, p.Epoch, p.Epochs, p.Loss)
	if v == nil {
		text += fmt.Sprintf("%.0f examples/s", p.PerSec)
	} else {
		text += "validated: " + metricsText(v)
	}
	r.a.log.Info(text)
	r.a.print.event(epochEvent{"epoch", p.Stage, p.Epoch, p.Step, p.Loss, p.LR, p.PerSec, v})
}

func (r *trainReporter) Message(text string) { r.a.log.Info(text) }

func (r *trainReporter) Warning(text string) { r.a.log.Warn(text) }

func (r *trainReporter) end() {
	if r.bar != nil {
		r.bar.end()
		r.bar = nil
	}
}
