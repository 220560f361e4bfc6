package train

import (
	"math"

	"sdnn/features"
	"sdnn/mlp"
)

// What a dense net is trained with when nothing is said follows from the number
// of training rows N (docs/architecture/decisions/0001-defaults.md has the
// measurements):
//
//	batch   the power of two nearest to the net's share of sqrt(N), at most 1024
//	epochs  those of the net at 10,000 rows, times (10,000/N)^(1/4)
//	rate    the net's up to a batch, from there on times (batch/that)^grow,
//	        falling to 0 in a straight line
//
// So few rows get small steps, many of them: a batch of 1024 would make 60 steps
// of 11,790 videos in five epochs.

const (
	mostBatch = 1024
	// unknownRows stands for the rows of a store that is not known.
	unknownRows = 1 << 20
)

// denseRule is what the defaults of a dense net start from.
type denseRule struct {
	share  float64 // of sqrt(N) that makes a batch
	rate   float64 // of Adam, up to a batch of upTo
	upTo   int
	grow   float64
	epochs float64 // at 10,000 rows
}

var denseRules = map[string]denseRule{
	mlp.Logistic: {share: 1.0 / 4, rate: 0.0075, upTo: 8, grow: 1.0 / 2, epochs: 8},
	mlp.MLP:      {share: 2, rate: 0.01, upTo: 128, grow: 0, epochs: 14},
	mlp.MoE:      {share: 1, rate: 0.02, upTo: 128, grow: 2.0 / 3, epochs: 6},
	mlp.Conv1D:   {share: 1, rate: 0.003, upTo: 128, grow: 0, epochs: 12},
}

// Rows is the number of rows to train on in a store.
func Rows(m *features.Manifest) int {
	if s := m.Splits[trainSplit]; s != nil {
		return int(s.Rows)
	}
	return unknownRows
}

// FitRows sets what follows from the number of rows to train on, for a dense net;
// recipes, and nets for images, have settings of their own.
func (c *Config) FitRows(rows int) {
	rule, dense := denseRules[c.Net]
	if !dense || c.Recipe != "" {
		return
	}
	c.Batch = rule.batch(rows)
	c.LR = rule.rateOf(c.Batch)
	c.Epochs = rule.epochsOf(rows)
	c.Refit = rows < refitRows
	c.FitNeglectEpochs()
}

// FitNeglectEpochs makes stage 1 of a dense net a quarter of the last, but for
// recipes.
func (c *Config) FitNeglectEpochs() {
	if _, dense := denseRules[c.Net]; dense && c.Recipe == "" {
		c.NeglectEpochs = max(1, (c.Epochs+3)/4)
	}
}

// batch is the power of two nearest to the share of the rows' square root.
func (r denseRule) batch(rows int) int {
	b := math.Exp2(math.Round(math.Log2(r.share * math.Sqrt(float64(max(rows, 1))))))
	return min(max(int(b), 1), mostBatch)
}

// rateOf is the rate of a batch, to six digits behind the point.
func (r denseRule) rateOf(batch int) float64 {
	grown := math.Pow(max(1, float64(batch)/float64(r.upTo)), r.grow)
	return math.Round(1e6*r.rate*grown) / 1e6
}

// epochsOf falls with the fourth root of the rows.
func (r denseRule) epochsOf(rows int) int {
	e := r.epochs * math.Pow(10_000/float64(max(rows, 1)), 0.25)
	return max(2, min(int(math.Round(e)), 3*int(r.epochs)))
}

// defaultImageRate is the rate of SGD that an image net bears from the first step:
// vgg16, whose hidden layers have no normalisation, less than the paper's 0.1.
func defaultImageRate(net string) float64 {
	if net == "vgg16" {
		return 0.02
	}
	return 0.1
}
