package cuda_test

import (
	"errors"
	"strings"
	"testing"

	"sdnn/features"
	"sdnn/nn"
	"sdnn/nn/cuda/fakecard"
)

// stored are made-up images as a store has them, and what features makes of them.
type stored struct {
	side      int
	pixels    []byte
	augment   features.Augment
	augmenter *features.Augmenter
}

func newStored(t testing.TB, rows, side int) *stored {
	t.Helper()
	s := &stored{side: side, pixels: make([]byte, rows*3*side*side), augment: features.Augment{Pad: 2, Flip: true, Cutout: 3}}
	for i := range s.pixels {
		s.pixels[i] = byte(nn.Hash32(5, uint32(i)))
	}
	var err error
	s.augmenter, err = features.NewAugmenter(side, []float64{120, 130.5, 99}, []float64{60, 61.25, 70}, s.augment, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stored) width() int { return 3 * s.side * s.side }

func (s *stored) data() nn.KeepData {
	return nn.KeepData{Rows: len(s.pixels) / s.width(), Images: &nn.KeepImages{Side: s.side, Value: s.augmenter.Values(), Pad: s.augment.Pad,
		Flip: s.augment.Flip, Cutout: s.augment.Cutout, Bytes: func(from int, dst []byte) error {
			copy(dst, s.pixels[from*s.width():])
			return nil
		}}}
}

// rowsOf are the rows of a step's batch.
func rowsOf(step, n, of int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(nn.Hash32(uint64(step+100), uint32(i)) % uint32(of))
	}
	return rows
}

// Images gathered and varied on the card are those of the host, to the bit: so
// are the steps on them.
func TestKeptImagesGiveTheSameBits(t *testing.T) {
	e := computing(t)
	for _, p := range []nn.Precision{nn.F32, nn.BF16} { // bf16 pads images: they are gathered so
		t.Run(string(p), func(t *testing.T) { keptImages(t, e, p) })
	}
}

func keptImages(t *testing.T, e nn.Engine, p nn.Precision) {
	d := newStored(t, 20, 8)
	m := imageNet("norm relu", 5, 8, 8, 4)
	o := nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4), Precision: p, Seed: 3}
	fed, keeping := start(t, e, m, o), start(t, e, m, o)
	kept, err := keeping.Session.(nn.Keeper).Keep(d.data())
	if err != nil || kept != 1 {
		t.Fatalf("Keep: %d, %v", kept, err)
	}
	put := func(r *run, slot, step, n int, vary bool) {
		f := r.Feed(slot)
		f.Rows = n
		targets(f, step, 3)
		rows := rowsOf(step, n, 20)
		if r == keeping {
			f.Kept, f.Vary = kept, vary
			copy(f.Index, rows)
			return
		}
		w := d.width()
		for i, row := range rows {
			to, from := f.Features[0][i*w:(i+1)*w], d.pixels[int(row)*w:(int(row)+1)*w]
			if vary {
				d.augmenter.Image(to, from, f.Keys[i])
			} else {
				d.augmenter.Normalise(to, from)
			}
		}
	}
	var scores [2][]float32
	for i, r := range []*run{fed, keeping} {
		for step := range 9 { // every slot's graph is replayed
			slot := step % r.Slots()
			put(r, slot, step, 5-step%2, true)
			if err := r.TrainStep(slot, nn.StepParams{LR: 0.02, Step: int64(step + 1)}); err != nil {
				t.Fatal(err)
			}
			r.sync()
		}
		put(r, 0, 50, 5, false)
		x, _, err := r.Forward(0)
		if err != nil {
			t.Fatal(err)
		}
		scores[i] = append(scores[i], x...)
	}
	sameBits(t, "kept images", keeping.state(), fed.state())
	sameBits(t, "kept images", map[string][]float32{"scores": scores[1]}, map[string][]float32{"scores": scores[0]})
}

// The same of features, with batches of both kinds in one run.
func TestKeptFeaturesGiveTheSameBits(t *testing.T) {
	e := computing(t)
	m := videoNet("conv1d", 6, 33, 7)
	const rows = 25
	columns := make([][]float32, 2)
	for c, v := range m.Features {
		columns[c] = make([]float32, rows*v.Width())
		nn.FillNormal(columns[c], uint64(c+9))
	}
	o := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam(), Seed: 3}
	fed, keeping := start(t, e, m, o), start(t, e, m, o)
	kept, err := keeping.Session.(nn.Keeper).Keep(nn.KeepData{Rows: rows, Floats: func(c, from int, dst []float32) error {
		copy(dst, columns[c][from*m.Features[c].Width():])
		return nil
	}})
	if err != nil || kept != 1 {
		t.Fatalf("Keep: %d, %v", kept, err)
	}
	for _, r := range []*run{fed, keeping} {
		for step := range 10 {
			slot := step % r.Slots()
			f := r.Feed(slot)
			f.Rows, f.Kept = 6-step%3, 0
			targets(f, step, 7)
			list := rowsOf(step, f.Rows, rows)
			if r == keeping && step%2 == 1 {
				f.Kept = kept
				copy(f.Index, list)
			} else {
				for c, v := range m.Features {
					for i, row := range list {
						copy(f.Features[c][i*v.Width():(i+1)*v.Width()], columns[c][int(row)*v.Width():])
					}
				}
			}
			if err := r.TrainStep(slot, nn.StepParams{LR: 0.02, Step: int64(step + 1)}); err != nil {
				t.Fatal(err)
			}
			r.sync()
		}
	}
	for i, want := range fed.results {
		sameBits(t, "theta", map[string][]float32{"theta": keeping.results[i].Theta}, map[string][]float32{"theta": want.Theta})
	}
	sameBits(t, "kept features", keeping.state(), fed.state())
}

// What does not fit is not kept, and what cannot be read is the reader's error.
func TestKeepRefuses(t *testing.T) {
	e, _ := open(t, fakecard.Options{CheckOnly: true, Memory: 400 << 20})
	m := videoNet("logistic", 6, 33, 7)
	s := start(t, e, m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewAdam()})
	k := s.Session.(nn.Keeper)
	bad := errors.New("a bad page")
	read := func(int, int, []float32) error { return bad }
	if kept, err := k.Keep(nn.KeepData{Rows: 2 << 20, Floats: read}); kept != 0 || err != nil {
		t.Errorf("276 MB on a card of 400: kept %d, %v", kept, err)
	}
	if _, err := k.Keep(nn.KeepData{Rows: 10, Floats: read}); err != bad {
		t.Errorf("got %v, want what reading gave", err)
	}
	if kept, err := k.Keep(nn.KeepData{Rows: 10, Floats: func(int, int, []float32) error { return nil }}); kept != 1 || err != nil {
		t.Errorf("after a bad page: kept %d, %v", kept, err)
	}
	f := s.Feed(0)
	f.Rows, f.Kept = 2, 1
	targets(f, 1, 7)
	f.Index[0], f.Index[1] = 3, 10
	if err := s.TrainStep(0, nn.StepParams{LR: 1, Step: 1}); err == nil || !strings.Contains(err.Error(), "row 10 of 10") {
		t.Errorf("row 10 of 10 kept ones: %v", err)
	}
	f.Kept = 2
	if err := s.TrainStep(0, nn.StepParams{LR: 1, Step: 1}); err == nil {
		t.Error("data that is not kept was taken")
	}
	f.Index[1], f.Kept = 9, 1
	if err := s.TrainStep(0, nn.StepParams{LR: 1, Step: 1}); err != nil {
		t.Error(err)
	}
	s.sync()
}

// In bf16 kept images are gathered straight to the padded image that the first
// convolution reads: one launch in place of two, and no float32 image between.
func TestKeptImagesAreGatheredPadded(t *testing.T) {
	e, card := open(t, fakecard.Options{CheckOnly: true, Trace: true})
	d := newStored(t, 20, 8)
	r := start(t, e, imageNet("norm relu", 5, 8, 8, 8), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), Precision: nn.BF16})
	kept, err := r.Session.(nn.Keeper).Keep(d.data())
	if err != nil {
		t.Fatal(err)
	}
	for step := range 2 { // the first is run plainly
		for i, from := range []int{kept, 0} {
			card.ResetTrace()
			f := r.Feed(i)
			fill(f, step, 5, 3)
			f.Kept, f.Vary = from, from != 0
			if err := r.TrainStep(i, nn.StepParams{LR: 0.1, Step: int64(2*step + i + 1)}); err != nil {
				t.Fatal(err)
			}
			r.sync()
			augmented, padded := strings.Count(card.Trace(), "augment_bf16"), strings.Count(card.Trace(), "pad_rows_")
			if from != 0 && (augmented != 1 || padded != 1) || from == 0 && (augmented != 0 || padded != 2) { // one is that of the weights
				t.Errorf("step %d, kept %d: %d images gathered padded, %d launches that pad", step, from, augmented, padded)
			}
		}
	}
}
