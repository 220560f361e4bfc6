package train

import (
	"context"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"testing"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/train/safetensors"
)

// TestThreads: the number of threads changes no bit.
func TestThreads(t *testing.T) {
	t.Parallel()
	store := testStore(t, 400)
	sameOnThreads(t, testConfig(t, store, "mlp", "subclass=true"), store, 1, 2, 3)
}

// sameOnThreads trains on several numbers of threads and compares all files of the runs.
func sameOnThreads(t *testing.T, cfg Config, store *features.Store, numbers ...int) {
	t.Helper()
	var want map[string]string
	for _, threads := range numbers {
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
	for _, net := range mlp.Nets() {
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
			for setting, want := range map[string]*Validation{"none": r.Best, "auto": r.Adjust.Validate} {
				if err := run.SetLogitAdjust(setting); err != nil {
					t.Fatal(err)
				}
				checkScores(t, run, engine, p, want)
			}
		})
	}
}

// checkScores compares what a run gives on a split with what it had there in training.
func checkScores(t *testing.T, run *TrainedRun, engine nn.Engine, p *features.Split, want *Validation) {
	t.Helper()
	m := eval.NewMultiLabel(run.Config.Classes, 20, 1)
	loss, next := 0.0, 0
	err := run.Score(context.Background(), engine, features.All(p), 7, func(b *ScoredBatch) error {
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
	if !near(got.GAP, want.GAP) || !near(got.MAP, want.MAP) || !near(loss/float64(p.Rows()), want.Loss) {
		t.Errorf("scores give GAP %g, mAP %g, loss %g; the run had %+v, loss %g", got.GAP, got.MAP, loss/float64(p.Rows()), *want.VideoMetrics, want.Loss)
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
