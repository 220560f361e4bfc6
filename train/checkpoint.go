package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/train/internal/durable"
	"sdnn/train/safetensors"
)

// The files of a run.
const (
	configFile     = "config.json"
	metricsName    = "metrics.jsonl"
	neglectionFile = "neglection.json"
	subclassesFile = "subclasses.json"
	partitionFile  = "partition.bin"
	lockFile       = "run.lock"
	scratchFile    = "penultimate.tmp" // only in stage 2, see memoryBudget
)

func checkpointFile(dir, checkpoint string) string {
	return filepath.Join(dir, checkpoint+".safetensors")
}

// position says how far a run has come. With the tensors of the checkpoint it
// is all that training goes on from.
type position struct {
	Stage    int   `json:"stage"`    // 1, 2, 3 or 4
	Epoch    int   `json:"epoch"`    // epochs of the stage that are over
	Row      int   `json:"row"`      // examples of the running epoch that were seen
	Step     int64 `json:"step"`     // of the stage
	Examples int64 `json:"examples"` // of the stage

	EpochLoss lossSum `json:"epoch_loss"`
	LineLoss  lossSum `json:"line_loss"` // since the last line of metrics.jsonl

	Best *best `json:"best,omitempty"`
	// MetricsLines is the length of metrics.jsonl. In lines, because timings
	// change its bytes, and two runs that agree should agree in this file too.
	MetricsLines int64 `json:"metrics_lines"`
	// Neglected are the K most neglected classes, known from stage 2 on.
	Neglected []int `json:"neglected,omitempty"`
	// SubclassToClass is the map of the outputs in stage 3 if not the identity.
	SubclassToClass []int32 `json:"subclass_to_class,omitempty"`
	// Main is what stage 3 came to, in stage 4.
	Main *progressed `json:"main,omitempty"`
	// Adjust is the logit adjustment, known when stage 3 is over.
	Adjust   *Adjustment `json:"logit_adjust,omitempty"`
	Done     bool        `json:"done"`
	LastLoss float64     `json:"last_loss"` // mean of the last whole epoch
}

// best is the best epoch so far.
type best struct {
	Epoch      int         `json:"epoch"` // from 1
	Step       int64       `json:"step"`
	Validation *Validation `json:"validate,omitempty"` // nil without validation
}

// lossSum is a mean under construction.
type lossSum struct {
	Sum  float64 `json:"sum"`
	Rows int64   `json:"rows"`
}

func (l *lossSum) add(mean float64, rows int) {
	l.Sum += mean * float64(rows)
	l.Rows += int64(rows)
}

func (l *lossSum) mean() float64 {
	if l.Rows == 0 {
		return 0
	}
	return l.Sum / float64(l.Rows)
}

// Keys of the metadata, and the tensor that is not the session's.
const (
	positionKey     = "sdnn.position"
	configKey       = "sdnn.config"
	countsKey       = "sdnn.class_counts" // training rows of each class, a JSON list
	neglectionState = "sdnn.neglection"   // U8, of runs with subclasses
)

// nonFiniteError says that a trained tensor has left the finite numbers.
type nonFiniteError struct{ tensor string }

func (e *nonFiniteError) Error() string { return e.tensor + " holds a value that is not finite" }

// checkpoint is what a checkpoint file holds.
type checkpoint struct {
	config     *Config
	position   *position
	counts     []int64    // of each class, the training rows
	session    nn.Session // may be nil: no tensors
	trained    bool       // only the network, without the optimiser
	neglection []byte     // may be nil
}

// write replaces the checkpoint at path. A weight that is not finite is a
// *nonFiniteError and leaves the old file.
func (c *checkpoint) write(path string) error {
	cfg, err := json.Marshal(c.config)
	if err != nil {
		return err
	}
	pos, err := json.Marshal(c.position)
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	var state []nn.StateTensor
	if c.session != nil {
		for _, t := range c.session.State() {
			if c.trained && !t.Trained {
				continue
			}
			state = append(state, t)
			shape := make([]int64, len(t.Shape))
			for i, d := range t.Shape {
				shape[i] = int64(d)
			}
			tensors = append(tensors, safetensors.Tensor{Name: t.Name, DType: safetensors.F32, Shape: shape})
		}
	}
	if c.neglection != nil {
		tensors = append(tensors, safetensors.Tensor{Name: neglectionState, DType: safetensors.U8, Shape: []int64{int64(len(c.neglection))}})
	}
	counts, err := json.Marshal(c.counts)
	if err != nil {
		return err
	}
	meta := map[string]string{configKey: string(cfg), positionKey: string(pos), countsKey: string(counts), "format": "pt"}
	return durable.Write(path, func(f *os.File) error {
		return safetensors.Write(f, meta, tensors, func(i int, e *safetensors.Encoder) error {
			if i == len(state) {
				return e.U8(c.neglection)
			}
			return c.session.ReadState(state[i].Name, func(data []float32) error {
				if state[i].Trained && !kernel.AllFinite(data) {
					return &nonFiniteError{state[i].Name}
				}
				return e.F32(data)
			})
		})
	})
}

// openCheckpoint reads the header of a checkpoint. The caller closes the file.
func openCheckpoint(path string) (*os.File, *safetensors.File, *Config, *position, error) {
	fail := func(f *os.File, err error) (*os.File, *safetensors.File, *Config, *position, error) {
		if f != nil {
			f.Close()
		}
		return nil, nil, nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(nil, err)
	}
	info, err := f.Stat()
	if err != nil {
		return fail(f, err)
	}
	st, err := safetensors.NewFile(f, info.Size())
	if err != nil {
		return fail(f, corrupt(path, err))
	}
	if !st.Checked {
		return fail(f, &CorruptError{path, errors.New("it has no checksum where sdnn writes one: it was damaged, or written by another program")})
	}
	var cfg Config
	var pos position
	if err := json.Unmarshal([]byte(st.Metadata[configKey]), &cfg); err != nil {
		return fail(f, &CorruptError{path, fmt.Errorf("metadata %s: %w", configKey, err)})
	}
	if err := json.Unmarshal([]byte(st.Metadata[positionKey]), &pos); err != nil {
		return fail(f, &CorruptError{path, fmt.Errorf("metadata %s: %w", positionKey, err)})
	}
	cfg.fillOld()
	if pos.Stage < 1 || pos.Stage > 4 || pos.Epoch < 0 || pos.Row < 0 || pos.Step < 0 || pos.Examples < 0 ||
		pos.MetricsLines < 0 {
		return fail(f, &CorruptError{path, fmt.Errorf("metadata %s holds no position of a run", positionKey)})
	}
	if err := checkMetadata(&cfg, &pos, st.Metadata[countsKey]); err != nil {
		return fail(f, &CorruptError{path, err})
	}
	return f, st, &cfg, &pos, nil
}

// checkMetadata says what does not fit together in a checkpoint's metadata.
func checkMetadata(cfg *Config, pos *position, counts string) error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("metadata %s: %s", key, fmt.Sprintf(format, args...))
	}
	list, err := classCounts(counts)
	if err != nil {
		return bad(countsKey, "%v", err)
	}
	if n := len(list); n != 0 && n != cfg.Classes || n == 0 && pos.Adjust != nil {
		return bad(countsKey, "%d numbers of rows for %d classes", n, cfg.Classes)
	}
	fits := func(v *Validation) bool { // absent, or of the run's kind of data
		return v == nil || (v.ImageMetrics != nil) == cfg.Images() && (v.VideoMetrics != nil) != cfg.Images()
	}
	if a := pos.Adjust; a != nil {
		paired := (a.Validate == nil) == (a.Without == nil)
		if !(math.Abs(a.Tau) <= adjustLimit) || !paired || !fits(a.Validate) || !fits(a.Without) {
			return bad(positionKey, "a logit adjustment of %v that is none", a.Tau)
		}
	}
	if b := pos.Best; b != nil && !fits(b.Validation) {
		return bad(positionKey, "metrics of another kind of data than %s", cfg.Examples())
	} else if b == nil && (pos.Stage == 3 && pos.Epoch > 0 || pos.Stage == 4) || (pos.Stage == 4) != (pos.Main != nil) {
		return bad(positionKey, "%d epochs of stage %d, and none is the best", pos.Epoch, pos.Stage)
	}
	return nil
}

// classCounts reads the training rows of each class; files of earlier versions have none.
func classCounts(text string) (list []int64, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	for c, n := range list {
		if n < 0 {
			return nil, fmt.Errorf("class %d has %d rows", c, n)
		}
	}
	return list, nil
}

// corrupt marks a *safetensors.FormatError as that of a file of the run.
func corrupt(path string, err error) error {
	var bad *safetensors.FormatError
	if errors.As(err, &bad) {
		return &CorruptError{path, err}
	}
	return err
}

// largeTensor is the number of elements from which on memory is given back at once.
const largeTensor = 1 << 20

// load reads the tensors of an opened checkpoint into a session: the trained
// ones, and unless trained is set the optimiser's too. A nil session takes
// none, but every byte is checked. It returns the neglection's state, if any.
func load(path string, st *safetensors.File, session nn.Session, trained bool) (neglection []byte, err error) {
	want := map[string]nn.StateTensor{}
	if session != nil {
		for _, t := range session.State() {
			if t.Trained || !trained {
				want[t.Name] = t
			}
		}
	}
	var buf []float32
	for {
		err := st.Next(func(t *safetensors.Tensor, d *safetensors.Decoder) error {
			if t.Name == neglectionState && t.DType == safetensors.U8 {
				neglection = make([]byte, t.Elements())
				return d.U8(neglection)
			}
			w, ok := want[t.Name]
			if !ok {
				return nil
			}
			delete(want, t.Name)
			if !slices.EqualFunc(t.Shape, w.Shape, func(a int64, b int) bool { return a == int64(b) }) {
				return &CorruptError{path, fmt.Errorf("tensor %q has shape %v, the network needs %v", t.Name, t.Shape, w.Shape)}
			}
			if n := w.Shape.Size(); cap(buf) < n {
				buf = make([]float32, n)
			}
			buf = buf[:w.Shape.Size()]
			if err := d.F32(buf); err != nil {
				return err
			}
			return session.WriteState(t.Name, buf)
		})
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, corrupt(path, err)
		}
	}
	for name := range want {
		return nil, &CorruptError{path, fmt.Errorf("tensor %q is missing", name)}
	}
	if cap(buf) >= largeTensor {
		// The largest tensor's copy (conv1d: 584 MB) must not stay part of the
		// process while it trains.
		buf = nil
		debug.FreeOSMemory()
	}
	return neglection, nil
}
