package train

import (
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
	// Epoch is called after each epoch; v is nil where nothing is held out.
	Epoch(p *Progress, v *Validation)
	// Message is a sentence for the log.
	Message(text string)
	// Warning is a sentence that is to be read also where no log is wanted.
	Warning(text string)
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

// Validation is the result of an epoch on the held-out examples. One of the
// embedded parts is nil.
type Validation struct {
	*VideoMetrics
	*ImageMetrics
	Loss float64 `json:"loss"` // class CE of the class scores
}

// VideoMetrics are those of YouTube-8M; the more, the better.
type VideoMetrics struct {
	GAP  float64 `json:"gap"`
	MAP  float64 `json:"map"`
	Hit1 float64 `json:"hit_at_1"`
	PERR float64 `json:"perr"`
}

// ImageMetrics are those of data with one label an example; the less, the better.
type ImageMetrics struct {
	ErrorRate     float64 `json:"error_rate"`
	Top5ErrorRate float64 `json:"top5_error_rate"`
}

// The metrics that may choose, values of Config.Metric.
const (
	MetricGAP       = "gap"        // videos; the default
	MetricMAP       = "map"        // videos
	MetricErrorRate = "error_rate" // images; the default
	MetricLoss      = "loss"
)

// value is that of a metric.
func (v *Validation) value(metric string) float64 {
	switch metric {
	case MetricGAP:
		return v.GAP
	case MetricMAP:
		return v.MAP
	case MetricErrorRate:
		return v.ErrorRate
	}
	return v.Loss
}

// betterThan says whether v is the better of two validations of one run by a
// metric: of GAP and mAP the higher, of others the lower.
func (v *Validation) betterThan(w *Validation, metric string) bool {
	if metric == MetricGAP || metric == MetricMAP {
		return v.value(metric) > w.value(metric)
	}
	return v.value(metric) < w.value(metric)
}

// Result is what a finished run has come to.
type Result struct {
	Dir       string       `json:"run"`
	Net       string       `json:"net"`
	Engine    string       `json:"engine"`
	Classes   int          `json:"classes"`
	Outputs   int          `json:"outputs"` // S
	Epochs    int          `json:"epochs"`
	Steps     int64        `json:"steps"` // of stage 3
	Examples  int64        `json:"examples"`
	Loss      float64      `json:"loss"`               // training loss of the last epoch
	BestEpoch int          `json:"best_epoch"`         // from 1
	Best      *Validation  `json:"validate,omitempty"` // of the best epoch; nil without validation
	Adjust    *Adjustment  `json:"logit_adjust,omitempty"`
	Refit     *RefitResult `json:"refit,omitempty"` // nil unless it was trained on all rows in the end
	Neglected []int        `json:"neglected,omitempty"`
	// Split lists those of Neglected that were split: the others have too few
	// examples.
	Split   []int   `json:"split,omitempty"`
	Seconds float64 `json:"seconds"` // of this invocation
	Resumed bool    `json:"resumed"`
	// Finished says that the run was before: this invocation trained nothing.
	Finished bool `json:"-"`
}

// ErrInterrupted says that the context was cancelled and the state was saved.
var ErrInterrupted = errors.New("interrupted; the state is saved, --resume goes on from here")
