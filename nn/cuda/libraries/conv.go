//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"sdnn/nn/cuda/driver"
)

// conv is a planned convolution: cuDNN's graph of one operation, and the engine
// that was chosen for it.
type conv struct {
	c         *card
	made      descriptors // the graph and the plan, for as long as the convolution lives
	plan      descriptor
	workspace int
	ids       []int64 // of Run's operands
	skip      int     // candidates that are still to be passed over
	refused   error   // why the one asked for cannot be planned

	mu     sync.Mutex
	closed bool
	// The variant pack binds the plan to addresses. The engine's memory is planned, so it is made once.
	pack  descriptors
	bound [4]driver.Ptr
}

// Names of a convolution's tensors inside its graph.
const (
	idX = iota + 1
	idW
	idY
)

// PlanConv implements driver.Card.
func (c *card) PlanConv(spec driver.ConvSpec) (driver.Conv, error) {
	if min(spec.N, spec.H, spec.W, spec.C, spec.O, spec.K, spec.Stride, spec.OutHeight(), spec.OutWidth()) < 1 || spec.Pad < 0 {
		return nil, fmt.Errorf("libraries: a convolution of %+v", spec)
	}
	v := &conv{c: c, made: descriptors{c: c}, pack: descriptors{c: c}, ids: order[spec.Direction]}
	if err := v.choose(spec); err != nil {
		_ = v.Close() // the error that stopped it matters more
		return nil, fmt.Errorf("convolution %+v: %w", spec, err)
	}
	c.keep(v)
	return v, nil
}

// tensor describes a tensor of NHWC memory by cuDNN's order of dimensions, NCHW.
// Weights [O,K,K,C] are one with N = O.
func (v *conv) tensor(id int64, t driver.Type, n, c, h, w int) (descriptor, error) {
	kind := int32(dnnFloat)
	if t == driver.BF16 {
		kind = dnnBF16
	}
	return v.made.make(dnnDescTensor,
		enum(dnnTensorDataType, dnnTypeDataType, kind),
		ints(dnnTensorDims, int64(n), int64(c), int64(h), int64(w)),
		ints(dnnTensorStrides, int64(h*w*c), 1, int64(w*c), int64(c)),
		ints(dnnTensorID, id), ints(dnnTensorAlignment, alignment))
}

// graph describes the convolution. Sums are float32, whatever the tensors are.
func (v *conv) graph(spec driver.ConvSpec) (descriptor, error) {
	x, err := v.tensor(idX, spec.Type, spec.N, spec.C, spec.H, spec.W)
	if err != nil {
		return 0, err
	}
	w, err := v.tensor(idW, spec.Type, spec.O, spec.C, spec.K, spec.K)
	if err != nil {
		return 0, err
	}
	y, err := v.tensor(idY, spec.Type, spec.N, spec.O, spec.OutHeight(), spec.OutWidth())
	if err != nil {
		return 0, err
	}
	pad, stride := int64(spec.Pad), int64(spec.Stride)
	how, err := v.made.make(dnnDescConvolution,
		enum(dnnConvCompType, dnnTypeDataType, dnnFloat), enum(dnnConvMode, dnnTypeMode, dnnCrossCorrelation),
		ints(dnnConvSpatialDims, 2), ints(dnnConvPrePaddings, pad, pad), ints(dnnConvPostPaddings, pad, pad),
		ints(dnnConvDilations, 1, 1), ints(dnnConvStrides, stride, stride))
	if err != nil {
		return 0, err
	}
	kind, attributes := operation(spec.Direction, how, x, w, y)
	op, err := v.made.make(kind, attributes...)
	if err != nil {
		return 0, err
	}
	return v.made.make(dnnDescGraph, refs(dnnGraphOps, op), v.c.handle(dnnGraphHandle))
}

// operation describes one of the three products.
func operation(dir driver.Direction, how, x, w, y descriptor) (kind uintptr, attributes []attribute) {
	switch dir {
	case driver.BackwardData:
		return dnnDescBackwardData, []attribute{
			refs(dnnDataConv, how), refs(dnnDataDX, x), refs(dnnDataW, w), refs(dnnDataDY, y), float(dnnDataAlpha, 1), float(dnnDataBeta, 0)}
	case driver.BackwardWeight:
		return dnnDescBackwardW, []attribute{
			refs(dnnFilterConv, how), refs(dnnFilterX, x), refs(dnnFilterDW, w), refs(dnnFilterDY, y), float(dnnFilterAlpha, 1), float(dnnFilterBeta, 0)}
	}
	return dnnDescForward, []attribute{
		refs(dnnForwardConv, how), refs(dnnForwardX, x), refs(dnnForwardW, w), refs(dnnForwardY, y), float(dnnForwardAlpha, 1), float(dnnForwardBeta, 0)}
}

// order are the operands by role, as Run gets them: the result, then its two factors.
var order = [...][]int64{
	driver.Forward:        {idY, idX, idW},
	driver.BackwardData:   {idX, idY, idW},
	driver.BackwardWeight: {idW, idY, idX},
}

// choose plans the convolution with the first engine that the heuristics name,
// that computes what is asked for, and that can run. A later candidate is one of
// those that compute it, whether it can run or not: to know that of all would take
// the planning of each, a tenth of a second. The lists of cuDNN's two
// heuristics come first, then that of engines which run whatever the shape.
func (v *conv) choose(spec driver.ConvSpec) (err error) {
	graph, err := v.graph(spec)
	if err != nil {
		return err
	}
	var last error
	v.skip = spec.Candidate
	for _, mode := range []int32{dnnHeurA, dnnHeurB, dnnHeurFallback} {
		found, err := v.fromList(graph, mode, spec)
		if found {
			return nil
		}
		if v.refused != nil {
			return fmt.Errorf("candidate %d: %w", spec.Candidate, v.refused)
		}
		last = cmp.Or(err, last)
	}
	if v.skip < spec.Candidate {
		return driver.ErrNoCandidate
	}
	return cmp.Or(last, errors.New("cuDNN has no engine that computes this, as exactly as asked for, in the workspace allowed"))
}

// fromList tries the engines of one list. An engine that cannot be planned is
// passed over: the heuristics may name some that this card or driver lacks.
func (v *conv) fromList(graph descriptor, mode int32, spec driver.ConvSpec) (found bool, err error) {
	temporary := descriptors{c: v.c}
	defer func() { err = cmp.Or(err, temporary.free()) }()
	heuristics, err := temporary.make(dnnDescHeuristics, refs(dnnHeurGraph, graph), enum(dnnHeurMode, dnnTypeHeuristic, mode))
	if err != nil {
		return false, err
	}
	n, err := v.c.get(heuristics, dnnHeurResults, dnnTypeDescriptor, 0, nil)
	if err != nil || n == 0 {
		return false, err
	}
	configs := make([]descriptor, n)
	for i := range configs {
		if configs[i], err = temporary.create(dnnDescEngineConfig); err != nil {
			return false, err
		}
	}
	if n, err = v.c.get(heuristics, dnnHeurResults, dnnTypeDescriptor, n, unsafe.Pointer(&configs[0])); err != nil {
		return false, err
	}
	var last error
	for _, config := range configs[:n] {
		fit, err := v.computes(&temporary, config, spec)
		if fit && v.skip > 0 {
			v.skip--
			continue
		}
		if err == nil && fit {
			found, err = v.planWith(config, spec.WorkspaceLimit)
			if !found && spec.Candidate > 0 {
				v.refused = cmp.Or(err, errors.New("it needs more workspace than allowed"))
				return false, nil
			}
		}
		if found {
			return true, nil
		}
		last = cmp.Or(err, last)
	}
	return false, last
}

// computes reports whether an engine computes what the specification asks for.
func (v *conv) computes(ds *descriptors, config descriptor, spec driver.ConvSpec) (bool, error) {
	engine, err := ds.create(dnnDescEngine)
	if err != nil {
		return false, err
	}
	if _, err := v.c.get(config, dnnConfigEngine, dnnTypeDescriptor, 1, unsafe.Pointer(&engine)); err != nil {
		return false, err
	}
	notes := make([]int32, 32) // more than there are
	n, err := v.c.get(engine, dnnEngineNotes, dnnTypeNumericalNote, len(notes), unsafe.Pointer(&notes[0]))
	if err != nil {
		return false, err
	}
	return acceptable(notes[:min(n, len(notes))], spec), nil
}

// acceptable decides by what cuDNN notes of an engine's numbers.
//
// Float32 on tensor cores is TF32. Winograd with large tiles loses more digits
// than float32 training is compared at. A sum in bf16 is none of ours.
func acceptable(notes []int32, spec driver.ConvSpec) bool {
	unwanted := []int32{noteReducedReduction}
	if spec.Deterministic {
		unwanted = append(unwanted, noteNondeterministic)
	}
	if spec.Type == driver.F32 {
		unwanted = append(unwanted, noteWinograd6x6, noteWinograd13x13)
		if spec.Math != driver.MathTF32 {
			unwanted = append(unwanted, noteTensorCore, noteDownConvert)
		}
	}
	return !slices.ContainsFunc(notes, func(n int32) bool { return slices.Contains(unwanted, n) })
}

// planWith plans the convolution with an engine, if its workspace is not too large.
func (v *conv) planWith(config descriptor, limit int) (bool, error) {
	ds := descriptors{c: v.c}
	plan, err := ds.make(dnnDescPlan, v.c.handle(dnnPlanHandle), refs(dnnPlanConfig, config))
	bytes := new(int64)
	if err == nil {
		_, err = v.c.get(plan, dnnPlanWorkspace, dnnTypeInt64, 1, unsafe.Pointer(bytes))
	}
	if err != nil || *bytes > int64(limit) {
		return false, cmp.Or(err, ds.free())
	}
	v.plan, v.workspace = plan, int(*bytes)
	v.made.list = append(v.made.list, ds.list...)
	return true, nil
}

// Workspace implements driver.Conv.
func (v *conv) Workspace() int { return v.workspace }

// Run implements driver.Conv.
func (v *conv) Run(dst, a, b, workspace driver.Ptr, s driver.Stream) error {
	if err := aligned(dst, a, b, workspace); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return errClosed
	}
	if operands := [...]driver.Ptr{dst, a, b, workspace}; len(v.pack.list) == 0 || v.bound != operands {
		if err := v.bind(operands); err != nil {
			return err
		}
	}
	c := v.c
	c.dnnMu.Lock()
	defer c.dnnMu.Unlock()
	if err := c.dnnStep("cudnnSetStream", c.dnnAPI.cudnnSetStream, 2, list{c.dnnHandle, uintptr(s)}); err != nil {
		return err
	}
	return c.dnnStep("cudnnBackendExecute", c.dnnAPI.cudnnBackendExecute, 3, list{c.dnnHandle, uintptr(v.plan), uintptr(v.pack.list[0])})
}

// bind makes the variant pack for these operands.
func (v *conv) bind(operands [4]driver.Ptr) error {
	if err := v.pack.free(); err != nil {
		return err
	}
	_, err := v.pack.make(dnnDescVariantPack, ints(dnnPackIDs, v.ids...),
		pointers(dnnPackPointers, operands[0], operands[1], operands[2]), pointers(dnnPackWorkspace, operands[3]))
	if err != nil {
		_ = v.pack.free() // half made; the error that stopped it matters more
		return err
	}
	v.bound = operands
	return nil
}

// Close implements driver.Conv.
func (v *conv) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	v.c.mu.Lock()
	delete(v.c.plans, v)
	v.c.mu.Unlock()
	return cmp.Or(v.pack.free(), v.made.free())
}
