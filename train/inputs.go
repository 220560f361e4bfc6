package train

import (
	"fmt"
	"math"

	"sdnn/features"
	"sdnn/subclass"
)

// inputs turn rows of a split into what a network reads: feature columns as
// they are, or images normalised and, in training, varied. Rows from the
// split's number on are pairs. They serve one goroutine at a time.
type inputs struct {
	split *features.Split
	cols  []int

	// Of images:
	augment   features.Augment
	augmenter *features.Augmenter // nil: videos
	pairs     *pairs              // may be nil
	mixed     []byte              // two images
	side      int

	rows []int // scratch of span
}

// newInputs returns the inputs of the run's network from a split. Images are
// varied by a, which is the zero value outside training.
func newInputs(c *Config, p *features.Split, a features.Augment, added *pairs) (*inputs, error) {
	in := &inputs{split: p, pairs: added, augment: a}
	for _, col := range c.Columns {
		i, err := p.Column(col.Name)
		if err != nil {
			return nil, err
		}
		in.cols = append(in.cols, i)
	}
	if !c.Images() {
		return in, nil
	}
	in.mixed, in.side = make([]byte, 2*c.Columns[0].Width), c.side()
	var err error
	in.augmenter, err = features.NewAugmenter(c.side(), c.PixelMean, c.PixelStd, a, nil)
	return in, err
}

// gather fills dst, a slice a column, with rows. Images are varied by their
// keys, or with keys nil only normalised.
func (in *inputs) gather(rows []int, keys []uint64, dst [][]float32) error {
	if in.augmenter == nil {
		for i, col := range in.cols {
			if err := in.split.GatherFloat(col, rows, dst[i], in.split.Manifest().Columns[col].Width); err != nil {
				return err
			}
		}
		return nil
	}
	// Runs of stored images go to the augmenter as one.
	from := 0
	for i, row := range rows {
		if !in.pairs.has(row) {
			continue
		}
		if err := in.stored(rows, keys, dst[0], from, i); err != nil {
			return err
		}
		if err := in.pair(row, keys, dst[0], i); err != nil {
			return err
		}
		from = i + 1
	}
	return in.stored(rows, keys, dst[0], from, len(rows))
}

// stored fills the places from to to-1 of a batch of images from the store.
func (in *inputs) stored(rows []int, keys []uint64, dst []float32, from, to int) error {
	if from == to {
		return nil
	}
	if keys != nil {
		keys = keys[from:to]
	}
	return in.split.GatherImages(in.cols[0], rows[from:to], keys, dst[from*in.augmenter.Width():], in.augmenter)
}

// pair fills place i of a batch with a pair.
func (in *inputs) pair(row int, keys []uint64, dst []float32, i int) error {
	w := in.augmenter.Width()
	mixed, err := in.mix(row)
	if err != nil {
		return err
	}
	if to := dst[i*w : (i+1)*w]; keys == nil {
		in.augmenter.Normalise(to, mixed)
	} else {
		in.augmenter.Image(to, mixed, keys[i])
	}
	return nil
}

// mix mixes the image of a pair; it is valid until the next.
func (in *inputs) mix(row int) ([]byte, error) {
	w := in.augmenter.Width()
	p := in.pairs.at(row)
	both := [2]int{int(p.Row), int(p.Partner)}
	if err := in.split.GatherBytes(in.cols[0], both[:], in.mixed, w); err != nil {
		return nil, err
	}
	in.pairs.rule.Mix(in.mixed[:w], in.mixed[:w], in.mixed[w:])
	return in.mixed[:w], nil
}

// labels are the labels of a row: of a pair those of the image that it was
// made from.
func (in *inputs) labels(row int) []int32 {
	if in.pairs.has(row) {
		row = int(in.pairs.at(row).Row)
	}
	return in.split.Labels(row)
}

// pairs are the images that SamplePairing adds to the training set. They are
// nowhere stored: row first+j is mixed from two stored images when it is
// gathered. Which two follows from the run's seed, its rows and the neglected
// classes, so that a resumed run finds the same.
type pairs struct {
	first int             // row of the first: the rows of the split
	list  []subclass.Pair // in rows of the split; class by class in order of neglection
	rule  subclass.PairingRule
}

func (p *pairs) has(row int) bool { return p != nil && row >= p.first }

func (p *pairs) at(row int) subclass.Pair { return p.list[row-p.first] }

// bases lists the image that each pair was made from.
func (p *pairs) bases() []int32 {
	b := make([]int32, len(p.list))
	for j, pair := range p.list {
		b[j] = pair.Row
	}
	return b
}

// makePairs makes the pairs of the neglected classes, given by their positions
// in the training rows, and adds their rows to the classes'.
func (t *trainer) makePairs(neglected []subclass.Positives) {
	list := subclass.Pairings(neglected, t.rows.Rows(), stageSeed(t.cfg.Seed, 2, "pairs"))
	for i := range list {
		p := &list[i]
		p.Row, p.Partner = int32(t.rows.Row(int(p.Row))), int32(t.rows.Row(int(p.Partner)))
	}
	t.pairs = &pairs{first: t.split.Rows(), list: list, rule: subclass.PairingRule(t.cfg.PairingRule)}
}

// positives finds the training rows of the neglected classes, with the pairs
// that they get, and counts those of every class.
func (t *trainer) positives() (neglected []subclass.Positives, counts []int64) {
	rows := t.rows
	if t.refitting() { // stage 4 wants the subclasses of all
		rows = t.all
	}
	counts = make([]int64, t.cfg.Classes)
	at := make([]int, t.cfg.Classes) // index into neglected, from 1
	for i, class := range t.pos.Neglected {
		at[class] = i + 1
		neglected = append(neglected, subclass.Positives{Class: class})
	}
	for i := range rows.Rows() {
		labels := t.split.Labels(rows.Row(i))
		for j, l := range labels {
			if repeated(labels[:j], l) {
				continue
			}
			counts[l]++
			if n := at[l]; n > 0 {
				neglected[n-1].Rows = append(neglected[n-1].Rows, int32(i))
			}
		}
	}
	if t.cfg.pairing() {
		t.makePairs(neglected)
	}
	next := t.split.Rows()
	for n := range neglected {
		p := &neglected[n]
		own := len(p.Rows)
		for i, position := range p.Rows {
			p.Rows[i] = int32(rows.Row(int(position)))
		}
		if t.cfg.pairing() {
			counts[p.Class] += int64(own)
			for range own {
				p.Rows = append(p.Rows, int32(next))
				next++
			}
		}
	}
	return neglected, counts
}

// checkLabels says whether rows of images have one label each.
func checkLabels(p *features.Split, row int) error {
	if labels := p.Labels(row); len(labels) != 1 {
		return &LabelError{p.Name(), row, string(p.ID(row)), labels}
	}
	return nil
}

// side is the height and width of the run's images.
func (c *Config) side() int { return sideOf(c.Columns[0].Width) }

// sideOf is the side of square images of three planes with the given number of
// bytes, 0 if there are none.
func sideOf(bytes int) int {
	side := int(math.Sqrt(float64(bytes) / 3))
	if 3*side*side != bytes {
		return 0
	}
	return side
}

// imageColumn finds the column of a store that has images.
func imageColumn(m *features.Manifest) (Column, bool) {
	for _, col := range m.Columns {
		if col.Kind == features.Uint8 && sideOf(col.Width) > 0 {
			return Column{col.Name, col.Width}, true
		}
	}
	return Column{}, false
}

// describeStore says what networks can read in a store.
func describeStore(m *features.Manifest) string {
	if col, ok := imageColumn(m); ok {
		return fmt.Sprintf("images (column %q)", col.Name)
	}
	return "features of videos"
}
