package cpu

import (
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
	pool *pool.Pool
}

// New starts an engine. It fails if SDNN_CPU names instructions that this
// machine has not.
func New(o Options) (*Engine, error) {
	if err := kernel.PathErr(); err != nil {
		return nil, err
	}
	n := o.Threads
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Engine{pool: pool.New(n)}, nil
}

// Name implements nn.Engine.
func (*Engine) Name() string { return "cpu" }

// Close stops the engine's threads. No session may be in use.
func (e *Engine) Close() { e.pool.Close() }

// Compile implements nn.Engine.
func (e *Engine) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	if o.Precision != "" && o.Precision != nn.F32 {
		return nil, &nn.UnsupportedError{Engine: "cpu", Model: m.Name, What: "--precision " + string(o.Precision) + " is not available on this CPU; use f32"}
	}
	return newSession(e.pool, m, o)
}
