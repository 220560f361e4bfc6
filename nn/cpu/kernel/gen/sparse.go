package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { generators["sparse"] = sparse }

// sparseCols is kernel.sparseCols: the columns of a panel of B. As many sums are held in registers. On AVX2 rows
// of 64 and 80 in panels of the same size did as many sums a second at a density of 0.3, and 5 % and 1 % fewer at 0.55.
const sparseCols = 96

// Offsets of the fields of kernel.sparseCall.
const (
	sparseRows = 8 * iota
	sparseValues
	sparsePlaces
	sparseEnds
	sparseStart
	sparsePanel
	sparseSums
	sparseFirst
	sparseLast
	sparseC
	sparseLdc
	sparseAccumulate
	sparseBias
	sparseReLU
)

// sparse writes the kernels of the product that skips zeros.
func sparse() {
	maskTable()
	for _, v := range []isa{avx2, avx512} {
		for cols := 32; cols <= sparseCols; cols += 32 {
			v.sparseKernel(cols / v.lanes)
		}
	}
	avx2.sparseTranspose()
	avx2.sparseFetch()
}

// sparseBiased is what a register that points to 12 vectors is moved by, so that eight of them are at
// distances of one byte.
const sparseBiased = 128

// sparseVector is vector i of those that base points to.
func (v isa) sparseVector(base Register, i int) Mem {
	return Mem{Base: base, Disp: i*v.bytes() - sparseBiased}
}

// sparseSet is what a kernel keeps in registers.
type sparseSet struct {
	rows, values, places, ends, panel, sums, c GPVirtual
	i                                          GPVirtual // the value
	all                                        []VecPhysical
}

// sparseKernel writes the product of rows of A, given as lists of what is not zero, by the first vectors of
// a panel of B. It has a loop over the rows for each of what happens before and after the sums of one.
func (v isa) sparseKernel(vectors int) {
	name := fmt.Sprintf("gemmSparse%d%s", vectors, v.name)
	TEXT(name, NOSPLIT, "func(call *int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies rows of A, as lists, by %d vectors of a panel of B. call points to the first field of a sparseCall.", name, vectors))
	call := Load(Param("call"), GP64())
	field := func(disp int) Mem { return Mem{Base: call, Disp: disp} }
	load := func(disp int) GPVirtual { r := GP64(); MOVQ(field(disp), r); return r }
	r := sparseSet{load(sparseRows), load(sparseValues), load(sparsePlaces), load(sparseEnds), load(sparsePanel), load(sparseSums), load(sparseC),
		load(sparseStart), v.regs[:vectors]}
	for _, x := range []GPVirtual{r.panel, r.sums, r.c} {
		SUBQ(I8(-sparseBiased), x) // adds it
	}
	CMPQ(field(sparseFirst), Imm(0))
	JNE(LabelRef("first"))
	CMPQ(field(sparseLast), Imm(0))
	JNE(LabelRef("last"))
	v.sparseLoop("middle", field, &r, false, false)
	Label("first")
	CMPQ(field(sparseLast), Imm(0))
	JNE(LabelRef("only"))
	v.sparseLoop("begin", field, &r, true, false)
	Label("last")
	v.sparseLoop("end", field, &r, false, true)
	Label("only")
	v.sparseLoop("whole", field, &r, true, true)
}

// sparseLoop is the loop over rows. first: a block of the sum begins; last: it ends.
func (v isa) sparseLoop(name string, field func(int) Mem, r *sparseSet, first, last bool) {
	label := func(s string) string { return name + s }
	end := GP64()
	Label(label("Row"))
	MOVL(Mem{Base: r.ends}, end.As32())
	for i, x := range r.all {
		if first {
			v.zero(x)
		} else {
			VMOVUPS(v.sparseVector(r.sums, i), x)
		}
	}
	CMPQ(r.i, end)
	JE(LabelRef(label("Summed")))
	Label(label("Pair"))
	v.sparsePair(r)
	CMPQ(r.i, end)
	JNE(LabelRef(label("Pair")))
	Label(label("Summed"))
	if last {
		v.sparseFinish(label, field, r)
	} else {
		for i, x := range r.all {
			VMOVUPS(x, v.sparseVector(r.sums, i))
		}
	}
	ADDQ(Imm(4), r.ends)
	ADDQ(U32(uint32(4*sparseCols)), r.sums)
	DECQ(r.rows)
	JNZ(LabelRef(label("Row")))
	VZEROUPPER()
	RET()
}

// sparsePair adds the products of two values. Loads are what the loop waits for, two a cycle: one for each
// multiply-add, and so it is that both values, and both places, come by one. A load for each value cost a sixth more time.
func (v isa) sparsePair(r *sparseSet) {
	at := []GPVirtual{GP64(), GP64()}
	two, x := v.regs[13], v.regs[14:16]
	MOVL(Mem{Base: r.places, Index: r.i, Scale: 2}, at[0].As32())
	VBROADCASTSD(Mem{Base: r.values, Index: r.i, Scale: 4}, two)
	MOVL(at[0].As32(), at[1].As32())
	MOVWLZX(at[0].As16(), at[0].As32())
	SHRL(Imm(16), at[1].As32())
	ADDQ(r.panel, at[0])
	ADDQ(r.panel, at[1])
	VMOVSLDUP(two, x[0])
	VMOVSHDUP(two, x[1])
	ADDQ(Imm(2), r.i)
	for u := range 2 {
		for i, sum := range r.all {
			VFMADD231PS(v.sparseVector(at[u], i), x[u], sum)
		}
	}
}

// sparseFinish takes the sums of a row to C.
func (v isa) sparseFinish(label func(string) string, field func(int) Mem, r *sparseSet) {
	CMPQ(field(sparseAccumulate), Imm(0))
	JE(LabelRef(label("Overwrite")))
	for i, x := range r.all {
		VADDPS(v.sparseVector(r.c, i), x, x)
	}
	Label(label("Overwrite"))
	bias := GP64()
	MOVQ(field(sparseBias), bias)
	TESTQ(bias, bias)
	JZ(LabelRef(label("Unbiased")))
	for i, x := range r.all {
		VADDPS(Mem{Base: bias, Disp: i * v.bytes()}, x, x)
	}
	Label(label("Unbiased"))
	CMPQ(field(sparseReLU), Imm(0))
	JE(LabelRef(label("Linear")))
	v.zero(v.regs[13])
	for _, x := range r.all {
		VMAXPS(x, v.regs[13], x) // as finishPanel does
	}
	Label(label("Linear"))
	for i, x := range r.all {
		VMOVUPS(x, v.sparseVector(r.c, i))
	}
	ADDQ(field(sparseLdc), r.c)
	for i := range len(r.all) * v.bytes() / 64 { // the next row
		PREFETCHT0(Mem{Base: r.c, Disp: 64*i - sparseBiased})
	}
}

// sparseTranspose writes the transposition of 8 rows.
func (v isa) sparseTranspose() {
	TEXT("gemmTranspose8"+v.name, NOSPLIT, "func(dst []float32, ldDst int, src []float32, ld, depth int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemmTranspose8%s writes value (j, k) of src to dst[k*ldDst + j], for 8 rows j and depth columns k of src.", v.name))
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	step, ld, depth := Load(Param("ldDst"), GP64()).(GPVirtual), Load(Param("ld"), GP64()), Load(Param("depth"), GP64()).(GPVirtual)
	SHLQ(Imm(2), step)
	SHLQ(Imm(2), ld)
	ld3, half := GP64(), GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	LEAQ(Mem{Base: src, Index: ld, Scale: 4}, half)
	var rows []Mem
	for _, base := range []Register{src, half} {
		rows = append(rows, Mem{Base: base}, Mem{Base: base, Index: ld, Scale: 1},
			Mem{Base: base, Index: ld, Scale: 2}, Mem{Base: base, Index: ld3, Scale: 1})
	}
	SUBQ(Imm(8), depth)
	JL(LabelRef("rest"))
	Label("square")
	for _, out := range v.transpose8(rows, v.load) {
		VMOVUPS(out, Mem{Base: dst})
		ADDQ(step, dst)
	}
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), half)
	SUBQ(Imm(8), depth)
	JGE(LabelRef("square"))
	Label("rest")
	ADDQ(Imm(8), depth)
	JZ(LabelRef("done"))
	v.transposeMasks(depth)
	for i, out := range v.transpose8(rows, v.loadMasked) {
		VMOVUPS(out, Mem{Base: dst})
		if i < v.lanes-1 {
			ADDQ(step, dst)
			DECQ(depth)
			JZ(LabelRef("done"))
		}
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// sparseFetch writes the fetching of memory that is read soon.
func (v isa) sparseFetch() {
	TEXT("gemmFetch"+v.name, NOSPLIT, "func(address uintptr, rows, lines, step int)")
	Doc(fmt.Sprintf("gemmFetch%s asks for the lines of memory from address on, of rows that are step bytes apart.", v.name))
	param := func(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }
	row, rows, lines, step := param("address"), param("rows"), param("lines"), param("step")
	at, left := GP64(), GP64()
	Label("row")
	MOVQ(row, at)
	MOVQ(lines, left)
	Label("line")
	PREFETCHT1(Mem{Base: at})
	ADDQ(Imm(64), at)
	DECQ(left)
	JNZ(LabelRef("line"))
	ADDQ(step, row)
	DECQ(rows)
	JNZ(LabelRef("row"))
	RET()
}
