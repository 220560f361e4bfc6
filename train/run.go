package train

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sdnn/features"
	"sdnn/internal/disk"
	"sdnn/nn"
	"sdnn/subclass"
	"sdnn/train/internal/durable"
	"sdnn/train/safetensors"
)

const (
	trainSplit = "train"
	testSplit  = "test"
	// shuffleWindow is the number of rows that are shuffled among themselves:
	// 300 MB of YouTube-8M features, which any machine keeps in memory.
	shuffleWindow = 1 << 16
	// LogEvery is the number of steps between lines of metrics.jsonl.
	LogEvery = 50
	// holdOutSeed chooses the held-out examples. It is not the run's seed, so that
	// runs with different seeds are validated on the same ones.
	holdOutSeed = 0
)

// Run trains as cfg says and returns when the run is finished. With
// Options.Resume, cfg must agree with the run's config.json (take it from
// LoadConfig and Set what the user gave); a finished run only reports its
// result. Errors:
//
//   - *UsageError, *ExistsError, *ConflictError, *NoRunError, *MismatchError,
//     *BusyError: wrong usage
//   - *DataChangedError, *CorruptError, those of features: bad input data
//   - ErrInterrupted: ctx was cancelled, everything is saved
//   - *DivergedError: the loss or a weight is no longer finite
//   - *FullError: there was no room for a file of the run
func Run(ctx context.Context, cfg Config, o Options) (*Result, error) {
	if o.Reporter == nil {
		o.Reporter = silent{}
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = DefaultCheckpointEvery
	}
	t := &trainer{cfg: cfg, o: o, start: time.Now(), saved: time.Now()}
	if err := t.check(); err != nil {
		return nil, err
	}
	defer t.close()
	// Nothing is made in the folder before everything that the user can have
	// got wrong was checked.
	var err error
	if o.Resume {
		_, err = LoadConfig(o.Dir)
	} else {
		err = t.prepare()
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o777); err != nil {
		return nil, unwritable(err)
	}
	unlock, err := durable.Lock(filepath.Join(o.Dir, lockFile))
	if errors.Is(err, disk.ErrLocked) {
		return nil, &BusyError{o.Dir}
	} else if err != nil {
		return nil, unwritable(err)
	}
	defer func() {
		t.close()
		unlock()
	}()
	if o.Resume {
		err = t.resume()
	} else {
		err = t.begin()
	}
	if err != nil {
		return nil, t.full(err)
	}
	for !t.pos.Done {
		if err := t.stage(ctx); err != nil {
			return nil, t.full(err)
		}
	}
	return t.result(), nil
}

// trainer is a run being trained.
type trainer struct {
	cfg      Config
	o        Options
	schedule Schedule
	start    time.Time
	saved    time.Time // when the last checkpoint was written
	resumed  bool
	finished bool // the run was when it was resumed
	began    bool // a stage was begun: what is warned of once was

	split   *features.Split
	all     *features.Subset // rows and those that are held out of the same split
	rows    *features.Subset // trained on up to stage 3
	held    *features.Subset // validated on; nil for none
	augment features.Augment // of images, in training

	pos        position
	metrics    *metricsFile
	neglection *subclass.Neglection // of a run with subclasses; complete from stage 2 on
	partition  *subclass.Partition  // stage 3
	pairs      *pairs               // stages 2 and 3; nil for none
	run        *stageRun            // stages 1 and 3
	counts     []int64              // of each class, the rows of the running stage
}

// check checks the settings, also against the store.
func (t *trainer) check() error {
	if t.cfg.Engine == "" || t.cfg.Engine == "auto" {
		t.cfg.Engine = t.o.Engine.Name()
	}
	if t.cfg.Engine != t.o.Engine.Name() {
		return &UsageError{"engine", fmt.Sprintf("the settings name %s, the engine is %s", t.cfg.Engine, t.o.Engine.Name())}
	}
	if err := t.cfg.Validate(); err != nil {
		return err
	}
	if err := checkStore(&t.cfg, t.o.Store.Manifest()); err != nil {
		return err
	}
	if _, err := buildModel(&t.cfg, 1, t.cfg.Classes, false); err != nil {
		return &UsageError{"net", err.Error()}
	}
	var err error
	if t.augment, err = ParseAugment(t.cfg.Augment); err != nil {
		return &UsageError{"augment", err.Error()}
	}
	if t.cfg.Images() {
		if _, err := features.NewAugmenter(t.cfg.side(), t.cfg.PixelMean, t.cfg.PixelStd, t.augment, nil); err != nil {
			return &UsageError{"augment", err.Error()}
		}
	}
	t.schedule, err = ParseSchedule(t.cfg.Schedule)
	return err
}

// openData selects the rows to train and validate on.
func (t *trainer) openData() error {
	c := &t.cfg
	var err error
	if t.split, err = t.o.Store.Split(trainSplit); err != nil {
		return err
	}
	t.rows = features.All(t.split)
	if c.Limit > 0 {
		t.rows = t.rows.Head(c.Limit)
	}
	t.all = t.rows
	switch {
	case c.ValidateSplit != "":
		p, err := t.o.Store.Split(c.ValidateSplit)
		if err != nil {
			return err
		}
		t.held = features.All(p)
		if c.ValidateSplit == testSplit {
			t.o.Reporter.Message("the best checkpoint is chosen on the test split: what it reaches there says less about new " + c.Examples())
		}
	case c.ValidateFraction > 0:
		if t.rows, t.held, err = t.rows.ByHash(c.ValidateFraction, holdOutSeed); err != nil {
			return err
		}
	}
	if t.rows.Rows() == 0 {
		return &UsageError{"validate-fraction", fmt.Sprintf("of the %d %s of split %q none is left to train on", t.split.Rows(), c.Examples(), trainSplit)}
	}
	if t.cfg.LogitAdjust == AdjustAuto && c.ValidateSplit == testSplit {
		t.o.Reporter.Message("no logit adjustment is chosen: nothing is, on the test split")
	}
	if t.held != nil && t.held.Rows() == 0 {
		t.o.Reporter.Message("no " + c.Examples() + " are held out: the last checkpoint will be the best")
		t.held = nil
	}
	// Labels are read without a gather, for the counts of each class.
	if err := t.split.CheckAll(); err != nil || !c.Images() {
		return err
	}
	for i := range t.rows.Rows() {
		if err := checkLabels(t.split, t.rows.Row(i)); err != nil {
			return err
		}
	}
	return nil
}

// checksums identify the data of the splits that the run reads.
func (t *trainer) checksums() map[string]string {
	sums := map[string]string{}
	for _, name := range []string{trainSplit, t.cfg.ValidateSplit} {
		info := t.o.Store.Manifest().Splits[name]
		if info == nil {
			continue
		}
		h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		for _, s := range info.Shards {
			fmt.Fprintf(h, "%d %d %08x\n", s.Rows, s.Bytes, uint32(s.CRC32C))
		}
		sums[name] = fmt.Sprintf("%d-%08x", info.Rows, h.Sum32())
	}
	return sums
}

// prepare does what a new run needs and what does not touch its folder.
func (t *trainer) prepare() error {
	if err := t.vacant(); err != nil {
		return err
	}
	if err := t.openData(); err != nil {
		return err
	}
	t.cfg.Data = t.checksums()
	t.startPosition()
	return t.openStage()
}

// vacant says whether a new run may use the folder.
func (t *trainer) vacant() error {
	old, err := hasRun(t.o.Dir)
	switch {
	case err != nil:
		return err
	case !old:
		return checkForeign(t.o.Dir)
	case !t.o.Overwrite:
		return &ExistsError{t.o.Dir}
	}
	return nil
}

// begin begins a new run that was prepared.
func (t *trainer) begin() error {
	if err := t.vacant(); err != nil { // another process may have been faster
		return err
	}
	if err := removeRun(t.o.Dir); err != nil {
		return err
	}
	err := writeJSON(filepath.Join(t.o.Dir, configFile), &t.cfg)
	if err == nil {
		t.metrics, err = openMetrics(filepath.Join(t.o.Dir, metricsName), 0)
	}
	return err
}

func (t *trainer) startPosition() {
	t.pos = position{Stage: 3}
	if t.cfg.Subclass {
		t.pos.Stage = 1
		t.neglection = subclass.NewNeglection(t.cfg.Classes)
	}
}

// resume takes up the run in the folder.
func (t *trainer) resume() error {
	t.resumed = true
	run, err := LoadConfig(t.o.Dir)
	if err != nil {
		return err
	}
	asked := t.cfg
	asked.Engine = run.Engine // the state is that of any engine
	if flags := conflicts(&run, &asked); len(flags) > 0 {
		return &ConflictError{t.o.Dir, flags}
	}
	version := t.cfg.Version
	t.cfg = run
	for split, have := range t.checksums() {
		if want := run.Data[split]; want != have {
			return &DataChangedError{split, want, have}
		}
	}
	path := checkpointFile(t.o.Dir, Last)
	f, st, saved, pos, err := openCheckpoint(path)
	if errors.Is(err, fs.ErrNotExist) { // killed before the first checkpoint
		t.reportOrigin(version)
		t.reportStart()
		if err := t.openData(); err != nil {
			return err
		}
		t.startPosition()
		if err := t.openStage(); err != nil {
			return err
		}
		t.metrics, err = openMetrics(filepath.Join(t.o.Dir, metricsName), 0)
		return err
	} else if err != nil {
		return err
	}
	defer f.Close()
	if !sameConfig(saved, &run) { // of a process that was here since LoadConfig
		return differs(t.o.Dir, Last)
	}
	t.pos = *pos
	t.finished = pos.Done
	if !pos.Done {
		t.reportOrigin(version)
	}
	if pos.Best != nil {
		if err := verifyBest(t.o.Dir, &run, pos); err != nil {
			return err
		}
	}
	if err := t.openData(); err != nil {
		return err
	}
	if err := t.loadState(path, st); err != nil {
		return err
	}
	if err := t.resumeMetrics(); err != nil {
		return err
	}
	if pos.Done {
		t.o.Reporter.Message(t.o.Dir + " was finished before: nothing was trained, this is what it came to")
	}
	return nil
}

// reportStart says that a run begins again, as a warning where it had come to
// a checkpoint: then last.safetensors was lost.
func (t *trainer) reportStart() {
	text := "there is no " + filepath.Base(checkpointFile(t.o.Dir, Last)) + " in " + t.o.Dir + ": training begins again from the first step"
	if _, err := os.Stat(checkpointFile(t.o.Dir, Best)); err == nil {
		t.o.Reporter.Warning(text + ", and replaces what the run had come to")
		return
	}
	t.o.Reporter.Message(text)
}

// reportOrigin says that another engine or version of the program, not this
// one, began the run that goes on.
func (t *trainer) reportOrigin(version string) {
	const differ = "the run was begun by %s, this is %s: results may differ in their last bits"
	if now := t.o.Engine.Name(); now != t.cfg.Engine {
		t.o.Reporter.Message(fmt.Sprintf(differ, "engine "+t.cfg.Engine, now))
	}
	if version != t.cfg.Version {
		t.o.Reporter.Message(fmt.Sprintf(differ, "sdnn "+t.cfg.Version, version))
	}
}

// close frees what is left open on any way out.
func (t *trainer) close() {
	t.closeStage()
	if t.metrics != nil {
		t.metrics.close()
		t.metrics = nil
	}
}

// save writes last.safetensors: everything up to now is durable.
func (t *trainer) save(session nn.Session) error {
	if err := t.metrics.sync(); err != nil {
		return err
	}
	t.pos.MetricsLines = t.metrics.lines
	c := checkpoint{config: &t.cfg, position: &t.pos, counts: t.counts, session: session}
	if t.neglection != nil {
		var err error
		if c.neglection, err = t.neglection.MarshalBinary(); err != nil {
			return err
		}
	}
	t.saved = time.Now()
	return t.diverged(c.write(checkpointFile(t.o.Dir, Last)))
}

// unwritable adds what to do to an error of making a run's folder or its lock.
func unwritable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; check who may write there, or train into another --out", err)
	}
	return err
}

// full turns an error of writing where there is no room into a *FullError.
func (t *trainer) full(err error) error {
	if !disk.Full(err) {
		return err
	}
	e := &FullError{Err: err}
	at, ok := errors.AsType[*fs.PathError](err)
	if ok && t.run != nil && strings.HasSuffix(at.Path, ".safetensors"+durable.Suffix) {
		for _, v := range t.run.session.State() {
			e.Checkpoint += 4 * int64(v.Shape.Size())
		}
	}
	return e
}

// diverged turns a weight that is not finite into a *DivergedError.
func (t *trainer) diverged(err error) error {
	var bad *nonFiniteError
	if !errors.As(err, &bad) {
		return err
	}
	return t.divergedAt(t.pos.Step, bad.Error())
}

func (t *trainer) divergedAt(step int64, what string) error {
	_, err := os.Stat(checkpointFile(t.o.Dir, Last))
	epoch := min(t.pos.Epoch+1, t.run.epochs) // when all are over, the last
	return &DivergedError{t.pos.Stage, epoch, step, what, t.rateOf(step), err == nil}
}

func (t *trainer) result() *Result {
	r := &Result{Dir: t.o.Dir, Net: t.cfg.Net, Engine: t.o.Engine.Name(), Classes: t.cfg.Classes,
		Outputs: max(t.cfg.Classes, len(t.pos.SubclassToClass)), Epochs: t.pos.Epoch, Steps: t.pos.Step, Examples: t.pos.Examples,
		Loss: t.pos.LastLoss, Neglected: t.pos.Neglected, Seconds: time.Since(t.start).Seconds(), Resumed: t.resumed, Finished: t.finished}
	if t.finished {
		r.Engine = t.cfg.Engine // this one trained nothing
	}
	if b := t.pos.Best; b != nil {
		r.BestEpoch, r.Best = b.Epoch, b.Validation
	}
	r.Adjust = t.pos.Adjust
	if m := t.pos.Main; m != nil {
		r.Refit = &RefitResult{Rows: t.all.Rows(), Epochs: r.Epochs, Steps: r.Steps, Loss: r.Loss}
		r.Epochs, r.Steps, r.Examples, r.Loss = m.Epochs, m.Steps, m.Examples, m.Loss
	}
	// The outputs past the classes are the further subclasses of split ones.
	for s := t.cfg.Classes; s < len(t.pos.SubclassToClass); s++ {
		if c := int(t.pos.SubclassToClass[s]); !slices.Contains(r.Split, c) {
			r.Split = append(r.Split, c)
		}
	}
	return r
}

// silent is the Reporter that nobody hears.
type silent struct{}

func (silent) Stage(int, string, int64, int64) {}
func (silent) Progress(*Progress)              {}
func (silent) Epoch(*Progress, *Validation)    {}
func (silent) Message(string)                  {}
func (silent) Warning(string)                  {}

// loadState takes up the position of an opened checkpoint. A finished run gets
// no network, but every byte of the checkpoint is checked.
func (t *trainer) loadState(path string, st *safetensors.File) error {
	var counts []int64
	if t.pos.Stage >= 3 && t.cfg.Subclass {
		_, counts = t.positives()
		if err := t.readPartition(); err != nil {
			return err
		}
	}
	var err error
	var session nn.Session
	switch {
	case t.pos.Done:
	case t.pos.Stage == 2:
		err = t.openStageOne()
	default:
		err = t.openStage()
	}
	if err != nil {
		return err
	}
	if t.run != nil {
		session = t.run.session
	}
	state, err := load(path, st, session, false)
	if err != nil {
		return err
	}
	// Earlier versions kept no neglection in stage 3.
	if t.cfg.Subclass && (t.pos.Stage < 3 || state != nil) {
		if t.neglection, err = subclass.ReadNeglection(state, t.cfg.Classes); err != nil {
			return &CorruptError{path, err}
		}
	}
	return t.restoreSides(counts)
}
