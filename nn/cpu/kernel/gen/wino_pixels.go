package main

import (
	"math/bits"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// How the transforms of wino.go find the pixels of a tile, and those to be
// fetched for a later one.

// pixelRows finds rows of pixels at a channel.
type pixelRows struct {
	call, at Register
	base     []Register // nil where there are too many rows for registers
}

// rowsAt prepares n rows.
func rowsAt(call, at Register, n int) *pixelRows {
	r := &pixelRows{call: call, at: at}
	if n > 6 {
		return r
	}
	for y := range n {
		p := GP64()
		MOVQ(Mem{Base: call, Disp: winoRows + 8*y}, p)
		ADDQ(at, p)
		r.base = append(r.base, p)
	}
	return r
}

// mem is the pixel of row y at an offset from the first column.
func (r *pixelRows) mem(y int, offset Register) Mem {
	if r.base != nil {
		return Mem{Base: r.base[y], Index: offset, Scale: 1}
	}
	p := GP64()
	MOVQ(Mem{Base: r.call, Disp: winoRows + 8*y}, p)
	ADDQ(r.at, p)
	return Mem{Base: p, Index: offset, Scale: 1}
}

// eachColumn runs f for n columns of pixels, with the offset of the column,
// which grows by a pixel after every so many; for a column that does not
// exist, absent runs instead.
func (k *kern) eachColumn(call Register, n, every int, f func(x int, column Register), absent func(x int)) {
	column := GP64()
	XORQ(column, column)
	for x := range n {
		skip, next := k.label("skip"), k.label("next")
		BTQ(Imm(uint64(x)), Mem{Base: call, Disp: winoColumns})
		JCC(LabelRef(skip))
		f(x, column)
		if absent != nil {
			JMP(LabelRef(next))
		}
		Label(skip)
		if absent != nil {
			absent(x)
			Label(next)
		}
		if x < n-1 && x%every == every-1 {
			ADDQ(Mem{Base: call, Disp: winoPixel}, column)
		}
	}
}

// fetchAhead fetches the pixels of column x for a later tile.
func fetchAhead(l line, x int, call, column Register, rows *pixelRows) {
	if !slices.Contains(l.core, x) {
		return
	}
	later := GP64()
	MOVQ(Mem{Base: call, Disp: winoAhead}, later)
	ADDQ(column, later)
	for _, y := range l.core {
		PREFETCHT0(rows.mem(y, later))
	}
}

// fetchInOrder fetches a part of the pixels that a tile one row of tiles on
// reads, at column x of the core. Lines of the same vector of channels are as
// far apart as pixels, and a processor that is asked for them one by one sees no
// stream to read ahead; in the order of memory it does. Each vector of channels
// fetches as many bytes as the core's pixels have there.
func (k *kern) fetchInOrder(l line, x int, call, at Register) {
	i, n := slices.Index(l.core, x), len(l.core)
	if i < 0 {
		return
	}
	p := GP64()
	MOVQ(at, p)
	SHLQ(Imm(uint64(2*bits.TrailingZeros(uint(n)))), p)
	ADDQ(Mem{Base: call, Disp: winoBelow}, p)
	lines := n * k.width() / 64
	for j := range lines {
		PREFETCHT0(Mem{Base: p, Disp: (i*lines + j) * 64})
	}
}
