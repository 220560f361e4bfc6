// Package driver is what the cuda engine asks of a machine with a GPU: memory,
// streams, kernels, and the products and convolutions of NVIDIA's libraries.
//
// The interfaces speak the engine's language (row-major matrices, NHWC
// convolutions, planned once and run many times), not the libraries', for two
// reasons: the calls that need a call with many arguments or a descriptor's
// lifetime stay in one place, and a test can put a card of its own behind them
// that checks argument types, stream order, lifetimes and leaks.
//
//	engine (nn/cuda) --> driver.Card <-- nn/cuda/libraries (CUDA driver, cuBLASLt, cuDNN 9, NVRTC, found at run time)
//	                                 <-- nn/cuda/fakecard  (tests)
//
// All work is queued on streams and ordered by events; nothing here waits but
// the Sync calls, and the blocking copies, which the step never uses. A method
// that queues work may fail later: the error of a kernel surfaces at the next
// call that waits, as an *Error.
package driver

import (
	"errors"
	"fmt"
	"time"
	"unsafe"
)

// Ptr is an address in the card's memory; 0 is no memory.
type Ptr uint64

// Add returns the address n bytes further on.
func (p Ptr) Add(n int) Ptr { return p + Ptr(n) }

// Handles of the card's objects; 0 is none.
type (
	Stream   uintptr
	Event    uintptr
	Module   uintptr
	Function uintptr
	Graph    uintptr // an instantiated graph
)

// Info describes a card and what drives it.
type Info struct {
	Index             int
	Name              string
	Memory            int // bytes
	Major, Minor      int // compute capability
	Multiprocessors   int
	SharedPerBlock    int            // bytes of shared memory a block may use without opting in
	Driver            int            // CUDA version of the driver, 13000 for 13.0
	Libraries         map[string]int // versions as the libraries number themselves: "cublasLt", "cudnn", "nvrtc"
	SupportsBF16      bool
	MemoryBusyByOther int // bytes in use when the card was opened
}

// Error is a failed call of the card or one of its libraries.
type Error struct {
	Call string // "cuLaunchKernel(batchnorm_stats_f32)"
	Code int
	Text string // the library's own name for it: "CUDA_ERROR_OUT_OF_MEMORY"
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s (%d)", e.Call, e.Text, e.Code) }

// Type is the type of a tensor's elements.
type Type uint8

// The element types.
const (
	F32 Type = iota
	BF16
)

// Size returns the bytes of an element.
func (t Type) Size() int {
	if t == BF16 {
		return 2
	}
	return 4
}

// Math says how products of float32 are made. Products of bf16 always add in float32.
type Math uint8

// The ways to multiply.
const (
	MathF32  Math = iota // float32 throughout
	MathTF32             // inputs rounded to 10 bits of mantissa, on tensor cores
)

// Arg is one argument of a kernel, with its type: a card checks it against the
// kernel's declaration where it can.
type Arg struct {
	Kind ArgKind
	Bits uint64
}

// ArgKind is the C type of a kernel's argument.
type ArgKind uint8

// The argument types of our kernels. Pointers carry no element type here; the
// declaration in the source has it.
const (
	ArgPtr ArgKind = iota
	ArgI32
	ArgU32
	ArgU64
	ArgF32
)

// Dim is the extent of a grid or block.
type Dim struct{ X, Y, Z int }

// Epilogue is what a product does to its result before it is written.
type Epilogue uint8

// The epilogues. Bias adds bias[n] to column n.
const (
	EpilogueNone Epilogue = iota
	EpilogueBias
	EpilogueBiasReLU
)

// ErrNoCandidate says that a library has fewer choices for a product or
// convolution than the candidate's number. Another error of a candidate but the
// first says that it is none for this card; there may be more behind it.
var ErrNoCandidate = errors.New("the library has no more choices")

// MatmulSpec is the product D[M,N] = op(A) op(B) (+ D if Accumulate) of row-major matrices:
// A is [M,K], or [K,M] with TransA; B is [K,N], or [N,K] with TransB. Leading
// dimensions are the stored rows' lengths.
type MatmulSpec struct {
	M, N, K        int
	TransA, TransB bool
	AB, D          Type // of both factors; of the result
	Math           Math
	Epilogue       Epilogue
	Bias           Type // of the bias, with an Epilogue that has one
	Accumulate     bool
	Candidate      int // which of the library's choices: 0 is its first
}

// Matmul is a planned product.
type Matmul interface {
	Workspace() int // bytes it needs
	Run(d, a, b, bias, workspace Ptr, s Stream) error
	Close() error
}

// Direction is one of a convolution's three products.
type Direction uint8

// The directions.
const (
	Forward        Direction = iota // y  [N,OH,OW,O] from x, w
	BackwardData                    // dx [N,H,W,C] from dy, w
	BackwardWeight                  // dw [O,K,K,C] from dy, x, summed over the batch
)

// ConvSpec is a two-dimensional convolution as nn.Conv2D defines it: NHWC
// activations, weights [O,K,K,C], all of one type, dw too.
type ConvSpec struct {
	Direction         Direction
	N, H, W, C        int
	O, K, Stride, Pad int
	Type              Type
	Math              Math
	Deterministic     bool // the same bits every time; false may be faster
	WorkspaceLimit    int  // bytes
	Candidate         int  // which of the library's choices: 0 is its first
}

// OutHeight and OutWidth are the result's extent.
func (c ConvSpec) OutHeight() int { return (c.H+2*c.Pad-c.K)/c.Stride + 1 }

// OutWidth is the width of the result.
func (c ConvSpec) OutWidth() int { return (c.W+2*c.Pad-c.K)/c.Stride + 1 }

// Conv is a planned convolution. Run's operands are, by direction, (y; x, w),
// (dx; dy, w), (dw; dy, x).
type Conv interface {
	Workspace() int
	Run(dst, a, b, workspace Ptr, s Stream) error
	Close() error
}

// Card is one opened GPU. Its methods may be called by any goroutine, but work
// on one stream by one at a time. Close frees what is left.
type Card interface {
	Info() Info
	MemoryFree() (bytes int, err error)

	Alloc(bytes int) (Ptr, error)
	Free(p Ptr) error
	// AllocHost returns page-locked host memory, which asynchronous copies need.
	AllocHost(bytes int) (unsafe.Pointer, error)
	FreeHost(p unsafe.Pointer) error

	NewStream() (Stream, error)
	NewYieldingStream() (Stream, error) // its kernels take what those of other streams leave
	DestroyStream(s Stream) error
	SyncStream(s Stream) error
	NewEvent() (Event, error)
	DestroyEvent(e Event) error
	Record(e Event, s Stream) error
	Wait(s Stream, e Event) error    // s waits, the caller does not
	SyncEvent(e Event) error         // the caller waits
	EventDone(e Event) (bool, error) // asks without waiting

	CopyToCard(dst Ptr, src unsafe.Pointer, bytes int, s Stream) error   // src from AllocHost
	CopyFromCard(dst unsafe.Pointer, src Ptr, bytes int, s Stream) error // dst from AllocHost
	CopyOnCard(dst, src Ptr, bytes int, s Stream) error
	Zero(dst Ptr, bytes int, s Stream) error

	// Compile turns CUDA C into machine code for this card. The log has the
	// compiler's messages, also when it fails.
	Compile(name, source string) (code []byte, log string, err error)
	Load(code []byte) (Module, error)
	Unload(m Module) error
	Function(m Module, name string) (Function, error)
	Launch(f Function, grid, block Dim, shared int, s Stream, args []Arg) error

	// What is queued on s between BeginCapture and EndCapture is recorded, not run.
	BeginCapture(s Stream) error
	EndCapture(s Stream) (Graph, error)
	LaunchGraph(g Graph, s Stream) error
	DestroyGraph(g Graph) error

	PlanMatmul(spec MatmulSpec, workspaceLimit int) (Matmul, error)
	PlanConv(spec ConvSpec) (Conv, error)

	Close() error
}

// Timer is a card with a clock: an event made for it marks when the work queued
// before it was done.
type Timer interface {
	NewTimedEvent() (Event, error)
	// Elapsed is the time between two timed events, both of which are over.
	Elapsed(from, to Event) (time.Duration, error)
}
