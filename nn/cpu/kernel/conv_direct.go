package kernel

import (
	"fmt"

	"sdnn/nn/cpu/pool"
)

// ConvShape is the shape of a convolution of x [Batch,H,W,C] to y [Batch,OH,OW,O].
type ConvShape struct {
	Batch, H, W, C int
	OH, OW, O      int
	K, Stride, Pad int // rows and columns of the kernel, the same on all sides
}

// outputs returns the pixels of y of so many images.
func (s *ConvShape) outputs(images int) int { return images * s.OH * s.OW }

// depth returns the values of x that a value of y depends on.
func (s *ConvShape) depth() int { return s.K * s.K * s.C }

// DirectConv computes convolutions of any shape, or one of their two
// gradients, as products with Patches:
//
//	forward   y[pixel,O]    = patches(x)[pixel, K K C] W[O, K K C]ᵀ
//	weights   dW[O, K K C]  = dy[pixel,O]ᵀ patches(x)[pixel, K K C]
//	data      dx[pixel,C]   = patches(dy)[pixel, taps O] W'[taps O, C]
//
// A pixel of dx gets a gradient by those taps of the kernel that hit it at a
// multiple of the stride. Pixels whose rows and whose columns are the same
// modulo the stride form a class with the same taps, and a product of its own,
// with the weights in the order W' of its taps (dataClass). Calls do not
// allocate; one call may be in progress at a time.
type DirectConv struct {
	kind    ConvKind
	s       ConvShape
	patches Patches     // of x
	part    int         // products of a part of dW's sums
	classes []dataClass // of dx

	args       ConvArgs // of the call in progress
	epilogue   Epilogue
	coef       [][]float32 // scale and shift of a part of the channels, by worker
	beside     [1]Matrix
	runTail    func(row, rows, col, cols int, c []float32, ldc, worker int)
	runWeights func(task, worker int)
	runClear   func(task, worker int)
}

// The parts of dW's sums: no shorter than deepPart products, so that adding
// them up costs little, no more than deepParts, and no more values in all than
// deepValues.
const (
	deepPart, deepParts, deepValues = 1024, 16, 1 << 21
)

// NewDirectConv plans a convolution. It panics on a shape that is none.
func NewDirectConv(kind ConvKind, s ConvShape) *DirectConv {
	if s.Batch < 1 || s.C < 1 || s.O < 1 || s.K < 1 || s.Stride < 1 || s.Pad < 0 || s.OH < 1 || s.OW < 1 ||
		(s.OH-1)*s.Stride+s.K > s.H+2*s.Pad || (s.OW-1)*s.Stride+s.K > s.W+2*s.Pad {
		panic(fmt.Sprintf("kernel: no convolution has the shape %+v", s))
	}
	v := &DirectConv{kind: kind, s: s}
	v.patches = Patches{H: s.H, W: s.W, C: s.C, OH: s.OH, OW: s.OW, KH: s.K, KW: s.K, Step: s.Stride, Y: -s.Pad, X: -s.Pad}
	products := s.outputs(s.Batch)
	parts := max(1, min(deepParts, products/deepPart, deepValues/(s.O*s.depth())))
	v.part = roundUp(ceilDiv(products, parts), gemmKC)
	if kind == ConvData {
		v.planClasses()
	}
	v.runWeights, v.runClear, v.runTail = v.weightsTask, v.clearTask, v.applyTail
	return v
}

// Workspace returns the number of floats of workspace that Run needs.
func (v *DirectConv) Workspace() int {
	switch v.kind {
	case ConvWeights:
		return GemmDeepWork(v.s.O, v.s.depth(), v.s.outputs(v.s.Batch), v.part)
	case ConvData:
		return v.s.O * v.s.depth()
	}
	return 0
}

// Run computes the convolution. It panics when an operand is too short.
func (v *DirectConv) Run(p *pool.Pool, a ConvArgs) {
	s := &v.s
	if a.Rows < 1 || a.Rows > s.Batch {
		panic(fmt.Sprintf("kernel: DirectConv of %d images, planned for 1 to %d", a.Rows, s.Batch))
	}
	v.args = a
	for len(v.coef) < p.Threads() {
		v.coef = append(v.coef, make([]float32, 2*s.O))
	}
	pixels, depth := s.outputs(a.Rows), s.depth()
	switch v.kind {
	case ConvForward:
		v.epilogue = v.tailEpilogue()
		Gemm(p, pixels, s.O, depth, v.patches.matrix(a.X), Matrix{Data: a.W, Stride: depth, Trans: true}, a.Out, s.O, a.Accumulate, &v.epilogue)
	case ConvWeights:
		GemmDeep(p, s.O, depth, pixels, v.part, Matrix{Data: a.DY, Stride: s.O, Trans: true}, v.patches.matrix(a.X), a.Out, a.Work)
	case ConvData:
		v.runData(p)
	}
	v.args, v.epilogue = ConvArgs{}, Epilogue{}
}
