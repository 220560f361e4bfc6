package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { generators["bf16"] = bf16 }

// bf16KC is kernel.bf16KC: the pairs of products in a block, and the distance
// in pairs between the rows of a panel of A.
const bf16KC = 512

// pairs is the product of pairs of bfloat16: what avx512 is for float32, with
// a pair where that has a value. Its micro-kernels ask for memory more often,
// since they need twice as much of it in the same time.
var pairs = isa{name: "BF16", lanes: 16, rows: avx512.rows, aStep: avx512.aStep, kc: bf16KC, chunk: 3, early: 8, walks: 1,
	regs: avx512.regs, multiply: vdpbf16ps, per: 2}

// Registers of the packing loops beside those of transpose16 that are free
// when it loads.
var (
	pairTemp  = Z31
	interlace = Z30 // indices for VPERMW
	keep      = Z29 // which halves of the pairs count
)

// bf16 writes the micro-kernels and the packing loops of the product of
// bfloat16, see kernel/bf16.go.
func bf16() {
	for rows := 1; rows <= pairs.rows; rows++ {
		pairs.micro(rows, false)
		pairs.micro(rows, true)
	}
	interlaceTable()
	packPairs("A", 1)
	packPairs("B", 2)
	pairs.packTransposed()
	convertPairs()
	pairs.peak()
}

// Go's assembler knows neither of the two instructions; their bytes follow
// Intel's Software Developer's Manual, volume 2, sections VDPBF16PS and
// VCVTNE2PS2BF16.

// vdpbf16ps adds to each value of acc the products of the two pairs of
// bfloat16 at its place in b and a.
func vdpbf16ps(b, a, acc VecPhysical) { evex("VDPBF16PS", 2, 0x52, b, a, acc) }

// vcvtne2ps2bf16 rounds low to the lower and high to the upper half of dst.
func vcvtne2ps2bf16(low, high, dst VecPhysical) { evex("VCVTNE2PS2BF16", 3, 0x72, low, high, dst) }

// evex writes an instruction of three 512-bit registers in the opcode map 0F38:
//
//	62 | R X B R' 0 0 1 0 | W v v v v 1 p p | z 1 0 b V' a a a | opcode | 1 1 r r r m m m
//
// with r (R' R rrr) the destination, v (V' vvvv) the first and m (X B mmm) the
// second source; the bits outside the last byte are inverted.
func evex(name string, prefix, opcode byte, second, first, dst VecPhysical) {
	r, v, m := byte(dst.PhysicalIndex()), byte(first.PhysicalIndex()), byte(second.PhysicalIndex())
	bit := func(x, i byte) byte { return x >> i & 1 }
	code := [6]byte{0x62,
		(1^bit(r, 3))<<7 | (1^bit(m, 4))<<6 | (1^bit(m, 3))<<5 | (1^bit(r, 4))<<4 | 2,
		^v&15<<3 | 1<<2 | prefix,
		1<<6 | (1^bit(v, 4))<<3,
		opcode,
		3<<6 | r&7<<3 | m&7,
	}
	Comment(fmt.Sprintf("%s %s, %s, %s", name, second.Asm(), first.Asm(), dst.Asm()))
	Instruction(&ir.Instruction{Opcode: "LONG",
		Operands: []Op{U32(uint32(code[0]) | uint32(code[1])<<8 | uint32(code[2])<<16 | uint32(code[3])<<24)},
		Inputs:   []Op{second, first, dst}, Outputs: []Op{dst}})
	Instruction(&ir.Instruction{Opcode: "WORD", Operands: []Op{U16(uint16(code[4]) | uint16(code[5])<<8)}})
}

// loadPairs loads 32 float32 as pairs of bfloat16.
func loadPairs(src Mem, x VecPhysical) {
	VMOVUPS(src, x)
	VMOVUPS(src.Offset(64), pairTemp)
	vcvtne2ps2bf16(x, pairTemp, x)
}

// interlaceTable writes the indices that bring the halves of a vector of 16-bit
// words together in pairs: 0, 16, 1, 17, ...
func interlaceTable() {
	GLOBL("bf16Interlace", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(i)|uint32(16+i)<<16))
	}
}

// packPairs writes kernel.gemmISA.packRows of pairs for panels of up to the
// given number of vectors, 1 or 2: two rows of src become a row of pairs. A
// last row without its other has zeros there.
func packPairs(operand string, vectors int) {
	v := pairs
	TEXT("gemmPack"+operand+v.name, NOSPLIT, "func(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemmPack%s%s is gemmISA.packRows for panels of up to %d pairs.", operand, v.name, vectors*v.lanes))
	param := func(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }
	panel, step, ld, width := param("panel"), param("step"), param("ld"), param("width")
	depth, panels := param("depth"), param("panels")
	tmp := param("last")
	v.setMasks(tmp, v.mask(2), v.mask(3))
	MOVQ(width, tmp)
	v.setMasks(tmp, v.mask(0), v.mask(1))
	for _, r := range []GPVirtual{panel, step, ld, width} {
		SHLQ(Imm(2), r)
	}
	DECQ(panels)
	VMOVUPS(NewDataAddr(Symbol{Name: "bf16Interlace", Static: true}, 0), interlace)
	VPTERNLOGD(Imm(0xff), keep, keep, keep)
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	from, to, left := GP64(), GP64(), GP64()
	move := func(firstMask int) {
		for h := range vectors {
			mask := v.mask(firstMask + h)
			v.maskedLoad(Mem{Base: from, Disp: h * v.bytes()}, mask, v.regs[h])
			v.maskedLoad(Mem{Base: from, Index: ld, Scale: 1, Disp: h * v.bytes()}, mask, v.regs[2+h])
		}
		for h := range vectors {
			x := v.regs[h]
			vcvtne2ps2bf16(x, v.regs[2+h], x)
			VPERMW(x, interlace, x)
			VPANDD(keep, x, x)
			VMOVUPS(x, Mem{Base: to, Disp: h * v.bytes()})
		}
	}
	Label("row")
	CMPQ(depth, Imm(1))
	JNE(LabelRef("pair"))
	XORQ(ld, ld) // the row again, and not kept
	VPSRLD(Imm(16), keep, keep)
	Label("pair")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(panels, left)
	TESTQ(left, left)
	JZ(LabelRef("last"))
	Label("panel")
	move(0)
	ADDQ(width, from)
	ADDQ(panel, to)
	DECQ(left)
	JNZ(LabelRef("panel"))
	Label("last")
	move(2)
	LEAQ(Mem{Base: src, Index: ld, Scale: 2}, src)
	ADDQ(step, dst)
	SUBQ(Imm(2), depth)
	JG(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// convertPairs writes the packing of one row of A: rounding, the order stays.
func convertPairs() {
	v := pairs
	TEXT("gemmConvertBF16", NOSPLIT, "func(dst, src []float32)")
	Pragma("noescape")
	Doc("gemmConvertBF16 is gemmISA.packLine: it rounds src to bfloat16; a last pair without its other value has 0 there.")
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	left := Load(Param("src").Len(), GP64()).(GPVirtual)
	SUBQ(Imm(32), left)
	JL(LabelRef("rest"))
	Label("vector")
	loadPairs(Mem{Base: src}, Z0)
	VMOVUPS(Z0, Mem{Base: dst})
	ADDQ(U32(128), src)
	ADDQ(Imm(64), dst)
	SUBQ(Imm(32), left)
	JGE(LabelRef("vector"))
	Label("rest")
	ADDQ(Imm(32), left)
	JZ(LabelRef("done"))
	v.transposeMasks(left)
	v.loadMasked(Mem{Base: src}, Z0)
	INCQ(left)
	SHRQ(Imm(1), left)
	v.setMasks(left, v.mask(0), v.mask(1))
	VMOVUPS(Z0, v.mask(0), Mem{Base: dst})
	Label("done")
	VZEROUPPER()
	RET()
}
