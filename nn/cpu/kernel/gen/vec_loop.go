package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tailLanes is the most lanes that one masked tail may have.
const tailLanes = 64

// block is one part of a block of 16 elements inside a loop.
type block struct {
	k      *kern
	part   int
	at     Register // byte offset of the block
	masked bool     // the last, shorter block
	mask   mask     // of the elements that exist, if masked
	disp   int      // further byte offset
}

// slice loads the address of the slice parameter.
func slice(name string) Register { return Load(Param(name).Base(), GP64()) }

// length loads the length of the slice parameter.
func length(name string) Register { return Load(Param(name).Len(), GP64()) }

// each writes the loop over n elements from byte offset 0, a block at a time;
// body is written for every part, for whole blocks and for the masked tail.
// after, if not nil, is written once after a whole block.
func (k *kern) each(n Register, body func(b *block), after func()) {
	loop, tail, done := k.label("loop"), k.label("tail"), k.label("done")
	at, left := GP64(), GP64()
	XORQ(at, at)
	MOVQ(n, left)
	SUBQ(Imm(blockLen), left)
	JL(LabelRef(tail))
	Label(loop)
	for p := range k.parts() {
		body(&block{k: k, part: p, at: at})
	}
	if after != nil {
		after()
	}
	ADDQ(Imm(blockBytes), at)
	SUBQ(Imm(blockLen), left)
	JGE(LabelRef(loop))
	Label(tail)
	ADDQ(Imm(blockLen), left)
	JE(LabelRef(done))
	masks := k.tailMasks(left, 1)
	for p := range k.parts() {
		body(&block{k: k, part: p, at: at, masked: true, mask: masks(p)})
	}
	Label(done)
}

// tailMasks prepares the masks of the first left elements of up to the given
// number of blocks; the function returned loads the mask of one part.
func (k *kern) tailMasks(left Register, blocks int) func(part int) mask {
	if k.wide {
		ones := GP64()
		MOVQ(I64(-1), ones)
		BZHIQ(left, ones, ones)
		next := 0
		return func(part int) mask {
			if part != next {
				panic("masks are taken in order")
			}
			next++
			m := K()
			KMOVW(ones.As32(), m)
			if next < blocks {
				SHRQ(Imm(blockLen), ones)
			}
			return m
		}
	}
	table := k.file.table("tail", 2*tailLanes, func(i int) uint32 {
		if i < tailLanes {
			return 0xFFFFFFFF
		}
		return 0
	})
	from := GP64()
	LEAQ(table, from)
	skip := GP64()
	MOVQ(U32(tailLanes), skip)
	SUBQ(left, skip)
	LEAQ(Mem{Base: from, Index: skip, Scale: 4}, from)
	return func(part int) mask {
		m := YMM()
		VMOVUPS(Mem{Base: from, Disp: part * k.width()}, m)
		return m
	}
}

// mem is the address of this part in an array.
func (b *block) mem(base Register) Mem {
	return Mem{Base: base, Index: b.at, Scale: 1, Disp: b.disp + b.part*b.k.width()}
}

// load loads this part of an array, zeros where there are no elements.
func (b *block) load(base Register) VecVirtual {
	r := b.k.vec()
	switch {
	case !b.masked:
		VMOVUPS(b.mem(base), r)
	case b.k.wide:
		VMOVUPS_Z(b.mem(base), b.mask, r)
	default:
		VMASKMOVPS(b.mem(base), b.mask, r)
	}
	return r
}

// store stores this part of an array, elements that exist alone.
func (b *block) store(v VecVirtual, base Register) {
	switch {
	case !b.masked:
		VMOVUPS(v, b.mem(base))
	case b.k.wide:
		VMOVUPS(v, b.mask, b.mem(base))
	default:
		VMASKMOVPS(v, b.mask, b.mem(base))
	}
}

// fetch has the block that lies ahead bytes further fetched from memory, in
// each of the arrays.
func (b *block) fetch(ahead Register, bases ...Register) {
	if b.part > 0 {
		return // a block is a cache line
	}
	to := GP64()
	LEAQ(Mem{Base: b.at, Index: ahead, Scale: 1}, to)
	for _, base := range bases {
		PREFETCHT0(Mem{Base: base, Index: to, Scale: 1})
	}
}

// sum is the 16 float64 lanes of a reduction.
type sum struct {
	k *kern
	d []VecVirtual // lanes ascending: two ZMM or four YMM
}

// newSum returns a sum of zero.
func (k *kern) newSum() *sum {
	s := &sum{k: k}
	for range 2 * k.parts() {
		r := k.vec()
		k.zero(r)
		s.d = append(s.d, r)
	}
	return s
}

// addPart adds the float32 lanes of one part.
func (s *sum) addPart(part int, v VecVirtual) {
	wide := s.k.vec()
	if s.k.wide {
		VCVTPS2PD(v.AsY(), wide)
		VADDPD(wide, s.d[0], s.d[0])
		VEXTRACTF64X4(Imm(1), v, wide.AsY())
		VCVTPS2PD(wide.AsY(), wide)
		VADDPD(wide, s.d[1], s.d[1])
		return
	}
	VCVTPS2PD(v.AsX(), wide)
	VADDPD(wide, s.d[2*part], s.d[2*part])
	VEXTRACTF128(Imm(1), v, wide.AsX())
	VCVTPS2PD(wide.AsX(), wide)
	VADDPD(wide, s.d[2*part+1], s.d[2*part+1])
}

// give adds up the lanes i and i+8, i+4, i+2, i+1 and stores the result.
func (s *sum) give() {
	d := s.d
	half := YMM()
	if s.k.wide {
		VADDPD(d[1], d[0], d[0])
		VEXTRACTF64X4(Imm(1), d[0], half)
	} else {
		VADDPD(d[2], d[0], d[0])
		VADDPD(d[3], d[1], d[1])
		VMOVAPD(d[1], half)
	}
	y := d[0].AsY()
	VADDPD(half, y, y)
	VEXTRACTF128(Imm(1), y, half.AsX())
	x := d[0].AsX()
	VADDPD(half.AsX(), x, x)
	VPERMILPD(Imm(1), x, half.AsX())
	VADDSD(half.AsX(), x, x)
	Store(x, ReturnIndex(0))
}

// everyBlocks returns code for each's after: flush runs after every n blocks.
func everyBlocks(k *kern, n int, flush func()) func() {
	left := GP64()
	MOVQ(U32(n), left)
	return func() {
		skip := k.label("skip")
		DECQ(left)
		JNE(LabelRef(skip))
		flush()
		MOVQ(U32(n), left)
		Label(skip)
	}
}
