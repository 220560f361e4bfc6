package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The vector kernels are written once for both instruction sets. Their unit is
// the block of 16 elements, a ZMM register or two YMM registers, which a
// kernel's body handles a part at a time:
//
//	AVX-512   |<------------ part 0 ------------>|
//	AVX2      |<--- part 0 ---->|<--- part 1 --->|
//
// Both apply the same operations to every element in the same order, so that
// they end in the same bits.

// blockLen and blockBytes are the size of a block.
const (
	blockLen   = 16
	blockBytes = 4 * blockLen
)

// vecFile makes the kernels of one file, in both instruction sets.
type vecFile struct {
	data map[string]Mem // constants defined in this file
}

// kern is one function being written.
type kern struct {
	file   *vecFile
	wide   bool          // AVX-512
	hoist  map[string]Op // constants kept in registers
	labels int
}

// family registers the kernels that define adds, as gen's file NAME.
func family(name string, define func(f *vecFile)) {
	generators[name] = func() { define(&vecFile{data: map[string]Mem{}}) }
}

// fn writes one kernel: base+"AVX2" and base+"AVX512".
func (f *vecFile) fn(base, signature string, write func(k *kern)) {
	for _, wide := range []bool{false, true} {
		k := &kern{file: f, wide: wide, hoist: map[string]Op{}}
		name := base + "AVX2"
		if wide {
			name = base + "AVX512"
		}
		TEXT(name, attr.NOSPLIT, signature)
		Pragma("noescape")
		write(k)
		VZEROUPPER()
		RET()
	}
}

// parts is the number of registers in a block, width the bytes of one.
func (k *kern) parts() int {
	if k.wide {
		return 1
	}
	return 2
}

func (k *kern) width() int { return blockBytes / k.parts() }

// vec returns a new register.
func (k *kern) vec() VecVirtual {
	if k.wide {
		return ZMM()
	}
	return YMM()
}

// perPart returns a new register for each part of a block.
func (k *kern) perPart(init func(VecVirtual)) []VecVirtual {
	rs := make([]VecVirtual, k.parts())
	for i := range rs {
		rs[i] = k.vec()
		init(rs[i])
	}
	return rs
}

func (k *kern) label(what string) string {
	k.labels++
	return fmt.Sprintf("%s%d", what, k.labels)
}

// Constants: 64 bytes of memory each, all lanes the same, or a register.

// bits is the constant with the given bits in every lane.
func (k *kern) bits(v uint32) Op {
	return k.constant(fmt.Sprintf("c_%08x", v), func(int) uint32 { return v })
}

// f32 is the constant float32(v) in every lane.
func (k *kern) f32(v float64) Op { return k.bits(math.Float32bits(float32(v))) }

// constant is the constant with value(i) in lane i.
func (k *kern) constant(name string, value func(i int) uint32) Op {
	if r, ok := k.hoist[name]; ok {
		return r
	}
	return k.file.table(name, blockLen, value)
}

// table defines n words of read-only data once a file.
func (f *vecFile) table(name string, n int, value func(i int) uint32) Mem {
	if m, ok := f.data[name]; ok {
		return m
	}
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i := range n {
		DATA(4*i, U32(value(i)))
	}
	f.data[name] = m
	return m
}

// keep loads constants to registers before a loop, where there are enough.
func (k *kern) keep(constants ...Op) {
	if !k.wide {
		return
	}
	for _, c := range constants {
		m, ok := c.(Mem)
		if !ok {
			continue
		}
		r := k.vec()
		VMOVUPS(m, r)
		k.hoist[m.Symbol.Name] = r
	}
}

// inReg returns a register with the value of op, which must not be written.
func (k *kern) inReg(op Op) VecVirtual {
	if r, ok := op.(VecVirtual); ok {
		return r
	}
	r := k.vec()
	VMOVUPS(op, r)
	return r
}

// copyOf returns a new register with the value of op.
func (k *kern) copyOf(op Op) VecVirtual {
	r := k.vec()
	if _, ok := op.(Mem); ok {
		VMOVUPS(op, r)
	} else {
		VMOVAPS(op, r)
	}
	return r
}

// broadcast loads the parameter of 32 bits to every lane.
func (k *kern) broadcast(param string) VecVirtual {
	p, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	r := k.vec()
	VBROADCASTSS(p.Addr, r)
	return r
}

func (k *kern) zero(r VecVirtual) {
	if k.wide {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
}

// Arithmetic: the last operand may be memory; results are new registers.

func (k *kern) add(a, b Op) VecVirtual { r := k.vec(); VADDPS(b, a, r); return r }
func (k *kern) sub(a, b Op) VecVirtual { r := k.vec(); VSUBPS(b, a, r); return r }
func (k *kern) mul(a, b Op) VecVirtual { r := k.vec(); VMULPS(b, a, r); return r }
func (k *kern) div(a, b Op) VecVirtual { r := k.vec(); VDIVPS(b, a, r); return r }

// min and max return b if an operand is NaN.
func (k *kern) min(a, b Op) VecVirtual { r := k.vec(); VMINPS(b, a, r); return r }
func (k *kern) max(a, b Op) VecVirtual { r := k.vec(); VMAXPS(b, a, r); return r }

// fma adds a*b to acc, fnma subtracts it.
func (k *kern) fma(acc, a, b Op)  { VFMADD231PS(b, a, acc) }
func (k *kern) fnma(acc, a, b Op) { VFNMADD231PS(b, a, acc) }

// horner is the polynomial with these coefficients, constant term first.
func (k *kern) horner(x Op, c ...float64) VecVirtual {
	p := k.copyOf(k.f32(c[len(c)-1]))
	for i := len(c) - 2; i >= 0; i-- {
		VFMADD213PS(k.f32(c[i]), x, p)
	}
	return p
}

func (k *kern) and(a, b Op) VecVirtual {
	r := k.vec()
	if k.wide {
		VPANDD(b, a, r)
	} else {
		VPAND(b, a, r)
	}
	return r
}

func (k *kern) or(a, b Op) VecVirtual {
	r := k.vec()
	if k.wide {
		VPORD(b, a, r)
	} else {
		VPOR(b, a, r)
	}
	return r
}

// xor sets a to a^b.
func (k *kern) xor(a, b Op) {
	if k.wide {
		VPXORD(b, a, a)
	} else {
		VPXOR(b, a, a)
	}
}

func (k *kern) addInt(a, b Op) VecVirtual { r := k.vec(); VPADDD(b, a, r); return r }
func (k *kern) subInt(a, b Op) VecVirtual { r := k.vec(); VPSUBD(b, a, r); return r }

func (k *kern) shiftLeft(a Op, n uint64) VecVirtual  { r := k.vec(); VPSLLD(Imm(n), a, r); return r }
func (k *kern) shiftRight(a Op, n uint64) VecVirtual { r := k.vec(); VPSRLD(Imm(n), a, r); return r }
func (k *kern) shiftArith(a Op, n uint64) VecVirtual { r := k.vec(); VPSRAD(Imm(n), a, r); return r }
func (k *kern) toFloat(a Op) VecVirtual              { r := k.vec(); VCVTDQ2PS(a, r); return r }

// Comparisons, by the predicates of VCMPPS: ordered and quiet, but for notGE.
const (
	equal        = 0x00
	greaterEqual = 0x1D
	greaterThan  = 0x1E
	lessThan     = 0x11
	notGE        = 0x19 // less or unordered
)

// mask is a lane mask: a K register, or all ones in a YMM register's lanes.
type mask = Op

func (k *kern) newMask() mask {
	if k.wide {
		return K()
	}
	return YMM()
}

// compare is the mask of a OP b.
func (k *kern) compare(op uint64, a, b Op) mask {
	m := k.newMask()
	VCMPPS(Imm(op), b, a, m)
	return m
}

// equalInt is the mask of equal integers.
func (k *kern) equalInt(a, b Op) mask {
	m := k.newMask()
	VPCMPEQD(b, a, m)
	return m
}

// atLeast is the mask of unsigned a >= b.
func (k *kern) atLeast(a, b Op) mask {
	m := k.newMask()
	if k.wide {
		VPCMPUD(Imm(5), b, a, m)
		return m
	}
	VPMAXUD(b, a, m)
	VPCMPEQD(a, m, m)
	return m
}

// choose is yes where the mask is set, no elsewhere; yes may be memory.
func (k *kern) choose(m mask, yes, no Op) VecVirtual {
	r := k.vec()
	if k.wide {
		VBLENDMPS(yes, no, m, r)
	} else {
		VBLENDVPS(m, yes, no, r)
	}
	return r
}

// where is a where the mask is set, zero elsewhere.
func (k *kern) where(m mask, a Op) VecVirtual {
	r := k.vec()
	if k.wide {
		VMOVAPS_Z(a, m, r)
	} else {
		VANDPS(a, m, r)
	}
	return r
}
