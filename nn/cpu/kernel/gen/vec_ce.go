package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func init() { family("vec_ce", vecCE) }

const (
	ceEpsilon = 1e-5
	ceFlush   = 16 // blocks that a float32 lane adds up
	// ceLeast bounds -|z|: e^-87 is normal, and of no consequence beside e.
	ceLeast = -87
)

// vecCE writes the dense part of the subclass cross-entropy; ce*Portable in
// vec_ce.go say what it computes.
func vecCE(f *vecFile) {
	f.fn("ceLogits", "func(dz, z, w []float32, scale float32) float64", func(k *kern) { k.ceRow("z", "dz", true) })
	f.fn("ceLogitsLoss", "func(z, w []float32) float64", func(k *kern) { k.ceRow("z", "", true) })
	f.fn("ceProbs", "func(dp, p, w []float32, scale float32) float64", func(k *kern) { k.ceRow("p", "dp", false) })
	f.fn("ceProbsLoss", "func(p, w []float32) float64", func(k *kern) { k.ceRow("p", "", false) })
}

// ceRow writes one row's loss and, if the gradient has a name, that. There is
// a loop with weights and one without.
func (k *kern) ceRow(input, gradient string, logits bool) {
	x, w, n := slice(input), slice("w"), length(input)
	c := &ceLoop{k: k, x: x, logits: logits, total: k.newSum()}
	if gradient != "" {
		c.grad, c.scale = slice(gradient), k.broadcast("scale")
	}
	c.losses = k.perPart(k.zero)
	k.keep(k.f32(1), k.f32(ceEpsilon), k.bits(sqrtHalfBits), k.bits(0x007FFFFF))
	for _, v := range logCoefficients {
		k.keep(k.f32(v))
	}
	plain, done := k.label("plain"), k.label("end")
	TESTQ(w, w)
	JE(LabelRef(plain))
	c.loop(n, w)
	JMP(LabelRef(done))
	Label(plain)
	c.loop(n, nil)
	Label(done)
	c.flush()
	c.total.give()
}

// ceLoop is what the two loops of a row share.
type ceLoop struct {
	k       *kern
	x, grad Register // grad nil: the loss alone
	scale   VecVirtual
	losses  []VecVirtual
	total   *sum
	logits  bool
}

func (c *ceLoop) loop(n, w Register) {
	after := everyBlocks(c.k, ceFlush, c.flush)
	c.k.each(n, func(b *block) { c.body(b, w) }, after)
}

// flush moves the float32 lanes to the float64 ones.
func (c *ceLoop) flush() {
	for part, l := range c.losses {
		c.total.addPart(part, l)
		c.k.zero(l)
	}
}

func (c *ceLoop) body(b *block, w Register) {
	k := c.k
	var p, q VecVirtual
	x := b.load(c.x)
	if c.logits {
		p, q = k.sigmoid(x, ceLeast, false)
	} else {
		p, q = x, k.sub(k.inReg(k.f32(1)), x)
	}
	var weight VecVirtual
	if w != nil {
		weight = b.load(w)
	}
	qe := k.add(q, k.f32(ceEpsilon))
	if c.grad != nil {
		scale := c.scale
		if w != nil {
			scale = k.mul(scale, weight)
		}
		num := k.inReg(k.f32(1))
		if c.logits {
			num = k.mul(p, q)
		}
		b.store(k.mul(k.div(num, qe), scale), c.grad)
	}
	// ln(q+e) = ln(1+(e-p)) where q+e is near one: see ceLog32.
	n, f := k.logSplit(qe)
	near := k.equalInt(n, k.bits(0))
	f = k.choose(near, k.sub(k.inReg(k.f32(ceEpsilon)), p), f)
	l := k.logPoly(f, k.toFloat(n))
	k.fma(l, p, k.bits(0)) // NaN if p is
	if b.masked {
		l = k.where(b.mask, l)
	}
	if w != nil {
		k.fnma(c.losses[b.part], l, weight)
	} else {
		VSUBPS(l, c.losses[b.part], c.losses[b.part])
	}
}
