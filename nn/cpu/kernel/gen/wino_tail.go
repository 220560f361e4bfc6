package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of kernel.winoCall that say what is done with the
// output while it is in registers.
const (
	winoScale    = 224
	winoShift    = 232
	winoFloor    = 240
	winoResidual = 248
	winoSum      = 280
)

// sumTail adds the residual, keeps the sum and takes it to scale, shift and
// floor, each if it is there.
func (k *kern) sumTail(call, at, place Register, v []VecVirtual) {
	row, later := GP64(), GP64()
	MOVQ(Mem{Base: call, Disp: winoAhead}, later)
	ADDQ(place, later)
	each := func(field int, name string, f func(y int, m Mem)) {
		none := k.label(name)
		MOVQ(Mem{Base: call, Disp: field}, row)
		TESTQ(row, row)
		JZ(LabelRef(none))
		for y := range v {
			if y > 0 {
				MOVQ(Mem{Base: call, Disp: field + 8*y}, row)
			}
			f(y, Mem{Base: row, Index: place, Scale: 1})
			PREFETCHT0(Mem{Base: row, Index: later, Scale: 1})
		}
		Label(none)
	}
	each(winoResidual, "alone", func(y int, m Mem) { VADDPS(m, v[y], v[y]) })
	each(winoSum, "unkept", func(y int, m Mem) { VMOVUPS(v[y], m) })
	plain := k.label("plain")
	MOVQ(Mem{Base: call, Disp: winoScale}, row)
	TESTQ(row, row)
	JZ(LabelRef(plain))
	k.affine(call, at, v)
	Label(plain)
}

// affine sets v to max(v scale + shift, floor); a NaN stays.
func (k *kern) affine(call, at Register, v []VecVirtual) {
	scales, shifts := GP64(), GP64()
	MOVQ(Mem{Base: call, Disp: winoScale}, scales)
	MOVQ(Mem{Base: call, Disp: winoShift}, shifts)
	scale := k.inReg(Mem{Base: scales, Index: at, Scale: 1})
	floor := k.vec()
	VBROADCASTSS(Mem{Base: call, Disp: winoFloor}, floor)
	for _, r := range v {
		VFMADD213PS(Mem{Base: shifts, Index: at, Scale: 1}, scale, r)
		VMAXPS(r, floor, r)
	}
}

// pooledFromPoints is fromPoints with scale, shift and floor, and then a 2x2
// max-pool: it writes half the rows and columns.
func (k *kern) pooledFromPoints(l line) {
	k.winoLoop(l, func(call, points, at Register) {
		t := k.rowsFromPoints(l, call, points)
		rows := rowsAt(call, at, l.out/2)
		left := make([]VecVirtual, l.out/2) // maxima of the window's left column
		for i := range left {
			left[i] = k.vec()
		}
		k.eachColumn(call, l.out, 2, func(x int, column Register) {
			v := t.column(l, x)
			k.addBias(call, at, v)
			k.affine(call, at, v)
			for i := range left {
				top := k.max(v[2*i], v[2*i+1])
				if x%2 == 0 {
					VMOVAPS(top, left[i])
					continue
				}
				VMOVUPS(k.max(left[i], top), rows.mem(i, column))
			}
		}, nil)
	})
}
