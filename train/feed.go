package train

import (
	"fmt"

	"sdnn/features"
	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/subclass"
)

// buildModel makes the network of a run with the given number of outputs.
func buildModel(c *Config, batch, outputs int, weighted bool) (*nn.Model, error) {
	s := mlp.Spec{Net: c.Net, Batch: batch, Outputs: outputs, Hidden: c.Hidden, Dropout: c.Dropout,
		Noise: c.Noise, Experts: c.Experts, Filters: c.Filters, Weighted: weighted}
	for _, col := range c.Columns {
		s.Columns = append(s.Columns, mlp.Column(col))
	}
	return mlp.Build(s)
}

// columns finds the run's feature columns in a split.
func columns(c *Config, p *features.Split) ([]int, error) {
	cols := make([]int, len(c.Columns))
	for i, col := range c.Columns {
		var err error
		if cols[i], err = p.Column(col.Name); err != nil {
			return nil, err
		}
	}
	return cols, nil
}

// checkStore says whether a store has the classes and columns of a run.
func checkStore(c *Config, m *features.Manifest) error {
	if m.Dataset != c.Dataset {
		return &MismatchError{"its dataset is", m.Dataset, c.Dataset}
	}
	if m.Classes != c.Classes {
		return &MismatchError{"its number of classes is", fmt.Sprint(m.Classes), fmt.Sprint(c.Classes)}
	}
	for _, want := range c.Columns {
		have := "missing"
		for _, col := range m.Columns {
			if col.Name == want.Name {
				have = fmt.Sprintf("%s of width %d", col.Kind, col.Width)
			}
		}
		if need := fmt.Sprintf("%s of width %d", features.Float32, want.Width); have != need {
			return &MismatchError{fmt.Sprintf("column %q is", want.Name), have, need}
		}
	}
	return nil
}

// feeder fills the feeds of a session with rows of a split. It serves one
// loader at a time, in the loader's goroutine.
type feeder struct {
	split   *features.Split
	cols    []int
	session nn.Session

	// For training: how labels become targets, and the key of the rows'
	// random numbers. Without targeting the feeds have no targets.
	targeting *subclass.Targeting
	seed      uint64
	epoch     int
}

func (f *feeder) fill(slot int, rows []int) error {
	feed := f.session.Feed(slot)
	feed.Rows = len(rows)
	for i, col := range f.cols {
		width := f.split.Manifest().Columns[col].Width
		if err := f.split.GatherFloat(col, rows, feed.Features[i], width); err != nil {
			return err
		}
	}
	feed.Targets.Reset()
	if f.targeting == nil {
		return nil
	}
	for i, r := range rows {
		feed.Keys[i] = nn.RowKey(f.seed, f.epoch, uint64(r))
		f.targeting.AddRow(&feed.Targets, r, f.split.Labels(r))
	}
	return nil
}
