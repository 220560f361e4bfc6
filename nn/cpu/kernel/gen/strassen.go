package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { generators["gemm_strassen"] = strassen }

// Offsets of the fields of kernel.sumsCall.
const (
	sumsX00 = 8 * iota
	sumsX01
	sumsX10
	sumsX11
	sumsStepX
	sumsGroups
	sumsDst
	sumsProduct
	sumsStep
	sumsAhead
)

// sumsStores returns the bytes of a panel from what is stored to what is fetched to be
// stored to: 4 of its rows on AVX2, and 8 of twice the width on AVX-512.
func (v isa) sumsStores() int { return v.lanes * v.lanes * 4 }

// strassen writes the loop that makes the right operands of Strassen's seven products.
func strassen() {
	for _, v := range []isa{avx2, avx512} {
		v.sums()
	}
}

// sums writes kernel.gemmISA.sums.
func (v isa) sums() {
	name := "strassenSums" + v.name
	TEXT(name, NOSPLIT, "func(call *int)")
	Pragma("noescape")
	Doc(name+" is gemmISA.sums.", "call points to the first field of a sumsCall.")
	call := Load(Param("call"), GP64())
	load := func(disp int) GPVirtual { r := GP64(); MOVQ(Mem{Base: call, Disp: disp}, r); return r }
	quarters := []GPVirtual{load(sumsX00), load(sumsX01), load(sumsX10), load(sumsX11)}
	stepX, groups, dst, product, step, ahead := load(sumsStepX), load(sumsGroups), load(sumsDst), load(sumsProduct), load(sumsStep), load(sumsAhead)
	dst3, dst6 := GP64(), GP64() // of the fourth product and of the seventh
	LEAQ(Mem{Base: dst, Index: product, Scale: 2}, dst3)
	ADDQ(product, dst3)
	LEAQ(Mem{Base: dst3, Index: product, Scale: 2}, dst6)
	ADDQ(product, dst6)
	to := []Mem{
		{Base: dst}, {Base: dst, Index: product, Scale: 1}, {Base: dst, Index: product, Scale: 2},
		{Base: dst3}, {Base: dst3, Index: product, Scale: 1}, {Base: dst3, Index: product, Scale: 2},
		{Base: dst6},
	}
	Label("group")
	for _, q := range quarters {
		for line := 0; line < 2*v.bytes(); line += 64 {
			PREFETCHT0(Mem{Base: q, Index: ahead, Scale: 1, Disp: line})
		}
	}
	for _, d := range to {
		for line := 0; line < 2*v.bytes(); line += 64 {
			PREFETCHT0(d.Offset(v.sumsStores() + line))
		}
	}
	for h := range 2 {
		v.sevenSums(quarters, to, h*v.bytes())
	}
	for _, q := range quarters {
		ADDQ(stepX, q)
	}
	for _, d := range []GPVirtual{dst, dst3, dst6} {
		ADDQ(step, d)
	}
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// sevenSums stores the seven operands of a vector of each quarter.
func (v isa) sevenSums(quarters []GPVirtual, to []Mem, disp int) {
	x00, x01, x10, x11 := v.regs[0], v.regs[1], v.regs[2], v.regs[3]
	for i, x := range []VecPhysical{x00, x01, x10, x11} {
		VMOVUPS(Mem{Base: quarters[i], Disp: disp}, x)
	}
	sum := func(f func(...Op), one, other, to VecPhysical) VecPhysical { f(other, one, to); return to } // one+other or one-other
	operands := []VecPhysical{
		sum(VADDPS, x00, x11, v.regs[4]), x00, sum(VSUBPS, x01, x11, v.regs[5]), sum(VSUBPS, x10, x00, v.regs[6]),
		x11, sum(VADDPS, x00, x01, v.regs[7]), sum(VADDPS, x10, x11, v.regs[8]),
	}
	for q, x := range operands {
		VMOVUPS(x, to[q].Offset(disp))
	}
}
