package main

import . "github.com/mmcloughlin/avo/reg"

// The lines of convolutions of stride 2: four products of the middle tap with
// the values that it alone reads, and five of F(4,2) for the outer taps, with
// the points 0, a, -a, b and infinity; see kernel/wino_stride2.go.
var (
	lineInputS = line{in: 9, out: 9, do: inputS, keep: []float64{pointA, pointB, squareA}, core: []int{1, 2, 3, 4, 5, 6, 7, 8}, inOrder: true}
	lineDataS  = line{in: 5, out: 9, do: dataS, keep: []float64{pointA, pointB, squareA}, core: upTo(4), inOrder: true}
	lineGradS  = line{in: 4, out: 9, do: gradS, core: upTo(4), inOrder: true}
	lineTapsS  = line{in: 3, out: 6, do: tapsS, core: upTo(3)}
	lineOutS   = line{in: 9, out: 4, do: outS, core: upTo(4)}
	lineDXS    = line{in: 9, out: 8, do: dxS, core: upTo(8)}
	lineDWS    = line{in: 6, out: 3, do: dwS}
)

// One over the products of the differences of the points.
const (
	outer0 = 1 / (squareA * pointB)
	outerA = 1 / (2 * squareA * (pointA - pointB))
	outerM = -1 / (2 * squareA * (pointA + pointB))
	outerB = 1 / (pointB * (squareB - squareA))
)

func winoStride2(toPoints, fromPoints, withTails func(string, line)) {
	toPoints("winoInputS", lineInputS)
	toPoints("winoDataS", lineDataS)
	toPoints("winoGradS", lineGradS)
	toPoints("winoTapsS", lineTapsS)
	fromPoints("winoOutputS", lineOutS)
	withTails("winoOutputS", lineOutS)
	fromPoints("winoDXS", lineDXS)
	fromPoints("winoDWS", lineDWS)
}

// outer transforms what the outer taps read.
func (k *kern) outer(e0, e1, e2, e3, e4 VecVirtual) []VecVirtual {
	q0, q1 := k.minus(e2, e0, squareA), k.minus(e3, e1, squareA)
	v0 := k.minus(q1, q0, pointB)
	v4 := k.minus(k.minus(e4, e2, squareA), q1, pointB)
	v1, v2 := k.plusMinus(k.minus(e3, e2, pointB), k.minus(e2, e1, pointB), pointA)
	return []VecVirtual{v0, v1, v2, q1, v4}
}

func inputS(k *kern, d []VecVirtual, _ int) []VecVirtual {
	return append([]VecVirtual{d[1], d[3], d[5], d[7]}, k.outer(d[0], d[2], d[4], d[6], d[8])...)
}

func dataS(k *kern, d []VecVirtual, _ int) []VecVirtual {
	return append([]VecVirtual{d[0], d[1], d[2], d[3]}, k.outer(d[0], d[1], d[2], d[3], d[4])...)
}

func gradS(k *kern, d []VecVirtual, _ int) []VecVirtual {
	v1, v2 := k.plusMinus(k.plus(d[0], d[2], squareA), k.plus(d[1], d[3], squareA), pointA)
	v3 := k.plus(k.plus(d[0], d[2], squareB), k.plus(d[1], d[3], squareB), pointB)
	return []VecVirtual{d[0], d[1], d[2], d[3], d[0], v1, v2, v3, d[3]}
}

func tapsS(k *kern, w []VecVirtual, _ int) []VecVirtual {
	return []VecVirtual{w[1], k.mul(w[0], k.f32(outer0)),
		k.plus(k.mul(w[0], k.f32(outerA)), w[2], outerA*pointA),
		k.minus(k.mul(w[0], k.f32(outerM)), w[2], outerM*pointA),
		k.plus(k.mul(w[0], k.f32(outerB)), w[2], outerB*pointB), w[2]}
}

// outerSums takes the products of F(4,2) back and adds them to y.
func (k *kern) outerSums(n, y []VecVirtual) []VecVirtual {
	s, q := k.add(n[1], n[2]), k.sub(n[1], n[2])
	sum := []VecVirtual{k.add(k.add(n[0], s), n[3]), k.mul(q, k.f32(pointA)), k.mul(s, k.f32(squareA)), k.copyOf(n[4])}
	k.fma(sum[1], n[3], k.f32(pointB))
	k.fma(sum[2], n[3], k.f32(squareB))
	k.fma(sum[3], q, k.f32(squareA*pointA))
	k.fma(sum[3], n[3], k.f32(squareB*pointB))
	if y == nil {
		return sum
	}
	for i := range sum {
		sum[i] = k.add(sum[i], y[i])
	}
	return sum
}

func outS(k *kern, m []VecVirtual, _ int) []VecVirtual { return k.outerSums(m[4:], m[:4]) }

func dxS(k *kern, m []VecVirtual, _ int) []VecVirtual {
	odd := k.outerSums(m[4:], nil)
	return []VecVirtual{m[0], odd[0], m[1], odd[1], m[2], odd[2], m[3], odd[3]}
}

func dwS(k *kern, u []VecVirtual, _ int) []VecVirtual {
	w0, w2 := k.mul(u[1], k.f32(outer0)), k.copyOf(u[5])
	k.fma(w0, u[2], k.f32(outerA))
	k.fma(w0, u[3], k.f32(outerM))
	k.fma(w0, u[4], k.f32(outerB))
	k.fma(w2, u[2], k.f32(outerA*pointA))
	k.fnma(w2, u[3], k.f32(outerM*pointA))
	k.fma(w2, u[4], k.f32(outerB*pointB))
	return []VecVirtual{w0, u[0], w2}
}
