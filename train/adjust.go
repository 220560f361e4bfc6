package train

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/subclass"
)

// Logit adjustment adds tau ln n of each class to its logit, n being the rows that
// it has in training (Menon et al., "Long-tail learning via logit adjustment",
// ICLR 2021, with tau free). What one class ranks first stays so; metrics that
// rank classes against each other, as GAP and the error rate do, change.
//
// The number is chosen when training is over, from -0.5 to 0.5 in steps of 0.05,
// by what the best checkpoint reaches on held-out rows. It is kept in both
// checkpoints, and applied wherever a run gives scores.

const (
	adjustParts = 20 // steps of 1/20
	adjustMost  = 10 // of them either way
	adjustLimit = 10 // of a number that a user gives
	// adjustSeed chooses the rows, where more than adjustRows are held out.
	adjustSeed = 1
)

// adjustRows bounds the held-out rows that the choice looks at: more would say the
// same, and 21 rankings of each are kept.
var adjustRows = 1 << 14

// Words of LogitAdjust that are no number.
const (
	AdjustAuto = "auto" // in training: by held-out rows; in evaluation: as the run has it
	AdjustNone = "none"
)

// Adjustment is a run's logit adjustment.
type Adjustment struct {
	Tau float64 `json:"tau"`
	// Validate is what the best checkpoint reaches with it on the held-out rows
	// (at most adjustRows of them), Without what it reaches there with none; nil
	// where nothing is held out.
	Validate *Validation `json:"validate,omitempty"`
	Without  *Validation `json:"without,omitempty"`
}

// ParseLogitAdjust reads auto, none or a number; tau is that of none for auto.
func ParseLogitAdjust(text string) (tau float64, err error) {
	if text == AdjustAuto || text == AdjustNone {
		return 0, nil
	}
	tau, err = strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(tau) <= adjustLimit) {
		return 0, fmt.Errorf("is neither %s, %s nor a number from -%d to %d",
			AdjustAuto, AdjustNone, adjustLimit, adjustLimit)
	}
	return tau, nil
}

// canonicalAdjust writes a number in one way, so that a resumed run knows it again.
func canonicalAdjust(text string) string {
	tau, err := ParseLogitAdjust(text)
	if err != nil || text == AdjustAuto || text == AdjustNone {
		return text
	}
	return strconv.FormatFloat(tau, 'g', -1, 64)
}

// logOffsets are what is added to the logits of the classes:
//
//	tau (ln(n_c + 1/2) - l)   with   l = sum_c n_c ln(n_c + 1/2) / sum_c n_c
//
// The half is for classes without rows. l is the same for all classes, so that it
// changes no ranking; it keeps the scores of a typical label where they were.
func logOffsets(tau float64, counts []int64) []float32 {
	sum, all := 0.0, 0.0
	for _, n := range counts {
		sum += float64(n) * math.Log(float64(n)+0.5)
		all += float64(n)
	}
	offsets := make([]float32, len(counts))
	for c, n := range counts {
		if tau != 0 && all > 0 {
			offsets[c] = float32(tau * (math.Log(float64(n)+0.5) - sum/all))
		}
	}
	return offsets
}

// applyOffsets adds the classes' offsets to the output bias of a session, each to
// all outputs of its class: nothing is left to do for a batch. A model whose
// outputs are probabilities has no such bias, see scorer.odds.
func applyOffsets(session nn.Session, model *nn.Model, m *subclass.Map, offsets []float32) error {
	var bias []float32
	err := session.ReadState(model.OutputBias.Name, func(data []float32) error {
		bias = append(bias, data...)
		return nil
	})
	if err != nil {
		return err
	}
	for s := range bias {
		bias[s] += offsets[m.Class(s)]
	}
	return session.WriteState(model.OutputBias.Name, bias)
}

// odds are what divides the odds of probabilities to do what offsets do to logits.
func odds(offsets []float32) []float64 {
	f := make([]float64, len(offsets))
	for c, o := range offsets {
		f[c] = math.Exp(-float64(o))
	}
	return f
}

// divideOdds divides the odds of probabilities. What is sure stays so.
func divideOdds(p []float32, by []float64) {
	for c, f := range by {
		if q := float64(p[c]); q > 0 && q < 1 {
			p[c] = float32(q / (q + (1-q)*f))
		}
	}
}

// candidates are the numbers to choose from, those nearer to 0 first, so that of
// equals the smallest change is taken.
func candidates() []float64 {
	list := []float64{0}
	for i := 1; i <= adjustMost; i++ {
		tau := float64(i) / adjustParts
		list = append(list, -tau, tau)
	}
	return list
}

// adjusting says whether the run gets a logit adjustment when it is trained. None
// is chosen on the test split.
func (t *trainer) adjusting() bool {
	switch t.cfg.LogitAdjust {
	case AdjustNone:
		return false
	case AdjustAuto:
		return t.held != nil && t.cfg.ValidateSplit != testSplit
	}
	return true
}

// finish ends stage 3 or 4, whose last epoch is over and saved.
func (t *trainer) finish(ctx context.Context) error {
	if t.pos.Stage == 4 {
		return t.finishRefit()
	}
	if t.adjusting() {
		if err := t.adjust(ctx); err != nil {
			return err
		}
	}
	if t.refitting() {
		return t.beginRefit()
	}
	return nil
}

// adjust chooses the logit adjustment for the best weights and writes both
// checkpoints with it, or where stage 4 follows, the best. Until the last is
// written the run is where it was, so that a killed one comes here again.
func (t *trainer) adjust(ctx context.Context) error {
	s := t.run
	if t.held != nil {
		t.o.Reporter.Message("choosing the logit adjustment on held-out " + t.cfg.Examples())
	}
	last := t.pos.Best.Epoch == t.pos.Epoch // the session has the best weights
	if !last {
		if err := t.loadInto(Best, true); err != nil {
			return err
		}
	}
	var err error
	if t.pos.Adjust, err = t.adjustment(ctx); ctx.Err() != nil {
		return ErrInterrupted // what was trained is saved
	} else if err != nil {
		return t.badScore(err)
	}
	if err := t.metrics.add(t.adjustLine()); err != nil {
		return err
	}
	t.pos.Done = !t.refitting()
	if err := t.saveBest(); err != nil {
		return err
	}
	if a := t.pos.Adjust; a.Validate != nil {
		text := fmt.Sprintf("logit adjustment %g, %s %.4f on held-out %s (%.4f without)", a.Tau, t.cfg.Metric,
			a.Validate.value(t.cfg.Metric), t.cfg.Examples(), a.Without.value(t.cfg.Metric))
		if t.cfg.LogitAdjust == AdjustAuto && math.Abs(a.Tau)*adjustParts == adjustMost {
			text += "; it is the end of what is tried"
		}
		t.o.Reporter.Message(text)
	}
	if t.refitting() {
		return nil
	}
	if !last {
		if err := t.loadInto(Last, false); err != nil {
			return err
		}
	}
	return t.save(s.session)
}

// loadInto reads a checkpoint's tensors into the session of the stage.
func (t *trainer) loadInto(checkpoint string, trained bool) error {
	path := checkpointFile(t.o.Dir, checkpoint)
	f, st, _, _, err := openCheckpoint(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = load(path, st, t.run.session, trained)
	return err
}

// adjustment is the run's, measured on the held-out rows and chosen by them if the
// user gave no number.
func (t *trainer) adjustment(ctx context.Context) (*Adjustment, error) {
	given, err := ParseLogitAdjust(t.cfg.LogitAdjust)
	if err != nil {
		return nil, err
	}
	a := &Adjustment{Tau: given}
	if t.held == nil || t.cfg.ValidateSplit == testSplit {
		return a, nil
	}
	list := candidates()
	if t.cfg.LogitAdjust != AdjustAuto {
		list = []float64{0, given}
	}
	found, err := t.tryAdjustments(ctx, list)
	if err != nil {
		return nil, err
	}
	best := 0
	for i, v := range found {
		if v.betterThan(found[best], t.cfg.Metric) {
			best = i
		}
	}
	if t.cfg.LogitAdjust != AdjustAuto {
		best = 1
	}
	a.Tau, a.Validate, a.Without = list[best], found[best], found[0]
	return a, nil
}

// tryAdjustments validates the session's weights on held-out rows with each of
// several adjustments.
func (t *trainer) tryAdjustments(ctx context.Context, taus []float64) ([]*Validation, error) {
	rows := t.held
	if n := rows.Rows(); n > adjustRows {
		var err error
		if _, rows, err = rows.ByHash(float64(adjustRows)/float64(n), adjustSeed); err != nil {
			return nil, err
		}
	}
	sc := &t.run.scorer
	validators := make([]*validator, len(taus))
	offsets := make([][]float32, len(taus))
	for i, tau := range taus {
		validators[i], offsets[i] = newValidator(t.cfg.Images(), sc.classes.Classes()), logOffsets(tau, t.counts)
	}
	var changed adjusted
	err := sc.score(ctx, rows, t.run.batch, func(b *ScoredBatch) error {
		for i, v := range validators {
			if err := v.add(changed.from(b, offsets[i])); err != nil {
				return err
			}
		}
		return nil
	})
	found := make([]*Validation, len(taus))
	for i, v := range validators {
		found[i] = v.result()
	}
	return found, err
}

// adjustedBytes is the memory that adjusted takes for a row: scores, logits and loss.
func adjustedBytes(classes int) int { return 4*classes + 4*classes + 8 }

// adjusted makes a batch's scores with an adjustment from those without.
type adjusted struct {
	out    ScoredBatch
	losses []float64
}

// from returns b with offsets added to its logits; valid until the next call.
func (a *adjusted) from(b *ScoredBatch, offsets []float32) *ScoredBatch {
	scores, logits, classes := a.out.Scores, a.out.Logits, len(offsets)
	a.out = *b
	a.out.Scores = append(scores[:0], b.Scores...)
	if b.Logits != nil {
		a.out.Logits = append(logits[:0], b.Logits...)
	}
	if cap(a.losses) < len(b.Rows) {
		a.losses = make([]float64, len(b.Rows))
	}
	a.losses = a.losses[:len(b.Rows)]
	by := odds(offsets)
	parallel(len(b.Rows), func(r int) {
		p := a.out.Scores[r*classes : (r+1)*classes]
		labels := b.Labels[b.LabelOffsets[r]:b.LabelOffsets[r+1]]
		if b.Logits == nil {
			divideOdds(p, by)
			a.losses[r] = classCE(p, labels, true)
			return
		}
		z := a.out.Logits[r*classes : (r+1)*classes]
		for c, o := range offsets {
			z[c] += o
		}
		a.losses[r] = classCE(z, labels, false)
		kernel.Sigmoid(p, z)
	})
	a.out.Loss = mean(a.losses)
	return &a.out
}

// adjustLine is the line of metrics.jsonl for the adjustment, with loss and rate of
// the last epoch.
func (t *trainer) adjustLine() metricsLine {
	return metricsLine{Stage: t.pos.Stage, Epoch: t.pos.Epoch, Step: t.pos.Step, Loss: t.pos.LastLoss,
		LR: t.rateOf(t.pos.Step), Adjust: t.pos.Adjust}
}
