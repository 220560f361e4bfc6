package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
	"time"
)

// stopper cancels a context after a number of steps.
type stopper struct {
	silent
	after  int
	cancel func()
}

func (s *stopper) Progress(p *Progress) {
	if s.after--; s.after == 0 {
		s.cancel()
	}
}

// resumeCases have every net and between them every setting that a resumed run
// could get wrong.
var resumeCases = []struct {
	net string
	set []string
}{
	{"logistic", []string{"subclass=true"}},
	{"mlp", []string{"subclass=true", "cluster-space=penultimate", "optimizer=sgd", "schedule=step:0.5@1,2", "neglected-weight=3", "noise=0.01"}},
	{"moe", []string{"validate-split=validate", "limit=300"}},
	{"conv1d", []string{"subclass=true", "split=random", "sibling-target=0.5", "validate-fraction=0", "neglect-score=authors"}},
}

// TestResume interrupts runs every few steps, in every stage, resumes them and
// compares all files with those of a run left alone.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, c := range resumeCases {
		t.Run(c.net, func(t *testing.T) {
			t.Parallel()
			store, engine := testStore(t, 400), testEngine(t)
			cfg := testConfig(t, store, c.net, c.set...)
			o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
			whole := mustRun(t, cfg, o)
			want := files(t, o.Dir)
			for _, every := range []int{3, 20} {
				o.Dir = t.TempDir()
				r, interrupts := runInPieces(t, cfg, o, every)
				if interrupts == 0 {
					t.Errorf("every %d steps: no interrupt", every)
				}
				r.Seconds, r.Resumed, r.Dir = whole.Seconds, whole.Resumed, whole.Dir
				if !reflect.DeepEqual(r, whole) {
					t.Errorf("result %+v, want %+v", r, whole)
				}
				sameFiles(t, want, files(t, o.Dir))
			}
		})
	}
}

// runInPieces runs with an interrupt after every so many reports.
func runInPieces(t *testing.T, cfg Config, o Options, every int) (r *Result, interrupts int) {
	t.Helper()
	for {
		ctx, cancel := context.WithCancel(context.Background())
		o.Reporter = &stopper{after: every, cancel: cancel}
		r, err := Run(ctx, cfg, o)
		cancel()
		if err == nil {
			return r, interrupts
		}
		if !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		interrupts++
		o.Resume = true
		if cfg, err = LoadConfig(o.Dir); err != nil {
			t.Fatal(err)
		}
	}
}

// countdown is a context that is cancelled after its error was asked for a
// number of times: between steps, in validation and while splitting.
type countdown struct {
	context.Context
	left *atomic.Int64
}

func (c countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestInterruptAnywhere cancels wherever a run looks whether it is cancelled.
// The penultimate features go through a file.
func TestInterruptAnywhere(t *testing.T) {
	defer func(old int) { memoryBudget = old }(memoryBudget)
	store, engine := testStore(t, 200), testEngine(t)
	cfg := testConfig(t, store, "mlp", "subclass=true", "cluster-space=penultimate", "epochs=1", "neglect-epochs=1", "neglected=1")
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	left := &atomic.Int64{}
	left.Store(math.MaxInt64)
	if _, err := Run(countdown{context.Background(), left}, cfg, o); err != nil {
		t.Fatal(err)
	}
	total := math.MaxInt64 - left.Load()
	want := files(t, o.Dir)
	memoryBudget = 0
	stages := map[int]bool{}
	for _, after := range []int64{2, 5, 7, 8, 9, 11, total / 3, total / 2, total - 14, total - 11, total - 7, total - 4, total - 2, total - 1} {
		o.Dir, o.Resume = t.TempDir(), false
		left.Store(after)
		_, err := Run(countdown{context.Background(), left}, cfg, o)
		if !errors.Is(err, ErrInterrupted) {
			t.Fatalf("after %d of %d: %v", after, total, err)
		}
		f, _, _, pos, err := openCheckpoint(checkpointFile(o.Dir, Last))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		stages[pos.Stage] = true
		o.Resume = true
		mustRun(t, cfg, o)
		sameFiles(t, want, files(t, o.Dir))
	}
	if len(stages) != 4 {
		t.Errorf("interrupts in the stages %v only", stages)
	}
}

// killer copies the folder of a run again and again: each copy is what a kill
// at that moment would have left.
type killer struct {
	silent
	t      *testing.T
	dir    string
	every  int // steps
	n      int
	copies []string
}

func (k *killer) snapshot() {
	to := k.t.TempDir()
	if err := os.CopyFS(to, os.DirFS(k.dir)); err != nil {
		k.t.Fatal(err)
	}
	// A kill can also leave a file half written.
	if err := os.WriteFile(filepath.Join(to, "last.safetensors.part"), []byte("half"), 0o666); err != nil {
		k.t.Fatal(err)
	}
	k.copies = append(k.copies, to)
}

func (k *killer) Progress(*Progress) {
	if k.n++; k.n%k.every == 0 {
		k.snapshot()
	}
}
func (k *killer) Stage(int, string, int64, int64) { k.snapshot() }
func (k *killer) Epoch(*Progress, *Validation)    { k.snapshot() }
func (k *killer) Message(string) {
	if _, err := os.Stat(filepath.Join(k.dir, configFile)); err == nil { // what is said before is of no run yet
		k.snapshot()
	}
}

// TestKill resumes what kills would have left, with checkpoints at the ends of
// epochs only.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, c := range resumeCases {
		t.Run(c.net, func(t *testing.T) { testKill(t, c.net, c.set, 0) })
	}
}

// TestKillWithManyCheckpoints does the same with a checkpoint after every step.
func TestKillWithManyCheckpoints(t *testing.T) {
	testKill(t, resumeCases[1].net, resumeCases[1].set, time.Nanosecond)
}

func testKill(t *testing.T, net string, set []string, checkpoints time.Duration) {
	t.Parallel()
	store, engine := testStore(t, 400), testEngine(t)
	cfg := testConfig(t, store, net, set...)
	k := &killer{t: t, dir: t.TempDir(), every: 25}
	o := Options{Dir: k.dir, Store: store, Engine: engine, Reporter: k, CheckpointEvery: checkpoints}
	mustRun(t, cfg, o)
	want := files(t, o.Dir)
	for _, dir := range k.copies {
		o.Dir, o.Resume, o.Reporter, o.CheckpointEvery = dir, true, nil, 0
		mustRun(t, cfg, o)
		got := files(t, dir)
		delete(got, "last.safetensors.part")
		sameFiles(t, want, got)
	}
}
