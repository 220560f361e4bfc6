package kernel

// Fast 3x3 convolutions of stride 2 and padding 1. In one dimension output i
// reads x[2i-1], x[2i] and x[2i+1]. The middle tap alone reads the even values:
// a product each. The outer taps read the odd values, e[i] = x[2i-1], and are a
// convolution of stride 1 of them, w0 e[i] + w2 e[i+1], for which F(4,2) has
// five products where direct convolution has eight. In two dimensions that is
// 81 products for 16 outputs instead of 144, by 36 matrices of weights: the
// middle tap belongs to four points in each dimension.
//
// F(4,2) with the points 0, a, -a, b, infinity, a = 3/4, b = 3/2:
//
//	     ⎡ a²b  -a²  -b   1  0 ⎤       ⎡ f0       ⎤ f0 = 1/(a²b)         ⎡ 1  1   1  1  0 ⎤
//	     ⎢  0  -ab  a-b   1  0 ⎥       ⎢ fa  a fa ⎥ fa = 1/(2a²(a-b))    ⎢ 0  a  -a  b  0 ⎥
//	Bᵀ = ⎢  0   ab -a-b   1  0 ⎥   G = ⎢ fm -a fm ⎥ fm = -1/(2a²(a+b))  Aᵀ = ⎢ 0  a²  a² b² 0 ⎥
//	     ⎢  0  -a²   0    1  0 ⎥       ⎢ fb  b fb ⎥ fb = 1/(b(b²-a²))    ⎣ 0  a³ -a³ b³ 1 ⎦
//	     ⎣  0  a²b  -a²  -b  1 ⎦       ⎣  0    1  ⎦
//
// The gradient of the data is a convolution of the same kind: dx[2j] = w1 dy[j]
// and dx[2j+1] = w2 dy[j] + w0 dy[j+1].
var (
	stride2 = &winoAlgorithm{id: 2, tile: 4, points: 9, taps: 6, step: 8, window: 9, border: 1,
		local: 256, localChunk: 14, weightsChunk: 24}
	stride2Data = &winoAlgorithm{id: 3, tile: 8, points: 9, taps: 6, step: 4, window: 5, border: 0,
		local: 256, localChunk: 14}
)

// NewStridedConv3x3 is NewConv3x3 for stride 2: x [batch,h,w,c] to y
// [batch,⌈h/2⌉,⌈w/2⌉,o]. It also returns nil where most of the tiles, 4x4
// outputs, would be empty.
func NewStridedConv3x3(kind ConvKind, batch, h, w, c, o int) *Conv3x3 {
	y := plane{ceilDiv(h, 2), ceilDiv(w, 2)}
	tiles := ceilDiv(y.h, stride2.tile) * ceilDiv(y.w, stride2.tile)
	if batch < 1 || c < 1 || o < 1 || c%16 != 0 || o%16 != 0 || 4*y.h*y.w < 3*16*tiles {
		return nil
	}
	alg := stride2
	if kind == ConvData {
		alg = stride2Data
	}
	return newConv3x3(kind, alg, batch, plane{h, w}, y, c, o)
}

// The transforms in plain Go, as gen/wino_stride2.go writes them.

const (
	outer0 = 1 / (winoA2 * winoB)
	outerA = 1 / (2 * winoA2 * (winoA - winoB))
	outerM = -1 / (2 * winoA2 * (winoA + winoB))
	outerB = 1 / (winoB * (winoB2 - winoA2))
)

// outer transforms what the outer taps read.
func outer(e0, e1, e2, e3, e4 float32) (v [5]float32) {
	q0, q1 := e2-winoA2*e0, e3-winoA2*e1
	r, s := e3-winoB*e2, e2-winoB*e1
	return [5]float32{q1 - winoB*q0, r + winoA*s, r - winoA*s, q1, e4 - winoA2*e2 - winoB*q1}
}

func inputS(d *line) {
	for i := range 4 {
		v := outer(d[0][i], d[2][i], d[4][i], d[6][i], d[8][i])
		d[0][i], d[1][i], d[2][i], d[3][i] = d[1][i], d[3][i], d[5][i], d[7][i]
		for j, x := range v {
			d[4+j][i] = x
		}
	}
}

func dataS(d *line) {
	for i := range 4 {
		for j, x := range outer(d[0][i], d[1][i], d[2][i], d[3][i], d[4][i]) {
			d[4+j][i] = x
		}
	}
}

func gradS(d *line) {
	for i := range 4 {
		d0, d1, d2, d3 := d[0][i], d[1][i], d[2][i], d[3][i]
		e, f := d0+winoA2*d2, d1+winoA2*d3
		d[4][i], d[5][i], d[6][i] = d0, e+winoA*f, e-winoA*f
		d[7][i], d[8][i] = d0+winoB2*d2+winoB*(d1+winoB2*d3), d3
	}
}

func tapsS(d *line) {
	for i := range 4 {
		w0, w1, w2 := d[0][i], d[1][i], d[2][i]
		d[0][i], d[1][i] = w1, outer0*w0
		d[2][i], d[3][i] = outerA*w0+outerA*winoA*w2, outerM*w0-outerM*winoA*w2
		d[4][i], d[5][i] = outerB*w0+outerB*winoB*w2, w2
	}
}

// outerSums takes the products of F(4,2) back.
func outerSums(m *line, i int) [4]float32 {
	n0, n1, n2, n3, n4 := m[4][i], m[5][i], m[6][i], m[7][i], m[8][i]
	s, q := n1+n2, n1-n2
	return [4]float32{n0 + s + n3, winoA*q + winoB*n3, winoA2*s + winoB2*n3, n4 + winoA2*winoA*q + winoB2*winoB*n3}
}

func outS(d *line) {
	for i := range 4 {
		for j, y := range outerSums(d, i) {
			d[j][i] += y
		}
	}
}

func dxS(d *line) {
	for i := range 4 {
		odd := outerSums(d, i)
		for j := 3; j >= 0; j-- {
			d[2*j][i], d[2*j+1][i] = d[j][i], odd[j]
		}
	}
}

func dwS(d *line) {
	for i := range 4 {
		u0, u1, u2, u3, u4, u5 := d[0][i], d[1][i], d[2][i], d[3][i], d[4][i], d[5][i]
		d[0][i] = outer0*u1 + outerA*u2 + outerM*u3 + outerB*u4
		d[1][i] = u0
		d[2][i] = u5 + outerA*winoA*u2 - outerM*winoA*u3 + outerB*winoB*u4
	}
}
