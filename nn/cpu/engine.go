package cpu

import (
	"errors"
	"fmt"
	"runtime"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cpu/pool"
)

// Options configure the engine.
type Options struct {
	Threads int // 0: as many as Go may use
}

// Engine runs models on the processor.
type Engine struct {
	pool      *pool.Pool
	available func() (bytes int, of string) // see availableMemory
}

// New starts an engine. It fails if SDNN_CPU names instructions that this
// machine has not, or SDNN_CONV no way to convolve.
func New(o Options) (*Engine, error) {
	if err := errors.Join(kernel.PathErr(), kernel.ConvErr()); err != nil {
		return nil, err
	}
	n := o.Threads
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Engine{pool: pool.New(n), available: availableMemory}, nil
}

// Name implements nn.Engine.
func (*Engine) Name() string { return "cpu" }

// Close stops the engine's threads. No session may be in use.
func (e *Engine) Close() { e.pool.Close() }

// Compile implements nn.Engine. On Linux a model that does not fit into the
// memory that is free is an *nn.MemoryError.
func (e *Engine) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	if err := checkPrecision(o.Precision); err != nil {
		return nil, &nn.UnsupportedError{Engine: "cpu", Model: m.Name, What: fmt.Sprintf("--precision %s: %v; or use --precision f32", o.Precision, err)}
	}
	return newSession(e, m, o)
}

// checkPrecision says why this machine cannot compute in precision p.
func checkPrecision(p nn.Precision) error {
	switch p {
	case "", nn.F32:
		return nil
	case nn.TF32:
		return errors.New("it is an NVIDIA card's precision, for --engine cuda; the cpu engine has f32 and bf16")
	case nn.BF16:
		return kernel.BF16Err()
	}
	return errors.New("the precision is not known to it")
}
