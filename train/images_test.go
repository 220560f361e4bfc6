package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/nn"
	"sdnn/subclass"
)

const imageSide = 8

// imageStore writes a store of small images: each class has two modes, a colour
// each, in noise.
func imageStore(t testing.TB, rows int) *features.Store {
	t.Helper()
	const classes = 4
	dir := t.TempDir()
	schema := features.Schema{Dataset: "cifar10", Classes: classes, PixelMean: []float64{120, 125, 130}, PixelStd: []float64{60, 61, 62},
		Columns: []features.Column{{Name: "image", Kind: features.Uint8, Width: 3 * imageSide * imageSide}}}
	for split, n := range map[string]int{"train": rows, "test": rows / 2} {
		w, err := features.NewWriter(dir, split, schema, features.WriterOptions{RowsPerBatch: 32})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(imageRows(split, n, classes)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return openStore(t, dir)
}

func openStore(t testing.TB, dir string) *features.Store {
	t.Helper()
	s, err := features.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func imageRows(split string, n, classes int) *features.Rows {
	r := rand.New(rand.NewPCG(3, uint64(len(split))))
	modes := rand.New(rand.NewPCG(4, 4))
	colour := make([][3]int, 2*classes)
	for i := range colour {
		colour[i] = [3]int{modes.IntN(150), modes.IntN(150), modes.IntN(150)}
	}
	rows := &features.Rows{IDOffsets: []int32{0}, LabelOffsets: []int32{0}, Bytes: make([][]byte, 1)}
	for i := range n {
		rows.IDs = fmt.Appendf(rows.IDs, "%s/%05d", split, i)
		rows.IDOffsets = append(rows.IDOffsets, int32(len(rows.IDs)))
		class := r.IntN(classes)
		rows.Labels = append(rows.Labels, int32(class))
		rows.LabelOffsets = append(rows.LabelOffsets, int32(len(rows.Labels)))
		for _, v := range colour[2*class+r.IntN(2)] {
			for range imageSide * imageSide {
				rows.Bytes[0] = append(rows.Bytes[0], byte(v+r.IntN(100)))
			}
		}
	}
	return rows
}

func imageConfig(t testing.TB, s *features.Store, set ...string) Config {
	t.Helper()
	set = append([]string{"batch=16", "epochs=2", "lr=0.05", "neglected=2", "neglect-epochs=1", "augment=crop:2,flip,cutout:4",
		"schedule=step:0.5@1", "dropout=0.2"}, set...)
	return testConfig(t, s, "wrn-10-1", set...)
}

var imageCases = map[string][]string{
	"pairs in pixel space":       {"subclass=true"},
	"pairs in penultimate space": {"subclass=true", "cluster-space=penultimate", "pairing-rule=wrapped", "neglected-weight=2"},
	"without pairs":              {"subclass=true", "no-pairing=true", "neglect-score=authors"},
	"random, on the test split":  {"subclass=true", "split=random", "validate-split=test", "validate-fraction=0"},
	"plain":                      {"limit=100"},
}

// TestImagesResume is TestResume and TestKill for images.
func TestImagesResume(t *testing.T) {
	t.Parallel()
	for name, set := range imageCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, engine := imageStore(t, 150), testEngine(t)
			cfg := imageConfig(t, store, set...)
			k := &killer{t: t, dir: t.TempDir(), every: 9}
			o := Options{Dir: k.dir, Store: store, Engine: engine, Reporter: k}
			whole := mustRun(t, cfg, o)
			want := files(t, o.Dir)
			for i, dir := range k.copies {
				if i%3 != 0 {
					continue
				}
				o.Dir, o.Resume, o.Reporter = dir, true, nil
				mustRun(t, cfg, o)
				got := files(t, dir)
				delete(got, "last.safetensors.part")
				sameFiles(t, want, got)
			}
			o.Dir, o.Resume = t.TempDir(), false
			r, interrupts := runInPieces(t, cfg, o, 4)
			if interrupts == 0 {
				t.Error("no interrupt")
			}
			r.Seconds, r.Resumed, r.Dir = whole.Seconds, whole.Resumed, whole.Dir
			if !reflect.DeepEqual(r, whole) {
				t.Errorf("result %+v, want %+v", r, whole)
			}
			sameFiles(t, want, files(t, o.Dir))
		})
	}
}

// TestImagesThreads: the number of threads changes no bit.
func TestImagesThreads(t *testing.T) {
	t.Parallel()
	store := imageStore(t, 120)
	sameOnThreads(t, imageConfig(t, store, "subclass=true"), store, 1, 3)
}

// TestImagesPlainIsStageThree: without a split and pairs, subclass training is
// plain training; pairs make a difference.
func TestImagesPlainIsStageThree(t *testing.T) {
	t.Parallel()
	store, engine := imageStore(t, 120), testEngine(t)
	weights := func(set ...string) map[string][]float32 {
		o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
		mustRun(t, imageConfig(t, store, set...), o)
		return readWeights(t, checkpointFile(o.Dir, Best))
	}
	plain := weights()
	if !reflect.DeepEqual(plain, weights("subclass=true", "subclasses=1", "no-pairing=true")) {
		t.Error("a run that splits nothing differs from a plain one")
	}
	if reflect.DeepEqual(plain, weights("subclass=true", "subclasses=1")) {
		t.Error("pairs make no difference")
	}
}

// TestImagesLearn: training helps, and the best checkpoint gives its validation
// again.
func TestImagesLearn(t *testing.T) {
	t.Parallel()
	store, engine := imageStore(t, 300), testEngine(t)
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine}
	r := mustRun(t, imageConfig(t, store, "epochs=6", "subclass=true", "validate-split=test", "validate-fraction=0"), o)
	if r.Best.ErrorRate > 0.2 || r.Best.VideoMetrics != nil || r.Outputs != 6 {
		t.Errorf("%d outputs, error rate %g after %d epochs", r.Outputs, r.Best.ErrorRate, r.Epochs)
	}
	run, err := OpenRun(o.Dir, Best)
	if err != nil {
		t.Fatal(err)
	}
	p, err := store.Split("test")
	if err != nil {
		t.Fatal(err)
	}
	m := eval.NewSingleLabel(run.Config.Classes)
	loss := 0.0
	err = run.Score(context.Background(), engine, features.All(p), 7, func(b *ScoredBatch) error {
		for i, z := range b.Logits {
			if s := 1 / (1 + math.Exp(-float64(z))); !near(float64(b.Scores[i]), s) {
				t.Fatalf("score %g of logit %g", b.Scores[i], z)
			}
		}
		loss += b.Loss * float64(len(b.Rows))
		return m.Add(b.Logits, b.Labels)
	})
	if err != nil {
		t.Fatal(err)
	}
	got := m.Result()
	if !near(got.ErrorRate, r.Best.ErrorRate) || !near(got.Top5ErrorRate, r.Best.Top5ErrorRate) || !near(loss/float64(p.Rows()), r.Best.Loss) {
		t.Errorf("scores give error rate %g, top-5 %g, loss %g; the run had %+v", got.ErrorRate, got.Top5ErrorRate, loss/float64(p.Rows()), r.Best)
	}
}

// TestInputs compares gathered batches with images normalised and mixed one by
// one, by the definitions.
func TestInputs(t *testing.T) {
	store := imageStore(t, 90)
	cfg := imageConfig(t, store)
	p, err := store.Split("train")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckAll(); err != nil {
		t.Fatal(err)
	}
	added := &pairs{first: p.Rows(), rule: subclass.PairMean, list: []subclass.Pair{{Row: 3, Partner: 80}, {Row: 50, Partner: 50}, {Row: 89, Partner: 0}}}
	pixel := func(row, i int) int {
		if row >= added.first {
			pair := added.list[row-added.first]
			return (int(p.Bytes(0, int(pair.Row))[i]) + int(p.Bytes(0, int(pair.Partner))[i])) / 2
		}
		return int(p.Bytes(0, row)[i])
	}
	rows := []int{92, 4, 5, 90, 91, 7, 90}
	in, err := newInputs(&cfg, p, features.Augment{}, added)
	if err != nil {
		t.Fatal(err)
	}
	const plane = imageSide * imageSide
	dst := make([]float32, len(rows)*3*plane)
	samples := &imageSamples{in: in}
	for _, keys := range [][]uint64{nil, make([]uint64, len(rows))} { // without variations keys change nothing
		if err := in.gather(rows, keys, [][]float32{dst}); err != nil {
			t.Fatal(err)
		}
		for n, row := range rows {
			sample := samples.Row(row, make([]float32, 3*plane))
			for i := range 3 * plane {
				want := (float64(pixel(row, i)) - cfg.PixelMean[i/plane]) / cfg.PixelStd[i/plane]
				at := i%plane*3 + i/plane
				if got := dst[n*3*plane+at]; !near(float64(got), want) || got != sample[at] {
					t.Fatalf("row %d, byte %d: %g and %g, want %g", row, i, got, sample[at], want)
				}
			}
		}
	}
	if got := in.labels(92); !reflect.DeepEqual(got, p.Labels(89)) {
		t.Errorf("labels %v of a pair, want %v", got, p.Labels(89))
	}
	checkAlone(t, &cfg, p, added, rows)
}

// checkAlone: with variations, a row's bits depend on its key and not on its neighbours.
func checkAlone(t *testing.T, cfg *Config, p *features.Split, added *pairs, rows []int) {
	t.Helper()
	const plane = imageSide * imageSide
	dst := make([]float32, len(rows)*3*plane)
	in, err := newInputs(cfg, p, features.Augment{Pad: 2, Flip: true, Cutout: 4}, added)
	if err != nil {
		t.Fatal(err)
	}
	keys := []uint64{1, 2, 3, 4, 5, 6, 7}
	if err := in.gather(rows, keys, [][]float32{dst}); err != nil {
		t.Fatal(err)
	}
	one := make([]float32, 3*plane)
	for n := range rows {
		if err := in.gather(rows[n:n+1], keys[n:n+1], [][]float32{one}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, dst[n*3*plane:(n+1)*3*plane]) {
			t.Errorf("row %d is another one alone", rows[n])
		}
	}
}

// TestPairsOfTheTrainer: every image of a neglected class gets a pair with a
// partner that is trained on, never one held out; classes double.
func TestPairsOfTheTrainer(t *testing.T) {
	store := imageStore(t, 200)
	cfg := imageConfig(t, store, "subclass=true", "validate-fraction=0.4")
	tr := &trainer{cfg: cfg, o: Options{Store: store, Reporter: silent{}}}
	if err := tr.openData(); err != nil {
		t.Fatal(err)
	}
	tr.pos.Neglected = []int{3, 1}
	neglected, counts := tr.positives()
	trained := map[int]bool{}
	own := make([]int64, cfg.Classes)
	for i := range tr.rows.Rows() {
		trained[tr.rows.Row(i)] = true
		own[tr.split.Labels(tr.rows.Row(i))[0]]++
	}
	next := tr.split.Rows()
	for i, class := range tr.pos.Neglected {
		n := neglected[i]
		if n.Class != class || len(n.Rows) != int(2*own[class]) || counts[class] != 2*own[class] {
			t.Fatalf("class %d has %d rows and counts %d, %d are its own", n.Class, len(n.Rows), counts[class], own[class])
		}
		for j, row := range n.Rows {
			if j < len(n.Rows)/2 {
				if !trained[int(row)] || tr.split.Labels(int(row))[0] != int32(class) {
					t.Errorf("row %d is none of class %d", row, class)
				}
				continue
			}
			pair := tr.pairs.at(int(row))
			if int(row) != next || pair.Row != n.Rows[j-len(n.Rows)/2] || !trained[int(pair.Partner)] {
				t.Errorf("pair %d of %+v, want %d", row, pair, next)
			}
			next++
		}
	}
	if counts[0] != own[0] || counts[2] != own[2] {
		t.Errorf("counts %v, own %v", counts, own)
	}
	list := tr.pairs.list
	tr.positives()
	if !reflect.DeepEqual(list, tr.pairs.list) {
		t.Error("pairs differ the second time")
	}
}

func TestImagesStepsAllocateNothing(t *testing.T) {
	store, engine := imageStore(t, 1500), testEngine(t)
	m := &meter{from: 5, to: 45}
	o := Options{Dir: t.TempDir(), Store: store, Engine: engine, Reporter: m}
	mustRun(t, imageConfig(t, store, "epochs=1", "validate-fraction=0"), o)
	if perStep := float64(m.b.Mallocs-m.a.Mallocs) / float64(m.to-m.from); perStep >= 1 {
		t.Errorf("%g allocations a step", perStep)
	}
}

func TestAugmentSettings(t *testing.T) {
	for s, want := range map[string]features.Augment{"": {}, "none": {}, "crop": {Pad: 4}, "crop:2,flip": {Pad: 2, Flip: true},
		"cutout:20": {Cutout: 20}, "flip,cutout:8,crop": {Pad: 4, Flip: true, Cutout: 8}} {
		if got, err := ParseAugment(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"cutout", "cutout:0", "cutout:x", "flip:2", "rotate", "crop,crop", "crop:-1", ",", "none,flip"} {
		if _, err := ParseAugment(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

// TestImageErrors: what a user can get wrong.
func TestImageErrors(t *testing.T) {
	images, videos, engine := imageStore(t, 80), testStore(t, 80), testEngine(t)
	o := Options{Store: images, Engine: engine}
	for want, c := range map[string]Config{
		"--augment":             imageConfig(t, images, "augment=spin"),
		"\"crop:40\" cannot be": imageConfig(t, images, "augment=crop:40"),
		"most the 8 pixels":     imageConfig(t, images, "augment=cutout:9"),
		"--noise":               imageConfig(t, images, "noise=0.1"),
		"too small":             imageConfig(t, images, "net=vgg16"),
		"--pairing-rule":        imageConfig(t, images, "subclass=true", "pairing-rule=max"),
		"the run was trained":   imageConfig(t, images, "net=mlp", "augment=", "metric=gap"),
	} {
		o.Dir = t.TempDir()
		_, err := Run(context.Background(), c, o)
		usage, mismatch := &UsageError{}, &MismatchError{}
		if !errors.As(err, &usage) && !errors.As(err, &mismatch) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for _, c := range []struct {
		recipe, net string
		store       *features.Store
	}{{"", "mlp", images}, {"", "vgg16", videos}, {"", "wrn-12-1", images}, {"", "wrn-10", images}, {"svhn-wrn", "", images}, {"cifar10-wrn", "mlp", images}} {
		usage := &UsageError{}
		if _, err := NewConfig(c.recipe, c.net, c.store.Manifest()); !errors.As(err, &usage) {
			t.Errorf("recipe %q, net %q: %v", c.recipe, c.net, err)
		}
	}
	c := testConfig(t, videos, "mlp")
	if err := c.UseProtocol(ProtocolAuthors); err == nil {
		t.Error("the authors' protocol for videos")
	}
}

// TestImagesWithoutOneLabel: an image that has no class, or two, is named.
func TestImagesWithoutOneLabel(t *testing.T) {
	for _, labels := range [][]int32{{}, {1, 2}} {
		dir := t.TempDir()
		good := imageStore(t, 40)
		schema := good.Manifest().Schema()
		w, err := features.NewWriter(dir, "train", schema, features.WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rows := imageRows("train", 40, 4)
		last := len(rows.Labels) - 1
		rows.Labels = append(rows.Labels[:last], labels...)
		rows.LabelOffsets[40] = int32(len(rows.Labels))
		if err := w.Append(rows); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		for _, fraction := range []string{"0", "0.9"} { // trained on, and held out
			o := Options{Dir: t.TempDir(), Store: openStore(t, dir), Engine: testEngine(t)}
			bad := &LabelError{}
			_, err := Run(context.Background(), imageConfig(t, good, "validate-fraction="+fraction), o)
			if !errors.As(err, &bad) || bad.Row != 39 || !strings.Contains(err.Error(), "train/00039") {
				t.Errorf("labels %v, fraction %s: %v", labels, fraction, err)
			}
		}
	}
}

// TestImageRecipes: the paper's settings, as section 6 of the method has them.
func TestImageRecipes(t *testing.T) {
	for name, want := range map[string]Config{
		"cifar10-vgg16":  {Net: "vgg16", LR: 0.02, Schedule: "step:0.2@60,120,160,220,260", Augment: "crop,flip,cutout:16", Dropout: 0.5, Neglected: 2},
		"cifar10-wrn":    {Net: "wrn-28-10", LR: 0.1, Schedule: "step:0.2@60,120,160,220,260", Augment: "crop,flip,cutout:16", Dropout: 0.3, Neglected: 2},
		"cifar100-vgg16": {Net: "vgg16", LR: 0.02, Schedule: "step:0.2@60,120,160,220,260", Augment: "crop,flip,cutout:8", Dropout: 0.5, Neglected: 10},
		"cifar100-wrn":   {Net: "wrn-28-10", LR: 0.1, Schedule: "step:0.2@60,120,160,220,260", Augment: "crop,flip,cutout:8", Dropout: 0.3, Neglected: 10},
		"svhn-vgg16":     {Net: "vgg16", LR: 0.01, Schedule: "step:0.1@80,120,160,220", Augment: "cutout:20", Dropout: 0.5, Neglected: 2},
		"svhn-wrn":       {Net: "wrn-16-8", LR: 0.01, Schedule: "step:0.1@80,120,160,220", Augment: "cutout:20", Dropout: 0.4, Neglected: 2},
	} {
		m := &features.Manifest{Dataset: recipes[name].dataset, Classes: 10, PixelMean: []float64{1, 2, 3}, PixelStd: []float64{4, 5, 6},
			Columns: []features.Column{{Name: "image", Kind: features.Uint8, Width: 3072}}}
		if m.Dataset == "cifar100" {
			m.Classes = 100
		}
		c, err := NewConfig(name, "", m)
		if err != nil {
			t.Fatal(err)
		}
		got := Config{Net: c.Net, LR: c.LR, Schedule: c.Schedule, Augment: c.Augment, Dropout: c.Dropout, Neglected: c.Neglected}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if c.Batch != 128 || c.Epochs != 300 || c.NeglectEpochs != 10 || c.Subclasses != 2 || !c.Subclass || c.SubclassWeight != 0.9 ||
			c.optimiser() != (nn.Optimizer{Kind: nn.SGD, Momentum: 0.9, WeightDecay: 5e-4}) || c.side() != 32 || c.Recipe != name || c.NoPairing {
			t.Errorf("%s: %+v", name, c)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.UseProtocol(ProtocolAuthors); err != nil || c.PairingRule != PairWrapped || c.NeglectScore != ScoreAuthors || c.ValidateSplit != "test" || c.ValidateFraction != 0 {
			t.Errorf("%s, authors: %+v, %v", name, c, err)
		}
	}
}
