package main

import (
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("wino", wino) }

// Offsets of the fields of kernel.winoCall that the transforms read.
const (
	winoRows    = 0
	winoPixel   = 72
	winoColumns = 80
	winoVectors = 88
	winoPoints  = 96
	winoYStep   = 104
	winoXStep   = 112
	winoStep    = 184
	winoTmp     = 200
	winoBias    = 208
	winoAhead   = 216
	winoBelow   = 312
)

// line is a transform in one dimension: in values to out, on registers that it
// may overwrite. A line in parts can give its outputs a part at a time, of
// which each needs some of the inputs only; part -1 is all.
type line struct {
	in, out int
	parts   []linePart
	keep    []float64 // constants that pay to be in registers
	core    []int     // rows and columns of pixels that no other tile has: fetched ahead
	inOrder bool      // fetched in the order of memory, see fetchInOrder
	do      func(k *kern, d []VecVirtual, part int) []VecVirtual
}

// linePart lists inputs that are needed and outputs that are given.
type linePart struct{ in, out []int }

// The points of F(4x4,3x3) are 0, a, -a, b, -b and infinity; see kernel/wino.go
// for the matrices.
const (
	pointA, pointB = 0.75, 1.5
	squareA        = pointA * pointA
	squareB        = pointB * pointB
)

var (
	lineInput4 = line{in: 6, out: 6, do: input4, keep: []float64{pointA, pointB, squareA, squareB}, core: []int{1, 2, 3, 4}, inOrder: true, parts: []linePart{
		{[]int{0, 1, 2, 3, 4}, []int{0, 1, 2}},
		{[]int{1, 2, 3, 4, 5}, []int{3, 4, 5}},
	}}
	lineGrad4    = line{in: 4, out: 6, do: grad4, core: upTo(4), inOrder: true}
	lineWeights4 = line{in: 3, out: 6, do: weights4, core: upTo(3)}
	lineOutput4  = line{in: 6, out: 4, do: output4, core: upTo(4)}
	lineDW4      = line{in: 6, out: 3, do: dw4}

	lineInput2   = line{in: 2, out: 3, do: input2}
	lineGrad2    = line{in: 2, out: 3, do: grad2}
	lineWeights2 = line{in: 3, out: 3, do: weights2, core: upTo(3)}
	lineOutput2  = line{in: 3, out: 2, do: output2}
	lineDW2      = line{in: 3, out: 3, do: dw2}
)

// wino writes the tile transforms of fast 3x3 convolutions, see kernel/wino.go,
// and gemm's micro-kernels with more prefetches: their operands are not packed
// just before but come from a cache that all cores share, or from memory.
func wino(f *vecFile) {
	for _, v := range []isa{avx2, avx512} {
		v.name, v.chunk, v.early = "Wino"+v.name, 2, 12
		if v.lanes == 8 {
			maskTable()
			v.walks = 2
		}
		for rows := 1; rows <= v.rows; rows++ {
			v.micro(rows, false)
		}
	}
	sums := avx2
	sums.name, sums.aStep = "SumsAVX2", 16
	sums.micro(6, true)
	sums.micro(5, true)
	toPoints := func(name string, l line) {
		f.fn(name, "func(call *uintptr)", func(k *kern) { k.toPoints(l) })
	}
	fromPoints := func(name string, l line) {
		f.fn(name, "func(call *uintptr)", func(k *kern) { k.fromPoints(l, false) })
	}
	withTails := func(name string, l line) {
		f.fn(name+"Sum", "func(call *uintptr)", func(k *kern) { k.fromPoints(l, true) })
		f.fn(name+"Pool", "func(call *uintptr)", func(k *kern) { k.pooledFromPoints(l) })
	}
	toPoints("winoInput4", lineInput4)
	toPoints("winoGrad4", lineGrad4)
	toPoints("winoWeights4", lineWeights4)
	fromPoints("winoOutput4", lineOutput4)
	withTails("winoOutput4", lineOutput4)
	fromPoints("winoDW4", lineDW4)
	winoStride2(toPoints, fromPoints, withTails)
	toPoints("winoInput2", lineInput2)
	toPoints("winoGrad2", lineGrad2)
	toPoints("winoWeights2", lineWeights2)
	fromPoints("winoOutput2", lineOutput2)
	withTails("winoOutput2", lineOutput2)
	fromPoints("winoDW2", lineDW2)
	winoStream()
}

// winoStream writes kernel.winoISA.stream: copies of whole cache lines, of
// which what they overwrite is not read.
func winoStream() {
	TEXT("winoStreamAVX2", NOSPLIT, "func(dst, src []float32)")
	Pragma("noescape")
	Doc("winoStreamAVX2 copies len(dst) values, a multiple of 16, to dst, which starts with a cache line.")
	dst, src, left := Load(Param("dst").Base(), GP64()), Load(Param("src").Base(), GP64()), Load(Param("dst").Len(), GP64())
	SHRQ(Imm(4), left)
	JZ(LabelRef("done"))
	Label("line")
	low, high := YMM(), YMM()
	VMOVUPS(Mem{Base: src}, low)
	VMOVUPS(Mem{Base: src, Disp: 32}, high)
	VMOVNTPS(low, Mem{Base: dst})
	VMOVNTPS(high, Mem{Base: dst, Disp: 32})
	ADDQ(Imm(64), src)
	ADDQ(Imm(64), dst)
	DECQ(left)
	JNZ(LabelRef("line"))
	SFENCE() // before another thread is told that they are there
	Label("done")
	VZEROUPPER()
	RET()
}

// plusMinus returns e+c*f and e-c*f. It overwrites e.
func (k *kern) plusMinus(e, f VecVirtual, c float64) (plus, minus VecVirtual) {
	plus = k.copyOf(e)
	k.fma(plus, f, k.f32(c))
	k.fnma(e, f, k.f32(c))
	return plus, e
}

// plus returns x + c*y.
func (k *kern) plus(x, y VecVirtual, c float64) VecVirtual {
	r := k.copyOf(x)
	k.fma(r, y, k.f32(c))
	return r
}

// minus returns x - c*y.
func (k *kern) minus(x, y VecVirtual, c float64) VecVirtual {
	r := k.copyOf(x)
	k.fnma(r, y, k.f32(c))
	return r
}

func input4(k *kern, d []VecVirtual, part int) []VecVirtual {
	v := make([]VecVirtual, 6)
	if part != 1 {
		e, f := k.minus(d[4], d[2], squareB), k.minus(d[3], d[1], squareB)
		v[0] = k.minus(e, k.minus(d[2], d[0], squareB), squareA)
		v[1], v[2] = k.plusMinus(e, f, pointA)
	}
	if part != 0 {
		g, h := k.minus(d[4], d[2], squareA), k.minus(d[3], d[1], squareA)
		v[5] = k.minus(k.minus(d[5], d[3], squareA), h, squareB)
		v[3], v[4] = k.plusMinus(g, h, pointB)
	}
	return v
}

func grad4(k *kern, d []VecVirtual, _ int) []VecVirtual {
	v := make([]VecVirtual, 6)
	v[0], v[5] = d[0], d[3]
	v[1], v[2] = k.plusMinus(k.plus(d[0], d[2], squareA), k.plus(d[1], d[3], squareA), pointA)
	v[3], v[4] = k.plusMinus(k.plus(d[0], d[2], squareB), k.plus(d[1], d[3], squareB), pointB)
	return v
}

// Factors of the weights' transform: 1 over the products of the differences of
// the points.
const (
	factor0 = 1 / (squareA * squareB)
	factorA = 1 / (2 * squareA * (squareA - squareB))
	factorB = 1 / (2 * squareB * (squareB - squareA))
)

func weights4(k *kern, d []VecVirtual, _ int) []VecVirtual {
	v := make([]VecVirtual, 6)
	v[0], v[5] = k.mul(d[0], k.f32(factor0)), d[2]
	v[1], v[2] = k.plusMinus(k.plus(k.mul(d[0], k.f32(factorA)), d[2], factorA*squareA), d[1], factorA*pointA)
	v[3], v[4] = k.plusMinus(k.plus(k.mul(d[0], k.f32(factorB)), d[2], factorB*squareB), d[1], factorB*pointB)
	return v
}

func output4(k *kern, m []VecVirtual, _ int) []VecVirtual {
	s1, q1 := k.add(m[1], m[2]), k.sub(m[1], m[2])
	s2, q2 := k.add(m[3], m[4]), k.sub(m[3], m[4])
	y := []VecVirtual{k.add(k.add(m[0], s1), s2), k.mul(q1, k.f32(pointA)), k.mul(s1, k.f32(squareA)), m[5]}
	k.fma(y[1], q2, k.f32(pointB))
	k.fma(y[2], s2, k.f32(squareB))
	k.fma(y[3], q1, k.f32(squareA*pointA))
	k.fma(y[3], q2, k.f32(squareB*pointB))
	return y
}

func dw4(k *kern, u []VecVirtual, _ int) []VecVirtual {
	s1, q1 := k.add(u[1], u[2]), k.sub(u[1], u[2])
	s2, q2 := k.add(u[3], u[4]), k.sub(u[3], u[4])
	w := []VecVirtual{k.mul(u[0], k.f32(factor0)), k.mul(q1, k.f32(factorA*pointA)), u[5]}
	k.fma(w[0], s1, k.f32(factorA))
	k.fma(w[0], s2, k.f32(factorB))
	k.fma(w[1], q2, k.f32(factorB*pointB))
	k.fma(w[2], s1, k.f32(factorA*squareA))
	k.fma(w[2], s2, k.f32(factorB*squareB))
	return w
}

func input2(k *kern, d []VecVirtual, _ int) []VecVirtual {
	return []VecVirtual{k.add(d[0], d[1]), d[1], d[0]}
}

func grad2(k *kern, d []VecVirtual, _ int) []VecVirtual {
	return []VecVirtual{k.add(d[0], d[1]), d[0], d[1]}
}

func weights2(k *kern, d []VecVirtual, _ int) []VecVirtual {
	return []VecVirtual{d[1], k.sub(d[2], d[1]), k.sub(d[0], d[1])}
}

func output2(k *kern, m []VecVirtual, _ int) []VecVirtual {
	return []VecVirtual{k.add(m[0], m[1]), k.add(m[0], m[2])}
}

func dw2(k *kern, u []VecVirtual, _ int) []VecVirtual {
	return []VecVirtual{u[2], k.sub(k.sub(u[0], u[1]), u[2]), u[1]}
}

// winoLoop writes the loop over vectors of channels. body gets the address of
// the points and the byte offset of the channels on the other side.
func (k *kern) winoLoop(l line, body func(call, points, at Register)) {
	for _, c := range l.keep {
		k.keep(k.f32(c))
	}
	call := Load(Param("call"), GP64())
	field := func(disp int) Mem { return Mem{Base: call, Disp: disp} }
	points, at, left := GP64(), GP64(), GP64()
	MOVQ(field(winoPoints), points)
	MOVQ(field(winoVectors), left)
	XORQ(at, at)
	Label("vector")
	body(call, points, at)
	odd := GP64() // 8 for every other vector
	MOVQ(at, odd)
	SHRQ(Imm(uint64(bits.TrailingZeros(uint(k.width()/8)))), odd)
	ANDQ(Imm(8), odd)
	ADDQ(Mem{Base: call, Index: odd, Scale: 1, Disp: winoStep}, points)
	ADDQ(Imm(uint64(k.width())), at)
	DECQ(left)
	JNZ(LabelRef("vector"))
}

// xSteps loads the offsets of the columns of points and returns the addresses
// of the points of the row at base.
func xSteps(call, base Register, n int) []Mem {
	m := []Mem{{Base: base}}
	for x := 1; x < n; x++ {
		r := GP64()
		MOVQ(Mem{Base: call, Disp: winoXStep + 8*x}, r)
		m = append(m, Mem{Base: base, Index: r, Scale: 1})
	}
	return m
}

// toPoints transforms a window of pixels: columns first, then rows. The values
// between the two are in registers where there are enough, else in memory.
func (k *kern) toPoints(l line) {
	parts := l.parts
	if !k.wide || parts == nil {
		parts = []linePart{{upTo(l.in), upTo(l.out)}}
	}
	k.winoLoop(l, func(call, points, at Register) {
		row := GP64()
		MOVQ(points, row)
		for i, p := range parts {
			part := i
			if len(parts) == 1 {
				part = -1
			}
			k.toPointsPart(l, p, part, call, row, at)
		}
	})
}

// toPointsPart does the rows p.out of the points and moves row behind them.
func (k *kern) toPointsPart(l line, p linePart, part int, call, row, at Register) {
	t := k.newBetween(call, len(p.out), l.in)
	rows := rowsAt(call, at, l.in)
	k.eachColumn(call, l.in, 1, func(x int, column Register) {
		if part <= 0 {
			if l.inOrder {
				k.fetchInOrder(l, x, call, at)
			} else {
				fetchAhead(l, x, call, column, rows)
			}
		}
		d := make([]VecVirtual, l.in)
		for _, y := range p.in {
			d[y] = k.vec()
			VMOVUPS(rows.mem(y, column), d[y])
		}
		v := l.do(k, d, part)
		for i, y := range p.out {
			t.set(i, x, v[y])
		}
	}, func(x int) {
		zero := k.inReg(k.bits(0))
		for i := range p.out {
			t.set(i, x, zero)
		}
	})
	to := xSteps(call, row, l.out)
	for i := range p.out {
		d := make([]VecVirtual, l.in)
		for x := range d {
			d[x] = t.get(i, x)
		}
		for x, v := range l.do(k, d, -1) {
			VMOVUPS(v, to[x])
		}
		ADDQ(Mem{Base: call, Disp: winoYStep}, row)
	}
}

// fromPoints transforms points back to pixels: rows first, then columns.
// With a tail it goes on from there, see sumTail.
func (k *kern) fromPoints(l line, tail bool) {
	k.winoLoop(l, func(call, points, at Register) {
		t := k.rowsFromPoints(l, call, points)
		rows := rowsAt(call, at, l.out)
		k.eachColumn(call, l.out, 1, func(x int, column Register) {
			fetchAhead(l, x, call, column, rows)
			v := t.column(l, x)
			k.addBias(call, at, v)
			if tail {
				place := GP64()
				LEAQ(Mem{Base: column, Index: at, Scale: 1}, place)
				k.sumTail(call, at, place, v)
			}
			for y := range v {
				VMOVUPS(v[y], rows.mem(y, column))
			}
		}, nil)
	})
}

// rowsFromPoints transforms the rows of points.
func (k *kern) rowsFromPoints(l line, call, points Register) *between {
	t := k.newBetween(call, l.in, l.out)
	row := GP64()
	MOVQ(points, row)
	from := xSteps(call, row, l.in)
	for y := range l.in {
		d := make([]VecVirtual, l.in)
		for x := range d {
			d[x] = k.vec()
			VMOVUPS(from[x], d[x])
		}
		for x, v := range l.do(k, d, -1) {
			t.set(y, x, v)
		}
		if y < l.in-1 {
			ADDQ(Mem{Base: call, Disp: winoYStep}, row)
		}
	}
	return t
}

// column transforms column x of rows that have been transformed.
func (t *between) column(l line, x int) []VecVirtual {
	d := make([]VecVirtual, l.in)
	for y := range d {
		d[y] = t.get(y, x)
	}
	return l.do(t.k, d, -1)
}

// addBias adds the bias of the channels at, if there is one.
func (k *kern) addBias(call, at Register, v []VecVirtual) {
	none := k.label("unbiased")
	bias := GP64()
	MOVQ(Mem{Base: call, Disp: winoBias}, bias)
	TESTQ(bias, bias)
	JZ(LabelRef(none))
	for _, r := range v {
		VADDPS(Mem{Base: bias, Index: at, Scale: 1}, r, r)
	}
	Label(none)
}

// between holds the values between the two passes of a transform.
type between struct {
	k    *kern
	tmp  Register
	cols int
	regs [][]VecVirtual
}

// newBetween returns room for rows x cols values.
func (k *kern) newBetween(call Register, rows, cols int) *between {
	t := &between{k: k, cols: cols}
	if !k.wide || rows*cols > 24 {
		t.tmp = GP64()
		MOVQ(Mem{Base: call, Disp: winoTmp}, t.tmp)
		return t
	}
	t.regs = make([][]VecVirtual, rows)
	for y := range t.regs {
		for range cols {
			t.regs[y] = append(t.regs[y], k.vec())
		}
	}
	return t
}

func (t *between) mem(y, x int) Mem {
	return Mem{Base: t.tmp, Disp: (y*t.cols + x) * t.k.width()}
}

func (t *between) set(y, x int, v VecVirtual) {
	if t.regs != nil {
		VMOVAPS(v, t.regs[y][x])
	} else {
		VMOVUPS(v, t.mem(y, x))
	}
}

func (t *between) get(y, x int) VecVirtual {
	if t.regs != nil {
		return t.regs[y][x]
	}
	return t.k.inReg(t.mem(y, x))
}

// upTo returns 0 to n-1.
func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}
