package cpu

import (
	"math"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// chanBlock is the number of positions whose sums a float32 accumulator takes:
// one for the whole batch would spoil the gradients. Blocks are added in
// float64, in order.
const chanBlock = 512

// channels runs per-channel reductions over a value [N,...,C].
type channels struct {
	b         *binder
	c         int // channels
	positions int // of a row of the batch
	partial   []float32
}

func newChannels(b *binder, v *nn.Value) *channels {
	c := v.Shape[len(v.Shape)-1]
	return &channels{b: b, c: c, positions: v.Width() / c}
}

// count is the number of positions of the current batch.
func (k *channels) count() int { return k.b.s.rows * k.positions }

// reducer returns a function that computes sums sums by channel: f adds the
// elements [lo, hi) to the sums of a block; totals are float64, [sums*C].
func (k *channels) reducer(sums int, total []float64, f func(acc []float32, lo, hi int)) func() {
	width := sums * k.c
	blocks := (k.b.s.model.Batch*k.positions + chanBlock - 1) / chanBlock
	k.partial = k.b.s.alloc(blocks * width)
	task := func(t, _ int) {
		acc := k.partial[t*width : (t+1)*width]
		clear(acc)
		f(acc, t*chanBlock*k.c, min((t+1)*chanBlock, k.count())*k.c)
	}
	return func() {
		n := (k.count() + chanBlock - 1) / chanBlock
		k.b.s.pool.Run(n, task)
		clear(total)
		for t := range n {
			for i, v := range k.partial[t*width : (t+1)*width] {
				total[i] += float64(v)
			}
		}
	}
}

// each runs f over the elements in blocks of positions.
func (k *channels) each(f func(lo, hi int)) func() {
	task := func(t, _ int) { f(t*chanBlock*k.c, min((t+1)*chanBlock, k.count())*k.c) }
	return func() { k.b.s.pool.Run((k.count()+chanBlock-1)/chanBlock, task) }
}

func (l *lowering) batchNorm(n *nn.Node, o nn.BatchNorm) {
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		x, gamma, beta, runMean, runVar := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2]), b.ref(n.In[3]), b.ref(n.In[4])
		y, mean, inv := b.ref(n.Out[0]), b.ref(n.Out[1]), b.ref(n.Out[2])
		k := newChannels(b, n.In[0])
		total := make([]float64, k.c)
		scale, shift := make([]float32, k.c), make([]float32, k.c)
		sums := k.reducer(1, total, func(acc []float32, lo, hi int) { kernel.ChanSum(acc, x.get()[lo:hi]) })
		squares := k.reducer(1, total, func(acc []float32, lo, hi int) { kernel.ChanSquares(acc, x.get()[lo:hi], mean.data) })
		apply := k.each(func(lo, hi int) { kernel.ChanAffine(y.data[lo:hi], x.get()[lo:hi], scale, shift) })
		return func() {
			count := float64(k.count())
			sums()
			for i, v := range total {
				mean.data[i] = float32(v / count)
				runMean.data[i] = float32((1-o.Momentum)*float64(runMean.data[i]) + o.Momentum*v/count)
			}
			squares()
			for i, v := range total {
				is := 1 / math.Sqrt(v/count+o.Epsilon)
				inv.data[i] = float32(is)
				runVar.data[i] = float32((1-o.Momentum)*float64(runVar.data[i]) + o.Momentum*v/max(count-1, 1))
				scale[i] = float32(float64(gamma.data[i]) * is)
				shift[i] = float32(float64(beta.data[i]) - float64(gamma.data[i])*is*float64(mean.data[i]))
			}
			apply()
		}
	})
}

func (l *lowering) batchNormBackward(n *nn.Node) {
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		dy, x, gamma, mean, inv := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2]), b.ref(n.In[3]), b.ref(n.In[4])
		dx, dgamma, dbeta := b.ref(n.Out[0]), b.ref(n.Out[1]), b.ref(n.Out[2])
		k := newChannels(b, n.In[1])
		c := k.c
		total := make([]float64, 2*c)
		fx, fy, f1 := make([]float32, c), make([]float32, c), make([]float32, c)
		sums := k.reducer(2, total, func(acc []float32, lo, hi int) {
			kernel.ChanGradSums(acc[:c], acc[c:], dy.get()[lo:hi], x.get()[lo:hi], mean.data)
		})
		apply := k.each(func(lo, hi int) {
			kernel.ChanAffine2(dx.data[lo:hi], dy.get()[lo:hi], x.get()[lo:hi], fy, fx, f1)
		})
		return func() {
			sums()
			count := float64(k.count())
			for i := range c {
				is := float64(inv.data[i])
				db, dg := total[i], total[c+i]*is
				dbeta.data[i], dgamma.data[i] = float32(db), float32(dg)
				g := float64(gamma.data[i]) * is
				fy[i] = float32(g)
				fx[i] = float32(-g * is * dg / count)
				f1[i] = float32(-g*db/count + g*is*float64(mean.data[i])*dg/count)
			}
			apply()
		}
	}).inPlace(0)
}

func (l *lowering) batchNormInference(n *nn.Node, o nn.BatchNormInference) {
	l.emit(n.Op.Kind(), n.In, n.Out[:1], func(b *binder) func() {
		x, gamma, beta, runMean, runVar := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2]), b.ref(n.In[3]), b.ref(n.In[4])
		y := b.ref(n.Out[0])
		k := newChannels(b, n.In[0])
		scale, shift := make([]float32, k.c), make([]float32, k.c)
		apply := k.each(func(lo, hi int) { kernel.ChanAffine(y.data[lo:hi], x.get()[lo:hi], scale, shift) })
		return func() {
			for i := range scale {
				f := float64(gamma.data[i]) / math.Sqrt(float64(runVar.data[i])+o.Epsilon)
				scale[i] = float32(f)
				shift[i] = float32(float64(beta.data[i]) - f*float64(runMean.data[i]))
			}
			apply()
		}
	}).inPlace(0)
}
