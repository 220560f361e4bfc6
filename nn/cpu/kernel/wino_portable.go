package kernel

// portableWino are the transforms in plain Go.
var portableWino = winoISA{
	lanes:   4,
	micro:   func(rows int, call *microCall) { microPortable(rows, false, call) },
	sums:    winoSums{width: 4, rows: []int{4}, micro: func(rows int, call *microCall) { microPortable(rows, true, call) }},
	input:   [winoAlgorithms]func(*winoCall){toPoints(6, 6, input4), toPoints(2, 3, input2), toPoints(9, 9, inputS), toPoints(5, 9, dataS)},
	grad:    [winoAlgorithms]func(*winoCall){toPoints(4, 6, grad4), toPoints(2, 3, grad2), toPoints(4, 9, gradS)},
	weights: [winoAlgorithms]func(*winoCall){toPoints(3, 6, weights4), toPoints(3, 3, weights2), toPoints(3, 6, tapsS), toPoints(3, 6, tapsS)},
	output:  [winoAlgorithms]func(*winoCall){fromPoints(6, 4, output4, storePixel), fromPoints(3, 2, output2, storePixel), fromPoints(9, 4, outS, storePixel), fromPoints(9, 8, dxS, storePixel)},
	sum:     [winoAlgorithms]func(*winoCall){fromPoints(6, 4, output4, storeTail), fromPoints(3, 2, output2, storeTail), fromPoints(9, 4, outS, storeTail)},
	pool:    [winoAlgorithms]func(*winoCall){fromPoints(6, 4, output4, storePooled), fromPoints(3, 2, output2, storePooled), fromPoints(9, 4, outS, storePooled)},
	dw:      [winoAlgorithms]func(*winoCall){fromPoints(6, 3, dw4, storePixel), fromPoints(3, 3, dw2, storePixel), fromPoints(6, 3, dwS, storePixel)},
}

// line holds the values of a transform in one dimension, for four channels.
type line = [winoRows][4]float32

// toPoints makes a transform of in x in pixels to out x out points of one in
// one dimension.
func toPoints(in, out int, f func(*line)) func(*winoCall) {
	return func(c *winoCall) {
		at := 0
		for i := range c.vectors {
			var t [winoRows]line // columns, transformed
			for x := range in {
				if c.columns>>x&1 == 0 {
					continue
				}
				for y := range in {
					if c.rowAt[y] != winoAbsent {
						t[x][y] = [4]float32(c.image[c.rowAt[y]+x*c.pixel/4+4*i:])
					}
				}
				f(&t[x])
			}
			for y := range out {
				var row line
				for x := range in {
					row[x] = t[x][y]
				}
				f(&row)
				for x := range out {
					*(*[4]float32)(c.point[at+(y*c.yStep+c.xStep[x])/4:]) = row[x]
				}
			}
			at += c.step[i&1] / 4
		}
	}
}

// fromPoints makes a transform of in x in points to out x out pixels. store
// gets four channels, those of vector i, of the pixel in row y and column x.
func fromPoints(in, out int, f func(*line), store func(c *winoCall, y, x, i int, v [4]float32)) func(*winoCall) {
	return func(c *winoCall) {
		at := 0
		for i := range c.vectors {
			var t [winoRows]line // rows, transformed
			for y := range in {
				for x := range in {
					t[y][x] = [4]float32(c.point[at+(y*c.yStep+c.xStep[x])/4:])
				}
				f(&t[y])
			}
			for x := range out {
				if c.columns>>x&1 == 0 {
					continue
				}
				var column line
				for y := range in {
					column[y] = t[y][x]
				}
				f(&column)
				for y := range out {
					for j := range c.biases[:min(4, len(c.biases))] {
						column[y][j] += c.biases[4*i+j]
					}
					store(c, y, x, i, column[y])
				}
			}
			at += c.step[i&1] / 4
		}
	}
}

// storePixel writes a pixel.
func storePixel(c *winoCall, y, x, i int, v [4]float32) {
	if c.rowAt[y] != winoAbsent {
		*(*[4]float32)(c.image[c.rowAt[y]+x*c.pixel/4+4*i:]) = v
	}
}

// storeTail does what ConvTail says and writes a pixel.
func storeTail(c *winoCall, y, x, i int, v [4]float32) {
	if c.rowAt[y] == winoAbsent {
		return
	}
	t, at := &c.tail, c.rowAt[y]+x*c.pixel/4+4*i
	if t.residual != nil {
		for j, r := range t.residual[at : at+4] {
			v[j] += r
		}
	}
	if t.sum != nil {
		*(*[4]float32)(t.sum[at:]) = v
	}
	if t.scale != nil {
		v = t.affine(i, v)
	}
	storePixel(c, y, x, i, v)
}

// affine is v scale + shift, at least floor.
func (t *winoTail) affine(i int, v [4]float32) [4]float32 {
	for j := range v {
		v[j] = max(affine(v[j], t.scale[4*i+j], t.shift[4*i+j]), t.floor)
	}
	return v
}

// storePooled writes the first pixel of a window, or the maximum with what is
// there; the last pixel of a row or column without a partner is in no window.
func storePooled(c *winoCall, y, x, i int, v [4]float32) {
	if c.rowAt[y/2] == winoAbsent || c.columns>>(x|1)&1 == 0 {
		return
	}
	v = c.tail.affine(i, v)
	to := (*[4]float32)(c.image[c.rowAt[y/2]+x/2*c.pixel/4+4*i:])
	for j := range v {
		if x%2+y%2 > 0 {
			v[j] = max(v[j], to[j])
		}
	}
	*to = v
}

// The transforms of wino.go's matrices, as gen/wino.go writes them.

const (
	winoA  = 0.75
	winoB  = 1.5
	winoA2 = winoA * winoA
	winoB2 = winoB * winoB
	winoF0 = 1 / (winoA2 * winoB2)
	winoFA = 1 / (2 * winoA2 * (winoA2 - winoB2))
	winoFB = 1 / (2 * winoB2 * (winoB2 - winoA2))
)

func input4(d *line) {
	for i := range 4 {
		d0, d1, d2, d3, d4, d5 := d[0][i], d[1][i], d[2][i], d[3][i], d[4][i], d[5][i]
		e, f := d4-winoB2*d2, d3-winoB2*d1
		g, h := d4-winoA2*d2, d3-winoA2*d1
		d[0][i] = d4 - (winoA2+winoB2)*d2 + winoA2*winoB2*d0
		d[1][i], d[2][i] = e+winoA*f, e-winoA*f
		d[3][i], d[4][i] = g+winoB*h, g-winoB*h
		d[5][i] = d5 - (winoA2+winoB2)*d3 + winoA2*winoB2*d1
	}
}

func grad4(d *line) {
	for i := range 4 {
		d0, d1, d2, d3 := d[0][i], d[1][i], d[2][i], d[3][i]
		e, f := d0+winoA2*d2, d1+winoA2*d3
		g, h := d0+winoB2*d2, d1+winoB2*d3
		d[1][i], d[2][i] = e+winoA*f, e-winoA*f
		d[3][i], d[4][i] = g+winoB*h, g-winoB*h
		d[5][i] = d3
	}
}

func weights4(d *line) {
	for i := range 4 {
		d0, d1, d2 := d[0][i], d[1][i], d[2][i]
		e, f := winoFA*d0+winoFA*winoA2*d2, winoFB*d0+winoFB*winoB2*d2
		d[0][i] = winoF0 * d0
		d[1][i], d[2][i] = e+winoFA*winoA*d1, e-winoFA*winoA*d1
		d[3][i], d[4][i] = f+winoFB*winoB*d1, f-winoFB*winoB*d1
		d[5][i] = d2
	}
}

func output4(d *line) {
	for i := range 4 {
		s1, q1 := d[1][i]+d[2][i], d[1][i]-d[2][i]
		s2, q2 := d[3][i]+d[4][i], d[3][i]-d[4][i]
		d[0][i] += s1 + s2
		d[1][i] = winoA*q1 + winoB*q2
		d[2][i] = winoA2*s1 + winoB2*s2
		d[3][i] = d[5][i] + winoA2*winoA*q1 + winoB2*winoB*q2
	}
}

func dw4(d *line) {
	for i := range 4 {
		s1, q1 := d[1][i]+d[2][i], d[1][i]-d[2][i]
		s2, q2 := d[3][i]+d[4][i], d[3][i]-d[4][i]
		d[0][i] = winoF0*d[0][i] + winoFA*s1 + winoFB*s2
		d[1][i] = winoFA*winoA*q1 + winoFB*winoB*q2
		d[2][i] = d[5][i] + winoFA*winoA2*s1 + winoFB*winoB2*s2
	}
}

func input2(d *line) {
	for i := range 4 {
		d[0][i], d[2][i] = d[0][i]+d[1][i], d[0][i]
	}
}

func grad2(d *line) {
	for i := range 4 {
		d[0][i], d[1][i], d[2][i] = d[0][i]+d[1][i], d[0][i], d[1][i]
	}
}

func weights2(d *line) {
	for i := range 4 {
		d[0][i], d[1][i], d[2][i] = d[1][i], d[2][i]-d[1][i], d[0][i]-d[1][i]
	}
}

func output2(d *line) {
	for i := range 4 {
		d[0][i], d[1][i] = d[0][i]+d[1][i], d[0][i]+d[2][i]
	}
}

func dw2(d *line) {
	for i := range 4 {
		d[0][i], d[1][i], d[2][i] = d[2][i], d[0][i]-d[1][i]-d[2][i], d[1][i]
	}
}
