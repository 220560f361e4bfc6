package train

import (
	"context"
	"errors"
	"time"

	"sdnn/features"
	"sdnn/nn"
)

// Options say where and how a run is trained; they do not change its result.
type Options struct {
	Dir       string // the folder of the run; made if need be
	Store     *features.Store
	Engine    nn.Engine
	Resume    bool // go on with the run in Dir
	Overwrite bool // remove the run in Dir first
	// CheckpointEvery is the time between checkpoints inside an epoch; 0 is
	// DefaultCheckpointEvery.
	CheckpointEvery time.Duration
	Reporter        Reporter // may be nil
}

// DefaultCheckpointEvery bounds what a kill can lose.
const DefaultCheckpointEvery = 10 * time.Minute

// Reporter hears how a run gets on. All methods are called by the goroutine
// that called Run.
type Reporter interface {
	// Stage begins: its number, what it does, the examples it will see in all
	// (0 in stage 2) and those seen already (after a resume).
	Stage(stage int, what string, total, done int64)
	// Progress is called after every step; p is only valid during the call.
	Progress(p *Progress)
	// Validated is called after each epoch that was validated.
	Validated(p *Progress, v *Validation)
	// Message is a sentence for the log.
	Message(text string)
}

// Progress is where a run is.
type Progress struct {
	Stage    int
	Epoch    int     // from 0
	Epochs   int     // of this stage
	Step     int64   // steps done in this stage
	Examples int64   // examples seen in this stage
	Total    int64   // examples that this stage will see
	Loss     float64 // mean since the last line of metrics.jsonl; 0 before the first
	LR       float64
	PerSec   float64 // examples per second
}

// Validation is the result of an epoch on the held-out videos.
type Validation struct {
	GAP  float64 `json:"gap"`
	MAP  float64 `json:"map"`
	Hit1 float64 `json:"hit_at_1"`
	PERR float64 `json:"perr"`
	Loss float64 `json:"loss"` // class CE of the class scores
}

// Result is what a finished run has come to.
type Result struct {
	Dir       string      `json:"run"`
	Net       string      `json:"net"`
	Engine    string      `json:"engine"`
	Classes   int         `json:"classes"`
	Outputs   int         `json:"outputs"` // S
	Epochs    int         `json:"epochs"`
	Steps     int64       `json:"steps"` // of stage 3
	Examples  int64       `json:"examples"`
	Loss      float64     `json:"loss"`               // training loss of the last epoch
	BestEpoch int         `json:"best_epoch"`         // from 1
	Best      *Validation `json:"validate,omitempty"` // of the best epoch; nil without validation
	Neglected []int       `json:"neglected,omitempty"`
	Seconds   float64     `json:"seconds"` // of this invocation
	Resumed   bool        `json:"resumed"`
}

// ErrInterrupted says that the context was cancelled and the state was saved.
var ErrInterrupted = errors.New("interrupted; the state is saved, --resume goes on from here")

// Run trains as cfg says and returns when the run is finished. With
// Options.Resume, cfg must agree with the run's config.json (take it from
// LoadConfig and Set what the user gave); a finished run only reports its
// result. Errors:
//
//   - *UsageError, *ExistsError, *ConflictError, *NoRunError: wrong usage
//   - *DataChangedError, *CorruptError, those of features: bad input data
//   - ErrInterrupted: ctx was cancelled, everything is saved
//   - *DivergedError: the loss or a weight is no longer finite
func Run(ctx context.Context, cfg Config, o Options) (*Result, error) { panic("train: todo") }

// LoadConfig reads config.json of the run in dir.
func LoadConfig(dir string) (Config, error) { panic("train: todo") }

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
	Epoch      int // in which the checkpoint was taken, from 1
	Step       int64
}

// OpenRun opens the run in dir with one of its checkpoints. Errors:
// *NoRunError, *CorruptError.
func OpenRun(dir, checkpoint string) (*TrainedRun, error) { panic("train: todo") }

// Neglected lists the neglected classes, most neglected first; nil for a plain run.
func (r *TrainedRun) Neglected() []int { panic("train: todo") }

// Check says whether the store fits the run: an error names the classes or
// columns that do not.
func (r *TrainedRun) Check(m *features.Manifest) error { panic("train: todo") }

// ScoredBatch is what Score finds for the rows of a batch. Its slices are only
// valid during the call.
type ScoredBatch struct {
	Rows         []int     // of the split, in the subset's order
	Scores       []float32 // [len(Rows)*Classes]: each class's highest subclass probability
	LabelOffsets []int32   // the labels of Rows[i] are Labels[LabelOffsets[i]:LabelOffsets[i+1]]
	Labels       []int32
	Loss         float64 // mean class cross-entropy of Scores
}

// Score computes the class scores of the rows of a subset, in order. Errors:
// those of each, of the store and the engine, *CorruptError, or that of ctx.
func (r *TrainedRun) Score(ctx context.Context, e nn.Engine, s *features.Subset, batch int, each func(b *ScoredBatch) error) error {
	panic("train: todo")
}
