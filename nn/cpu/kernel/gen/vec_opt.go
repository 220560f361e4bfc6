package main

import (
	. "github.com/mmcloughlin/avo/build"
)

func init() { family("vec_opt", vecOpt) }

// vecOpt writes the optimisers.
func vecOpt(f *vecFile) {
	f.fn("adam", "func(w, m, v, g []float32, beta1, gain1, beta2, gain2, eps, rate, gradScale, decay float32, ahead int)", (*kern).adam)
	f.fn("sgd", "func(w, buf, g []float32, rate, momentum, gradScale, decay float32, ahead int)", (*kern).sgd)
}

func (k *kern) adam() {
	beta1, gain1 := k.broadcast("beta1"), k.broadcast("gain1")
	beta2, gain2 := k.broadcast("beta2"), k.broadcast("gain2")
	eps, rate := k.broadcast("eps"), k.broadcast("rate")
	gradScale, decay := k.broadcast("gradScale"), k.broadcast("decay")
	wp, mp, vp, gp := slice("w"), slice("m"), slice("v"), slice("g")
	ahead := Load(Param("ahead"), GP64())
	k.each(length("w"), func(b *block) {
		b.fetch(ahead, wp, mp, vp)
		w := b.load(wp)
		g := k.mul(gradScale, b.load(gp))
		k.fma(g, decay, w)
		m := k.mul(beta1, b.load(mp))
		k.fma(m, gain1, g)
		v := k.mul(beta2, b.load(vp))
		k.fma(v, k.mul(gain2, g), g)
		b.store(m, mp)
		b.store(v, vp)
		VSQRTPS(v, v)
		step := k.div(k.mul(rate, m), k.add(v, eps))
		b.store(k.sub(w, step), wp)
	}, nil)
}

func (k *kern) sgd() {
	rate, momentum := k.broadcast("rate"), k.broadcast("momentum")
	gradScale, decay := k.broadcast("gradScale"), k.broadcast("decay")
	wp, bp, gp := slice("w"), slice("buf"), slice("g")
	ahead := Load(Param("ahead"), GP64())
	k.each(length("w"), func(b *block) {
		b.fetch(ahead, wp, bp)
		w := b.load(wp)
		g := k.mul(gradScale, b.load(gp))
		k.fma(g, decay, w)
		buf := k.copyOf(g)
		k.fma(buf, momentum, b.load(bp))
		b.store(buf, bp)
		k.fma(g, momentum, buf)
		k.fnma(w, rate, g)
		b.store(w, wp)
	}, nil)
}
