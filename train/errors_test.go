package train

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sdnn/features"
	"sdnn/nn"
	"sdnn/train/internal/durable"
)

// runFails runs and returns the error, which must be of type E and say want.
func runFails[E error](t *testing.T, cfg Config, o Options, want string) {
	t.Helper()
	_, err := Run(context.Background(), cfg, o)
	var e E
	if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %T %v; want a %T that says %q", err, err, e, want)
	}
}

func TestFolderErrors(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 200), testEngine(t)
	cfg := testConfig(t, store, "logistic", "epochs=1")
	o := Options{Dir: filepath.Join(t.TempDir(), "a", "run"), Store: store, Engine: engine}

	resume := o
	resume.Resume = true
	runFails[*NoRunError](t, cfg, resume, "no run here")
	first := mustRun(t, cfg, o)
	runFails[*ExistsError](t, cfg, o, "--overwrite")

	// A finished run reports its result, and nothing changes.
	before := files(t, o.Dir)
	again := mustRun(t, cfg, resume)
	if !again.Resumed || again.Steps != first.Steps || !reflect.DeepEqual(again.Best, first.Best) {
		t.Errorf("resumed result %+v, first %+v", again, first)
	}
	sameFiles(t, before, files(t, o.Dir))

	other := cfg
	other.LR, other.Batch = 0.5, 7
	runFails[*ConflictError](t, other, resume, "--batch 7 (the run has 32), --lr 0.5 (the run has 0.01)")

	unlock, err := durable.Lock(filepath.Join(o.Dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	runFails[*BusyError](t, cfg, resume, "another process")
	unlock()

	// Files of others survive --overwrite.
	mine := filepath.Join(o.Dir, "predictions.csv")
	if err := os.WriteFile(mine, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	overwrite := o
	overwrite.Overwrite = true
	bad := cfg
	bad.Net = "none"
	runFails[*UsageError](t, bad, overwrite, "--net")
	delete(before, lockFile)
	for name, text := range before {
		if got, err := os.ReadFile(filepath.Join(o.Dir, name)); err != nil || name != metricsName && string(got) != text {
			t.Errorf("a wrong flag with --overwrite changed %s", name)
		}
	}
	other.Epochs = 2
	if r := mustRun(t, other, overwrite); r.Epochs != 2 {
		t.Errorf("overwritten run has %d epochs", r.Epochs)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestDataErrors(t *testing.T) {
	t.Parallel()
	engine := testEngine(t)
	store, changed := testStore(t, 200), testStore(t, 201)
	cfg := testConfig(t, store, "logistic", "epochs=1", "limit=150")
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine, Resume: false}
	mustRun(t, cfg, o)
	o.Resume, o.Store = true, changed
	runFails[*DataChangedError](t, cfg, o, `"train"`)

	o = Options{Dir: filepath.Join(t.TempDir(), "run"), Store: store, Engine: engine}
	wide := cfg
	wide.Columns = []Column{{"mean_rgb", 1024}}
	runFails[*MismatchError](t, wide, o, "float32 of width 10")
	more := cfg
	more.Classes = 13
	runFails[*MismatchError](t, more, o, "13")
	missing := cfg
	missing.ValidateSplit = "test"
	runFails[*features.SplitError](t, missing, o, `"test"`)
	none := cfg
	none.Limit, none.ValidateFraction = 1, 0.999999
	runFails[*UsageError](t, none, o, "left to train on")
	slow := cfg
	slow.Precision, o.Engine = nn.BF16, noBF16{engine}
	runFails[*nn.UnsupportedError](t, slow, o, "bf16")
	if left, err := os.ReadDir(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("runs that did not begin left a folder with %v", left)
	}
	o.Resume = true
	runFails[*NoRunError](t, cfg, o, "no run here")
	if left, err := os.ReadDir(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a resume of no run left a folder with %v", left)
	}
}

// noBF16 is an engine on a machine without bf16.
type noBF16 struct{ nn.Engine }

func (e noBF16) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	if o.Precision == nn.BF16 {
		return nil, &nn.UnsupportedError{Engine: e.Name(), Model: m.Name, What: "bf16"}
	}
	return e.Engine.Compile(m, o)
}

// TestDiverged: a run that leaves the finite numbers says so and keeps its last
// checkpoint.
func TestDiverged(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 200), testEngine(t)
	cfg := testConfig(t, store, "mlp", "optimizer=sgd", "lr=1e6", "batch=4", "schedule=constant")
	cfg.LR = 1e30
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	_, err := Run(context.Background(), cfg, o)
	var usage *UsageError
	if !errors.As(err, &usage) {
		t.Errorf("learning rate 1e30: %v", err)
	}
	cfg.LR = 1e6
	cfg.WeightDecay = 0.99
	again := "; begin again with a smaller --lr, into another --out or with --overwrite"
	runFails[*DivergedError](t, cfg, o, "; no checkpoint was saved yet"+again)
	if _, err := os.Stat(checkpointFile(o.Dir, Last)); err == nil {
		t.Error("a checkpoint was saved after all")
	}
	o.Overwrite, o.CheckpointEvery = true, time.Nanosecond // after every step
	runFails[*DivergedError](t, cfg, o, "; the last checkpoint is from before it"+again)
	if _, err := OpenRun(o.Dir, Last); err != nil {
		t.Error(err)
	}
}

// TestDamage flips bytes of a finished run's checkpoints, and cuts them short.
func TestDamage(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 120), testEngine(t)
	cfg := testConfig(t, store, "logistic", "epochs=1", "subclass=true", "neglect-epochs=1")
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	mustRun(t, cfg, o)
	val, err := store.Split("validate")
	if err != nil {
		t.Fatal(err)
	}
	score := func() error {
		run, err := OpenRun(o.Dir, Best)
		if err == nil {
			err = run.Score(context.Background(), engine, features.All(val).Head(3), 3, func(*ScoredBatch) error { return nil })
		}
		return err
	}
	resume := func() error {
		r := o
		r.Resume = true
		_, err := Run(context.Background(), cfg, r)
		return err
	}
	for _, c := range []struct {
		checkpoint string
		use        func() error
	}{{Best, score}, {Best, resume}, {Last, resume}} {
		checkpoint, use := c.checkpoint, c.use
		path := checkpointFile(o.Dir, checkpoint)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, at int, bad []byte) {
			t.Helper()
			if err := os.WriteFile(path, bad, 0o666); err != nil {
				t.Fatal(err)
			}
			var c *CorruptError
			if err := use(); !errors.As(err, &c) || c.File != path {
				t.Errorf("%s %s at %d: error %v", checkpoint, what, at, err)
			}
		}
		for at := 0; at < len(good); at += 1 + at/37 {
			bad := append([]byte(nil), good...)
			bad[at] ^= 1 << (at % 8)
			check("flipped", at, bad)
			check("cut", at, good[:at])
		}
		check("longer", len(good), append(append([]byte(nil), good...), 0))
		if err := os.WriteFile(path, good, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := use(); err != nil {
			t.Errorf("%s restored: %v", checkpoint, err)
		}
	}
}

// TestDamagedSides damages the other files that a resumed run reads.
func TestDamagedSides(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 200), testEngine(t)
	cfg := testConfig(t, store, "logistic", "subclass=true")
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine, Reporter: &stopper{after: 20, cancel: cancel}}
	if _, err := Run(ctx, cfg, o); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	o.Resume, o.Reporter = true, nil
	for _, c := range []struct{ file, old, new, want string }{
		{configFile, `"lr": 0.01`, `"lr": 0.02`, "config.json: it differs from the checkpoint's copy"},
		{configFile, `"sdnn_version": "test"`, `"sdnn_version": "tess"`, "differs"},
		{configFile, `"format": 1`, `"format": 2`, "format 2"},
		{partitionFile, "", "", partitionFile},
		{metricsName, "", "", "metrics.jsonl: line 2: the file ends"},
		{metricsName, `"loss":`, `"lots":`, "metrics.jsonl: line 1: "},
		{metricsName, `,"examples`, `."examples`, "metrics.jsonl: line 1: "},
	} {
		path := filepath.Join(o.Dir, c.file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := strings.Replace(string(good), c.old, c.new, 1)
		if c.old == "" {
			bad = string(good[:len(good)/2])
		}
		if err := os.WriteFile(path, []byte(bad), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(context.Background(), cfg, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %q for %q: error %v does not say %q", c.file, c.new, c.old, err, c.want)
		}
		if err := os.WriteFile(path, good, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, cfg, o)
}

// TestMissingSides: a run without a file that resuming needs says so, and is
// not taken for one that has not begun.
func TestMissingSides(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 120), testEngine(t)
	cfg := testConfig(t, store, "logistic", "epochs=1", "subclass=true", "neglect-epochs=1")
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	mustRun(t, cfg, o)
	o.Resume = true
	for _, name := range []string{configFile, Best + ".safetensors", partitionFile} {
		path := filepath.Join(o.Dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		var c *CorruptError
		if _, err := Run(context.Background(), cfg, o); !errors.As(err, &c) || c.File != path {
			t.Errorf("without %s: %v", name, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("a refused resume made %s", name)
		}
		if err := os.WriteFile(path, good, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, cfg, o)
}

// TestSidesAreRestored: the files that follow from the checkpoint and the
// partition are written anew, of a finished run and of one in stage 3.
func TestSidesAreRestored(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 200), testEngine(t)
	cfg := testConfig(t, store, "logistic", "subclass=true", "min-positives=20")
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	mustRun(t, cfg, o)
	want := files(t, o.Dir)
	damage := func() {
		t.Helper()
		if err := os.Remove(filepath.Join(o.Dir, neglectionFile)); err != nil {
			t.Fatal(err)
		}
		bad := strings.Replace(want[subclassesFile], "1", "7", 1)
		if err := os.WriteFile(filepath.Join(o.Dir, subclassesFile), []byte(bad), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	resume := o
	resume.Resume = true
	damage()
	mustRun(t, cfg, resume)
	sameFiles(t, want, files(t, o.Dir))

	o.Overwrite, o.Reporter = true, &stopper{after: 20, cancel: cancel} // in stage 3
	if _, err := Run(ctx, cfg, o); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	damage()
	mustRun(t, cfg, resume)
	sameFiles(t, want, files(t, o.Dir))
}
