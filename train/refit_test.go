package train

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"sdnn/features"
)

// TestRefitIsTrainingOnAll: where the last epoch was the best, what a run ends in is,
// bit for bit, what training on all rows ends in.
func TestRefitIsTrainingOnAll(t *testing.T) {
	store, engine := testStore(t, 400), testEngine(t)
	for net, weight := range map[string]string{"logistic": "classifier.weight", "mlp": "hidden.weight", "moe": "gates.weight"} {
		set := []string{"lr=0.002", "schedule=linear", "epochs=4"}
		refit, all := t.TempDir(), t.TempDir()
		r := mustRun(t, testConfig(t, store, net, set...), Options{Dir: refit, Store: store, Engine: engine})
		if r.BestEpoch != 4 {
			t.Fatalf("%s: epoch %d is the best: this test needs another rate", net, r.BestEpoch)
		}
		if r.Refit == nil || r.Refit.Rows != 400 || r.Refit.Epochs != 4 || r.Refit.Steps != 4*13 || r.Steps >= r.Refit.Steps {
			t.Errorf("%s: refit %+v after %d steps", net, r.Refit, r.Steps)
		}
		a := mustRun(t, testConfig(t, store, net, append(set, "validate-fraction=0")...), Options{Dir: all, Store: store, Engine: engine})
		if a.Refit != nil || a.Loss != r.Refit.Loss {
			t.Errorf("%s: loss %g on all rows, %g after the choice", net, a.Loss, r.Refit.Loss)
		}
		for _, checkpoint := range []string{Best, Last} {
			if !slices.Equal(tensor(t, refit, checkpoint, weight), tensor(t, all, checkpoint, weight)) {
				t.Errorf("%s: the weights of %s differ", net, checkpoint)
			}
			run, err := OpenRun(refit, checkpoint)
			if err != nil || run.LogitAdjust() != r.Adjust.Tau || run.Epoch != 4 {
				t.Errorf("%s, %s: adjustment %g of %g, epoch %d, %v", net, checkpoint, run.LogitAdjust(), r.Adjust.Tau, run.Epoch, err)
			}
		}
	}
}

// TestRefitStopsAtTheBestEpoch and goes by the rates that its epochs had before.
func TestRefitStopsAtTheBestEpoch(t *testing.T) {
	store, engine := testStore(t, 400), testEngine(t)
	dir := t.TempDir()
	r := mustRun(t, testConfig(t, store, "mlp", "lr=0.1", "epochs=12", "schedule=linear"), Options{Dir: dir, Store: store, Engine: engine})
	if r.BestEpoch == 12 {
		t.Fatal("the last epoch is the best: this test needs another rate")
	}
	epochs := 0
	for _, l := range metricsLines(t, dir) {
		if l.Stage == 4 && l.End {
			epochs++
			steps := float64(12 * 13)
			checkRate(t, l.LR, 0.1*(1-(float64(13*l.Epoch)-1)/steps))
			if l.Validate != nil {
				t.Errorf("epoch %d of stage 4 is validated", l.Epoch)
			}
		}
	}
	if epochs != r.BestEpoch || r.Refit.Epochs != epochs || r.Epochs != 12 {
		t.Errorf("%d epochs on all rows, %d were best, result %+v", epochs, r.BestEpoch, r)
	}
}

// TestRefitWithSubclasses: the neglected classes are split by all their rows, of
// which stage 3 trains on those that are not held out.
func TestRefitWithSubclasses(t *testing.T) {
	store, engine := testStore(t, 400), testEngine(t)
	p, err := store.Split("train")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckAll(); err != nil {
		t.Fatal(err)
	}
	n := labelCounts(features.All(p), 12)
	for _, set := range []string{"refit=true", "refit=false"} {
		dir := t.TempDir()
		r := mustRun(t, testConfig(t, store, "logistic", "subclass=true", set), Options{Dir: dir, Store: store, Engine: engine})
		tr := &trainer{cfg: testConfig(t, store, "logistic"), o: Options{Dir: dir}, pos: position{}}
		run, err := OpenRun(dir, Best)
		if err != nil {
			t.Fatal(err)
		}
		tr.pos.SubclassToClass = classList(run.Map())
		if err := tr.readPartition(); err != nil {
			t.Fatal(err)
		}
		for _, cell := range tr.partition.Cells() {
			if whole := float64(len(cell.Rows)) == n[cell.Class]; whole != (r.Refit != nil) {
				t.Errorf("%s: class %d is split by %d of %g rows", set, cell.Class, len(cell.Rows), n[cell.Class])
			}
		}
	}
}

// TestNoRefit where all rows were trained on, or the net is for images.
func TestNoRefit(t *testing.T) {
	store, engine := testStore(t, 100), testEngine(t)
	for _, set := range []string{"validate-fraction=0", "validate-split=validate", "refit=false"} {
		if r := mustRun(t, testConfig(t, store, "logistic", "epochs=1", set), Options{Dir: t.TempDir(), Store: store, Engine: engine}); r.Refit != nil {
			t.Errorf("%s: %+v", set, r.Refit)
		}
	}
	images := imageStore(t, 80)
	usage := &UsageError{}
	_, err := Run(context.Background(), imageConfig(t, images, "refit=true"), Options{Dir: t.TempDir(), Store: images, Engine: engine})
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--refit") {
		t.Errorf("images: %v", err)
	}
	if c := dense(t, "", "mlp", refitRows); c.Refit {
		t.Error("100,000 rows are trained on twice by default")
	}
	if c := dense(t, "yt8m-conv1d", "", 1000); c.Refit {
		t.Error("the paper's recipe trains twice")
	}
}
