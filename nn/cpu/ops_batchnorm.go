package cpu

import (
	"math"
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// norm is a batch normalisation with its neighbours. What can be is done in
// its own passes over memory:
//
//	forward    statistics     read x                     (none where x's maker makes them)
//	           apply          read x, write z            z: behind ReLU and max-pool
//	backward   sums           read x, dz
//	           apply          read x, dz, write dx       (and the gradient that goes round it added)
//
// The normalised value never reaches memory, the ReLU's output only if a
// convolution reads it. Whether the ReLU passes a gradient, and which position
// a max-pool has taken, is computed again from x.
type norm struct {
	node *nn.Node // BatchNorm or BatchNormInference
	relu *nn.Node // nil: none that alone reads it
	pool *nn.Node // max-pool behind the ReLU; nil: none that could be fused
	// back is the node's gradient, the others are those of relu and pool that are
	// part of its op; nil in evaluation.
	reluBack, poolBack, back *nn.Node
}

// out is the value that the fused op computes.
func (m *norm) out() *nn.Value {
	switch {
	case m.pool != nil:
		return m.pool.Out[0]
	case m.relu != nil:
		return m.relu.Out[0]
	}
	return m.node.Out[0]
}

// kind names the fused op.
func (m *norm) kind() string {
	kind := m.node.Op.Kind()
	if m.relu != nil {
		kind += "+relu"
	}
	if m.pool != nil {
		kind += "+max-pool"
	}
	return kind
}

// matchNorm finds what can be fused with a batch normalisation and marks it as done.
func (l *lowering) matchNorm(n *nn.Node) *norm {
	m := &norm{node: n}
	if r := l.onlyReader(n.Out[0]); r != nil && is[nn.ReLU](r) {
		m.relu = r
	}
	if len(n.Out) > 1 {
		for _, r := range l.readers[n.Out[1]] {
			if is[nn.BatchNormBackward](r) {
				m.back = r
			}
		}
	}
	if m.relu != nil {
		z := m.relu.Out[0]
		if m.back != nil {
			r := l.writer[m.back.In[0]]
			if r != nil && is[nn.ReLUBackward](r) && r.In[1] == z && l.onlyReader(r.Out[0]) == m.back {
				m.reluBack = r
			}
		}
		m.pool, m.poolBack = l.matchPool(z, m)
	}
	for _, d := range []*nn.Node{m.relu, m.pool, m.reluBack, m.poolBack} {
		if d != nil {
			l.done[d] = true
		}
	}
	l.norms[n] = m
	return m
}

// matchPool returns the max-pool that alone reads z, and its gradient in
// training, if that alone goes to the ReLU's.
func (l *lowering) matchPool(z *nn.Value, m *norm) (pool, back *nn.Node) {
	if l.isResult(z) {
		return nil, nil
	}
	for _, r := range l.readers[z] {
		switch {
		case is[nn.MaxPool2D](r) && pool == nil:
			pool = r
		case is[nn.MaxPool2DBackward](r) && back == nil && r.In[0] != z:
			back = r
		case r != m.reluBack:
			return nil, nil
		}
	}
	switch {
	case pool == nil || (m.back == nil) != (back == nil):
		return nil, nil
	case m.back == nil:
		return pool, nil
	case m.reluBack == nil || m.reluBack.In[0] != back.Out[0] || l.onlyReader(back.Out[0]) != m.reluBack:
		return nil, nil
	}
	return pool, back
}

// is reports whether a node's op is an O.
func is[O nn.Op](n *nn.Node) bool { _, ok := n.Op.(O); return ok }

// affine sets coef [2][C] to the scale and shift of y = x scale + shift. Its
// operands are what both passes know, so that both get the same bits; shift
// makes up for scale's rounding, so that y is right where x is near the mean.
func affine(coef, gamma, beta, mean, inv []float32) {
	c := len(mean)
	for i := range mean {
		scale := float32(float64(gamma[i]) * float64(inv[i]))
		coef[i], coef[c+i] = scale, float32(float64(beta[i])-float64(scale)*float64(mean[i]))
	}
}

// applier returns the pass that takes x to the output by scale and shift.
func (m *norm) applier(b *binder, coef []float32) func() {
	x, y := b.ref(m.node.In[0]), b.ref(m.out())
	k := newChannels(m.node.In[0])
	switch {
	case m.pool != nil:
		g := newPoolGrid(m.pool.In[0], m.out())
		return g.each(b.s, func(_, r0, _, out int) {
			in := x.get()
			kernel.AffinePool(y.data[out:out+g.ow*g.c], in[r0:r0+g.row], in[r0+g.row:r0+2*g.row], coef)
		})
	case m.relu != nil:
		return k.each(b.s, func(_, lo, hi int) { kernel.ChanAffineReLU(y.data[lo:hi], x.get()[lo:hi], coef) })
	}
	return k.each(b.s, func(_, lo, hi int) { kernel.ChanAffine(y.data[lo:hi], x.get()[lo:hi], coef) })
}

func (l *lowering) batchNorm(n *nn.Node, o nn.BatchNorm) {
	m := l.matchNorm(n)
	k := l.stats[n.In[0]]
	own := k == nil
	reads, writes := n.In, []*nn.Value{m.out(), n.Out[1], n.Out[2]}
	if own {
		k = l.newStatistics(newChannels(n.In[0]))
		writes = append(writes, k.partial)
	} else {
		reads = append(reads[:len(reads):len(reads)], k.partial)
	}
	op := l.emit(m.kind(), reads, writes, func(b *binder) func() {
		x, gamma, beta, runMean, runVar := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2]), b.ref(n.In[3]), b.ref(n.In[4])
		mean, inv := b.ref(n.Out[1]), b.ref(n.Out[2])
		means, squares, coef := make([]float64, k.c), make([]float64, k.c), make([]float32, 2*k.c)
		measure, add, apply := func() {}, k.adder(b, means, squares), m.applier(b, coef)
		if own {
			of := k.measurer(b)
			measure = k.each(b.s, func(t, lo, hi int) { of(t, x.get()[lo:hi]) })
		}
		return func() {
			measure()
			add()
			count := float64(k.count(b.s))
			for i, v := range means {
				mean.data[i] = float32(v)
				inv.data[i] = float32(1 / math.Sqrt(squares[i]/count+o.Epsilon))
				runMean.data[i] = float32((1-o.Momentum)*float64(runMean.data[i]) + o.Momentum*v)
				runVar.data[i] = float32((1-o.Momentum)*float64(runVar.data[i]) + o.Momentum*squares[i]/max(count-1, 1))
			}
			affine(coef, gamma.data, beta.data, mean.data, inv.data)
			apply()
		}
	})
	if own {
		op.twice(n.In[0])
	}
}

// normBack is the backward op of a norm.
type normBack struct {
	*norm
	dy, x *nn.Value
	dx    *nn.Value // what it writes: back's first output, or the sum with residual
	// residual is a gradient that comes to x round the normalisation, nil if none.
	residual *nn.Value
	// bias is the gradient of a bias that was added to x, nil if there is none. It
	// is the sum of dx over all positions: zero but for rounding. As dx =
	// dy a + x b + c it follows from sums that are known, without a pass over dx.
	bias *nn.Value
}

func (l *lowering) batchNormBackward(n *nn.Node) {
	m := l.norms[l.writer[n.In[3]]]
	k := &normBack{norm: m, dy: n.In[0], x: n.In[1], dx: n.Out[0]}
	kind := n.Op.Kind()
	if m.reluBack != nil {
		k.dy = m.reluBack.In[0]
		kind = "relu+" + kind
	}
	if m.poolBack != nil {
		k.dy = m.poolBack.In[0]
		kind = "max-pool+" + kind
	}
	l.matchResidual(k)
	if k.residual != nil {
		kind += "+add"
	}
	l.matchBias(k)
	// beta is read to compute the ReLU's output again.
	reads := []*nn.Value{k.dy, k.x, n.In[2], n.In[3], n.In[4], m.node.In[2]}
	writes := []*nn.Value{k.dx, n.Out[1], n.Out[2]}
	if k.residual != nil {
		reads = append(reads, k.residual)
	}
	if k.bias != nil {
		writes = append(writes, k.bias)
	}
	blocks := newChannels(k.x).blocks
	if m.poolBack != nil {
		blocks = newPoolGrid(m.pool.In[0], m.pool.Out[0]).blocks
	}
	partial := l.temp(blocks * 2 * n.Out[1].Shape[0])
	o := l.emit(kind, reads, append(writes, partial), func(b *binder) func() { return k.bind(b, partial) })
	o.twice(k.dy, k.x)
	if m.poolBack != nil {
		o.inPlace(1)
		return
	}
	o.inPlace(0)
	if k.residual != nil {
		o.inPlace(len(reads) - 1)
	}
}

// matchResidual fuses the sum that alone reads dx, if its other operand is known by now.
func (l *lowering) matchResidual(k *normBack) {
	add := l.onlyReader(k.back.Out[0])
	if add == nil || !is[nn.Add](add) || k.reluBack == nil || k.poolBack != nil {
		return
	}
	other := add.In[0]
	if other == k.back.Out[0] {
		other = add.In[1]
	}
	if other == k.back.Out[0] || !l.before(l.writer[other], k.back) {
		return
	}
	k.residual, k.dx = other, add.Out[0]
	l.done[add] = true
}

// before reports whether node a comes before b in the program; nil, which is
// no node, does not.
func (l *lowering) before(a, b *nn.Node) bool {
	return a != nil && slices.Index(l.p.Nodes, a) < slices.Index(l.p.Nodes, b)
}

// matchBias fuses the column sum of dx.
func (l *lowering) matchBias(k *normBack) {
	if k.residual != nil {
		return
	}
	for _, r := range l.readers[k.dx] {
		if is[nn.ColumnSum](r) && k.bias == nil {
			k.bias = r.Out[0]
			l.done[r] = true
		}
	}
}

// bind makes the backward op: sums, what follows from them, dx.
func (k *normBack) bind(b *binder, partial *nn.Value) func() {
	gamma, mean, inv, beta := b.ref(k.back.In[2]), b.ref(k.back.In[3]), b.ref(k.back.In[4]), b.ref(k.node.In[2])
	dgamma, dbeta, ps := b.ref(k.back.Out[1]), b.ref(k.back.Out[2]), b.ref(partial)
	var bias *ref
	if k.bias != nil {
		bias = b.ref(k.bias)
	}
	ch := newChannels(k.x)
	c := ch.c
	// mean, scale, shift, a, b, c: sums take the first three, the apply the last five.
	coef := make([]float32, 6*c)
	total := make([]float64, 2*c)
	sums, blocks, apply := k.passes(b, ps, coef)
	return func() {
		copy(coef, mean.data)
		affine(coef[c:3*c], gamma.data, beta.data, mean.data, inv.data)
		sums()
		addBlocks(total, ps.data, blocks())
		count := float64(ch.count(b.s))
		fy, fx, f1 := coef[3*c:4*c], coef[4*c:5*c], coef[5*c:]
		for i := range c {
			is := float64(inv.data[i])
			db, dg := total[i], total[c+i]*is
			dbeta.data[i], dgamma.data[i] = float32(db), float32(dg)
			g := float64(gamma.data[i]) * is
			fy[i] = float32(g)
			fx[i] = float32(-g * is * dg / count)
			f1[i] = float32(-g*db/count + g*is*float64(mean.data[i])*dg/count)
			if bias != nil {
				bias.data[i] = float32(float64(fy[i])*db + count*(float64(fx[i])*float64(mean.data[i])+float64(f1[i])))
			}
		}
		apply()
	}
}

// passes returns the two passes over memory, and the number of blocks of the first.
func (k *normBack) passes(b *binder, partial *ref, coef []float32) (sums func(), blocks func() int, apply func()) {
	if k.poolBack != nil {
		return k.poolPasses(b, partial, coef)
	}
	dy, x, dx := b.ref(k.dy), b.ref(k.x), b.ref(k.dx)
	ch := newChannels(k.x)
	c := ch.c
	sums = ch.each(b.s, func(t, lo, hi int) {
		acc := partial.data[t*2*c : (t+1)*2*c]
		clear(acc)
		if k.reluBack != nil {
			kernel.ChanGradSumsReLU(acc, dy.get()[lo:hi], x.get()[lo:hi], coef[:3*c])
		} else {
			kernel.ChanGradSums(acc, dy.get()[lo:hi], x.get()[lo:hi], coef[:c])
		}
	})
	f := func(lo, hi int) { kernel.ChanGrad(dx.data[lo:hi], dy.get()[lo:hi], x.get()[lo:hi], coef[3*c:]) }
	switch {
	case k.residual != nil:
		r := b.ref(k.residual)
		f = func(lo, hi int) {
			kernel.ChanGradReLUAdd(dx.data[lo:hi], dy.get()[lo:hi], x.get()[lo:hi], r.get()[lo:hi], coef[c:])
		}
	case k.reluBack != nil:
		f = func(lo, hi int) { kernel.ChanGradReLU(dx.data[lo:hi], dy.get()[lo:hi], x.get()[lo:hi], coef[c:]) }
	}
	apply = ch.each(b.s, func(_, lo, hi int) { f(lo, hi) })
	return sums, func() int { return (ch.count(b.s) + ch.block - 1) / ch.block }, apply
}

// poolPasses are the passes of a batch normalisation behind which is a
// max-pool: dy is the gradient of the pool's output.
func (k *normBack) poolPasses(b *binder, partial *ref, coef []float32) (sums func(), blocks func() int, apply func()) {
	dy, x, dx := b.ref(k.dy), b.ref(k.x), b.ref(k.dx)
	g := newPoolGrid(k.pool.In[0], k.pool.Out[0])
	c := g.c
	sums = g.each(b.s, func(t, r0, _, out int) {
		acc := partial.data[t*2*c : (t+1)*2*c]
		if g.first(t, out) {
			clear(acc)
		}
		in := x.get()
		kernel.AffinePoolGradSums(acc, dy.get()[out:out+g.ow*c], in[r0:r0+g.row], in[r0+g.row:r0+2*g.row], coef[:3*c])
	})
	apply = g.each(b.s, func(_, r0, rest, out int) {
		in, to := x.get(), dx.data
		r1, end := r0+g.row, r0+2*g.row
		kernel.AffinePoolGrad(to[r0:r1], to[r1:end], dy.get()[out:out+g.ow*c], in[r0:r1], in[r1:end], coef[c:])
		// A column or row without a partner has no part in the pool.
		if w := 2 * g.ow * c; w < g.row {
			kernel.ChanAffine(to[r0+w:r1], in[r0+w:r1], coef[4*c:])
			kernel.ChanAffine(to[r1+w:end], in[r1+w:end], coef[4*c:])
		}
		if rest > end {
			kernel.ChanAffine(to[end:rest], in[end:rest], coef[4*c:])
		}
	})
	return sums, func() int { return g.count(b.s) }, apply
}

// inferenceCoef computes scale and shift of a BatchNormInference from its
// parameters of the moment.
type inferenceCoef struct {
	gamma, beta, mean, variance *ref
	inv, values                 []float32 // values [2][C]: scale, shift
	epsilon                     float64
}

func newInferenceCoef(b *binder, n *nn.Node) *inferenceCoef {
	k := &inferenceCoef{gamma: b.ref(n.In[1]), beta: b.ref(n.In[2]), mean: b.ref(n.In[3]), variance: b.ref(n.In[4])}
	c := len(k.gamma.data)
	k.inv, k.values, k.epsilon = make([]float32, c), make([]float32, 2*c), n.Op.(nn.BatchNormInference).Epsilon
	return k
}

func (k *inferenceCoef) compute() {
	for i, v := range k.variance.data {
		k.inv[i] = float32(1 / math.Sqrt(float64(v)+k.epsilon))
	}
	affine(k.values, k.gamma.data, k.beta.data, k.mean.data, k.inv)
}

func (l *lowering) batchNormInference(n *nn.Node) {
	m := l.matchNorm(n)
	op := l.emit(m.kind(), n.In, []*nn.Value{m.out()}, func(b *binder) func() {
		coef := newInferenceCoef(b, n)
		apply := m.applier(b, coef.values)
		return func() {
			coef.compute()
			apply()
		}
	})
	if m.pool == nil {
		op.inPlace(0)
	}
}

// batchNormInferenceBackward lowers the gradient of a layer whose statistics are frozen.
func (l *lowering) batchNormInferenceBackward(n *nn.Node, o nn.BatchNormInferenceBackward) {
	k := newChannels(n.In[1])
	partial := l.temp(k.blocks * 2 * k.c)
	l.emit(n.Op.Kind(), n.In, append(n.Out[:len(n.Out):len(n.Out)], partial), func(b *binder) func() {
		dy, x, gamma, mean, variance := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2]), b.ref(n.In[3]), b.ref(n.In[4])
		dx, dgamma, dbeta, ps := b.ref(n.Out[0]), b.ref(n.Out[1]), b.ref(n.Out[2]), b.ref(partial)
		c := k.c
		total, inv, coef := make([]float64, 2*c), make([]float64, c), make([]float32, 2*c) // coef: scale, and a shift of 0
		sums := k.each(b.s, func(t, lo, hi int) {
			acc := ps.data[t*2*c : (t+1)*2*c]
			clear(acc)
			kernel.ChanGradSums(acc, dy.get()[lo:hi], x.get()[lo:hi], mean.data)
		})
		apply := k.each(b.s, func(_, lo, hi int) { kernel.ChanAffine(dx.data[lo:hi], dy.get()[lo:hi], coef) })
		return func() {
			sums()
			addBlocks(total, ps.data, (k.count(b.s)+k.block-1)/k.block)
			for i, v := range variance.data {
				inv[i] = 1 / math.Sqrt(float64(v)+o.Epsilon)
				dbeta.data[i], dgamma.data[i] = float32(total[i]), float32(total[c+i]*inv[i])
				coef[i] = float32(float64(gamma.data[i]) * inv[i])
			}
			apply()
		}
	}).inPlace(0)
}
