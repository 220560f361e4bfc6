package cuda

import (
	"fmt"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// Options configure the engine.
type Options struct {
	// CacheDir keeps compiled kernels between runs; "" is the user's (kernels.CacheDir).
	CacheDir string
	// Fast times the libraries' candidates for every product and convolution, and
	// takes the fastest, also of those whose results differ in their last bits from
	// run to run.
	Fast bool
}

// Engine runs models on one card.
type Engine struct {
	card    driver.Card
	info    driver.Info
	set     *kernels.Set
	options Options
	chooser *chooser // nil without Options.Fast
}

// New starts an engine on a card: it compiles the kernels for it, or finds
// them in the cache. The card stays the caller's to close, after the engine.
func New(card driver.Card, o Options) (*Engine, error) {
	set, err := kernels.Load(card, o.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("cuda: the kernels for %s: %w", card.Info().Name, err)
	}
	e := &Engine{card: card, info: card.Info(), set: set, options: o}
	if o.Fast {
		e.chooser = newChooser(card, o.CacheDir)
	}
	return e, nil
}

// Name implements nn.Engine.
func (*Engine) Name() string { return "cuda" }

// Close unloads the kernels. No session may be in use.
func (e *Engine) Close() error { return e.set.Close() }

// Compile implements nn.Engine. A model that does not fit into the card's
// memory is an *nn.MemoryError.
func (e *Engine) Compile(m *nn.Model, o nn.CompileOptions) (nn.Session, error) {
	if err := e.checkPrecision(o.Precision); err != nil {
		return nil, &nn.UnsupportedError{Engine: "cuda", Model: m.Name, What: fmt.Sprintf("--precision %s: %v; or use --precision f32", o.Precision, err)}
	}
	return newSession(e, m, o)
}

// checkPrecision says why the card cannot compute in precision p.
func (e *Engine) checkPrecision(p nn.Precision) error {
	switch p {
	case "", nn.F32:
		return nil
	case nn.BF16:
		if !e.info.SupportsBF16 {
			return fmt.Errorf("%s has no bfloat16 (compute capability %d.%d, 8.0 is needed)", e.info.Name, e.info.Major, e.info.Minor)
		}
		return nil
	case nn.TF32:
		if e.info.Major < 8 {
			return fmt.Errorf("%s has no TF32 (compute capability %d.%d, 8.0 is needed)", e.info.Name, e.info.Major, e.info.Minor)
		}
		return nil
	}
	return fmt.Errorf("the precision is not known to it")
}

// convert queues the making of a bf16 copy of n numbers.
func (e *Engine) convert(s driver.Stream, dst, src driver.Ptr, n int) error {
	return e.set.Launch(s, "convert_f32_bf16", kernels.P(dst), kernels.P(src), kernels.L(uint64(n)))
}
