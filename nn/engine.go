package nn

import "fmt"

// Engine makes sessions of models on one kind of processor.
type Engine interface {
	// Name is the value of --engine: "cpu", "gorgonia", "cuda".
	Name() string
	// Compile plans a model. It refuses a model with an op it does not know by
	// an *UnsupportedError, and one that does not fit into memory, where the
	// engine can tell, by a *MemoryError.
	Compile(m *Model, o CompileOptions) (Session, error)
}

// Precision of an engine's products; state and losses are always float32.
type Precision string

// The precisions.
const (
	F32  Precision = "f32"
	TF32 Precision = "tf32" // float32 whose products round their factors to 10 bits of mantissa, on a GPU's tensor cores
	BF16 Precision = "bf16"
)

// CompileOptions say what a session will be asked for.
type CompileOptions struct {
	Purpose   Purpose // Evaluation sessions cannot train; training ones can also evaluate
	Optimizer Optimizer
	Precision Precision // "" is F32
	Seed      uint64    // of the initial parameters
	// Beside is the memory, in bytes for each row of a batch, that the caller
	// will take beside the session: an engine on the processor counts it in when it
	// says whether the session fits.
	Beside int
	// KeepGradients makes the gradients of the last step readable as state
	// tensors "grad/<parameter>" (tests).
	KeepGradients bool
	// OnStep receives the result of every TrainStep, in order. An engine may
	// call it later than TrainStep returns, but not after Sync has returned.
	OnStep func(StepResult)
}

// Feed is what a batch brings. Its buffers belong to the session: a loader
// fills those of one slot while another slot is computed on.
type Feed struct {
	Rows     int         // rows filled, at most the model's Batch
	Features [][]float32 // one for each of Model.Features, [Batch*Width]
	Keys     []uint64    // RowKey of each row (training)
	Targets  Targets     // labels; needed for training, and for the loss in evaluation

	// Kept names data that the session took over (Keeper), 0 for none. Then row
	// r of the batch is row Index[r] of that data, Features are not read, and
	// Vary says that images are varied by their Keys.
	Kept  int
	Index []int32 // [Batch]; nil where the session is no Keeper
	Vary  bool
}

// StepParams are the numbers that change from step to step.
type StepParams struct {
	LR   float64
	Step int64 // 1, 2, ...: Adam's t
}

// StepResult is what a training step found out.
type StepResult struct {
	Slot int
	Step int64
	Rows int
	Loss float64 // mean over the rows
	// Theta is the neglection degree of each class, 0 for one that did not
	// occur, when measuring, else nil; valid until the next step.
	Theta []float32
}

// StateTensor names a tensor of a session's state.
type StateTensor struct {
	Name  string
	Shape Shape
	// Trained tensors make up the network; the others are the optimiser's.
	Trained bool
}

// Session is a compiled model with its parameters. It is used by one
// goroutine, except that the feeds of other slots may be filled meanwhile.
type Session interface {
	// Slots is the number of feeds, at least 2.
	Slots() int
	// Feed returns the buffers of a slot.
	Feed(slot int) *Feed
	// TrainStep computes the loss and gradients of a slot's batch and updates
	// the parameters. The slot is free again when OnStep has its result.
	TrainStep(slot int, sp StepParams) error
	// Sync waits for all steps, and returns their error.
	Sync() error
	// Forward evaluates a slot's batch: scores [Rows*S] and, if the feed has
	// targets for all rows, the mean loss (else NaN). Valid until the next call.
	Forward(slot int) (scores []float32, loss float64, err error)
	// Penultimate returns the penultimate features [Rows*F] of the last Forward.
	Penultimate() []float32
	// State lists parameters and optimiser state in a fixed order.
	State() []StateTensor
	// ReadState calls f with a state tensor's content, which is valid during the call.
	ReadState(name string, f func(data []float32) error) error
	// WriteState sets a state tensor or a Constant.
	WriteState(name string, data []float32) error
	// Close frees the session.
	Close() error
}

// UnsupportedError says that an engine cannot run a model.
type UnsupportedError struct {
	Engine, Model, What string
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("engine %s cannot run %s: %s", e.Engine, e.Model, e.What)
}
