package train

// A part of the training rows is held out to choose the best epoch and the logit
// adjustment by. When they are chosen, stage 4 trains the network once more, from
// scratch, on all rows, for as many epochs as were best and by the same schedule:
// where rows are few, each counts. The held-out rows then measure nothing any
// more; what they chose stays.

// refitRows is the number of rows from which on --refit is not the default: there a
// tenth more gains less than training twice costs.
const refitRows = 100_000

// refitting says whether the run has a stage 4.
func (t *trainer) refitting() bool {
	return t.cfg.Refit && t.held != nil && t.cfg.ValidateSplit == ""
}

// progressed is what stage 3 came to, kept while stage 4 counts anew.
type progressed struct {
	Epochs   int     `json:"epochs"`
	Steps    int64   `json:"steps"`
	Examples int64   `json:"examples"`
	Loss     float64 `json:"loss"`
}

// RefitResult is what training on all rows came to.
type RefitResult struct {
	Rows   int     `json:"rows"`
	Epochs int     `json:"epochs"`
	Steps  int64   `json:"steps"`
	Loss   float64 `json:"loss"` // training loss of the last epoch
}

// beginRefit moves from the end of stage 3 to stage 4.
func (t *trainer) beginRefit() error {
	t.closeStage()
	p := &t.pos
	t.pos = position{Stage: 4, Neglected: p.Neglected, SubclassToClass: p.SubclassToClass, MetricsLines: t.metrics.lines,
		Best: p.Best, Adjust: p.Adjust, Main: &progressed{p.Epoch, p.Step, p.Examples, p.LastLoss}}
	if err := t.openStage(); err != nil {
		return err
	}
	return t.save(t.run.session)
}

// finishRefit ends a run whose stage 4 is over: its weights are the best.
func (t *trainer) finishRefit() error {
	t.pos.Done = true
	if err := t.saveBest(); err != nil {
		return err
	}
	return t.save(t.run.session)
}
