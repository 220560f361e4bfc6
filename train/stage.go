package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/nn"
	"sdnn/subclass"
)

// stageRun is stage 1 or 3 being trained.
type stageRun struct {
	number  int
	epochs  int   // that it trains
	batch   int   // most rows of a step: --batch, or all rows where they are fewer
	steps   int64 // that the stage has in all
	session nn.Session
	feed    feeder
	scorer  scorer
	rows    *features.Subset // trained on
	held    *features.Subset // validated on; nil for none
	shuffle *features.Shuffle

	loader   *features.Loader // of the running epoch
	progress Progress
	since    time.Time // begin of the window over which the rate is measured
	sinceN   int64     // examples of the stage then
	// notFinite is set by the first loss that is not.
	notFinite atomic.Bool
	badStep   int64
	badLoss   float64

	partition *subclass.Partition
	added     *pairs    // to the rows; nil for none
	weight    []float32 // of each output in the loss; nil: 1

	dead    int  // steps on end after which the network seemed to be dead
	mourned bool // it was said
}

// stageSeed is the seed of everything random in a stage but the initial
// weights. A plain run is a stage 3, so that it has what stage 3 of a run with
// subclasses has; stage 4 has what a stage 3 on all rows would have.
func stageSeed(seed uint64, stage int, what string) uint64 {
	return nn.KeyOfString(seed, fmt.Sprintf("stage %d %s", stage, what))
}

// planStage says what the position's stage, 1, 3 or 4, trains for, and on which rows.
func (t *trainer) planStage() *stageRun {
	c := &t.cfg
	s := &stageRun{number: t.pos.Stage, epochs: c.Epochs, rows: t.rows, held: t.held, partition: subclass.Whole(c.Classes),
		since: time.Now(), sinceN: t.pos.Examples}
	switch {
	case s.number == 1:
		s.epochs = c.NeglectEpochs
	case c.Subclass:
		s.partition = t.partition
		if v := float32(c.NeglectedWeight); v != 1 {
			s.weight = s.partition.Map().ColumnWeights(t.pos.Neglected, v)
		}
	}
	scheduled := s.epochs // of the rate
	if s.number == 4 {
		s.rows, s.held, s.epochs = t.all, nil, t.pos.Best.Epoch
	}
	if s.number == 3 && t.pairs != nil {
		s.added = t.pairs
		s.rows = t.rows.WithDerived(s.added.bases())
	}
	s.batch = s.rows.Rows()
	if s.held != nil {
		s.batch = max(s.batch, s.held.Rows())
	}
	s.batch = min(s.batch, c.Batch)
	s.steps = int64(scheduled) * int64((s.rows.Rows()+s.batch-1)/s.batch)
	if c.MaxSteps > 0 {
		s.steps = min(s.steps, c.MaxSteps)
	}
	return s
}

// beside is the memory that a stage takes for a row beside the session.
func (t *trainer) beside(s *stageRun) int {
	n := 0
	if s.held != nil {
		n += scorerBytes(t.cfg.Classes)
		if s.number == 3 && t.adjusting() {
			n += adjustedBytes(t.cfg.Classes)
		}
	}
	return n
}

// openStage compiles the network of the position's stage.
func (t *trainer) openStage() error {
	c, s := &t.cfg, t.planStage()
	classes := s.partition.Map()
	model, err := buildModel(c, s.batch, classes.Subclasses(), s.weight != nil)
	if err != nil {
		return err
	}
	purpose := nn.Training
	if s.number == 1 {
		purpose = nn.Measuring
	}
	s.session, err = t.o.Engine.Compile(model, nn.CompileOptions{Purpose: purpose, Optimizer: c.optimiser(), Precision: c.Precision,
		Seed: c.Seed, Beside: t.beside(s), OnStep: func(r nn.StepResult) { t.onStep(s, r) }})
	if err != nil {
		return err
	}
	t.run = s
	in, err := newInputs(c, t.split, t.augment, s.added)
	if err != nil {
		return err
	}
	seeds := min(s.number, 3) // stage 4 has those of stage 3
	s.feed = feeder{inputs: in, session: s.session, seed: stageSeed(c.Seed, seeds, "rows"), targeting: &subclass.Targeting{
		Partition: s.partition, SubclassWeight: float32(c.SubclassWeight), SiblingTarget: float32(c.SiblingTarget)}}
	if err := t.startState(s, model); err != nil {
		return err
	}
	s.shuffle = features.NewShuffle(s.rows, shuffleWindow, stageSeed(c.Seed, seeds, "order"))
	if s.held != nil {
		if in, err = newInputs(c, s.held.Split(), features.Augment{}, nil); err != nil {
			return err
		}
		s.scorer = scorer{session: s.session, probabilities: model.Probabilities, classes: classes,
			feed: feeder{inputs: in, session: s.session}}
	}
	return t.keepData(s)
}

// startState gives the session the weights of its outputs and what the rows say of
// where to start. What a resumed run had come to takes its place afterwards.
func (t *trainer) startState(s *stageRun, model *nn.Model) error {
	if s.weight != nil {
		if err := s.session.WriteState(model.OutputWeight.Name, s.weight); err != nil {
			return err
		}
	}
	n := s.feed.count(s.rows)
	t.counts = n.classes
	if t.cfg.BiasInit != BiasPrior {
		return nil
	}
	return s.session.WriteState(model.OutputBias.Name, n.prior(model.OutputBias.Shape.Size()))
}

func (t *trainer) closeStage() {
	if t.run != nil {
		t.run.session.Close()
		t.run = nil
	}
}

// onStep takes the result of a training step. The engine may call it in its
// own goroutine, but not after Sync.
func (t *trainer) onStep(s *stageRun, r nn.StepResult) {
	if math.IsNaN(r.Loss) || math.IsInf(r.Loss, 0) {
		if !s.notFinite.Load() {
			s.badStep, s.badLoss = r.Step, r.Loss
			s.notFinite.Store(true)
		}
	} else {
		t.pos.EpochLoss.add(r.Loss, r.Rows)
		t.pos.LineLoss.add(r.Loss, r.Rows)
	}
	s.watch(r)
	if r.Theta != nil {
		t.neglection.AddBatch(r.Theta, s.session.Feed(r.Slot).Targets.Index, r.Rows)
	}
	s.loader.Release(r.Slot)
}

// sync waits for the steps on their way: only then are the position's sums
// and the session's state those of the position's step.
func (t *trainer) sync() error {
	s := t.run
	if err := s.session.Sync(); err != nil {
		return err
	}
	if s.notFinite.Load() {
		return t.divergedAt(s.badStep, fmt.Sprintf("the loss is %v", s.badLoss))
	}
	return nil
}

// stage does what is left of the position's stage and moves to the next.
func (t *trainer) stage(ctx context.Context) error {
	if t.pos.Stage == 2 {
		return t.splitStage(ctx)
	}
	s := t.run
	what := "training the network"
	switch s.number {
	case 1:
		what = "finding the neglected classes"
	case 4:
		what = "training the network anew on all " + t.cfg.Examples() + ", those held out too"
	}
	if t.trained() {
		return t.finish(ctx)
	}
	if t.pos.Examples > 0 { // a resumed run
		what += fmt.Sprintf(", from step %d, epoch %d of %d, on", t.pos.Step, t.pos.Epoch+1, s.epochs)
	}
	s.progress = Progress{Stage: s.number, Epochs: s.epochs, Total: int64(s.epochs) * int64(s.rows.Rows())}
	if m := t.cfg.MaxSteps; m > 0 {
		s.progress.Total = min(s.progress.Total, m*int64(t.cfg.Batch))
	}
	t.o.Reporter.Stage(s.number, what, s.progress.Total, t.pos.Examples)
	if n := s.rows.Rows(); n < t.cfg.Batch && !t.began {
		t.o.Reporter.Warning(fmt.Sprintf("--batch %d is more than all %s to train on (%d): an epoch is one step; a smaller --batch makes more of them",
			t.cfg.Batch, t.cfg.Examples(), n))
	}
	t.began = true
	for number := t.pos.Stage; t.pos.Stage == number && !t.trained(); {
		if err := t.epoch(ctx); err != nil {
			return err
		}
		if err := t.endEpoch(ctx); err != nil {
			return err
		}
	}
	if t.trained() && !t.pos.Done {
		return t.finish(ctx)
	}
	return nil
}

// trained says whether the last epoch of stage 3 or 4 is over.
func (t *trainer) trained() bool {
	p := &t.pos
	return p.Stage >= 3 && p.Row == 0 && (p.Epoch >= t.run.epochs || p.Epoch > 0 && t.limitReached())
}

// limitReached says whether --max-steps ends the stage here.
func (t *trainer) limitReached() bool { return t.cfg.MaxSteps > 0 && t.pos.Step >= t.cfg.MaxSteps }

// epoch trains on what is left of the position's epoch.
func (t *trainer) epoch(ctx context.Context) (err error) {
	s := t.run
	s.feed.epoch = t.pos.Epoch
	s.loader = features.NewLoader(s.shuffle.Epoch(t.pos.Epoch), s.batch, t.pos.Row, s.session.Slots(), s.feed.fill)
	defer func() {
		// Steps on their way release slots of the loader.
		if syncErr := s.session.Sync(); err == nil {
			err = syncErr
		}
		s.loader.Close()
	}()
	for !t.limitReached() {
		if ctx.Err() != nil {
			return t.interrupted()
		}
		slot, rows, err := s.loader.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		n := len(rows)
		lr := t.rate()
		if err := s.session.TrainStep(slot, nn.StepParams{LR: lr, Step: t.pos.Step + 1}); err != nil {
			return err
		}
		t.pos.Step++
		t.pos.Row += n
		t.pos.Examples += int64(n)
		if err := t.afterStep(lr); err != nil {
			return err
		}
	}
	return t.sync()
}

// afterStep reports, logs and saves when it is time to.
func (t *trainer) afterStep(lr float64) error {
	s := t.run
	p := &s.progress
	p.Epoch, p.Step, p.Examples, p.LR = t.pos.Epoch+1, t.pos.Step, t.pos.Examples, lr
	now := time.Now()
	if d := now.Sub(s.since).Seconds(); d > 0 {
		p.PerSec = float64(t.pos.Examples-s.sinceN) / d
	}
	t.o.Reporter.Progress(p)
	save := now.Sub(t.saved) >= t.o.CheckpointEvery
	if t.pos.Step%LogEvery != 0 && !save && !s.notFinite.Load() {
		return nil
	}
	if err := t.sync(); err != nil {
		return err
	}
	if t.pos.Step%LogEvery == 0 {
		p.Loss = t.pos.LineLoss.mean()
		t.pos.LineLoss = lossSum{}
		if err := t.metrics.add(t.line(p.Loss)); err != nil {
			return err
		}
		s.since, s.sinceN = now, t.pos.Examples
	}
	if save {
		return t.save(s.session)
	}
	return nil
}

// line is the line of metrics.jsonl for the position.
func (t *trainer) line(loss float64) metricsLine {
	p := &t.run.progress
	return metricsLine{Stage: t.pos.Stage, Epoch: t.pos.Epoch + 1, Step: t.pos.Step, Loss: loss, LR: p.LR, ExamplesPerS: math.Round(p.PerSec*10) / 10}
}

// interrupted saves the state and returns ErrInterrupted.
func (t *trainer) interrupted() error {
	if err := t.sync(); err != nil {
		return err
	}
	if err := t.save(t.run.session); err != nil {
		return err
	}
	return ErrInterrupted
}

// deadSteps are the steps on end from which a network is called dead.
const deadSteps = 3

// watch looks for a dead network: one that gives 0 for every class, so that each
// positive costs -log(e) and all else nothing. The gradient fades when p << e, and
// does not lead away from there. A loss that is also that of outputs which are 1/2
// everywhere, as at a start from zero, says nothing.
func (s *stageRun) watch(r nn.StepResult) {
	targets := &s.session.Feed(r.Slot).Targets
	dead := 0.0
	for i, y := range targets.Y {
		w := float32(1)
		if s.weight != nil {
			w = s.weight[targets.Index[i]]
		}
		dead += float64(w * y)
	}
	dead *= -math.Log(nn.LossEpsilon) / float64(r.Rows)
	near := func(loss, share float64) bool { return math.Abs(r.Loss-loss) < share*loss }
	if near(dead, 0.005) && !near(float64(s.partition.Map().Subclasses())*math.Ln2, 0.02) {
		s.dead++
	} else {
		s.dead = 0
	}
}

// reportDead warns, once a stage, of a network that was dead when an epoch ended.
func (t *trainer) reportDead() {
	s := t.run
	if s.mourned || s.dead < deadSteps {
		return
	}
	s.mourned = true
	advice := fmt.Sprintf("a smaller --lr than %g", t.cfg.LR)
	if t.cfg.BiasInit != BiasPrior {
		advice = "--bias-init prior, or " + advice
	}
	t.o.Reporter.Warning(fmt.Sprintf("the network is dead since epoch %d: it gives 0 for every class, where the loss has "+
		"hardly a gradient left, and will probably learn nothing more; stop it and begin again with %s, or with a warm-up "+
		"(--schedule cosine:0.05)", t.pos.Epoch+1, advice))
}

// endEpoch validates, writes the epoch's line and checkpoints, and moves the
// position to the next epoch or stage. Until it has validated, the position
// stays at the end of the epoch, so that it can be interrupted.
func (t *trainer) endEpoch(ctx context.Context) error {
	s := t.run
	s.progress.Epoch, s.progress.Step, s.progress.Examples = t.pos.Epoch+1, t.pos.Step, t.pos.Examples
	s.progress.LR = t.rateOf(t.pos.Step)
	var v *Validation
	if s.held != nil {
		var err error
		if v, err = s.scorer.validate(ctx, s.held, s.batch); ctx.Err() != nil {
			return t.interrupted()
		} else if err != nil {
			return t.badScore(err)
		}
	}
	t.pos.LastLoss = t.pos.EpochLoss.mean()
	s.progress.Loss = t.pos.LastLoss
	line := t.line(t.pos.LastLoss)
	line.End, line.Validate = true, v
	if err := t.metrics.add(line); err != nil {
		return err
	}
	t.o.Reporter.Epoch(&s.progress, v)
	t.reportDead()
	t.pos.EpochLoss, t.pos.LineLoss = lossSum{}, lossSum{}
	t.pos.Epoch++
	t.pos.Row = 0
	s.since, s.sinceN = time.Now(), t.pos.Examples
	switch s.number {
	case 1:
		return t.endNeglectEpoch()
	case 4:
		return t.save(s.session)
	}
	return t.endLastStageEpoch(v)
}

// endNeglectEpoch ends an epoch of stage 1.
func (t *trainer) endNeglectEpoch() error {
	c := &t.cfg
	t.neglection.EndEpoch()
	score := subclass.Score(c.NeglectScore)
	if err := writeJSON(filepath.Join(t.o.Dir, neglectionFile), t.neglection.File(score, c.Neglected)); err != nil {
		return err
	}
	if t.pos.Epoch == c.NeglectEpochs || t.limitReached() {
		t.pos = position{Stage: 2, Neglected: t.neglection.Neglected(score, c.Neglected)}
	}
	return t.save(t.run.session)
}

// endLastStageEpoch ends an epoch of stage 3: it keeps the best weights, which
// without validation are the last.
func (t *trainer) endLastStageEpoch(v *Validation) error {
	t.pos.Done = t.trained() && !t.adjusting() && !t.refitting()
	if b := t.pos.Best; v == nil || b == nil || v.betterThan(b.Validation, t.cfg.Metric) {
		t.pos.Best = &best{Epoch: t.pos.Epoch, Step: t.pos.Step, Validation: v}
		if err := t.saveBest(); err != nil {
			return err
		}
	}
	return t.save(t.run.session)
}

// saveBest writes best.safetensors from the session's weights.
func (t *trainer) saveBest() error {
	t.pos.MetricsLines = t.metrics.lines
	c := checkpoint{config: &t.cfg, position: &t.pos, counts: t.counts, session: t.run.session, trained: true}
	return t.diverged(c.write(checkpointFile(t.o.Dir, Best)))
}

// badScore turns a score that is not a number into a *DivergedError.
func (t *trainer) badScore(err error) error {
	var bad *eval.ScoreError
	if errors.As(err, &bad) {
		return t.divergedAt(t.pos.Step, "a score is not a number")
	}
	return err
}
