package subclass

// Dots computes out[i] = x . vectors[i] for all i. Implementations must give the
// same bits for a vector wherever it stands among the others, because which others
// come along depends on what could be skipped.
type Dots func(out []float32, x []float32, vectors [][]float32)

// dotLanes is the number of partial sums of a dot product: enough for the
// additions' latency, few enough for the registers.
const dotLanes = 4

// goDots is the portable Dots. The conversions of the products forbid fused
// multiply-adds, so that every architecture gives the same bits.
func goDots(out []float32, x []float32, vectors [][]float32) {
	i := 0
	for ; i+2 <= len(vectors); i += 2 {
		out[i], out[i+1] = dot2(x, vectors[i], vectors[i+1])
	}
	if i < len(vectors) {
		out[i] = dot1(x, vectors[i])
	}
}

// dot2 reads x once for two dot products.
func dot2(x, a, b []float32) (sa, sb float32) {
	var a0, a1, a2, a3, b0, b1, b2, b3 float32
	a, b = a[:len(x)], b[:len(x)]
	for len(x) >= dotLanes {
		p, q, r := (*[dotLanes]float32)(x), (*[dotLanes]float32)(a), (*[dotLanes]float32)(b)
		x0, x1, x2, x3 := p[0], p[1], p[2], p[3]
		a0 += float32(x0 * q[0])
		b0 += float32(x0 * r[0])
		a1 += float32(x1 * q[1])
		b1 += float32(x1 * r[1])
		a2 += float32(x2 * q[2])
		b2 += float32(x2 * r[2])
		a3 += float32(x3 * q[3])
		b3 += float32(x3 * r[3])
		x, a, b = x[dotLanes:], a[dotLanes:], b[dotLanes:]
	}
	for i, v := range x {
		a0 += float32(v * a[i])
		b0 += float32(v * b[i])
	}
	return (a0 + a1) + (a2 + a3), (b0 + b1) + (b2 + b3)
}

// dot1 is dot2 for one vector, with the same order of additions.
func dot1(x, a []float32) float32 {
	var a0, a1, a2, a3 float32
	a = a[:len(x)]
	for len(x) >= dotLanes {
		p, q := (*[dotLanes]float32)(x), (*[dotLanes]float32)(a)
		a0 += float32(p[0] * q[0])
		a1 += float32(p[1] * q[1])
		a2 += float32(p[2] * q[2])
		a3 += float32(p[3] * q[3])
		x, a = x[dotLanes:], a[dotLanes:]
	}
	for i, v := range x {
		a0 += float32(v * a[i])
	}
	return (a0 + a1) + (a2 + a3)
}
