package train

import (
	"math"
	"testing"

	"sdnn/features"
	"sdnn/mlp"
)

// dense are the settings of a dense net on a store of so many rows.
func dense(t *testing.T, recipe, net string, rows int64) Config {
	t.Helper()
	m := *yt8mManifest
	m.Splits = map[string]*features.SplitInfo{"train": {Rows: rows}}
	c, err := NewConfig(recipe, net, &m)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	return c
}

// TestDefaultsByRows: more rows have larger batches and fewer epochs, but never
// fewer steps, and few rows still make hundreds of steps.
func TestDefaultsByRows(t *testing.T) {
	for _, net := range mlp.Nets() {
		before := 0.0
		for rows, last := int64(1), dense(t, "", net, 1); rows < 1<<31; rows += 1 + rows/3 {
			c := dense(t, "", net, rows)
			if c.Batch < last.Batch || c.Epochs > last.Epochs || c.Batch&(c.Batch-1) != 0 || c.Batch > 1024 || c.Epochs < 2 {
				t.Errorf("%s, %d rows: batch %d, %d epochs, of fewer rows %d, %d", net, rows, c.Batch, c.Epochs, last.Batch, last.Epochs)
			}
			steps := float64(c.Epochs) * math.Ceil(float64(rows)/float64(c.Batch))
			if steps < 0.5*before { // a batch that doubles halves them at that point
				t.Errorf("%s, %d rows: %g steps, of fewer rows %g", net, rows, steps, before)
			}
			if rows > 1000 && steps < 100 {
				t.Errorf("%s, %d rows: %g steps", net, rows, steps)
			}
			if c.NeglectEpochs < 1 || c.NeglectEpochs > c.Epochs || c.Schedule != "linear" || c.BiasInit != BiasPrior || c.LogitAdjust != AdjustAuto {
				t.Errorf("%s, %d rows: %+v", net, rows, c)
			}
			before, last = steps, c
		}
	}
}

// TestRecipeKeepsThePaper: the recipe for videos has the paper's settings on any
// number of rows, --limit included; only its start is ours.
func TestRecipeKeepsThePaper(t *testing.T) {
	for _, rows := range []int64{1000, 5_000_000} {
		c := dense(t, "yt8m-conv1d", "", rows)
		c.FitRows(10)
		c.Epochs = 3
		c.FitNeglectEpochs()
		if c.Batch != 1024 || c.LR != 1e-3 || c.Schedule != "exp:0.95@4000000" || c.NeglectEpochs != 1 || c.Neglected != 100 || c.BiasInit != BiasPrior {
			t.Errorf("%d rows: %+v", rows, c)
		}
	}
}
