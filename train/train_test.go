package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/train/safetensors"
)

// testStore writes a small store of the YouTube-8M kind: classes of falling
// frequency, each with two hidden modes, one to three labels a video.
func testStore(t testing.TB, rows int) *features.Store {
	t.Helper()
	dir := t.TempDir()
	const classes, rgb, audio = 12, 10, 6
	schema := features.Schema{Dataset: "yt8m", Classes: classes, Columns: []features.Column{
		{Name: "mean_rgb", Kind: features.Float32, Width: rgb}, {Name: "mean_audio", Kind: features.Float32, Width: audio}}}
	for split, n := range map[string]int{"train": rows, "validate": rows / 4} {
		w, err := features.NewWriter(dir, split, schema, features.WriterOptions{RowsPerBatch: 64})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(testRows(split, n, classes, rgb, audio)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := features.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func testRows(split string, n, classes, rgb, audio int) *features.Rows {
	modes := rand.New(rand.NewPCG(1, 1))
	centre := make([][]float32, classes*2)
	for i := range centre {
		for range rgb + audio {
			centre[i] = append(centre[i], float32(modes.NormFloat64()))
		}
	}
	r := rand.New(rand.NewPCG(2, uint64(len(split))))
	rows := &features.Rows{IDOffsets: []int32{0}, LabelOffsets: []int32{0}, Float: make([][]float32, 2)}
	for i := range n {
		rows.IDs = fmt.Appendf(rows.IDs, "%s%05d", split, i)
		rows.IDOffsets = append(rows.IDOffsets, int32(len(rows.IDs)))
		x := make([]float32, rgb+audio)
		for j := range x {
			x[j] = float32(0.4 * r.NormFloat64())
		}
		seen := map[int]bool{}
		for range 1 + r.IntN(3) {
			c := int(float64(classes) * r.Float64() * r.Float64())
			if seen[c] {
				continue
			}
			seen[c] = true
			rows.Labels = append(rows.Labels, int32(c))
			for j, v := range centre[2*c+r.IntN(2)] {
				x[j] += v
			}
		}
		rows.LabelOffsets = append(rows.LabelOffsets, int32(len(rows.Labels)))
		rows.Float[0] = append(rows.Float[0], x[:rgb]...)
		rows.Float[1] = append(rows.Float[1], x[rgb:]...)
	}
	return rows
}

func testConfig(t testing.TB, s *features.Store, net string, set ...string) Config {
	t.Helper()
	c, err := NewConfig("", net, s.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	c.Version = "test"
	set = append([]string{"batch=32", "epochs=3", "lr=0.01", "hidden=16", "filters=4", "neglected=4", "neglect-epochs=2"}, set...)
	for _, kv := range set {
		flag, value, _ := strings.Cut(kv, "=")
		if err := c.Set(flag, value); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func testEngine(t testing.TB) nn.Engine {
	t.Helper()
	e, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

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

func mustRun(t testing.TB, cfg Config, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// files reads a run, without timings.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == metricsName {
			text = withoutTimings(t, text)
		}
		out[e.Name()] = string(text)
	}
	return out
}

func withoutTimings(t testing.TB, text []byte) []byte {
	t.Helper()
	var out []byte
	for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var line metricsLine
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatalf("metrics line %q: %v", l, err)
		}
		line.ExamplesPerS = 0
		b, _ := json.Marshal(line)
		out = append(append(out, b...), '\n')
	}
	return out
}

func sameFiles(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("%s differs", name)
		}
	}
	if !reflect.DeepEqual(keys(want), keys(got)) {
		t.Errorf("files %v, want %v", keys(got), keys(want))
	}
}

func keys(m map[string]string) map[string]bool {
	k := map[string]bool{}
	for n := range m {
		k[n] = true
	}
	return k
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
			for _, every := range []int{2, 7, 23} {
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
	cfg := testConfig(t, store, "mlp", "subclass=true", "cluster-space=penultimate", "epochs=1", "neglect-epochs=1")
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	mustRun(t, cfg, o)
	want := files(t, o.Dir)
	memoryBudget = 0
	stages := map[int]bool{}
	for after := int64(3); ; after += 1 + after/4 {
		o.Dir, o.Resume = t.TempDir(), false
		left := &atomic.Int64{}
		left.Store(after)
		_, err := Run(countdown{context.Background(), left}, cfg, o)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
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
	if len(stages) != 3 {
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
func (k *killer) Stage(int, string, int64, int64)  { k.snapshot() }
func (k *killer) Validated(*Progress, *Validation) { k.snapshot() }

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
	k := &killer{t: t, dir: t.TempDir(), every: 15}
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

// TestThreads: the number of threads changes no bit.
func TestThreads(t *testing.T) {
	t.Parallel()
	store := testStore(t, 400)
	cfg := testConfig(t, store, "mlp", "subclass=true")
	var want map[string]string
	for _, threads := range []int{1, 2, 3} {
		e, err := cpu.New(cpu.Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Dir: t.TempDir(), Store: store, Engine: e}
		mustRun(t, cfg, o)
		e.Close()
		if want == nil {
			want = files(t, o.Dir)
		}
		sameFiles(t, want, files(t, o.Dir))
	}
}

// TestPlainIsStageThree: a plain run ends in the weights of a run with
// subclasses that splits nothing, so that the two can be compared.
func TestPlainIsStageThree(t *testing.T) {
	t.Parallel()
	store, engine := testStore(t, 400), testEngine(t)
	weights := func(set ...string) map[string][]float32 {
		o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
		mustRun(t, testConfig(t, store, "mlp", set...), o)
		return readWeights(t, checkpointFile(o.Dir, Best))
	}
	plain, split := weights(), weights("subclass=true", "subclasses=1")
	if len(plain) != 4 || !reflect.DeepEqual(plain, split) {
		t.Errorf("%d and %d tensors differ", len(plain), len(split))
	}
	if reflect.DeepEqual(plain, weights("seed=2")) {
		t.Error("another seed gives the same weights")
	}
}

func readWeights(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	f, st, _, _, err := openCheckpoint(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := map[string][]float32{}
	for {
		err := st.Next(func(x *safetensors.Tensor, d *safetensors.Decoder) error {
			w[x.Name] = make([]float32, x.Elements())
			return d.F32(w[x.Name])
		})
		if errors.Is(err, io.EOF) {
			return w
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLearns: training helps, and scores of the best checkpoint give its
// validation again.
func TestLearns(t *testing.T) {
	t.Parallel()
	for _, net := range Nets() {
		t.Run(net, func(t *testing.T) {
			t.Parallel()
			store, engine := testStore(t, 1200), testEngine(t)
			o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
			r := mustRun(t, testConfig(t, store, net, "epochs=8", "lr=0.03", "subclass=true", "validate-split=validate"), o)
			if r.Best.GAP < 0.6 {
				t.Errorf("GAP %g after %d epochs", r.Best.GAP, r.Epochs)
			}
			run, err := OpenRun(o.Dir, Best)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(run.Neglected(), r.Neglected) || len(r.Neglected) != 4 || run.Epoch != r.BestEpoch {
				t.Errorf("run has neglected %v, epoch %d; result %+v", run.Neglected(), run.Epoch, r)
			}
			p, err := store.Split("validate")
			if err != nil {
				t.Fatal(err)
			}
			m := eval.NewMultiLabel(run.Config.Classes, 20, 1)
			loss, next := 0.0, 0
			err = run.Score(context.Background(), engine, features.All(p), 7, func(b *ScoredBatch) error {
				for _, row := range b.Rows {
					if row != next {
						t.Errorf("row %d where %d is due", row, next)
					}
					next++
				}
				loss += b.Loss * float64(len(b.Rows))
				return m.Add(b.Scores, b.LabelOffsets, b.Labels)
			})
			if err != nil {
				t.Fatal(err)
			}
			got := m.Result()
			if !near(got.GAP, r.Best.GAP) || !near(got.MAP, r.Best.MAP) || !near(loss/float64(p.Rows()), r.Best.Loss) {
				t.Errorf("scores give GAP %g, mAP %g, loss %g; the run had %+v", got.GAP, got.MAP, loss/float64(p.Rows()), r.Best)
			}
		})
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-5*(1+math.Abs(b)) }

// TestScores compares class scores and loss with the definitions.
func TestScores(t *testing.T) {
	z := []float32{-3, 0.5, 2, 7, -40}
	p := make([]float32, len(z))
	want := 0.0
	for i, v := range z {
		q := 1 / (1 + math.Exp(-float64(v)))
		p[i] = float32(q)
		if i == 1 || i == 4 {
			want -= math.Log(q + nn.LossEpsilon)
		} else {
			want -= math.Log(1 - q + nn.LossEpsilon)
		}
	}
	labels := []int32{4, 1, 4}
	if got := classCE(z, labels, false); !near(got, want) {
		t.Errorf("class CE of logits %g, want %g", got, want)
	}
	if got := classCE(p, labels, true); !near(got, want) {
		t.Errorf("class CE of probabilities %g, want %g", got, want)
	}
}

// meter counts the memory allocations between two steps of an epoch.
type meter struct {
	silent
	from, to int64
	a, b     runtime.MemStats
}

func (m *meter) Progress(p *Progress) {
	switch p.Step {
	case m.from:
		runtime.ReadMemStats(&m.a)
	case m.to:
		runtime.ReadMemStats(&m.b)
	}
}

func TestStepsAllocateNothing(t *testing.T) {
	store, engine := testStore(t, 2000), testEngine(t)
	m := &meter{from: 5, to: 45}
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine, Reporter: m}
	mustRun(t, testConfig(t, store, "mlp", "epochs=1", "validate-fraction=0"), o)
	if perStep := float64(m.b.Mallocs-m.a.Mallocs) / float64(m.to-m.from); perStep >= 1 {
		t.Errorf("%g allocations a step", perStep)
	}
}
