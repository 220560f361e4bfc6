package train

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/nn"
)

func logit(p float64) float64 { return math.Log(p / (1 - p)) }

// classScores are the scores and losses of a run on a split.
func classScores(t *testing.T, run *TrainedRun, e nn.Engine, p *features.Split) (scores []float64, loss float64) {
	t.Helper()
	err := run.Score(context.Background(), e, features.All(p), 32, func(b *ScoredBatch) error {
		for _, s := range b.Scores {
			scores = append(scores, float64(s))
		}
		loss += b.Loss * float64(len(b.Rows)) / float64(p.Rows())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return scores, loss
}

// TestLogitAdjustOfScores: an adjustment moves the logit of a class by tau ln n, up
// to what all classes have in common, on every net, subclasses included, and the
// loss with it.
func TestLogitAdjustOfScores(t *testing.T) {
	store, engine := testStore(t, 300), testEngine(t)
	p, err := store.Split("validate")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range [][]string{{"logistic"}, {"mlp", "subclass=true", "subclasses=3"}, {"moe", "subclass=true"}, {"conv1d"}} {
		dir := t.TempDir()
		cfg := testConfig(t, store, set[0], append([]string{"epochs=1", "validate-fraction=0"}, set[1:]...)...)
		mustRun(t, cfg, Options{Dir: dir, Store: store, Engine: engine})
		train, err := store.Split("train")
		if err != nil {
			t.Fatal(err)
		}
		n := labelCounts(features.All(train), cfg.Classes)
		run, err := OpenRun(dir, Best)
		if err != nil {
			t.Fatal(err)
		}
		if run.LogitAdjust() != 0 {
			t.Errorf("%s: nothing was held out, the adjustment is %g", set[0], run.LogitAdjust())
		}
		without, _ := classScores(t, run, engine, p)
		if err := run.SetLogitAdjust("-0.3"); err != nil {
			t.Fatal(err)
		}
		with, loss := classScores(t, run, engine, p)
		common := logit(with[0]) - logit(without[0]) + 0.3*math.Log(n[0]+0.5)
		want := 0.0
		for i := range with {
			if d := logit(with[i]) - logit(without[i]) + 0.3*math.Log(n[i%12]+0.5); math.Abs(d-common) > 2e-4 {
				t.Fatalf("%s: class %d moved by %g besides, class 0 by %g", set[0], i%12, d, common)
			}
		}
		for r := range p.Rows() {
			has := map[int]bool{}
			for _, l := range p.Labels(r) {
				has[int(l)] = true
			}
			for c := range 12 {
				s := with[r*12+c]
				if !has[c] {
					s = 1 - s
				}
				want -= math.Log(s+nn.LossEpsilon) / float64(p.Rows())
			}
		}
		if math.Abs(loss-want) > 1e-4*want {
			t.Errorf("%s: loss %g, want %g", set[0], loss, want)
		}
	}
}

// TestLogitAdjustIsTheBest: the number that training chooses is the one of -0.5,
// -0.45 to 0.5 that gives the best metric on the held-out rows when the run is
// evaluated there, the smallest of equals, and both checkpoints have it.
func TestLogitAdjustIsTheBest(t *testing.T) {
	store, engine := testStore(t, 400), testEngine(t)
	held, err := store.Split("validate")
	if err != nil {
		t.Fatal(err)
	}
	for metric, value := range map[string]func(eval.MultiLabelResult, float64) float64{
		MetricGAP:  func(r eval.MultiLabelResult, _ float64) float64 { return r.GAP },
		MetricMAP:  func(r eval.MultiLabelResult, _ float64) float64 { return r.MAP },
		MetricLoss: func(_ eval.MultiLabelResult, loss float64) float64 { return -loss },
	} {
		dir := t.TempDir()
		// A rate that is too high, so that the last epoch is not the best.
		cfg := testConfig(t, store, "mlp", "metric="+metric, "validate-split=validate", "lr=0.05", "epochs=6")
		r := mustRun(t, cfg, Options{Dir: dir, Store: store, Engine: engine})
		run, err := OpenRun(dir, Best)
		if err != nil {
			t.Fatal(err)
		}
		if run.LogitAdjust() != r.Adjust.Tau || run.Epoch != r.BestEpoch {
			t.Errorf("%s: the run has %g and epoch %d, its result %g and %d", metric, run.LogitAdjust(), run.Epoch, r.Adjust.Tau, r.BestEpoch)
		}
		best, bestTau := math.Inf(-1), 0.0
		for i := range 11 {
			for _, tau := range []float64{-float64(i) / 20, float64(i) / 20} {
				run.tau = tau
				m, sum := eval.NewMultiLabel(12, 20, 1), 0.0
				err := run.Score(context.Background(), engine, features.All(held), 64, func(b *ScoredBatch) error {
					sum += b.Loss * float64(len(b.Rows))
					return m.Add(b.Scores, b.LabelOffsets, b.Labels)
				})
				if err != nil {
					t.Fatal(err)
				}
				if v := value(m.Result(), sum/float64(held.Rows())); v > best+1e-9 {
					best, bestTau = v, tau
				}
			}
		}
		if got := r.Adjust.Validate.value(metric); math.Abs(math.Abs(got)-math.Abs(best)) > 1e-5 {
			t.Errorf("%s: %g with %g was chosen; %g gives %g", metric, got, r.Adjust.Tau, bestTau, best)
		}
		last, err := OpenRun(dir, Last)
		if err != nil || last.LogitAdjust() != r.Adjust.Tau || last.Epoch != 6 {
			t.Errorf("%s: last.safetensors has %g, epoch %d: %v", metric, last.LogitAdjust(), last.Epoch, err)
		}
		if lines := metricsLines(t, dir); lines[len(lines)-1].Adjust == nil || lines[len(lines)-1].Adjust.Tau != r.Adjust.Tau {
			t.Errorf("%s: metrics.jsonl ends in %+v", metric, lines[len(lines)-1])
		}
	}
}

// TestLogitAdjustLeavesTheWeights: the adjustment changes neither checkpoint's
// tensors, also where the best epoch is not the last.
func TestLogitAdjustLeavesTheWeights(t *testing.T) {
	store, engine := testStore(t, 400), testEngine(t)
	var weights [2]map[string][]float32
	epochs := 0
	for i, adjust := range []string{AdjustNone, AdjustAuto} {
		dir := t.TempDir()
		r := mustRun(t, testConfig(t, store, "mlp", "lr=0.1", "epochs=12", "schedule=constant", "logit-adjust="+adjust), Options{Dir: dir, Store: store, Engine: engine})
		if epochs = r.BestEpoch; epochs == 12 {
			t.Fatal("the best epoch is the last: this test needs another rate")
		}
		weights[i] = map[string][]float32{}
		for _, checkpoint := range []string{Best, Last} {
			weights[i][checkpoint] = append(tensor(t, dir, checkpoint, "hidden.weight"), tensor(t, dir, checkpoint, "classifier.bias")...)
		}
		weights[i]["adam"] = tensor(t, dir, Last, "adam.v/hidden.weight")
	}
	for name, w := range weights[0] {
		for j, v := range w {
			if weights[1][name][j] != v {
				t.Fatalf("%s: weight %d is %g, without adjustment %g", name, j, weights[1][name][j], v)
			}
		}
	}
}

// TestNothingIsChosenOnTheTestSplit also where it chooses the best checkpoint.
func TestNothingIsChosenOnTheTestSplit(t *testing.T) {
	store, engine := imageStore(t, 80), testEngine(t)
	for _, c := range []struct {
		set  []string
		want *float64
	}{
		{[]string{"validate-split=test"}, nil},
		{[]string{"validate-fraction=0"}, nil},
		{[]string{"logit-adjust=none"}, nil},
		{[]string{"validate-split=test", "logit-adjust=0.25"}, new(0.25)},
		{[]string{"validate-fraction=0", "logit-adjust=-0.25"}, new(-0.25)},
		{[]string{"logit-adjust=-1.5"}, new(-1.5)},
	} {
		r := mustRun(t, imageConfig(t, store, c.set...), Options{Dir: t.TempDir(), Store: store, Engine: engine})
		if (r.Adjust == nil) != (c.want == nil) || c.want != nil && r.Adjust.Tau != *c.want {
			t.Errorf("%v: adjustment %+v", c.set, r.Adjust)
		}
		if c.want != nil && (r.Adjust.Validate != nil) != (*c.want == -1.5) {
			t.Errorf("%v: measured %+v", c.set, r.Adjust)
		}
	}
}

// TestLogOffsets: equal classes get none, whatever tau is; of others the mean over
// the labels is none, and a class without rows has one.
func TestLogOffsets(t *testing.T) {
	for _, o := range logOffsets(-0.4, []int64{7, 7, 7}) {
		if o != 0 {
			t.Errorf("equal classes: %g", o)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		n := make([]int64, 1+r.IntN(9))
		for i := range n {
			n[i] = r.Int64N(1000)
		}
		n[0] = 0
		tau, sum := 2*r.Float64()-1, 0.0
		o := logOffsets(tau, n)
		for c := range n {
			sum += float64(n[c]) * float64(o[c])
			if d := float64(o[c]-o[0]) - tau*math.Log(float64(2*n[c]+1)); math.Abs(d) > 1e-5 {
				t.Errorf("class %d of %v: offset %g beside %g", c, n, o[c], o[0])
			}
		}
		if math.Abs(sum) > 1e-3 {
			t.Errorf("%v: the labels move by %g", n, sum)
		}
	}
}

// TestRunsOfEarlierVersions have neither settings of the start nor numbers of rows:
// they evaluate as they did, and say so if an adjustment is asked for.
func TestRunsOfEarlierVersions(t *testing.T) {
	run := &TrainedRun{Dir: "old"}
	for text, want := range map[string]string{"auto": "", "none": "", "0": "", "0.2": "earlier version", "much": "neither auto, none nor"} {
		err := run.SetLogitAdjust(text)
		usage := &UsageError{}
		if want == "" && err != nil || want != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	old := Config{Net: "wrn-10-1", Optimizer: "adam"}
	old.fillOld()
	if old.BiasInit != BiasZero || old.LogitAdjust != AdjustNone || old.Metric != MetricErrorRate || old.Beta2 != 0.999 {
		t.Errorf("filled to %+v", old)
	}
}

// TestMetadata: what the metadata of a checkpoint say must fit together, whoever
// gave the file its checksums.
func TestMetadata(t *testing.T) {
	videos := &Config{Net: "mlp", Classes: 3}
	images := &Config{Net: "vgg16", Classes: 3}
	gap, rate := &Validation{VideoMetrics: &VideoMetrics{}}, &Validation{ImageMetrics: &ImageMetrics{}}
	done := func(b *best, a *Adjustment) *position {
		return &position{Stage: 3, Epoch: 2, Done: true, Best: b, Adjust: a}
	}
	for _, c := range []struct {
		cfg    *Config
		pos    *position
		counts string
		ok     bool
	}{
		{videos, &position{Stage: 1}, "", true},
		{videos, done(&best{Validation: gap}, nil), "", true},
		{videos, done(&best{Validation: gap}, &Adjustment{Tau: -0.2, Validate: gap, Without: gap}), "[1,0,2]", true},
		{images, done(&best{Validation: rate}, &Adjustment{Tau: 0.2, Validate: rate, Without: rate}), "[1,0,2]", true},
		{videos, done(&best{}, &Adjustment{Tau: 3}), "[1,0,2]", true},
		{videos, done(nil, nil), "[1,0,2]", false},
		{videos, done(&best{Validation: rate}, nil), "[1,0,2]", false},
		{images, done(&best{Validation: gap}, nil), "[1,0,2]", false},
		{videos, done(&best{Validation: &Validation{}}, nil), "[1,0,2]", false},
		{videos, done(&best{}, &Adjustment{Tau: 1e300}), "[1,0,2]", false},
		{videos, done(&best{}, &Adjustment{Tau: 0.1, Validate: gap}), "[1,0,2]", false},
		{videos, done(&best{}, &Adjustment{Tau: 0.1, Validate: rate, Without: rate}), "[1,0,2]", false},
		{videos, done(&best{}, &Adjustment{Tau: 0.1}), "", false},
		{videos, done(&best{}, nil), "[1,2]", false},
		{videos, done(&best{}, nil), "[1,2,-3]", false},
		{videos, done(&best{}, nil), "[1,2", false},
		{videos, done(&best{}, nil), `{"a":1}`, false},
	} {
		if err := checkMetadata(c.cfg, c.pos, c.counts); (err == nil) != c.ok {
			t.Errorf("%s, %+v, counts %s: %v", c.cfg.Net, *c.pos, c.counts, err)
		}
	}
}

// TestDivideOdds: it is sigmoid(logit(p) + o) wherever that is a number, and stays
// one where a factor is not.
func TestDivideOdds(t *testing.T) {
	for _, o := range []float32{-1000, -90, -3, -0.1, 0, 0.1, 3, 90, 1000} {
		for _, p := range []float32{0, 1e-40, 1e-20, 0.001, 0.5, 0.999, 1 - 1.0/(1<<24), 1} {
			got := []float32{p}
			divideOdds(got, odds([]float32{o}))
			want := 1 / (1 + math.Exp(-(logit(float64(p)) + float64(o))))
			if p == 0 || p == 1 {
				want = float64(p)
			}
			if math.Abs(float64(got[0])-want) > 1e-6*want+1e-44 {
				t.Errorf("p %g, offset %g: %g, want %g", p, o, got[0], want)
			}
		}
	}
}

// TestMetricChoosesTheBest: the epoch whose line has the best value of --metric.
func TestMetricChoosesTheBest(t *testing.T) {
	store, engine := testStore(t, 400), testEngine(t)
	for _, metric := range []string{MetricGAP, MetricMAP, MetricLoss} {
		dir := t.TempDir()
		r := mustRun(t, testConfig(t, store, "mlp", "metric="+metric, "lr=0.05", "epochs=8"), Options{Dir: dir, Store: store, Engine: engine})
		best, at := math.Inf(-1), 0
		for _, l := range metricsLines(t, dir) {
			if l.Validate == nil {
				continue
			}
			v := map[string]float64{MetricGAP: l.Validate.GAP, MetricMAP: l.Validate.MAP, MetricLoss: -l.Validate.Loss}[metric]
			if v > best {
				best, at = v, l.Epoch
			}
		}
		if r.BestEpoch != at {
			t.Errorf("%s: epoch %d is the best, want %d", metric, r.BestEpoch, at)
		}
		if _, err := os.Stat(filepath.Join(dir, "best.safetensors")); err != nil {
			t.Error(err)
		}
	}
}

// TestManyHeldOutRows: where more rows are held out than the choice needs, a part of
// them chooses, the same one every time.
func TestManyHeldOutRows(t *testing.T) {
	defer func(old int) { adjustRows = old }(adjustRows)
	store, engine := testStore(t, 400), testEngine(t)
	var found []*Adjustment
	for _, rows := range []int{1 << 14, 30, 30} {
		adjustRows = rows
		found = append(found, mustRun(t, testConfig(t, store, "logistic", "validate-split=validate"), Options{Dir: t.TempDir(), Store: store, Engine: engine}).Adjust)
	}
	if *found[0].Without.VideoMetrics == *found[1].Without.VideoMetrics {
		t.Error("30 rows have the metrics of all 100")
	}
	if found[1].Tau != found[2].Tau || *found[1].Validate.VideoMetrics != *found[2].Validate.VideoMetrics {
		t.Errorf("chosen by %+v, then by %+v", found[1], found[2])
	}
}
