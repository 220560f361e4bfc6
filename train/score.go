package train

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/subclass"
)

// scorer turns the outputs of a session into class scores.
type scorer struct {
	session       nn.Session
	probabilities bool // the outputs are; else logits
	classes       *subclass.Map
	odds          []float64 // see divideOdds; nil: nothing to do
	feed          feeder

	out    ScoredBatch
	losses []float64 // of each row
}

// scorerBytes is the memory that a scorer takes for a row: class scores, logits, loss and label offset.
func scorerBytes(classes int) int { return 4*classes + 4*classes + 8 + 4 }

// score calls each with the batches of a subset, in order. It returns ctx's
// cause as soon as it is cancelled. A session that can evaluates ahead of each.
func (s *scorer) score(ctx context.Context, subset *features.Subset, batch int, each func(b *ScoredBatch) error) error {
	loader := features.NewLoader(features.Sequential(subset), batch, 0, s.session.Slots(), s.feed.fill)
	defer loader.Close()
	ahead := newAhead(s.session, loader)
	defer ahead.stop()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		slot, rows, err := ahead.next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		scores, _, err := s.session.Forward(slot)
		if err != nil {
			return err
		}
		if s.feed.augmenter != nil {
			for _, r := range rows {
				if err := checkLabels(s.feed.split, r); err != nil {
					return err
				}
			}
		}
		s.take(rows, scores)
		if err := each(&s.out); err != nil {
			return err
		}
		loader.Release(slot)
	}
}

// ahead takes batches from a loader and starts their evaluation before it is
// their turn, where the session can.
type ahead struct {
	session nn.Session
	loader  *features.Loader
	starter nn.Starter // nil: it cannot
	most    int        // started at a time
	queue   []loadedBatch
	end     error // of the loader
}

type loadedBatch struct {
	slot int
	rows []int
}

// newAhead leaves one slot to be filled and one to be looked at.
func newAhead(session nn.Session, loader *features.Loader) *ahead {
	a := &ahead{session: session, loader: loader, most: 1}
	if s, ok := session.(nn.Starter); ok {
		a.starter, a.most = s, max(1, session.Slots()-2)
	}
	return a
}

// next returns the batch whose turn it is. What the loader ends with comes when
// the batches before it have been.
func (a *ahead) next() (slot int, rows []int, err error) {
	for a.end == nil && len(a.queue) < a.most {
		slot, rows, err := a.loader.Next()
		if err != nil {
			a.end = err
			break
		}
		if a.starter != nil {
			if err := a.starter.Start(slot); err != nil {
				return 0, nil, err
			}
		}
		a.queue = append(a.queue, loadedBatch{slot, rows})
	}
	if len(a.queue) == 0 {
		return 0, nil, a.end
	}
	b := a.queue[0]
	a.queue = append(a.queue[:0], a.queue[1:]...)
	return b.slot, b.rows, nil
}

// stop ends what was started and is not wanted any more. Its error, if it has
// one, is the session's and comes again with the next call.
func (a *ahead) stop() {
	if len(a.queue) > 0 {
		_ = a.session.Sync()
	}
}

// take fills out from the outputs of rows.
func (s *scorer) take(rows []int, scores []float32) {
	b, c := &s.out, s.classes.Classes()
	b.Rows = rows
	b.LabelOffsets, b.Labels = append(b.LabelOffsets[:0], 0), b.Labels[:0]
	for _, r := range rows {
		b.Labels = append(b.Labels, s.feed.split.Labels(r)...)
		b.LabelOffsets = append(b.LabelOffsets, int32(len(b.Labels)))
	}
	if n := len(rows) * c; cap(b.Scores) < n {
		b.Scores = make([]float32, n)
	}
	if cap(s.losses) < len(rows) {
		s.losses = make([]float64, len(rows))
	}
	b.Scores, s.losses = b.Scores[:len(rows)*c], s.losses[:len(rows)]
	if cap(b.Logits) < len(b.Scores) && !s.probabilities {
		b.Logits = make([]float32, cap(b.Scores))
	}
	b.Logits = b.Logits[:min(len(b.Scores), cap(b.Logits))]
	width := s.classes.Subclasses()
	parallel(len(rows), func(r int) {
		// The highest logit has the highest probability.
		z := b.Scores[r*c : (r+1)*c]
		s.classes.ClassScores(z, scores[r*width:(r+1)*width])
		if s.odds != nil {
			divideOdds(z, s.odds)
		}
		s.losses[r] = classCE(z, b.Labels[b.LabelOffsets[r]:b.LabelOffsets[r+1]], s.probabilities)
		if !s.probabilities {
			copy(b.Logits[r*c:], z)
			kernel.Sigmoid(z, z)
		}
	})
	b.Loss = mean(s.losses)
}

// mean is the mean of values; there is at least one.
func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// classCE is the class cross-entropy of one row of logits, or probabilities.
func classCE(z []float32, labels []int32, probabilities bool) float64 {
	all, term := kernel.CELogitsLoss, kernel.CETerm
	if probabilities {
		all, term = kernel.CEProbsLoss, kernel.CEProbTerm
	}
	loss := all(z, nil)
	for i, l := range labels {
		if repeated(labels[:i], l) {
			continue
		}
		as0, _ := term(z[l], 0, 0)
		as1, _ := term(z[l], 1, 1)
		loss += as1 - as0
	}
	return loss
}

func repeated(labels []int32, l int32) bool {
	for _, k := range labels {
		if k == l {
			return true
		}
	}
	return false
}

// parallel calls f(0) to f(n-1) on all processors.
func parallel(n int, f func(i int)) {
	threads := min(runtime.GOMAXPROCS(0), n)
	var wait sync.WaitGroup
	for t := range threads {
		wait.Go(func() {
			for i := t * n / threads; i < (t+1)*n/threads; i++ {
				f(i)
			}
		})
	}
	wait.Wait()
}

// validator accumulates the metrics of held-out rows.
type validator struct {
	single *eval.SingleLabel // of images
	multi  *eval.MultiLabel  // of videos
	rows   int
	loss   float64
}

func newValidator(images bool, classes int) *validator {
	if images {
		return &validator{single: eval.NewSingleLabel(classes)}
	}
	return &validator{multi: eval.NewMultiLabel(classes, topK, 0)}
}

func (v *validator) add(b *ScoredBatch) error {
	v.rows += len(b.Rows)
	v.loss += b.Loss * float64(len(b.Rows))
	if v.single != nil {
		return v.single.Add(b.Logits, b.Labels)
	}
	return v.multi.Add(b.Scores, b.LabelOffsets, b.Labels)
}

func (v *validator) result() *Validation {
	r := &Validation{Loss: v.loss / float64(max(v.rows, 1))}
	if v.single != nil {
		m := v.single.Result()
		r.ImageMetrics = &ImageMetrics{ErrorRate: m.ErrorRate, Top5ErrorRate: m.Top5ErrorRate}
		return r
	}
	m := v.multi.Result()
	r.VideoMetrics = &VideoMetrics{GAP: m.GAP, MAP: m.MAP, Hit1: m.HitAt1, PERR: m.PERR}
	return r
}

// validate evaluates the session on a subset.
func (s *scorer) validate(ctx context.Context, subset *features.Subset, batch int) (*Validation, error) {
	v := newValidator(s.feed.augmenter != nil, s.classes.Classes())
	if err := s.score(ctx, subset, batch, v.add); err != nil {
		return nil, err
	}
	return v.result(), nil
}

// topK is the number of classes of a video that count, by YouTube-8M's rules.
const topK = 20
