package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("vec_conv1d", vecConv1D) }

// convBlock is the number of pool positions whose gradients are added apart:
// their part of dy stays in the first-level cache for all groups of filters.
const convBlock = 32

// vecConv1D writes the video network's first layers; see vec_conv1d.go.
func vecConv1D(f *vecFile) {
	f.fn("convPool", "func(y, x, taps, bias []float32)", (*kern).convPool)
	f.fn("convPoolGrad", "func(dtaps, dbias, dy, x, taps, bias []float32)", (*kern).convPoolGrad)
}

// conv holds the registers that both directions need. Filters are taken a
// register at a time, not a block: there are no sums over filters.
type conv struct {
	k           *kern
	x           Register // x[-1]
	pairs       Register // number of pool positions
	first, last Mem      // x[2i-1 .. 2i+2] for the first and last pair, padded
	lastPair    Register // pairs - 1
	filterBytes Register
}

// newConv loads the parameters and writes the padded windows to the stack.
// With no pairs it goes to the label done.
func newConv(k *kern, done string) *conv {
	c := &conv{k: k, x: GP64(), pairs: GP64(), lastPair: GP64(), first: AllocLocal(16), last: AllocLocal(16)}
	x, n := slice("x"), length("x")
	MOVQ(n, c.pairs)
	SHRQ(Imm(1), c.pairs)
	JE(LabelRef(done))
	word, zero := GP32(), GP32()
	XORL(zero, zero)
	copyWord := func(from, to Mem) {
		MOVL(from, word)
		MOVL(word, to)
	}
	MOVL(zero, c.first)
	end := GP64() // the last pair's first element
	LEAQ(Mem{Base: c.pairs, Index: c.pairs, Scale: 1, Disp: -2}, end)
	LEAQ(Mem{Base: x, Index: end, Scale: 4}, end)
	for i := range 2 {
		copyWord(Mem{Base: x, Disp: 4 * i}, c.first.Offset(4+4*i))
		copyWord(Mem{Base: end, Disp: 4 * i}, c.last.Offset(4+4*i))
	}
	MOVL(zero, c.first.Offset(12))
	MOVL(zero, c.last.Offset(12))
	CMPQ(n, Imm(3))
	JL(LabelRef("padded"))
	copyWord(Mem{Base: x, Disp: 8}, c.first.Offset(12))
	// A single pair takes the first window, so last has a left neighbour.
	CMPQ(c.pairs, Imm(1))
	JE(LabelRef("padded"))
	copyWord(Mem{Base: end, Disp: -4}, c.last)
	BTQ(Imm(0), n)
	JCC(LabelRef("padded"))
	copyWord(Mem{Base: end, Disp: 8}, c.last.Offset(12))
	Label("padded")
	LEAQ(Mem{Base: x, Disp: -4}, c.x)
	c.filterBytes = length("bias")
	SHLQ(Imm(2), c.filterBytes)
	LEAQ(Mem{Base: c.pairs, Disp: -1}, c.lastPair)
	return c
}

// taps returns the addresses of the three rows of taps.
func (c *conv) taps() [3]Register {
	t := [3]Register{slice("taps"), GP64(), GP64()}
	LEAQ(Mem{Base: t[0], Index: c.filterBytes, Scale: 1}, t[1])
	LEAQ(Mem{Base: t[1], Index: c.filterBytes, Scale: 1}, t[2])
	return t
}

// window loads x[2i-1 .. 2i+2], each to all lanes.
func (c *conv) window(i Register) [4]VecVirtual {
	from, edge := GP64(), GP64()
	LEAQ(Mem{Base: c.x, Index: i, Scale: 8}, from)
	LEAQ(c.last, edge)
	CMPQ(i, c.lastPair)
	CMOVQEQ(edge, from)
	LEAQ(c.first, edge)
	TESTQ(i, i)
	CMOVQEQ(edge, from)
	var s [4]VecVirtual
	for t := range s {
		s[t] = c.k.vec()
		VBROADCASTSS(Mem{Base: from, Disp: 4 * t}, s[t])
	}
	return s
}

// pair computes the two values of a pool before it.
func (c *conv) pair(s [4]VecVirtual, t0, t1, t2, bias Op) (a, b VecVirtual) {
	a, b = c.k.copyOf(bias), c.k.copyOf(bias)
	for i, t := range []Op{t0, t1, t2} {
		c.k.fma(a, s[i], t)
		c.k.fma(b, s[i+1], t)
	}
	return a, b
}

func (k *kern) convPool() {
	c := newConv(k, "done")
	y, t, bias := slice("y"), c.taps(), slice("bias")
	zero := k.vec()
	k.zero(zero)
	i := GP64()
	XORQ(i, i)
	Label("position")
	s := c.window(i)
	f := GP64()
	XORQ(f, f)
	Label("filters")
	at := func(base Register) Mem { return Mem{Base: base, Index: f, Scale: 1} }
	a, b := c.pair(s, k.inReg(at(t[0])), k.inReg(at(t[1])), k.inReg(at(t[2])), k.inReg(at(bias)))
	VMOVUPS(k.max(zero, k.max(a, b)), at(y))
	ADDQ(Imm(uint64(k.width())), f)
	CMPQ(f, c.filterBytes)
	JNE(LabelRef("filters"))
	ADDQ(c.filterBytes, y)
	INCQ(i)
	CMPQ(i, c.pairs)
	JNE(LabelRef("position"))
	Label("done")
}

// convPoolGrad goes through blocks of positions, in each through groups of
// filters, in each through the positions.
func (k *kern) convPoolGrad() {
	c := newConv(k, "done")
	dy := slice("dy")
	from, f, i := GP64(), GP64(), GP64()
	XORQ(from, from)
	Label("block")
	until := GP64()
	LEAQ(Mem{Base: from, Disp: convBlock}, until)
	CMPQ(until, c.pairs)
	CMOVQGT(c.pairs, until)
	XORQ(f, f)
	Label("filters")
	at := func(base Register) Mem { return Mem{Base: base, Index: f, Scale: 1} }
	var sums [4]VecVirtual
	for t := range sums {
		sums[t] = k.vec()
		k.zero(sums[t])
	}
	t := c.taps()
	t0, t1, t2 := k.inReg(at(t[0])), k.inReg(at(t[1])), k.inReg(at(t[2]))
	bias := slice("bias")
	ADDQ(f, bias)
	row := GP64()
	LEAQ(at(dy), row)
	MOVQ(from, i)
	Label("position")
	s := c.window(i)
	a, b := c.pair(s, t0, t1, t2, Mem{Base: bias})
	g := k.where(k.compare(greaterThan, k.max(a, b), k.bits(0)), k.inReg(Mem{Base: row}))
	second := k.compare(greaterThan, b, a)
	for t := range 3 {
		k.fma(sums[t], g, k.choose(second, s[t+1], s[t]))
	}
	VADDPS(g, sums[3], sums[3])
	ADDQ(c.filterBytes, row)
	INCQ(i)
	CMPQ(i, until)
	JNE(LabelRef("position"))
	to := slice("dtaps")
	for t := range 3 {
		k.accumulate(at(to), sums[t])
		ADDQ(c.filterBytes, to)
	}
	k.accumulate(at(slice("dbias")), sums[3])
	ADDQ(Imm(uint64(k.width())), f)
	CMPQ(f, c.filterBytes)
	JNE(LabelRef("filters"))
	// The next block's dy.
	rows := GP64()
	MOVQ(until, rows)
	SUBQ(from, rows)
	IMULQ(c.filterBytes, rows)
	ADDQ(rows, dy)
	MOVQ(until, from)
	CMPQ(from, c.pairs)
	JNE(LabelRef("block"))
	Label("done")
}

// accumulate adds v to memory.
func (k *kern) accumulate(m Mem, v VecVirtual) { VMOVUPS(k.add(v, m), m) }
