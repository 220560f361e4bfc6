package train

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"sdnn/features"
	"sdnn/nn"
	"sdnn/nn/gorgonia"
	"sdnn/subclass"
	"sdnn/train/safetensors"
)

// tensor reads a tensor of a run's checkpoint.
func tensor(t *testing.T, dir, checkpoint, name string) []float32 {
	t.Helper()
	f, err := os.Open(checkpointFile(dir, checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st, err := safetensors.NewFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	var data []float32
	for data == nil {
		err := st.Next(func(x *safetensors.Tensor, d *safetensors.Decoder) error {
			if x.Name != name {
				return nil
			}
			data = make([]float32, x.Elements())
			return d.F32(data)
		})
		if err != nil {
			t.Fatalf("tensor %s: %v", name, err)
		}
	}
	return data
}

// still are settings with which a run takes a step that changes nothing.
var still = []string{"max-steps=1", "lr=1e-30", "validate-fraction=0", "schedule=constant"}

// TestPriorBias: on every net and engine a run begins with the log odds of the
// classes in its rows, counted here from the labels.
func TestPriorBias(t *testing.T) {
	t.Parallel()
	videos, images := testStore(t, 300), imageStore(t, 80)
	engines := map[string]nn.Engine{"cpu": testEngine(t), "gorgonia": gorgonia.New()}
	if e, card := cardEngine(t); card != nil {
		engines["cuda"] = e
	}
	for _, c := range []struct {
		net, bias string
		each      int // parameters an output
	}{
		{"logistic", "classifier.bias", 1}, {"mlp", "classifier.bias", 1}, {"moe", "experts.bias", 2},
		{"conv1d", "classifier.bias", 1}, {"wrn-10-1", "fc.bias", 1},
	} {
		store, cfg := videos, Config{}
		if isImageNet(c.net) {
			store = images
			cfg = imageConfig(t, store, still...)
		} else {
			cfg = testConfig(t, store, c.net, still...)
		}
		p, err := store.Split("train")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckAll(); err != nil {
			t.Fatal(err)
		}
		n := labelCounts(features.All(p), cfg.Classes)
		for name, e := range engines {
			if isImageNet(c.net) && name == "gorgonia" {
				continue
			}
			dir := t.TempDir()
			cfg.Engine = name
			mustRun(t, cfg, Options{Dir: dir, Store: store, Engine: e})
			b := tensor(t, dir, Last, c.bias)
			for i, got := range b {
				k := n[i/c.each]
				if want := math.Log((k + 0.5) / (float64(p.Rows()) - k + 0.5)); math.Abs(float64(got)-want) > 1e-6 {
					t.Fatalf("%s on %s: bias %d is %g, want %g", c.net, name, i, got, want)
				}
			}
			if len(b) != c.each*cfg.Classes {
				t.Errorf("%s on %s: %d biases", c.net, name, len(b))
			}
		}
	}
}

// labelCounts counts the rows of each class.
func labelCounts(rows *features.Subset, classes int) []float64 {
	n := make([]float64, classes)
	for i := range rows.Rows() {
		seen := map[int32]bool{}
		for _, l := range rows.Split().Labels(rows.Row(i)) {
			if !seen[l] {
				n[l]++
			}
			seen[l] = true
		}
	}
	return n
}

// TestPriorLeavesNoMeanGradient: of every output, subclasses included, the gradient
// of the loss at the prior, summed over all rows, is that of the half row on either
// side which smooths it.
func TestPriorLeavesNoMeanGradient(t *testing.T) {
	store := testStore(t, 300)
	p, err := store.Split("train")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckAll(); err != nil {
		t.Fatal(err)
	}
	neglected := []subclass.Positives{{Class: 0}, {Class: 3}}
	for r := range p.Rows() {
		for _, l := range p.Labels(r) {
			for i := range neglected {
				if neglected[i].Class == int(l) {
					neglected[i].Rows = append(neglected[i].Rows, int32(r))
				}
			}
		}
	}
	part, err := subclass.Split(context.Background(), 12, neglected, &inputSamples{inputs: &inputs{split: p}},
		subclass.SplitOptions{Method: subclass.MethodRandom, Clusters: 3, MinPositives: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range [][2]float32{{0.9, 0}, {0, 0}, {1, 0}, {0.9, 0.5}, {0.9, 1}} {
		f := feeder{inputs: &inputs{split: p}, targeting: &subclass.Targeting{Partition: part, SubclassWeight: w[0], SiblingTarget: w[1]}}
		rows := features.All(p)
		n := f.count(rows)
		outputs := part.Map().Subclasses()
		b := n.prior(outputs)
		var all nn.Targets
		all.Reset()
		for i := range rows.Rows() {
			f.targeting.AddRow(&all, rows.Row(i), p.Labels(rows.Row(i)))
		}
		y, m := subclass.Dense(&all, outputs)
		for s := range outputs {
			up, down, odds := 0.0, 0.0, math.Exp(float64(b[s]))
			for r := range rows.Rows() {
				up += y[r*outputs+s] / (1 + odds)                // y (1-p)
				down += (1 - m[r*outputs+s]) * odds / (1 + odds) // (1-m) p
			}
			half := 0.5 * (1 - odds) / (1 + odds) // of half a row on either side
			if math.Abs(up-down+half) > 1e-4 {
				t.Errorf("w %g, sibling target %g: output %d is pulled by %g", w[0], w[1], s, up-down+half)
			}
		}
		if want := labelCounts(rows, 12); fmt.Sprint(want) != fmt.Sprint(n.classes) {
			t.Errorf("classes have %v rows, want %v", n.classes, want)
		}
	}
}

// TestZeroBias: --bias-init zero leaves the net's own initial values, and so does
// the authors' protocol.
func TestZeroBias(t *testing.T) {
	store, engine := testStore(t, 100), testEngine(t)
	dir := t.TempDir()
	mustRun(t, testConfig(t, store, "conv1d", append(still, "bias-init=zero")...), Options{Dir: dir, Store: store, Engine: engine})
	for i, b := range tensor(t, dir, Last, "classifier.bias") {
		if math.Abs(float64(b)) > 1e-20 {
			t.Errorf("bias %d is %g, want 0", i, b)
		}
	}
	cfg := imageConfig(t, imageStore(t, 80))
	if err := cfg.UseProtocol(ProtocolAuthors); err != nil || cfg.BiasInit != BiasZero || cfg.LogitAdjust != AdjustNone {
		t.Errorf("the authors' protocol: %v, bias %s, logit adjustment %s", err, cfg.BiasInit, cfg.LogitAdjust)
	}
}

// warnings keeps what a run warns of.
type warnings struct {
	silent
	list   []string
	epochs int
	after  []int // epochs reported when each came
}

func (w *warnings) Warning(text string) {
	w.list = append(w.list, text)
	w.after = append(w.after, w.epochs)
}
func (w *warnings) Epoch(*Progress, *Validation) { w.epochs++ }

// TestDeadNetwork: a network that gives 0 for everything is told of after the first
// epoch in which it is so, once a stage, with what to do; one that trains is not.
func TestDeadNetwork(t *testing.T) {
	videos, images, engine := testStore(t, 300), imageStore(t, 80), testEngine(t)
	for name, c := range map[string]struct {
		cfg  Config
		dead int
		want string
	}{
		"images":        {imageConfig(t, images, "lr=30", "bias-init=zero", "epochs=3", "batch=8"), 1, "--bias-init prior, or a smaller --lr than 30"},
		"in two stages": {imageConfig(t, images, "lr=30", "bias-init=zero", "epochs=2", "batch=8", "subclass=true", "neglect-epochs=2"), 2, "--schedule cosine:0.05"},
		"images, alive": {imageConfig(t, images), 0, ""},
		"videos, alive": {testConfig(t, videos, "mlp", "subclass=true", "neglected-weight=3"), 0, ""},
	} {
		w := &warnings{}
		if _, err := Run(context.Background(), c.cfg, Options{Dir: t.TempDir(), Store: map[bool]*features.Store{true: images, false: videos}[c.cfg.Images()],
			Engine: engine, Reporter: w}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(w.list) != c.dead || c.dead > 0 && (w.after[0] != 1 || !strings.Contains(w.list[0], "dead since epoch 1") || !strings.Contains(w.list[0], c.want)) {
			t.Errorf("%s: after epochs %v warnings %q, want %d that say %q", name, w.after, w.list, c.dead, c.want)
		}
	}
}

// fedSession is a session of which only the feed is asked for.
type fedSession struct {
	nn.Session
	feed nn.Feed
}

func (s *fedSession) Feed(int) *nn.Feed { return &s.feed }

// TestWatch: the loss of a dead network is -log(e) a positive, as each counts.
func TestWatch(t *testing.T) {
	const one = 11.512925
	for _, c := range []struct {
		labels [][]int32 // of the rows
		weight []float32
		loss   float64
		dead   bool

		outputs int
	}{
		{[][]int32{{0, 1, 2}}, nil, 3 * one, false, 50}, // 50 ln 2: all are 1/2
		{[][]int32{{0, 1, 2}}, nil, 3 * one, true, 60},
		{[][]int32{{0}, {1}}, nil, one, true, 3},
		{[][]int32{{0}, {1}}, nil, one * 0.98, false, 3},
		{[][]int32{{0, 1, 2}, {}, {1}, {2}}, nil, one * 5 / 4, true, 3},
		{[][]int32{{0, 1, 2}, {}, {1}, {2}}, nil, one, false, 3},
		{[][]int32{{}, {}}, nil, 0, false, 3},
		{[][]int32{{0}, {1}}, []float32{3, 1, 1}, 2 * one, true, 3},
		{[][]int32{{0}, {1}}, []float32{3, 1, 1}, one, false, 3},
	} {
		feed := &fedSession{}
		feed.feed.Targets.Reset()
		for _, row := range c.labels {
			for _, l := range row {
				feed.feed.Targets.Add(l, 1, 1)
			}
			feed.feed.Targets.EndRow()
		}
		s := &stageRun{session: feed, weight: c.weight, partition: subclass.Whole(c.outputs)}
		for range 3 {
			s.watch(nn.StepResult{Rows: len(c.labels), Loss: c.loss})
		}
		if (s.dead == 3) != c.dead {
			t.Errorf("%+v: dead for %d steps", c, s.dead)
		}
	}
}
