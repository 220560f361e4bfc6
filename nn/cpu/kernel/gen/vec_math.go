package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("vec_math", vecMath) }

// The constants of vec_math.go.
var (
	expCoefficients = []float64{0.4999999403953552, 0.1666652113199234, 0.04166838899254799,
		0.008368716575205326, 0.001381459878757596}
	logCoefficients = []float64{0.3333333134651184, -0.250008225440979, 0.20001234114170074, -0.16623298823833466,
		0.14201553165912628, -0.1316058188676834, 0.1276332437992096, -0.07635652273893356}
)

const (
	roundMagic     = 1.5 * (1 << 23)
	roundMagicBits = 0x4B400000
	sqrtHalfBits   = 0x3F3504F3
	ln2Hi          = 0.693359375
	ln2Lo          = math.Ln2 - ln2Hi
	expMin         = -104
	expMax         = 89
	signBit        = 0x80000000
)

// vecMath writes exp, log and sigmoid over slices.
func vecMath(f *vecFile) {
	f.fn("exp", "func(dst, x []float32)", func(k *kern) {
		k.keepExp()
		k.map1(func(b *block, x VecVirtual) VecVirtual {
			x = k.max(k.inReg(k.f32(expMin)), x)
			return k.exp(k.min(k.inReg(k.f32(expMax)), x), true)
		})
	})
	f.fn("log", "func(dst, x []float32)", func(k *kern) {
		k.keepLog()
		k.map1(func(b *block, x VecVirtual) VecVirtual { return k.log(x) })
	})
	f.fn("sigmoid", "func(dst, x []float32)", func(k *kern) {
		k.keepExp()
		k.map1(func(b *block, z VecVirtual) VecVirtual {
			p, _ := k.sigmoid(z, expMin, true)
			return p
		})
	})
}

// map1 writes dst[i] = f(x[i]).
func (k *kern) map1(f func(b *block, x VecVirtual) VecVirtual) {
	dst, x := slice("dst"), slice("x")
	k.each(length("dst"), func(b *block) { b.store(f(b, b.load(x)), dst) }, nil)
}

func (k *kern) keepExp() {
	for _, c := range append([]float64{math.Log2E, roundMagic, ln2Hi, ln2Lo, 1, expMin, expMax}, expCoefficients...) {
		k.keep(k.f32(c))
	}
	k.keep(k.bits(127), k.bits(signBit))
}

func (k *kern) keepLog() {
	for _, c := range append([]float64{1, 0.5, ln2Hi, ln2Lo}, logCoefficients...) {
		k.keep(k.f32(c))
	}
	k.keep(k.bits(sqrtHalfBits), k.bits(0x007FFFFF))
}

// exp is e^x for x inside the range; exp32 of vec_math.go has the comments.
// Without whole, x >= -87: the result is normal and one power enough.
func (k *kern) exp(x VecVirtual, whole bool) VecVirtual {
	t := k.copyOf(k.f32(roundMagic))
	k.fma(t, x, k.f32(math.Log2E))
	n := k.sub(t, k.f32(roundMagic))
	r := k.copyOf(x)
	k.fnma(r, n, k.f32(ln2Hi))
	k.fnma(r, n, k.f32(ln2Lo))
	q := k.horner(r, expCoefficients...)
	r2 := k.mul(r, r)
	VFMADD213PS(r, r2, q)
	y := k.add(q, k.f32(1))
	if !whole {
		// The low bits of t are those of n, the others leave by the shift.
		return k.mul(y, k.shiftLeft(k.addInt(t, k.bits(127)), 23))
	}
	i := k.subInt(t, k.bits(roundMagicBits))
	half := k.shiftArith(i, 1)
	rest := k.subInt(i, half)
	y = k.mul(y, k.shiftLeft(k.addInt(half, k.bits(127)), 23))
	return k.mul(y, k.shiftLeft(k.addInt(rest, k.bits(127)), 23))
}

// sigmoid returns p = sigmoid(z) and 1-p; e^-|z| is taken at least e^least.
func (k *kern) sigmoid(z VecVirtual, least float64, whole bool) (p, q VecVirtual) {
	negative := k.max(k.inReg(k.f32(least)), k.or(z, k.bits(signBit)))
	t := k.exp(negative, whole)
	big := k.div(k.inReg(k.f32(1)), k.add(t, k.f32(1)))
	small := k.mul(t, big)
	m := k.compare(greaterEqual, z, k.bits(0))
	return k.choose(m, big, small), k.choose(m, small, big)
}

// log is the natural logarithm for every float32.
func (k *kern) log(x VecVirtual) VecVirtual {
	subnormal := k.compare(lessThan, x, k.f32(0x1p-126))
	scaled := k.choose(subnormal, k.mul(x, k.f32(1<<23)), x)
	n, f := k.logSplit(scaled)
	n = k.addInt(n, k.where(subnormal, k.inReg(k.bits(uint32(0xFFFFFFFF-22))))) // -23
	y := k.logPoly(f, k.toFloat(n))
	inf := k.f32(math.Inf(1))
	y = k.choose(k.compare(equal, x, inf), x, y)
	y = k.choose(k.compare(equal, x, k.bits(0)), k.inReg(k.f32(math.Inf(-1))), y)
	return k.choose(k.compare(notGE, x, k.bits(0)), k.inReg(k.bits(0x7FC00000)), y)
}

// logSplit returns k and f with x = 2^k (1+f).
func (k *kern) logSplit(x VecVirtual) (n, f VecVirtual) {
	bits := k.subInt(x, k.bits(sqrtHalfBits))
	n = k.shiftArith(bits, 23)
	m := k.addInt(k.and(bits, k.bits(0x007FFFFF)), k.bits(sqrtHalfBits))
	return n, k.sub(m, k.f32(1))
}

// logPoly is ln(2^n (1+f)).
func (k *kern) logPoly(f, n VecVirtual) VecVirtual {
	q := k.horner(f, logCoefficients...)
	f2 := k.mul(f, f)
	lo := k.mul(f2, k.mul(f, q))
	k.fma(lo, n, k.f32(ln2Lo))
	k.fnma(lo, f2, k.f32(0.5))
	y := k.add(f, lo)
	k.fma(y, n, k.f32(ln2Hi))
	return y
}
