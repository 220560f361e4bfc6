package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("vec_reduce", vecReduce) }

const (
	dotAccumulators = 4
	dotFlush        = 16
)

// vecReduce writes the reductions and searches.
func vecReduce(f *vecFile) {
	f.fn("dot", "func(x, y []float32) float64", (*kern).dot)
	f.fn("maxMagnitude", "func(x []float32) uint32", (*kern).maxMagnitude)
	f.fn("greater", "func(x []float32, threshold float32, idx []int32) int", (*kern).greater)
}

// dot has four blocks in flight, to hide the latency of the FMA.
func (k *kern) dot() {
	const step = dotAccumulators * blockLen
	x, y, left := slice("x"), slice("y"), length("x")
	total := k.newSum()
	var acc [dotAccumulators][]VecVirtual
	for i := range acc {
		acc[i] = k.perPart(k.zero)
	}
	flush := func() {
		for p := range k.parts() {
			VADDPS(acc[1][p], acc[0][p], acc[0][p])
			VADDPS(acc[3][p], acc[2][p], acc[2][p])
			VADDPS(acc[2][p], acc[0][p], acc[0][p])
			total.addPart(p, acc[0][p])
			for i := range acc {
				k.zero(acc[i][p])
			}
		}
	}
	at := GP64()
	XORQ(at, at)
	after := everyBlocks(k, dotFlush, flush)
	body := func(masks func(part int) mask) {
		for i := range acc {
			for p := range k.parts() {
				b := &block{k: k, part: p, at: at, disp: i * blockBytes}
				if masks != nil {
					b.masked, b.mask = true, masks(i*k.parts()+p)
				}
				k.fma(acc[i][p], b.load(x), b.load(y))
			}
		}
	}
	SUBQ(Imm(step), left)
	JL(LabelRef("tail"))
	Label("loop")
	body(nil)
	after()
	ADDQ(U32(4*step), at)
	SUBQ(Imm(step), left)
	JGE(LabelRef("loop"))
	Label("tail")
	ADDQ(Imm(step), left)
	JE(LabelRef("done"))
	body(k.tailMasks(left, dotAccumulators))
	Label("done")
	flush()
	total.give()
}

// maxMagnitude is the unsigned maximum of the bits without the sign.
func (k *kern) maxMagnitude() {
	x := slice("x")
	top := k.perPart(k.zero)
	magnitude := k.copyOf(k.bits(0x7FFFFFFF))
	k.each(length("x"), func(b *block) {
		t := top[b.part]
		VPMAXUD(k.and(magnitude, b.load(x)), t, t)
	}, nil)
	y, other := top[0].AsY(), k.vec()
	if k.wide {
		VEXTRACTI64X4(Imm(1), top[0], other.AsY())
	} else {
		other = top[1]
	}
	VPMAXUD(other.AsY(), y, y)
	VEXTRACTI128(Imm(1), y, other.AsX())
	r, o := top[0].AsX(), other.AsX()
	VPMAXUD(o, r, r)
	for _, swap := range []uint64{0x4E, 0xB1} {
		VPSHUFD(Imm(swap), r, o)
		VPMAXUD(o, r, r)
	}
	result := GP32()
	VMOVD(r, result)
	Store(result, ReturnIndex(0))
}

// greater looks at a block at a time and visits the set bits of its mask: for
// a top-k there are few.
func (k *kern) greater() {
	threshold := k.broadcast("threshold")
	x, idx := slice("x"), slice("idx")
	count, at := GP64(), GP64() // at: index of the block's first element
	XORQ(count, count)
	XORQ(at, at)
	var bits Register
	k.each(length("x"), func(b *block) {
		m := k.compare(greaterThan, b.load(x), threshold)
		if b.masked {
			m = k.andMask(m, b.mask)
		}
		part := GP32()
		if k.wide {
			KMOVW(m, part)
		} else {
			VMOVMSKPS(m, part)
		}
		if b.part == 0 {
			bits = part
		} else {
			SHLL(Imm(8), part)
			ORL(part, bits.(GPVirtual).As32())
		}
		if b.part < k.parts()-1 {
			return
		}
		visit, next := k.label("visit"), k.label("next")
		TESTL(bits, bits)
		JE(LabelRef(next))
		Label(visit)
		bit := GP32()
		BSFL(bits, bit)
		ADDL(at.As32(), bit)
		MOVL(bit, Mem{Base: idx, Index: count, Scale: 4})
		INCQ(count)
		rest := GP64()
		LEAQ(Mem{Base: bits.(GPVirtual).As64(), Disp: -1}, rest)
		ANDL(rest.As32(), bits)
		JNE(LabelRef(visit))
		Label(next)
		ADDQ(Imm(blockLen), at)
	}, nil)
	Store(count, ReturnIndex(0))
}

// andMask is the intersection of two masks.
func (k *kern) andMask(a, b mask) mask {
	m := k.newMask()
	if k.wide {
		KANDW(b, a, m)
	} else {
		VANDPS(b, a, m)
	}
	return m
}
