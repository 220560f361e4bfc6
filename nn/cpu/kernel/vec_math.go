package kernel

import "math"

// Exp sets dst[i] = e^x[i], within 1.1 ulp, subnormal results included; NaN
// stays NaN.
func Exp(dst, x []float32) { apply1("Exp", vec().exp, dst, x) }

// Log sets dst[i] to the natural logarithm of x[i], within 1 ulp: -Inf for
// zeros, NaN for negative numbers and NaN; subnormal arguments are exact.
func Log(dst, x []float32) { apply1("Log", vec().log, dst, x) }

// Sigmoid sets dst[i] = 1/(1+e^-x[i]), within 3 ulp at both ends: the result
// is as good relative to itself at -80 as at 0.
func Sigmoid(dst, x []float32) { apply1("Sigmoid", vec().sigmoid, dst, x) }

// Constants of the polynomials, found with a Remez exchange for the relative
// error and rounded to float32.
const (
	// e^r = 1 + r + r²(e0 + e1 r + ... + e4 r⁴) for |r| <= ln(2)/2, 3.1e-9.
	expC0 = 0.4999999403953552
	expC1 = 0.1666652113199234
	expC2 = 0.04166838899254799
	expC3 = 0.008368716575205326
	expC4 = 0.001381459878757596

	// ln(1+f) = f - f²/2 + f³(l0 + ... + l7 f⁷) for 1+f in [sqrt(1/2), sqrt(2)],
	// 5.9e-9.
	logC0 = 0.3333333134651184
	logC1 = -0.250008225440979
	logC2 = 0.20001234114170074
	logC3 = -0.16623298823833466
	logC4 = 0.14201553165912628
	logC5 = -0.1316058188676834
	logC6 = 0.1276332437992096
	logC7 = -0.07635652273893356

	log2E = 1.4426950408889634
	ln2Hi = 0.693359375 // ten bits: n*ln2Hi is exact
	ln2Lo = math.Ln2 - ln2Hi

	// Beyond these e^x is zero and infinite in float32.
	expMin, expMax = -104, 89

	// roundMagic added to a float32 of small magnitude leaves the nearest
	// integer in the low bits of the significand.
	roundMagic     = 1.5 * (1 << 23)
	roundMagicBits = 0x4B400000

	sqrtHalfBits = 0x3F3504F3
	oneBits      = 0x3F800000
)

func expPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp32(v)
	}
}

func logPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = log32(v)
	}
}

func sigmoidPortable(dst, x []float32) {
	for i, v := range x {
		dst[i], _ = sigmoid32(v)
	}
}

// exp32 is e^x: x = n ln 2 + r with |r| <= ln(2)/2, e^x = 2^n e^r. The power
// is applied in two halves, so that 2^n may leave the range of float32.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, expMin), expMax)
	t := x*log2E + roundMagic
	n := int32(math.Float32bits(t)) - roundMagicBits
	k := t - roundMagic
	r := x - k*ln2Hi
	r -= k * ln2Lo
	q := float32(expC4)
	q = q*r + expC3
	q = q*r + expC2
	q = q*r + expC1
	q = q*r + expC0
	y := 1 + (r + r*r*q)
	half := n >> 1
	return y * pow2(half) * pow2(n-half)
}

// pow2 is 2^n for -126 <= n <= 127.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

// log32 is the natural logarithm.
func log32(x float32) float32 {
	switch {
	case x != x || x < 0:
		return float32(math.NaN())
	case x == 0:
		return float32(math.Inf(-1))
	case x > math.MaxFloat32:
		return x
	}
	var k int32
	if x < 0x1p-126 {
		x *= 1 << 23
		k = -23
	}
	e, f := logSplit(x)
	return logPoly(f, float32(k+e))
}

// logSplit writes a normal positive x as 2^k (1+f), 1+f in [sqrt(1/2), sqrt(2)).
func logSplit(x float32) (k int32, f float32) {
	bits := math.Float32bits(x) - sqrtHalfBits
	k = int32(bits) >> 23
	m := math.Float32frombits(bits&0x007FFFFF + sqrtHalfBits)
	return k, m - 1
}

// logPoly is ln(2^k (1+f)).
func logPoly(f, k float32) float32 {
	q := float32(logC7)
	q = q*f + logC6
	q = q*f + logC5
	q = q*f + logC4
	q = q*f + logC3
	q = q*f + logC2
	q = q*f + logC1
	q = q*f + logC0
	f2 := f * f
	lo := k*ln2Lo + f2*(f*q)
	lo -= 0.5 * f2
	return k*ln2Hi + (f + lo)
}

// sigmoid32 returns p = sigmoid(z) and 1-p, both with a small relative error:
// with t = e^-|z| the larger of the two is 1/(1+t), the other t/(1+t).
func sigmoid32(z float32) (p, q float32) {
	t := exp32(-float32(math.Abs(float64(z))))
	big := 1 / (1 + t)
	small := t * big
	if z >= 0 {
		return big, small
	}
	if z != z {
		return z, z
	}
	return small, big
}
