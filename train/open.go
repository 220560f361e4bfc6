package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"sdnn/features"
	"sdnn/internal/disk"
	"sdnn/nn"
	"sdnn/subclass"
)

// The checkpoints of a run.
const (
	Best = "best"
	Last = "last"
)

// TrainedRun is a run opened to be evaluated.
type TrainedRun struct {
	Dir        string
	Checkpoint string // Best or Last
	Config     Config
	Stage      int // that the checkpoint was taken in; 3 unless the run has not come there yet
	Epoch      int // in which the checkpoint was taken, from 1
	Step       int64

	neglected []int
	classes   *subclass.Map
	own       *Adjustment // nil: none
	tau       float64     // applied
	counts    []int64     // training rows of each class; nil: of an earlier version
}

// OpenRun opens the run in dir with one of its checkpoints. Everything comes
// from the checkpoint, which has a checksum; that of the weights is checked when
// Score reads them. A config.json that says something else is damaged; one that is
// missing is not missed. Errors: *NoRunError, *CorruptError.
func OpenRun(dir, checkpoint string) (*TrainedRun, error) {
	if checkpoint != Best && checkpoint != Last {
		return nil, &UsageError{"checkpoint", fmt.Sprintf("%q is neither %s nor %s", checkpoint, Best, Last)}
	}
	if file := disk.NotFolder(dir); file != "" {
		return nil, &NoRunError{dir, "there is no run here: " + file + " is a file, and a run is a folder"}
	}
	path := checkpointFile(dir, checkpoint)
	f, st, cfg, pos, err := openCheckpoint(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noCheckpoint(dir, checkpoint)
	} else if err != nil {
		return nil, err
	}
	f.Close()
	if err := checkConfig(dir, checkpoint, cfg); err != nil {
		return nil, err
	}
	r := &TrainedRun{Dir: dir, Checkpoint: checkpoint, Config: *cfg, Stage: pos.Stage, Epoch: pos.Epoch, Step: pos.Step, neglected: pos.Neglected}
	if pos.Row > 0 {
		r.Epoch++
	}
	if pos.Best != nil && checkpoint == Best {
		r.Epoch = pos.Best.Epoch
	}
	if err := cfg.Validate(); err != nil {
		return nil, &CorruptError{path, err}
	}
	if r.counts, err = classCounts(st.Metadata[countsKey]); err != nil {
		return nil, &CorruptError{path, err}
	}
	if r.own = pos.Adjust; r.own != nil {
		r.tau = r.own.Tau
	}
	r.classes = subclass.Identity(cfg.Classes)
	if pos.SubclassToClass != nil {
		if r.classes, err = subclass.NewMap(cfg.Classes, pos.SubclassToClass); err != nil {
			return nil, &CorruptError{path, err}
		}
	}
	return r, nil
}

// noCheckpoint is the error of a checkpoint that is not in dir. It says whether
// the other one can be evaluated.
func noCheckpoint(dir, checkpoint string) error {
	if _, err := LoadConfig(dir); err != nil {
		return err
	}
	other := Last
	if checkpoint == Last {
		other = Best
	}
	f, _, _, pos, err := openCheckpoint(checkpointFile(dir, other))
	if err != nil {
		return &NoRunError{dir, "the run has not come to a " + checkpoint + ".safetensors yet; train on with --resume"}
	}
	f.Close()
	switch {
	case checkpoint == Last: // lost, or killed just before it was first written
		return &NoRunError{dir, "there is no last.safetensors, without which --resume begins from the start; " + offered(other)}
	case pos.Best != nil:
		return lostBest(dir, pos)
	}
	return &NoRunError{dir, "the run has not come to a best.safetensors yet; train on with --resume; " + offered(other)}
}

// lostBest is the error of a missing best.safetensors that the run had written,
// as the position of last.safetensors says.
func lostBest(dir string, last *position) error {
	run := "the run"
	if last.Done {
		run = "the run, which is finished,"
	}
	return fmt.Errorf("%w; %s", &CorruptError{checkpointFile(dir, Best), errors.New("it is missing, but " + run + " had written it")}, offered(Last))
}

// offered says that a checkpoint can be evaluated in place of one that is missing.
func offered(checkpoint string) string {
	return "eval and predict can take " + checkpoint + ".safetensors, with --checkpoint " + checkpoint
}

// LogitAdjust is the logit adjustment that Score applies: the run's own, until
// SetLogitAdjust says otherwise.
func (r *TrainedRun) LogitAdjust() float64 { return r.tau }

// SetLogitAdjust chooses the logit adjustment that Score applies: "auto" for the
// run's own, "none", or a number. The error is a *UsageError.
func (r *TrainedRun) SetLogitAdjust(text string) error {
	tau, err := ParseLogitAdjust(text)
	if err != nil {
		return &UsageError{"logit-adjust", strconv.Quote(text) + " " + err.Error()}
	}
	if text == AdjustAuto && r.own != nil {
		tau = r.own.Tau
	}
	if tau != 0 && len(r.counts) == 0 {
		return &UsageError{"logit-adjust", r.Dir + " was trained by an earlier version, " +
			"which did not keep how many rows each class has: it can only be evaluated without, or trained anew"}
	}
	r.tau = tau
	return nil
}

// Neglected lists the neglected classes, most neglected first; nil for a plain run.
func (r *TrainedRun) Neglected() []int { return r.neglected }

// Map returns the classes of the network's outputs.
func (r *TrainedRun) Map() *subclass.Map { return r.classes }

// Check says whether the store fits the run: a *MismatchError names the classes
// or columns that do not.
func (r *TrainedRun) Check(m *features.Manifest) error { return checkStore(&r.Config, m) }

// ScoredBatch is what Score finds for the rows of a batch. Its slices are only
// valid during the call.
type ScoredBatch struct {
	Rows         []int     // of the split, in the subset's order
	Scores       []float32 // [len(Rows)*Classes]: each class's highest subclass probability
	Logits       []float32 // of Scores, which for sure classes are all the same 1; nil for a mixture of experts, which has none
	LabelOffsets []int32   // the labels of Rows[i] are Labels[LabelOffsets[i]:LabelOffsets[i+1]]
	Labels       []int32
	Loss         float64 // mean class cross-entropy of Scores
}

// Score computes the class scores of the rows of a subset, in order, a batch at
// a time. Images must have one label each. Errors: *LabelError, those of each, of the store and the engine, *CorruptError, or the cause of ctx.
func (r *TrainedRun) Score(ctx context.Context, e nn.Engine, s *features.Subset, batch int, each func(b *ScoredBatch) error) error {
	if err := r.Check(s.Split().Manifest()); err != nil {
		return err
	}
	in, err := newInputs(&r.Config, s.Split(), features.Augment{}, nil)
	if err != nil {
		return err
	}
	batch = min(batch, max(s.Rows(), 1)) // memory for more would never be used
	model, err := buildModel(&r.Config, batch, r.classes.Subclasses(), false)
	if err != nil {
		return err
	}
	session, err := r.compile(e, model)
	if err != nil {
		return err
	}
	defer session.Close()
	path := checkpointFile(r.Dir, r.Checkpoint)
	f, st, _, _, err := openCheckpoint(path)
	if err != nil {
		return err
	}
	_, err = load(path, st, session, true)
	f.Close()
	if err != nil {
		return err
	}
	sc := scorer{session: session, probabilities: model.Probabilities, classes: r.classes,
		feed: feeder{inputs: in, session: session}}
	if r.tau != 0 {
		offsets := logOffsets(r.tau, r.counts)
		if model.Probabilities {
			sc.odds = odds(offsets)
		} else if err := applyOffsets(session, model, r.classes, offsets); err != nil {
			return err
		}
	}
	// Images cross a quarter of the bytes as they are stored, and are normalised
	// where they are computed on. Features would move the same once, and wait for it.
	if r.Config.Images() && 2*s.Rows() >= s.Split().Rows() {
		if sc.feed.kept, err = in.keep(session); err != nil {
			return err
		}
	}
	return sc.score(ctx, s, batch, each)
}

// compile opens a session that evaluates in the precision that the run was
// trained in, or, where the engine lacks it, in f32, that of the weights.
func (r *TrainedRun) compile(e nn.Engine, model *nn.Model) (nn.Session, error) {
	o := nn.CompileOptions{Purpose: nn.Evaluation, Precision: r.Config.Precision, Seed: r.Config.Seed, Beside: scorerBytes(r.Config.Classes)}
	session, err := e.Compile(model, o)
	if _, refused := errors.AsType[*nn.UnsupportedError](err); refused && o.Precision != nn.F32 {
		o.Precision = nn.F32
		return e.Compile(model, o)
	}
	return session, err
}
