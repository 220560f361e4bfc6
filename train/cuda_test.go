package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sdnn/features"
	"sdnn/nn"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

// cardEngine is the cuda engine on a fake card that runs the kernels.
func cardEngine(t testing.TB) (nn.Engine, *fakecard.Card) {
	t.Helper()
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skipf("NOT CHECKED: kernels cannot run here: %v", why)
	}
	card := fakecard.New(fakecard.Options{Report: t, Memory: 2 << 30})
	e, err := cuda.New(card, cuda.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), card.Close()); err != nil {
			t.Error(err)
		}
	})
	return e, card
}

// hostFed hides that a session keeps data.
type hostFed struct{ nn.Engine }

func (e hostFed) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	s, err := e.Engine.Compile(m, o)
	if err != nil {
		return nil, err
	}
	return struct{ nn.Session }{s}, nil
}

// countKeeps counts the data that sessions have kept.
type countKeeps struct {
	nn.Engine
	kept *int
}

type countingSession struct {
	nn.Session
	kept *int
}

func (e countKeeps) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	s, err := e.Engine.Compile(m, o)
	if err != nil {
		return nil, err
	}
	return countingSession{s, e.kept}, nil
}

func (s countingSession) Keep(d nn.KeepData) (int, error) {
	kept, err := s.Session.(nn.Keeper).Keep(d)
	if kept > 0 {
		*s.kept++
	}
	return kept, err
}

func (s countingSession) Start(slot int) error { return s.Session.(nn.Starter).Start(slot) }

// A run whose split stays on the card ends in the bits of one that is fed by
// the host, with all stages and, of images, pairs.
func TestKeptDataChangesNothing(t *testing.T) {
	e, _ := cardEngine(t)
	for net, k := range map[string]struct {
		store *features.Store
		set   []string
	}{
		"mlp":      {testStore(t, 40), []string{"batch=16", "epochs=1", "neglect-epochs=1", "subclass=true", "min-positives=2", "validate-split=validate"}},
		"wrn-10-1": {imageStore(t, 12), []string{"batch=8", "epochs=1", "subclass=true", "min-positives=1", "neglect-epochs=2", "augment=crop,flip,cutout:4"}},
	} {
		var runs []map[string]string
		kept := 0
		for _, engine := range []nn.Engine{hostFed{e}, countKeeps{e, &kept}} {
			o := Options{Dir: filepath.Join(t.TempDir(), "run"), Store: k.store, Engine: engine}
			mustRun(t, testConfig(t, k.store, net, k.set...), o)
			runs = append(runs, files(t, o.Dir))
		}
		sameFiles(t, runs[0], runs[1])
		if kept < 2 { // one in each stage that trains
			t.Errorf("%s: %d splits were kept", net, kept)
		}
	}
}

// Scores that are computed ahead come in order and are those of one batch at a
// time; who stops in the middle leaves nothing behind.
func TestScoresAhead(t *testing.T) {
	e, _ := cardEngine(t)
	for net, store := range map[string]*features.Store{"conv1d": testStore(t, 100), "wrn-10-1": imageStore(t, 24)} {
		set := []string{"epochs=1", "max-steps=2"}
		if net != "conv1d" {
			set = append(set, "augment=flip")
		}
		o := Options{Dir: filepath.Join(t.TempDir(), "run"), Store: store, Engine: e}
		mustRun(t, testConfig(t, store, net, set...), o)
		r, err := OpenRun(o.Dir, Last)
		if err != nil {
			t.Fatal(err)
		}
		split, err := store.Split("train")
		if err != nil {
			t.Fatal(err)
		}
		all := features.All(split)
		var want [][]float32
		for _, engine := range []nn.Engine{hostFed{e}, e} {
			var got [][]float32
			err := r.Score(context.Background(), engine, all, 5, func(b *ScoredBatch) error {
				if b.Rows[0] != 5*len(got) {
					t.Errorf("%s: batch %d begins at row %d", net, len(got), b.Rows[0])
				}
				got = append(got, slices.Clone(b.Scores))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("%s: batch %d has other scores ahead of its turn", net, i)
				}
			}
		}
		enough, n := errors.New("enough"), 0
		if err := r.Score(context.Background(), e, all, 5, func(*ScoredBatch) error {
			if n++; n == 2 {
				return enough
			}
			return nil
		}); !errors.Is(err, enough) {
			t.Errorf("%s: got %v, want what each returned", net, err)
		}
	}
}

// A run that was begun on the processor and killed goes on on the card, and the
// other way round, and ends near one that was never interrupted.
func TestResumeOnAnotherEngine(t *testing.T) {
	card, _ := cardEngine(t)
	processor := testEngine(t)
	store := testStore(t, 120)
	set := []string{"epochs=2", "optimizer=sgd", "lr=0.1"}
	whole := Options{Dir: filepath.Join(t.TempDir(), "whole"), Store: store, Engine: processor}
	mustRun(t, testConfig(t, store, "conv1d", set...), whole)
	want := weights(t, whole.Dir, processor)
	for name, order := range map[string][2]nn.Engine{"begun on cpu": {processor, card}, "begun on cuda": {card, processor}} {
		ctx, cancel := context.WithCancel(context.Background())
		o := Options{Dir: filepath.Join(t.TempDir(), "run"), Store: store, Engine: order[0], Reporter: &stopper{after: 3, cancel: cancel}}
		if _, err := Run(ctx, testConfig(t, store, "conv1d", set...), o); !errors.Is(err, ErrInterrupted) {
			t.Fatalf("%s: %v, want ErrInterrupted", name, err)
		}
		cfg, err := LoadConfig(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		o.Engine, o.Resume, o.Reporter = order[1], true, nil
		cfg.Engine = order[1].Name()
		r := mustRun(t, cfg, o)
		if r.Engine != order[1].Name() || !r.Resumed {
			t.Errorf("%s: the result says engine %s, resumed %v", name, r.Engine, r.Resumed)
		}
		for tensor, w := range want {
			for i, g := range weights(t, o.Dir, processor)[tensor] {
				if d := math.Abs(float64(g - w[i])); !(d <= 1e-4) {
					t.Errorf("%s: %s[%d] is %g, want %g", name, tensor, i, g, w[i])
					break
				}
			}
		}
	}
}

// weights reads the last checkpoint of a run.
func weights(t *testing.T, dir string, e nn.Engine) map[string][]float32 {
	t.Helper()
	f, st, cfg, _, err := openCheckpoint(checkpointFile(dir, Last))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := buildModel(cfg, 1, cfg.Classes, false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Evaluation})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := load(dir, st, s, true); err != nil {
		t.Fatal(err)
	}
	w := map[string][]float32{}
	for _, v := range m.Graph.Params() {
		_ = s.ReadState(v.Name, func(d []float32) error { w[v.Name] = append([]float32(nil), d...); return nil })
	}
	return w
}

// An error of the card ends a run with its last checkpoint as it was; the run
// then goes on from there on the processor.
func TestCardErrorKeepsCheckpoint(t *testing.T) {
	e, card := cardEngine(t)
	store := testStore(t, 120)
	o := Options{Dir: filepath.Join(t.TempDir(), "run"), Store: store, Engine: e}
	ctx, cancel := context.WithCancel(context.Background())
	o.Reporter = &stopper{after: 1, cancel: cancel}
	if _, err := Run(ctx, testConfig(t, store, "mlp"), o); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	before := read(t, checkpointFile(o.Dir, Last))
	o.Resume, o.Reporter = true, nil
	cfg, err := LoadConfig(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	card.FailLate("LaunchGraph", 0, &driver.Error{Call: "cuGraphLaunch", Code: 719, Text: "CUDA_ERROR_LAUNCH_FAILED"})
	_, err = Run(context.Background(), cfg, o)
	var failed *cuda.Error
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a *cuda.Error", err)
	}
	if !bytes.Equal(before, read(t, checkpointFile(o.Dir, Last))) {
		t.Error("the last checkpoint was changed")
	}
	o.Engine = testEngine(t)
	cfg.Engine = o.Engine.Name()
	mustRun(t, cfg, o)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
