package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("vec_elem", vecElem) }

// vecElem writes the elementwise kernels.
func vecElem(f *vecFile) {
	const one, two = "func(dst, x []float32)", "func(dst, x, y []float32)"
	const grad = "func(dx, dy, y []float32)"
	f.fn("relu", one, func(k *kern) {
		zero := k.vec()
		k.zero(zero)
		k.map1(func(_ *block, x VecVirtual) VecVirtual { return k.max(zero, x) })
	})
	f.fn("add", one, func(k *kern) { k.map2("dst", "dst", "x", func(x, y VecVirtual) VecVirtual { return k.add(x, y) }) })
	f.fn("sum2", two, func(k *kern) { k.map2("dst", "x", "y", func(x, y VecVirtual) VecVirtual { return k.add(x, y) }) })
	f.fn("sumReLU", two, func(k *kern) {
		zero := k.vec()
		k.zero(zero)
		k.map2("dst", "x", "y", func(x, y VecVirtual) VecVirtual { return k.max(zero, k.add(x, y)) })
	})
	f.fn("reluGrad", grad, func(k *kern) {
		zero := k.vec()
		k.zero(zero)
		k.map2("dx", "dy", "y", func(dy, y VecVirtual) VecVirtual {
			return k.where(k.compare(greaterThan, y, zero), dy)
		})
	})
	f.fn("sigmoidGrad", grad, func(k *kern) {
		one := k.copyOf(k.f32(1))
		k.map2("dx", "dy", "y", func(dy, y VecVirtual) VecVirtual { return k.mul(dy, k.mul(y, k.sub(one, y))) })
	})
	f.fn("scale", "func(dst, x []float32, a float32)", func(k *kern) {
		a := k.broadcast("a")
		k.map1(func(_ *block, x VecVirtual) VecVirtual { return k.mul(a, x) })
	})
	f.fn("axpy", "func(y, x []float32, a float32)", func(k *kern) {
		a := k.broadcast("a")
		k.map2("y", "y", "x", func(y, x VecVirtual) VecVirtual { k.fma(y, a, x); return y })
	})
	f.fn("axpby", "func(dst, x, y []float32, a, b float32)", func(k *kern) {
		a, b := k.broadcast("a"), k.broadcast("b")
		k.map2("dst", "x", "y", func(x, y VecVirtual) VecVirtual {
			r := k.mul(b, y)
			k.fma(r, a, x)
			return r
		})
	})
	f.fn("add4", "func(acc, r0, r1, r2, r3 []float32)", (*kern).add4)
	f.fn("dropout", "func(dst, x []float32, lo, hi, threshold uint32, scale float32)", (*kern).dropout)
}

// map2 writes dst[i] = f(x[i], y[i]) for the slices of these names.
func (k *kern) map2(dst, x, y string, f func(x, y VecVirtual) VecVirtual) {
	d, px, py := slice(dst), slice(x), slice(y)
	k.each(length(dst), func(b *block) { b.store(f(b.load(px), b.load(py)), d) }, nil)
}

func (k *kern) add4() {
	acc := slice("acc")
	rows := []Register{slice("r0"), slice("r1"), slice("r2"), slice("r3")}
	k.each(length("acc"), func(b *block) {
		s := b.load(acc)
		for _, r := range rows {
			s = k.add(s, b.load(r))
		}
		b.store(s, acc)
	}, nil)
}

// The constants of nn.Hash32.
const (
	hashStep = 0x9E3779B9
	hashMul1 = 0x7FEB352D
	hashMul2 = 0x846CA68B
)

// dropout keeps a counter lo + j*hashStep in every lane.
func (k *kern) dropout() {
	lo, hi := k.broadcast("lo"), k.broadcast("hi")
	threshold, scale := k.broadcast("threshold"), k.broadcast("scale")
	dst, px := slice("dst"), slice("x")
	var counters []VecVirtual
	for part := range k.parts() {
		iota := k.constant("counters", func(i int) uint32 { return uint32(i) * hashStep }).(Mem)
		counters = append(counters, k.addInt(lo, iota.Offset(part*k.width())))
	}
	k.keep(k.bits(hashMul1), k.bits(hashMul2))
	step := uint32(hashStep)
	next := k.inReg(k.bits(blockLen * step))
	k.each(length("dst"), func(b *block) {
		c := counters[b.part]
		h := k.shiftRight(c, 16)
		k.xor(h, c)
		VPMULLD(k.bits(hashMul1), h, h)
		k.xor(h, hi)
		k.xor(h, k.shiftRight(h, 15))
		VPMULLD(k.bits(hashMul2), h, h)
		k.xor(h, k.shiftRight(h, 16))
		b.store(k.where(k.atLeast(h, threshold), k.mul(scale, b.load(px))), dst)
		VPADDD(next, c, c)
	}, nil)
}
