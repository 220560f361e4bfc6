package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// Passes by channel go over a value [N,...,C] in blocks of positions. A block
// holds at most chanBlock positions, so that float32 can hold its sums: one sum
// for the whole batch would spoil the gradients. And it has at most about
// chanFloats numbers, so that what a block's first pass has read is still in
// the second-level cache for its second, and there are enough blocks to share.
// Blocks are added up in float64, in order.
const (
	chanBlock  = 512
	chanFloats = 1 << 15
)

// channels is how a value is split into blocks.
type channels struct {
	c         int // channels
	positions int // of a row of the batch
	block     int // positions of a block
	blocks    int // of a whole batch
}

// newChannels splits v into blocks of the size of every pass that nothing else binds.
func newChannels(v *nn.Value) channels {
	return splitChannels(v, max(1, min(chanBlock, chanFloats/v.Shape[len(v.Shape)-1])))
}

// splitChannels splits v into blocks of the given number of positions.
func splitChannels(v *nn.Value, block int) channels {
	c := v.Shape[len(v.Shape)-1]
	k := channels{c: c, positions: v.Shape.Size() / v.Shape[0] / c, block: block}
	k.blocks = (v.Shape[0]*k.positions + k.block - 1) / k.block
	return k
}

// count is the number of positions of the current batch.
func (k *channels) count(s *session) int { return s.rows * k.positions }

// each returns a function that runs f over the elements [lo, hi) of each block t.
func (k channels) each(s *session, f func(t, lo, hi int)) func() {
	task := func(t, _ int) {
		f(t, t*k.block*k.c, min((t+1)*k.block, k.count(s))*k.c)
	}
	return func() { s.pool.Run((k.count(s)+k.block-1)/k.block, task) }
}

// addBlocks sets total [width] to the sum of the first n rows of partial [n][width].
func addBlocks(total []float64, partial []float32, n int) {
	clear(total)
	for w := len(total); n > 0; n, partial = n-1, partial[w:] {
		for i, v := range partial[:w] {
			total[i] += float64(v)
		}
	}
}

// statistics are the sums over a value that batch normalisation needs, made
// block by block where the value is made, or by a pass of their own:
//
//	partial [blocks][3][C]   pivot, a number near the block's mean
//	                         sum of x - pivot over the block's positions
//	                         sum of (x - pivot)²
//
// Near the mean the differences keep their precision wherever the mean is;
// adder joins the blocks in float64 (Chan, Golub and LeVeque 1979).
type statistics struct {
	channels
	partial *nn.Value
}

// wanted returns the statistics that the op which makes v has to fill, in blocks
// of the positions that it has at hand together, at most chanBlock; nil if no
// batch normalisation reads v. The op lists partial among its writes.
func (l *lowering) wanted(v *nn.Value, k channels) *statistics {
	if l.statisticsReader(v) == nil {
		return nil
	}
	l.stats[v] = l.newStatistics(k)
	return l.stats[v]
}

// statisticsReader returns a batch normalisation that reads v and measures it, or nil.
func (l *lowering) statisticsReader(v *nn.Value) *nn.Node {
	for _, r := range l.readers[v] {
		if is[nn.BatchNorm](r) {
			return r
		}
	}
	return nil
}

func (l *lowering) newStatistics(k channels) *statistics {
	return &statistics{channels: k, partial: l.temp(k.blocks * 3 * k.c)}
}

// measurer returns a function that fills the place of block t with the
// statistics of its elements x, which it reads twice.
func (k *statistics) measurer(b *binder) func(t int, x []float32) {
	partial, c := b.ref(k.partial), k.c
	return func(t int, x []float32) {
		p := partial.data[t*3*c : (t+1)*3*c]
		clear(p)
		pivot := p[:c]
		kernel.ChanSum(pivot, x)
		kernel.Scale(pivot, pivot, float32(float64(c)/float64(len(x))))
		kernel.ChanMoments(p[c:], x, pivot)
	}
}

// adder returns a function that sets mean [C] and squares [C], the sum of the
// squared distances from it, over the current batch.
func (k *statistics) adder(b *binder, mean, squares []float64) func() {
	partial, s, c := b.ref(k.partial), b.s, k.c
	// of visits the blocks: positions of a block, and the three rows of its place.
	of := func(visit func(n float64, pivot, sum, square []float32)) {
		count := k.count(s)
		for t := 0; t*k.block < count; t++ {
			p := partial.data[t*3*c : (t+1)*3*c]
			visit(float64(min(k.block, count-t*k.block)), p[:c], p[c:2*c], p[2*c:])
		}
	}
	means := func(n float64, pivot, sum, _ []float32) {
		for i, v := range sum {
			mean[i] += n*float64(pivot[i]) + float64(v)
		}
	}
	distances := func(n float64, pivot, sum, square []float32) {
		share := 1 / n
		for i, v := range sum {
			off := float64(v) * share // of the block's mean from the pivot
			d := float64(pivot[i]) + off - mean[i]
			squares[i] += float64(square[i]) + n*(d*d-off*off)
		}
	}
	return func() {
		clear(mean)
		clear(squares)
		of(means)
		for i := range mean {
			mean[i] /= float64(k.count(s))
		}
		of(distances)
	}
}

// add lowers a sum, with the statistics of a batch normalisation that reads it
// made while the sum is in the cache: the residual connection.
func (l *lowering) add(n *nn.Node) {
	if d := l.late[n]; d != nil {
		l.addDataGradient(n, d)
		return
	}
	y := n.Out[0]
	k := l.wanted(y, newChannels(y))
	if k == nil {
		l.binary(n, kernel.Add)
		return
	}
	l.emit("add+statistics", n.In, []*nn.Value{y, k.partial}, func(b *binder) func() {
		xs, ys, zs := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(y)
		measure := k.measurer(b)
		return k.each(b.s, func(t, lo, hi int) {
			z := zs.data[lo:hi]
			kernel.Add(z, xs.get()[lo:hi], ys.get()[lo:hi])
			measure(t, z)
		})
	}).inPlace(0)
}

// imageColumnSum lowers the sum over all positions of a value [N,...,C].
func (l *lowering) imageColumnSum(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	k := newChannels(x)
	partial := l.temp(k.blocks * k.c)
	l.emit(n.Op.Kind(), n.In, []*nn.Value{y, partial}, func(b *binder) func() {
		xs, ys, ps := b.ref(x), b.ref(y), b.ref(partial)
		total := make([]float64, k.c)
		sums := k.each(b.s, func(t, lo, hi int) {
			acc := ps.data[t*k.c : (t+1)*k.c]
			clear(acc)
			kernel.ChanSum(acc, xs.get()[lo:hi])
		})
		return func() {
			sums()
			addBlocks(total, ps.data, (k.count(b.s)+k.block-1)/k.block)
			for i, v := range total {
				ys.data[i] = float32(v)
			}
		}
	})
}
