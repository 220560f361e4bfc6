package train

import (
	"sdnn/nn"
)

// keep hands the rows to a session that keeps data beside its model, and
// returns the number of the data there, 0 if the session does not take it. A
// row moves once either way, so it is worth it from one epoch on.
func (in *inputs) keep(session nn.Session) (int, error) {
	k, ok := session.(nn.Keeper)
	if !ok {
		return 0, nil
	}
	d := nn.KeepData{Rows: in.split.Rows(), Floats: in.floats}
	if in.augmenter != nil {
		d.Images = &nn.KeepImages{Side: in.side, Value: in.augmenter.Values(), Pad: in.augment.Pad, Flip: in.augment.Flip,
			Cutout: in.augment.Cutout, Bytes: in.bytes}
	}
	if in.pairs != nil {
		d.Rows += len(in.pairs.list)
	}
	return k.Keep(d)
}

// span lists n rows from one on.
func (in *inputs) span(from, n int) []int {
	in.rows = in.rows[:0]
	for i := range n {
		in.rows = append(in.rows, from+i)
	}
	return in.rows
}

// floats reads rows of a feature column.
func (in *inputs) floats(column, from int, dst []float32) error {
	w := in.split.Manifest().Columns[in.cols[column]].Width
	return in.split.GatherFloat(in.cols[column], in.span(from, len(dst)/w), dst, w)
}

// bytes reads images as they are stored, those of pairs as they are mixed.
func (in *inputs) bytes(from int, dst []byte) error {
	w := in.augmenter.Width()
	n := len(dst) / w
	stored := max(0, min(n, in.split.Rows()-from))
	if err := in.split.GatherBytes(in.cols[0], in.span(from, stored), dst, w); err != nil {
		return err
	}
	for i := stored; i < n; i++ {
		mixed, err := in.mix(from + i)
		if err != nil {
			return err
		}
		copy(dst[i*w:], mixed)
	}
	return nil
}

// keepData lets the stage's session keep the rows that it trains and is
// validated on, if it sees them often enough.
func (t *trainer) keepData(s *stageRun) error {
	seen := int64(s.epochs) * int64(s.rows.Rows())
	if m := t.cfg.MaxSteps; m > 0 {
		seen = min(seen, m*int64(t.cfg.Batch))
	}
	if seen < int64(t.split.Rows()) {
		return nil
	}
	var err error
	if s.feed.kept, err = s.feed.keep(s.session); err != nil || s.held == nil {
		return err
	}
	if s.held.Split() == t.split {
		s.scorer.feed.kept = s.feed.kept
		return nil
	}
	s.scorer.feed.kept, err = s.scorer.feed.keep(s.session)
	return err
}
