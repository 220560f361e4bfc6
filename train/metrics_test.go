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
)

// watcher keeps the warnings, and cancels when a stage has done some steps.
type watcher struct {
	silent
	stage, after int
	cancel       func()
	warnings     []string
}

func (w *watcher) count(stage int) {
	if w.cancel != nil && stage == w.stage {
		if w.after--; w.after < 0 {
			w.cancel()
		}
	}
}

func (w *watcher) Stage(stage int, _ string, _, _ int64) { w.count(stage) }
func (w *watcher) Progress(p *Progress)                  { w.count(p.Stage) }
func (w *watcher) Warning(text string)                   { w.warnings = append(w.warnings, text) }

// interrupt runs until a stage has done some steps.
func interrupt(t *testing.T, cfg Config, o Options, stage, after int) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{stage: stage, after: after, cancel: cancel}
	o.Reporter = w
	if _, err := Run(ctx, cfg, o); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("stage %d, step %d: %v", stage, after, err)
	}
	return w
}

// TestMissingMetrics: metrics.jsonl is a log, without which a run goes on to the
// same result. What is interrupted then is resumed like any other run.
func TestMissingMetrics(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 400), testEngine(t)
	cfg := testConfig(t, store, "logistic", "subclass=true")
	whole := mustRun(t, cfg, Options{Dir: t.TempDir(), Store: store, Engine: engine})
	for stage, after := range map[int]int{1: 17, 2: 0, 3: 17} {
		o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
		path := filepath.Join(o.Dir, metricsName)
		remove := func() {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		interrupt(t, cfg, o, stage, after)
		remove()
		o.Resume = true
		w := interrupt(t, cfg, o, stage, 0) // before a line is written
		if len(w.warnings) != 1 || !strings.Contains(w.warnings[0], path+" is missing, with the ") || !strings.HasSuffix(w.warnings[0], "begun anew, and the run goes on") {
			t.Errorf("stage %d: warnings %q", stage, w.warnings)
		}
		remove() // as if the process was killed before it made the file
		w = &watcher{}
		o.Reporter = w
		r := mustRun(t, cfg, o)
		r.Seconds, r.Resumed, r.Dir = whole.Seconds, whole.Resumed, whole.Dir
		if !reflect.DeepEqual(r, whole) {
			t.Errorf("stage %d: result %+v, want %+v", stage, r, whole)
		}
		if len(w.warnings) > 0 {
			t.Errorf("stage %d: warnings %q", stage, w.warnings)
		}
		mustRun(t, cfg, o) // the file is what the checkpoint says

		remove()
		before := files(t, o.Dir)
		mustRun(t, cfg, o)
		if len(w.warnings) != 1 || !strings.Contains(w.warnings[0], "checkpoints are whole") {
			t.Errorf("finished: warnings %q", w.warnings)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("finished: an empty %s was made: %v", metricsName, err)
		}
		sameFiles(t, before, files(t, o.Dir))
	}
}

// TestLostCheckpoint: a run whose last checkpoint was removed begins again, and
// says so before it replaces the best one.
func TestLostCheckpoint(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 400), testEngine(t)
	cfg := testConfig(t, store, "logistic")
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	mustRun(t, cfg, o)
	want := files(t, o.Dir)
	if err := os.Remove(checkpointFile(o.Dir, Last)); err != nil {
		t.Fatal(err)
	}
	w := &watcher{}
	o.Resume, o.Reporter = true, w
	mustRun(t, cfg, o)
	if len(w.warnings) != 1 || !strings.Contains(w.warnings[0], "begins again from the first step, and replaces") {
		t.Errorf("warnings %q", w.warnings)
	}
	sameFiles(t, want, files(t, o.Dir))
}
