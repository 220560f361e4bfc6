package kernel

import "unsafe"

// portableGemm is the path of plain Go: micro-tiles of 4 x 4, two rows at a time.
var portableGemm = gemmISA{
	mr: 4, nr: 4, per: 1, kc: gemmKC, aStep: 4, maxRows: 512, maxCols: 128, group: 16, fmas: 4,
	micro:          microPortable,
	packLine:       packLine,
	packRows:       packRowsPortable,
	packTransposed: packTransposedPortable,
	sums:           func(s *sumsCall) { sumsPortable(4, s) },
}

// microPortable is gemmISA.micro in Go.
func microPortable(rows int, transposed bool, call *microCall) {
	const nr = 4
	rowStep, kStep := gemmKC, 1
	if transposed {
		rowStep, kStep = 1, 4 // aStep
	}
	a := unsafe.Slice(call.a, max(1, (rows-1)*rowStep+(call.k-1)*kStep+1))
	var bias []float32
	if call.bias != nil {
		bias = unsafe.Slice(call.bias, (call.panels-1)*nr+call.last)
	}
	for p := range call.panels {
		b := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(call.b), p*call.bPanel)), nr*call.k)
		var acc [4][nr]float32
		if call.k > 0 {
			for r := 0; r < rows; r += 2 {
				if r+1 == rows {
					acc[r] = dot1x4(a[r*rowStep:], kStep, b)
					break
				}
				acc[r], acc[r+1] = dot2x4(a[r*rowStep:], rowStep, kStep, b)
			}
		}
		cols := nr
		if p == call.panels-1 {
			cols = call.last
		}
		for r := range rows {
			c := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(call.c), r*call.ldc+p*nr*4)), cols)
			for j := range c {
				v := acc[r][j]
				if call.accumulate != 0 {
					v += c[j]
				}
				if bias != nil {
					v += bias[p*nr+j]
				}
				if call.relu != 0 && v < 0 {
					v = 0
				}
				c[j] = v
			}
		}
	}
}

// dot2x4 multiplies 2 rows of a, rowStep values apart, by a panel of 4 columns.
// Its 14 values fit the 15 registers that Go's compiler has on amd64; 4 x 4
// would spill.
func dot2x4(a []float32, rowStep, kStep int, b []float32) (r0, r1 [4]float32) {
	var c00, c01, c02, c03, c10, c11, c12, c13 float32
	for i := 0; len(b) >= 4; i += kStep {
		b0, b1, b2, b3 := b[0], b[1], b[2], b[3]
		a0, a1 := a[i], a[i+rowStep]
		c00 += a0 * b0
		c01 += a0 * b1
		c02 += a0 * b2
		c03 += a0 * b3
		c10 += a1 * b0
		c11 += a1 * b1
		c12 += a1 * b2
		c13 += a1 * b3
		b = b[4:]
	}
	return [4]float32{c00, c01, c02, c03}, [4]float32{c10, c11, c12, c13}
}

// dot1x4 is dot2x4 for one row.
func dot1x4(a []float32, kStep int, b []float32) [4]float32 {
	var c0, c1, c2, c3 float32
	for i := 0; len(b) >= 4; i += kStep {
		v := a[i]
		c0 += v * b[0]
		c1 += v * b[1]
		c2 += v * b[2]
		c3 += v * b[3]
		b = b[4:]
	}
	return [4]float32{c0, c1, c2, c3}
}

// packLine is gemmISA.packLine of float32 on every path.
func packLine(dst, src []float32) { copy(dst, src) }

// packRowsPortable is gemmISA.packRows in Go.
func packRowsPortable(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int) {
	for k := range depth {
		row := src[k*ld:]
		for p := range panels - 1 {
			copy(dst[p*panel+k*step:], row[p*width:p*width+width])
		}
		p := panels - 1
		copy(dst[p*panel+k*step:], row[p*width:p*width+last])
	}
}

// packTransposedPortable is gemmISA.packTransposed in Go.
func packTransposedPortable(dst, src []float32, ld, depth int) {
	const nr = 4
	s0, s1, s2, s3 := src[:depth], src[ld:ld+depth], src[2*ld:2*ld+depth], src[3*ld:3*ld+depth]
	for k := range s0 {
		d := dst[k*nr : k*nr+nr]
		d[0], d[1], d[2], d[3] = s0[k], s1[k], s2[k], s3[k]
	}
}
