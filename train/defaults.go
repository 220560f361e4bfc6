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
//	batch   the power of two nearest to sqrt(N), at most 1024
//	epochs  as many as the net has at 10,000 rows, more of fewer rows and less of more
//	rate    the net's at a batch of up to 128, for larger ones times (batch/128)^p,
//	        falling to 0 in a straight line
//
// So few rows get small steps, many of them: a batch of 1024 would make 60 steps
// of 11,790 videos in five epochs.

const (
	mostBatch = 1024
	rateBatch = 128
	// unknownRows stands for the rows of a store that is not known.
	unknownRows = 1 << 20
)

// denseRule is what the defaults of a dense net start from.
type denseRule struct {
	rate   float64 // of Adam
	grow   float64 // p
	epochs float64 // at 10,000 rows
}

var denseRules = map[string]denseRule{
	mlp.Logistic: {0.03, 2.0 / 3, 8},
	mlp.MLP:      {0.008, 0, 10},
	mlp.MoE:      {0.02, 2.0 / 3, 6},
	mlp.Conv1D:   {0.003, 0, 12},
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
	c.Batch = defaultBatch(rows)
	c.LR = rule.rate
	if c.Batch > rateBatch {
		c.LR = math.Round(1e6*rule.rate*math.Pow(float64(c.Batch)/rateBatch, rule.grow)) / 1e6
	}
	c.Epochs = defaultEpochs(rule.epochs, rows)
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

// defaultBatch is the power of two nearest to the square root of the rows.
func defaultBatch(rows int) int {
	b := math.Exp2(math.Round(math.Log2(float64(max(rows, 1))) / 2))
	return min(int(b), mostBatch)
}

// defaultEpochs falls with the fourth root of the rows.
func defaultEpochs(at10k float64, rows int) int {
	e := at10k * math.Pow(10_000/float64(max(rows, 1)), 0.25)
	return max(2, min(int(math.Round(e)), 3*int(at10k)))
}

// defaultImageRate is the rate of SGD that an image net bears from the first step:
// vgg16, whose hidden layers have no normalisation, less than the paper's 0.1.
func defaultImageRate(net string) float64 {
	if net == "vgg16" {
		return 0.02
	}
	return 0.1
}
