package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// packRows writes kernel.gemmISA.packRows for panels of up to the given number
// of vectors, 1 or 2. Every load is masked to the panel's width, so that
// nothing beyond a row is read; what is beyond the width becomes 0.
func (v isa) packRows(operand string, vectors int) {
	name := "gemmPack" + operand + v.name
	TEXT(name, NOSPLIT, "func(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is gemmISA.packRows for panels of up to %d values.", name, vectors*v.lanes))
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
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	from, to, left := GP64(), GP64(), GP64()
	move := func(firstMask int) {
		for h := range vectors {
			v.maskedLoad(Mem{Base: from, Disp: h * v.bytes()}, v.mask(firstMask+h), v.regs[h])
		}
		for h := range vectors {
			VMOVUPS(v.regs[h], Mem{Base: to, Disp: h * v.bytes()})
		}
	}
	Label("row")
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
	ADDQ(ld, src)
	ADDQ(step, dst)
	DECQ(depth)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// packTransposed writes kernel.gemmISA.packTransposed: squares of lanes x lanes
// packed values are transposed in registers, two of them side by side to a row
// of the panel. The columns left over are read under a mask.
func (v isa) packTransposed() {
	name := "gemmPackTransposed" + v.name
	TEXT(name, NOSPLIT, "func(dst, src []float32, ld, depth int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is gemmISA.packTransposed.", name))
	ld := Load(Param("ld"), GP64())
	SHLQ(Imm(2), ld)
	ld3 := GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	for h := range 2 {
		v.transposeRows(h, ld.(GPVirtual), ld3)
	}
	VZEROUPPER()
	RET()
}

// transposeRows transposes rows [h*lanes, (h+1)*lanes) of src to half h of the
// rows of the panel.
func (v isa) transposeRows(h int, ld, ld3 GPVirtual) {
	label := func(s string) string { return fmt.Sprintf("%s%d", s, h) }
	dst, src := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64())
	depth := Load(Param("depth"), GP64()).(GPVirtual)
	if h == 1 {
		skip := GP64()
		MOVQ(ld, skip)
		SHLQ(Imm(uint64(map[int]int{8: 3, 16: 4}[v.lanes])), skip)
		ADDQ(skip, src)
		ADDQ(Imm(uint64(v.bytes())), dst)
	}
	rows := make([]Mem, v.lanes)
	bases := make([]GPVirtual, v.lanes/4)
	for i := range bases {
		bases[i] = GP64()
		if i == 0 {
			MOVQ(src, bases[0])
		} else {
			LEAQ(Mem{Base: bases[i-1], Index: ld, Scale: 4}, bases[i])
		}
		rows[4*i] = Mem{Base: bases[i]}
		rows[4*i+1] = Mem{Base: bases[i], Index: ld, Scale: 1}
		rows[4*i+2] = Mem{Base: bases[i], Index: ld, Scale: 2}
		rows[4*i+3] = Mem{Base: bases[i], Index: ld3, Scale: 1}
	}
	SUBQ(Imm(uint64(v.per*v.lanes)), depth)
	JL(LabelRef(label("rest")))
	Label(label("square"))
	for i, out := range v.transpose(rows, v.load) {
		VMOVUPS(out, Mem{Base: dst, Disp: i * 2 * v.bytes()})
	}
	for _, b := range bases {
		ADDQ(Imm(uint64(v.per*v.bytes())), b)
	}
	ADDQ(U32(uint32(2*v.bytes()*v.lanes)), dst)
	SUBQ(Imm(uint64(v.per*v.lanes)), depth)
	JGE(LabelRef(label("square")))

	Label(label("rest"))
	ADDQ(Imm(uint64(v.per*v.lanes)), depth)
	JZ(LabelRef(label("done")))
	v.transposeMasks(depth)
	if v.per == 2 { // pairs, the last of which may have one value
		INCQ(depth)
		SHRQ(Imm(1), depth)
	}
	for i, out := range v.transpose(rows, v.loadMasked) {
		VMOVUPS(out, Mem{Base: dst, Disp: i * 2 * v.bytes()})
		if i < v.lanes-1 {
			DECQ(depth)
			JZ(LabelRef(label("done")))
		}
	}
	Label(label("done"))
}

// transposeMasks sets the masks of loadMasked for n products.
func (v isa) transposeMasks(n GPVirtual) {
	tmp := GP64()
	MOVQ(n, tmp)
	v.setMasks(tmp, v.mask(0), v.mask(1))
}

// load loads a vector of packed values.
func (v isa) load(src Mem, x VecPhysical) {
	if v.per == 2 {
		loadPairs(src, x)
		return
	}
	VMOVUPS(src, x)
}

// loadMasked is load of the values that the masks 0 and, of pairs, 1 leave; the
// others become 0.
func (v isa) loadMasked(src Mem, x VecPhysical) {
	v.maskedLoad(src, v.mask(0), x)
	if v.per == 2 {
		v.maskedLoad(src.Offset(v.bytes()), v.mask(1), pairTemp)
		vcvtne2ps2bf16(x, pairTemp, x)
	}
}

// transpose loads a vector from each of rows and returns the registers that
// hold their transpose.
func (v isa) transpose(rows []Mem, load func(Mem, VecPhysical)) []VecPhysical {
	if v.lanes == 8 {
		return v.transpose8(rows, load)
	}
	return v.transpose16(rows, load)
}

// transpose8 interleaves rows inside 128-bit lanes, then exchanges lanes.
func (v isa) transpose8(rows []Mem, load func(Mem, VecPhysical)) []VecPhysical {
	x, t := v.regs[:8], v.regs[8:12]
	for i := range 8 {
		load(rows[i], x[i])
	}
	// Pairs of rows interleaved, then pairs of pairs, inside lanes: of each four
	// rows q the vectors x[4q+i] then hold columns i (low lane) and i+4 (high).
	for q := range 2 {
		r := x[4*q : 4*q+4]
		VUNPCKLPS(r[1], r[0], t[0])
		VUNPCKHPS(r[1], r[0], t[1])
		VUNPCKLPS(r[3], r[2], t[2])
		VUNPCKHPS(r[3], r[2], t[3])
		VUNPCKLPD(t[2], t[0], r[0])
		VUNPCKHPD(t[2], t[0], r[1])
		VUNPCKLPD(t[3], t[1], r[2])
		VUNPCKHPD(t[3], t[1], r[3])
	}
	out := make([]VecPhysical, 8)
	for i := range 4 {
		VPERM2F128(Imm(0x20), x[4+i], x[i], t[i])
		VPERM2F128(Imm(0x31), x[4+i], x[i], x[4+i])
		out[i], out[4+i] = t[i], x[4+i]
	}
	return out
}

// transpose16 interleaves inside 128-bit lanes as transpose8 does, then moves
// lanes in two rounds.
func (v isa) transpose16(rows []Mem, load func(Mem, VecPhysical)) []VecPhysical {
	x, t := v.regs[:16], v.regs[16:]
	for i := range 16 {
		load(rows[i], x[i])
	}
	// x[4q+i], lane l: column 4l+i of rows 4q to 4q+3.
	for q := range 4 {
		r, t := x[4*q:4*q+4], t[4*q:4*q+4]
		VUNPCKLPS(r[1], r[0], t[0])
		VUNPCKHPS(r[1], r[0], t[1])
		VUNPCKLPS(r[3], r[2], t[2])
		VUNPCKHPS(r[3], r[2], t[3])
		VUNPCKLPD(t[2], t[0], r[0])
		VUNPCKHPD(t[2], t[0], r[1])
		VUNPCKLPD(t[3], t[1], r[2])
		VUNPCKHPD(t[3], t[1], r[3])
	}
	// A 4 x 4 transposition of lanes for each i: of the vectors q = 0 to 3.
	out := make([]VecPhysical, 16)
	for i := range 4 {
		VSHUFF32X4(Imm(0x44), x[4+i], x[i], t[0])    // lanes 0 1 of q 0 and 1
		VSHUFF32X4(Imm(0xee), x[4+i], x[i], t[1])    // lanes 2 3
		VSHUFF32X4(Imm(0x44), x[12+i], x[8+i], t[2]) // of q 2 and 3
		VSHUFF32X4(Imm(0xee), x[12+i], x[8+i], t[3])
		VSHUFF32X4(Imm(0x88), t[2], t[0], x[i])
		VSHUFF32X4(Imm(0xdd), t[2], t[0], x[4+i])
		VSHUFF32X4(Imm(0x88), t[3], t[1], x[8+i])
		VSHUFF32X4(Imm(0xdd), t[3], t[1], x[12+i])
		for l := range 4 {
			out[4*l+i] = x[4*l+i]
		}
	}
	return out
}

// peak writes a loop of multiply-adds between registers: the speed that no
// product can exceed.
func (v isa) peak() {
	name := "gemmPeak" + v.name
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(fmt.Sprintf("%s does n times 12 multiply-adds of %d values between registers.", name, v.lanes))
	n := Load(Param("n"), GP64())
	for _, x := range v.regs[:14] {
		v.zero(x)
	}
	Label("again")
	for i := range 12 {
		v.multiply(v.regs[12], v.regs[13], v.regs[i])
	}
	DECQ(n)
	JNZ(LabelRef("again"))
	VZEROUPPER()
	RET()
}
