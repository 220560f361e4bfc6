//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// alignment of operands and workspaces, in bytes, that kernels are chosen for.
const alignment = 16

// lt calls a function of cuBLASLt.
//
//go:uintptrescapes
func (c *card) lt(name string, fn uintptr, args ...uintptr) error {
	r, err := c.inContext(fn, args...)
	if err != nil {
		return err
	}
	return c.ltFailure(name, r)
}

// ltFailure is the error of a call; nil if there is none.
func (c *card) ltFailure(name string, r uintptr) error {
	if int32(r) == ltSuccess {
		return nil
	}
	text, _, _ := purego.SyscallN(c.ltAPI.cublasLtGetStatusName, r)
	return &driver.Error{Call: name, Code: int(int32(r)), Text: cmp.Or(goString(text), "unknown error")}
}

// heuristicResult is cublasLtMatmulHeuristicResult_t.
type heuristicResult struct {
	algo      [8]uint64 // cublasLtMatmulAlgo_t
	workspace uint64
	state     int32
	waves     float32
	reserved  [4]int32
}

// matmul is a planned product.
//
// cuBLASLt is column-major: what is row-major D = op(A) op(B) for us is
// Dᵀ = op(B)ᵀ op(A)ᵀ for it, on the same memory. So B comes first, M and N change
// places, and a factor is transposed for it just when it is for us. Its bias, one
// number for each row of Dᵀ, is ours, one for each column of D.
type matmul struct {
	c    *card
	spec driver.MatmulSpec

	mu        sync.Mutex // the bias is a property of the description
	desc      uintptr
	a, b, d   uintptr // layouts, of our A, B and D
	bias      driver.Ptr
	scale     [2]float32 // alpha, beta
	heuristic heuristicResult
	closed    bool
}

// PlanMatmul implements driver.Card.
func (c *card) PlanMatmul(spec driver.MatmulSpec, workspaceLimit int) (driver.Matmul, error) {
	if spec.M <= 0 || spec.N <= 0 || spec.K <= 0 {
		return nil, fmt.Errorf("libraries: a product of %d x %d x %d", spec.M, spec.N, spec.K)
	}
	if spec.Epilogue != driver.EpilogueNone && spec.Bias != spec.D {
		return nil, errors.New("libraries: the bias of a product must have the type of its result")
	}
	m := &matmul{c: c, spec: spec, scale: [2]float32{1, 0}}
	if spec.Accumulate {
		m.scale[1] = 1
	}
	if err := m.plan(workspaceLimit); err != nil {
		_ = m.Close() // the error that stopped it matters more
		return nil, fmt.Errorf("product of %d x %d x %d: %w", spec.M, spec.N, spec.K, err)
	}
	c.keep(m)
	return m, nil
}

func dataType(t driver.Type) uintptr {
	if t == driver.BF16 {
		return typeBF16
	}
	return typeF32
}

// plan describes the product and chooses a kernel.
func (m *matmul) plan(workspaceLimit int) error {
	if err := m.setUp(); err != nil {
		return err
	}
	return m.choose(workspaceLimit)
}

// setUp describes the product. It needs no card.
func (m *matmul) setUp() error {
	c, spec := m.c, m.spec
	compute := uintptr(computeF32)
	if spec.AB == driver.F32 && spec.Math == driver.MathTF32 {
		compute = computeTF32
	}
	if err := c.lt("cublasLtMatmulDescCreate", c.ltAPI.cublasLtMatmulDescCreate, uintptr(unsafe.Pointer(&m.desc)), compute, typeF32); err != nil {
		return err
	}
	op := func(transposed bool) uint32 {
		if transposed {
			return opTranspose
		}
		return opNone
	}
	attributes := []struct {
		attribute uintptr
		value     uint32
	}{{ltTransA, op(spec.TransB)}, {ltTransB, op(spec.TransA)}}
	switch spec.Epilogue {
	case driver.EpilogueBias:
		attributes = append(attributes, struct {
			attribute uintptr
			value     uint32
		}{ltEpilogue, ltEpilogueBias})
	case driver.EpilogueBiasReLU:
		attributes = append(attributes, struct {
			attribute uintptr
			value     uint32
		}{ltEpilogue, ltEpilogueBiasReLU})
	}
	for _, a := range attributes {
		if err := m.describe(a.attribute, unsafe.Pointer(&a.value), 4); err != nil {
			return err
		}
	}
	if spec.Epilogue != driver.EpilogueNone {
		kind := uint32(dataType(spec.Bias))
		if err := m.describe(ltBiasType, unsafe.Pointer(&kind), 4); err != nil {
			return err
		}
		// The choice depends on the address's alignment; it is not read.
		if err := m.setBias(alignment); err != nil {
			return err
		}
	}
	return m.layouts()
}

// describe sets an attribute of the description.
func (m *matmul) describe(attribute uintptr, value unsafe.Pointer, size uintptr) error {
	return m.c.lt("cublasLtMatmulDescSetAttribute", m.c.ltAPI.cublasLtMatmulDescSetAttribute, m.desc, attribute, uintptr(value), size)
}

func (m *matmul) setBias(p driver.Ptr) error {
	if p == m.bias {
		return nil
	}
	m.bias = p
	r, err := m.c.step(m.c.ltAPI.cublasLtMatmulDescSetAttribute, 4, list{m.desc, ltBiasPointer, uintptr(unsafe.Pointer(&m.bias)), 8})
	if err != nil {
		return err
	}
	return m.c.ltFailure("cublasLtMatmulDescSetAttribute", r)
}

// layouts describes the matrices: the rows of ours are the columns of cuBLASLt's.
func (m *matmul) layouts() error {
	spec := m.spec
	for _, l := range []struct {
		to         *uintptr
		t          driver.Type
		rows, cols int // ours, as stored
		transposed bool
	}{
		{&m.a, spec.AB, spec.M, spec.K, spec.TransA},
		{&m.b, spec.AB, spec.K, spec.N, spec.TransB},
		{&m.d, spec.D, spec.M, spec.N, false},
	} {
		rows, cols := l.rows, l.cols
		if l.transposed {
			rows, cols = cols, rows
		}
		if err := m.c.lt("cublasLtMatrixLayoutCreate", m.c.ltAPI.cublasLtMatrixLayoutCreate,
			uintptr(unsafe.Pointer(l.to)), dataType(l.t), uintptr(cols), uintptr(rows), uintptr(cols)); err != nil {
			return err
		}
	}
	return nil
}

// preference says what a kernel may need. cublasLtMatmulPreferenceDestroy ends it.
//
// Partial sums of a split K are kept in float32: the scheme that keeps them in
// the result's type would round bf16 more than once.
func (m *matmul) preference(workspaceLimit int) (uintptr, error) {
	c, pref := m.c, new(uintptr)
	if err := c.lt("cublasLtMatmulPreferenceCreate", c.ltAPI.cublasLtMatmulPreferenceCreate, uintptr(unsafe.Pointer(pref))); err != nil {
		return 0, err
	}
	prefer := func(attribute uintptr, value uint64, size uintptr) error {
		return c.lt("cublasLtMatmulPreferenceSetAttribute", c.ltAPI.cublasLtMatmulPreferenceSetAttribute, *pref, attribute, uintptr(unsafe.Pointer(&value)), size)
	}
	err := cmp.Or(prefer(ltPrefWorkspace, uint64(max(0, workspaceLimit)), 8), prefer(ltPrefReduction, ltReduceInPlace|ltReduceCompute, 4))
	for _, a := range []uintptr{ltPrefAlignA, ltPrefAlignB, ltPrefAlignC, ltPrefAlignD} {
		err = cmp.Or(err, prefer(a, alignment, 4))
	}
	return *pref, err
}

// choose takes the first kernel of the heuristics' list that can run, or the
// candidate asked for of those that can.
func (m *matmul) choose(workspaceLimit int) (err error) {
	c := m.c
	pref, err := m.preference(workspaceLimit)
	if pref != 0 {
		defer func() {
			destroyed := c.lt("cublasLtMatmulPreferenceDestroy", c.ltAPI.cublasLtMatmulPreferenceDestroy, pref)
			err = cmp.Or(err, destroyed)
		}()
	}
	if err != nil {
		return err
	}
	const want = 8
	results, n := make([]heuristicResult, want), new(int32)
	if err := c.lt("cublasLtMatmulAlgoGetHeuristic", c.ltAPI.cublasLtMatmulAlgoGetHeuristic, c.ltHandle, m.desc,
		m.b, m.a, m.d, m.d, pref, want, uintptr(unsafe.Pointer(&results[0])), uintptr(unsafe.Pointer(n))); err != nil {
		return err
	}
	run := 0
	for _, r := range results[:*n] {
		if r.state != ltSuccess || int(r.workspace) > workspaceLimit {
			continue
		}
		if run == m.spec.Candidate {
			m.heuristic = r
			return nil
		}
		run++
	}
	if run > 0 {
		return driver.ErrNoCandidate
	}
	return &driver.Error{Call: "cublasLtMatmulAlgoGetHeuristic", Code: ltNotSupported, Text: fmt.Sprintf("no kernel that needs at most %d bytes of workspace", workspaceLimit)}
}

// Workspace implements driver.Matmul.
func (m *matmul) Workspace() int { return int(m.heuristic.workspace) }

// Run implements driver.Matmul.
func (m *matmul) Run(d, a, b, bias, workspace driver.Ptr, s driver.Stream) error {
	if err := aligned(d, a, b, workspace); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if m.spec.Epilogue != driver.EpilogueNone {
		if err := aligned(bias); err != nil {
			return err
		}
		if err := m.setBias(bias); err != nil {
			return err
		}
	}
	c := m.c
	r, err := c.step(c.ltAPI.cublasLtMatmul, 16, list{c.ltHandle, m.desc, uintptr(unsafe.Pointer(&m.scale[0])),
		uintptr(b), m.b, uintptr(a), m.a, uintptr(unsafe.Pointer(&m.scale[1])), uintptr(d), m.d, uintptr(d), m.d,
		uintptr(unsafe.Pointer(&m.heuristic.algo)), uintptr(workspace), uintptr(m.heuristic.workspace), uintptr(s)})
	runtime.KeepAlive(m)
	if err != nil {
		return err
	}
	return c.ltFailure("cublasLtMatmul", r)
}

// aligned says which operand is not where kernels were chosen for.
func aligned(operands ...driver.Ptr) error {
	for _, p := range operands {
		if p%alignment != 0 {
			return fmt.Errorf("libraries: an operand at %#x is not aligned to %d bytes", uint64(p), alignment)
		}
	}
	return nil
}

// Close implements driver.Matmul.
func (m *matmul) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	c := m.c
	c.mu.Lock()
	delete(c.plans, m)
	c.mu.Unlock()
	var err error
	for _, layout := range []uintptr{m.a, m.b, m.d} {
		if layout != 0 {
			err = cmp.Or(err, c.lt("cublasLtMatrixLayoutDestroy", c.ltAPI.cublasLtMatrixLayoutDestroy, layout))
		}
	}
	if m.desc != 0 {
		err = cmp.Or(err, c.lt("cublasLtMatmulDescDestroy", c.ltAPI.cublasLtMatmulDescDestroy, m.desc))
	}
	return err
}
