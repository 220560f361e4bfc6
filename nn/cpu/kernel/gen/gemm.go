package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { generators["gemm"] = gemm }

// gemmKC is kernel.gemmKC: the products in a block of float32, and the distance
// in values between the rows of a panel of A.
const gemmKC = 384

// isa is what differs between the two vector widths. A micro-tile is rows x
// two vectors. The accumulators come first in regs, then the two vectors of B
// and the two that hold a value of A each, in turn.
type isa struct {
	name  string
	lanes int           // float32 values in a vector
	rows  int           // of the tallest micro-tile
	aStep int           // values between two k of a panel of A packed by columns
	kc    int           // values between the rows of a panel of A packed by rows
	chunk int           // products between two prefetches, in a loop of one product a turn
	early int           // chunks from the fetching of a row of C to its use
	turn  int           // or products in a turn of the loop, see turns,
	walks int           // lines that are fetched at a time
	regs  []VecPhysical // vector registers
	// multiply adds the products of a and b to acc.
	multiply func(b, a, acc VecPhysical)
	per      int // products in a packed value of 4 bytes: 1 float32 or 2 bfloat16
}

var (
	avx2 = isa{"AVX2", 8, 6, 8, gemmKC, 0, 0, 8, 1, []VecPhysical{
		Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}, fma, 1}
	avx512 = isa{"AVX512", 16, 14, 16, gemmKC, 6, 4, 0, 1, []VecPhysical{
		Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
		Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31}, fma, 1}
)

// fma is isa.multiply of float32: one product a value, rounded once.
func fma(b, a, acc VecPhysical) { VFMADD231PS(b, a, acc) }

// bytes returns the size of a vector.
func (v isa) bytes() int { return 4 * v.lanes }

// acc returns the accumulator of row r, half h (0 or 1).
func (v isa) acc(r, h int) VecPhysical { return v.regs[2*r+h] }

// b returns the register of half h of a row of B.
func (v isa) b(h int) VecPhysical { return v.regs[2*v.rows+h] }

// a returns one of the two registers that hold a value of A.
func (v isa) a(i int) VecPhysical { return v.regs[2*v.rows+2+i%2] }

// zero sets x to 0.
func (v isa) zero(x VecPhysical) {
	if v.lanes == 16 {
		VPXORD(x, x, x)
	} else {
		VXORPS(x, x, x)
	}
}

// gemm writes the micro-kernels and the packing loops of the matrix product.
func gemm() {
	for _, v := range []isa{avx2, avx512} {
		if v.lanes == 8 {
			maskTable()
		}
		for rows := 1; rows <= v.rows; rows++ {
			v.micro(rows, false)
			v.micro(rows, true)
		}
		v.packRows("A", 1)
		v.packRows("B", 2)
		v.packTransposed()
		v.peak()
	}
}

// Offsets of the fields of kernel.microCall.
const (
	callK = 8 * iota
	callA
	callB
	callBPanel
	callPanels
	callC
	callLdc
	callLast
	callAccumulate
	callBias
	callReLU
	callAhead
	callAheadLines
	callAheadJump
	callAheadOther
)

// micro writes the micro-kernel for a panel of the given number of rows of A,
// packed by columns or by rows.
func (v isa) micro(rows int, columns bool) {
	layout, rowBytes, kBytes := "Rows", 4*v.kc, 4
	if columns {
		layout, rowBytes, kBytes = "Columns", 4, 4*v.aStep
	}
	name := fmt.Sprintf("gemm%s%s%d", v.name, layout, rows)
	TEXT(name, NOSPLIT, "func(call *int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d rows of A, packed by %s, by the panels of B.", name, rows, map[bool]string{false: "rows", true: "columns"}[columns]),
		"call points to the first field of a microCall.")
	call := Load(Param("call"), GP64())
	field := func(disp int) Mem { return Mem{Base: call, Disp: disp} }
	load := func(disp int) GPVirtual { r := GP64(); MOVQ(field(disp), r); return r }
	bPanel, panels, c, ldc, bias := load(callB), load(callPanels), load(callC), load(callLdc), load(callBias)
	ahead, lines := load(callAhead), load(callAheadLines)

	Label("panel")
	a, b, k := load(callA), GP64(), load(callK)
	MOVQ(bPanel, b)
	row := GP64()
	MOVQ(c, row)
	if v.turn > 0 {
		v.fetchResult(rows, row, ldc)
	}
	for r := range rows {
		v.zero(v.acc(r, 0))
		v.zero(v.acc(r, 1))
	}
	TESTQ(k, k)
	JZ(LabelRef("summed"))

	// Each step of the walk fetches lines of what is packed next, and after the
	// last line of a row goes on to the next row.
	walks := 0
	walk := func() {
		next := fmt.Sprintf("walked%d", walks)
		walks++
		for i := range v.walks {
			PREFETCHT1(Mem{Base: ahead, Disp: 64 * i})
		}
		if v.turn == 0 {
			for i := range 2 {
				other := GP64()
				MOVQ(field(callAheadOther+8*i), other)
				PREFETCHT1(Mem{Base: ahead, Index: other, Scale: 1})
			}
		}
		ADDQ(immediate(64*v.walks), ahead)
		if v.walks == 1 {
			DECQ(lines)
			JNZ(LabelRef(next))
		} else {
			SUBQ(Imm(uint64(v.walks)), lines)
			JG(LabelRef(next))
		}
		ADDQ(field(callAheadJump), ahead)
		MOVQ(field(callAheadLines), lines)
		Label(next)
	}
	products := func(n int) {
		for u := range n {
			v.products(rows, Mem{Base: a, Disp: u * kBytes}, Mem{Base: b, Disp: u * 2 * v.bytes()}, rowBytes)
		}
		ADDQ(immediate(n*kBytes), a)
		ADDQ(immediate(n*2*v.bytes()), b)
	}
	if v.turn > 0 {
		v.turns(k, walk, products)
	} else {
		v.chunks(rows, k, row, ldc, walk, products)
	}

	Label("summed")
	v.finish(rows, field, panels, c, ldc, bias)
	ADDQ(field(callBPanel), bPanel)
	ADDQ(Imm(uint64(2*v.bytes())), c)
	DECQ(panels)
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

// fetchResult prefetches what the rows of C from row on hold. Rows of C rarely begin with
// a cache line, so that the columns of AVX2 lie in two: the second is fetched, the first was
// the second of the panel before. It changes row.
func (v isa) fetchResult(rows int, row, ldc Register) {
	for r := range rows {
		PREFETCHT0(Mem{Base: row, Disp: 2*v.bytes() - 4})
		if r < rows-1 {
			ADDQ(ldc, row)
		}
	}
}

// chunks is the loop over k products, one a turn, with a walk before each chunk. The last
// chunks fetch a row of C each, from row on: all at once would take the places in which
// the first-level cache waits for lines, and B's would have to wait.
func (v isa) chunks(rows int, k, row, ldc Register, walk func(), products func(n int)) {
	left := GP64()
	Label("chunk")
	walk()
	CMPQ(k, U32(uint32(v.chunk*(rows+v.early))))
	JG(LabelRef("far"))
	PREFETCHT0(Mem{Base: row})
	PREFETCHT0(Mem{Base: row, Disp: v.bytes()})
	ADDQ(ldc, row)
	Label("far")
	MOVQ(k, left)
	CMPQ(k, Imm(uint64(v.chunk)))
	JLE(LabelRef("product"))
	MOVQ(U32(uint32(v.chunk)), left)
	Label("product")
	products(1)
	DECQ(left)
	JNZ(LabelRef("product"))
	SUBQ(Imm(uint64(v.chunk)), k)
	JG(LabelRef("chunk"))
}

// turns is the loop over k products, v.turn of them and a step of the walk a turn. It
// is for AVX2: on a shared Zen 3 a loop of one product, 24 instructions for 12
// multiply-adds, did 60 to 75 % of the peak at times and 95 % at others, and 21
// a product do 85 and 95 %. The core's second thread in another's hands would
// explain it: the two then take turns at entering instructions.
func (v isa) turns(k Register, walk func(), products func(n int)) {
	SUBQ(Imm(uint64(v.turn)), k)
	JL(LabelRef("few"))
	Label("turn")
	walk()
	products(v.turn)
	SUBQ(Imm(uint64(v.turn)), k)
	JGE(LabelRef("turn"))
	Label("few")
	ADDQ(Imm(uint64(v.turn)), k)
	JZ(LabelRef("summed"))
	walk()
	Label("product")
	products(1)
	DECQ(k)
	JNZ(LabelRef("product"))
}

// immediate returns n as an operand of an instruction on 64 bits.
func immediate(n int) Op {
	if n < 128 {
		return Imm(uint64(n))
	}
	return U32(uint32(n))
}

// products adds to the sums one element of every row of A times one row of the panel of B.
func (v isa) products(rows int, a, b Mem, rowBytes int) {
	VMOVUPS(b, v.b(0))
	VMOVUPS(b.Offset(v.bytes()), v.b(1))
	for r := range rows {
		VBROADCASTSS(a.Offset(r*rowBytes), v.a(r))
		v.multiply(v.b(0), v.a(r), v.acc(r, 0))
		v.multiply(v.b(1), v.a(r), v.acc(r, 1))
	}
}

// finish adds C and the bias to the accumulators, applies ReLU and stores
// them, masked if the last panel has fewer columns. Masked stores of AVX2 are
// slow: there a panel that has all columns is not masked.
func (v isa) finish(rows int, field func(int) Mem, panels, c, ldc, bias GPVirtual) {
	if v.lanes == 8 {
		CMPQ(panels, Imm(1))
		JNE(LabelRef("whole"))
		CMPQ(field(callLast), Imm(uint64(2*v.lanes)))
		JNE(LabelRef("part"))
		Label("whole")
		v.finishPanel("whole", rows, field, c, ldc, bias, nil)
		JMP(LabelRef("stored"))
		Label("part")
	}
	v.lastMasks(field, panels, GP64())
	v.finishPanel("masked", rows, field, c, ldc, bias, v.mask)
	Label("stored")
}

// finishPanel is finish for a panel with the given masks, or none.
func (v isa) finishPanel(name string, rows int, field func(int) Mem, c, ldc, bias GPVirtual, mask func(half int) Op) {
	each := func(f func(h int, x VecPhysical, m Mem)) {
		row := GP64()
		MOVQ(c, row)
		for r := range rows {
			for h := range 2 {
				f(h, v.acc(r, h), Mem{Base: row, Disp: h * v.bytes()})
			}
			ADDQ(ldc, row)
		}
	}
	CMPQ(field(callAccumulate), Imm(0))
	JE(LabelRef(name + "Overwrite"))
	each(func(h int, x VecPhysical, m Mem) {
		if mask == nil {
			VADDPS(m, x, x)
		} else {
			v.maskedAdd(m, mask(h), x, v.a(h))
		}
	})
	Label(name + "Overwrite")
	TESTQ(bias, bias)
	JZ(LabelRef(name + "Unbiased"))
	for h := range 2 {
		m := Mem{Base: bias, Disp: h * v.bytes()}
		if mask == nil {
			VMOVUPS(m, v.a(h))
		} else {
			v.maskedLoad(m, mask(h), v.a(h))
		}
	}
	for r := range rows {
		for h := range 2 {
			VADDPS(v.a(h), v.acc(r, h), v.acc(r, h))
		}
	}
	ADDQ(Imm(uint64(2*v.bytes())), bias)
	Label(name + "Unbiased")
	CMPQ(field(callReLU), Imm(0))
	JE(LabelRef(name + "Linear"))
	v.zero(v.a(0))
	for r := range rows {
		for h := range 2 {
			// max(0, x) returns its second operand x when that is NaN or -0.
			VMAXPS(v.acc(r, h), v.a(0), v.acc(r, h))
		}
	}
	Label(name + "Linear")
	each(func(h int, x VecPhysical, m Mem) {
		if mask == nil {
			VMOVUPS(x, m)
		} else {
			v.maskedStore(x, mask(h), m)
		}
	})
}

// lastMasks sets the masks of the two halves: full, but for the last panel.
func (v isa) lastMasks(field func(int) Mem, panels, tmp GPVirtual) {
	MOVQ(U32(uint32(2*v.lanes)), tmp)
	CMPQ(panels, Imm(1))
	JNE(LabelRef("full"))
	MOVQ(field(callLast), tmp)
	Label("full")
	v.setMasks(tmp, v.mask(0), v.mask(1))
}

// mask returns the register of a mask: one of K1 to K4 for AVX-512, one of the
// last four vector registers for AVX2; masks 0 and 1 then are the registers of
// B in a micro-kernel.
func (v isa) mask(i int) Op {
	if v.lanes == 16 {
		return []Op{K1, K2, K3, K4}[i]
	}
	return v.regs[12+i]
}

// setMasks sets the masks of the two halves of a pair of vectors of which the
// first n values count. It overwrites n.
func (v isa) setMasks(n GPVirtual, low, high Op) {
	if v.lanes == 16 {
		bits := GP64()
		MOVQ(I32(-1), bits)
		SHLXQ(n, bits, bits) // ones from column n on
		NOTQ(bits)
		KMOVW(bits.As32(), low)
		SHRQ(Imm(16), bits)
		KMOVW(bits.As32(), high)
		return
	}
	// The table is 16 times -1, then 16 times 0: at 16-n it has n ones.
	table := GP64()
	LEAQ(NewDataAddr(Symbol{Name: "gemmMask", Static: true}, 0), table)
	NEGQ(n)
	VMOVUPS(Mem{Base: table, Index: n, Scale: 4, Disp: 64}, low)
	VMOVUPS(Mem{Base: table, Index: n, Scale: 4, Disp: 96}, high)
}

// maskTable writes the constants that AVX2's masks are read from.
func maskTable() {
	GLOBL("gemmMask", RODATA|NOPTR)
	for i := range 16 { // the assembler wants ascending offsets
		DATA(4*i, U32(0xffffffff))
	}
	for i := range 16 {
		DATA(64+4*i, U32(0))
	}
}

// maskedLoad loads x from m, 0 where it is masked out.
func (v isa) maskedLoad(m Mem, mask Op, x VecPhysical) {
	if v.lanes == 16 {
		VMOVUPS_Z(m, mask, x)
	} else {
		VMASKMOVPS(m, mask, x)
	}
}

// maskedAdd adds m to x, or leaves x, where it is masked out. It may use tmp.
func (v isa) maskedAdd(m Mem, mask Op, x, tmp VecPhysical) {
	if v.lanes == 16 {
		VADDPS(m, x, mask, x)
		return
	}
	VMASKMOVPS(m, mask, tmp)
	VADDPS(tmp, x, x)
}

// maskedStore stores x to m, but for what is masked out.
func (v isa) maskedStore(x VecPhysical, mask Op, m Mem) {
	if v.lanes == 16 {
		VMOVUPS(x, mask, m)
	} else {
		VMASKMOVPS(x, mask, m)
	}
}
