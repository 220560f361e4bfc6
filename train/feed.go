package train

import (
	"fmt"

	"sdnn/cnn"
	"sdnn/features"
	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/subclass"
)

// buildModel makes the network of a run with the given number of outputs.
func buildModel(c *Config, batch, outputs int, weighted bool) (*nn.Model, error) {
	if c.Images() {
		return cnn.Build(cnn.Spec{Net: c.Net, Batch: batch, Outputs: outputs, Size: c.side(), Channels: 3, Dropout: c.Dropout, Weighted: weighted})
	}
	s := mlp.Spec{Net: c.Net, Batch: batch, Outputs: outputs, Hidden: c.Hidden, Dropout: c.Dropout,
		Noise: c.Noise, Experts: c.Experts, Filters: c.Filters, Weighted: weighted}
	for _, col := range c.Columns {
		s.Columns = append(s.Columns, mlp.Column(col))
	}
	return mlp.Build(s)
}

// checkStore says whether a store has the classes and columns of a run.
func checkStore(c *Config, m *features.Manifest) error {
	if m.Dataset != c.Dataset {
		return &MismatchError{"its dataset is", m.Dataset, c.Dataset}
	}
	if m.Classes != c.Classes {
		return &MismatchError{"its number of classes is", fmt.Sprint(m.Classes), fmt.Sprint(c.Classes)}
	}
	kind := features.Float32
	if c.Images() {
		kind = features.Uint8
	}
	for _, want := range c.Columns {
		have := "missing"
		for _, col := range m.Columns {
			if col.Name == want.Name {
				have = fmt.Sprintf("%s of width %d", col.Kind, col.Width)
			}
		}
		if need := fmt.Sprintf("%s of width %d", kind, want.Width); have != need {
			return &MismatchError{fmt.Sprintf("column %q is", want.Name), have, need}
		}
	}
	return nil
}

// feeder fills the feeds of a session with inputs. It serves one loader at a
// time, in the loader's goroutine.
type feeder struct {
	*inputs
	session nn.Session
	kept    int // the session's number of the inputs' data, 0: it does not keep them

	// For training: how labels become targets, and the key of the rows'
	// random numbers. Without targeting the feeds have no targets.
	targeting *subclass.Targeting
	seed      uint64
	epoch     int
}

func (f *feeder) fill(slot int, rows []int) error {
	feed := f.session.Feed(slot)
	feed.Rows = len(rows)
	feed.Targets.Reset()
	var keys []uint64
	if f.targeting != nil {
		keys = feed.Keys[:len(rows)]
		for i, r := range rows {
			keys[i] = nn.RowKey(f.seed, f.epoch, uint64(r))
		}
	}
	if err := f.data(feed, rows, keys); err != nil || f.targeting == nil {
		return err
	}
	for _, r := range rows {
		f.targeting.AddRow(&feed.Targets, r, f.labels(r))
	}
	return nil
}

// data gives a feed the rows' data, or, where the session keeps them, their numbers.
func (f *feeder) data(feed *nn.Feed, rows []int, keys []uint64) error {
	if feed.Kept = f.kept; f.kept == 0 {
		return f.gather(rows, keys, feed.Features)
	}
	feed.Vary = keys != nil
	for i, r := range rows {
		feed.Index[i] = int32(r)
	}
	return nil
}
