package cpu

import (
	"math"
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// neglection lowers the measurement of theta.
//
// With the classification layer's dW at hand, R dW_i = sum over rows of
// loss_n x_n, where loss_n is the gradient that training uses, the e of the
// logarithms included. Only listed rows need a closer look: the class's
// positives, and negatives with p > 3/4, where e is felt. With Z = p - y:
//
//	g1 = sum over positives of Z x
//	g0 = (1+e) R dW_i + sum over listed rows of b x
//
// b = -(1+e) loss at a positive, Z - (1+e) loss at a listed negative. Two
// sparse sums over a row list, and three norms: one pass over dW_i and the
// listed x.
func (l *lowering) neglection(n *nn.Node, o nn.Neglection) {
	x, z := n.In[0], n.In[1]
	theta := n.Out[0]
	rows, classes, f := z.Shape[0], z.Width(), x.Width()
	writes := []*nn.Value{theta}
	var errs, grad *nn.Value // for a layer without a dW of its own
	if len(n.In) == 2 {
		errs, grad = l.temp(rows*classes), l.temp(classes*f)
		writes = append(writes, errs, grad)
	}
	l.emit(n.Op.Kind(), n.In, writes, func(b *binder) func() {
		m := &measurement{s: b.s, x: b.ref(x), z: b.ref(z), theta: b.ref(theta), classes: classes, width: f, probabilities: o.Probabilities}
		m.heads = make([]int32, classes+1)
		m.confident = make([]int32, classes)
		m.sums = make([]float32, b.s.pool.Threads()*2*stripe)
		m.task = func(t, worker int) { m.class(m.present[t], worker) }
		if errs == nil {
			m.dw = b.ref(n.In[2])
			m.scale = func() float32 { return float32(b.s.rows) * (1 + nn.LossEpsilon) }
			return m.run
		}
		m.dw, m.errs = b.ref(grad), b.ref(errs)
		m.scale = func() float32 { return 1 }
		product := b.denseProduct(m)
		return func() { product(); m.run() }
	})
}

// denseProduct computes Zᵀ x for a layer whose gradient is not at hand.
func (b *binder) denseProduct(m *measurement) func() {
	s := b.s
	fill := b.overRows(func(lo, hi int) {
		for r := lo; r < hi; r++ {
			z, e := m.z.get()[r*m.classes:(r+1)*m.classes], m.errs.data[r*m.classes:(r+1)*m.classes]
			if m.probabilities {
				copy(e, z)
			} else {
				kernel.Sigmoid(e, z)
			}
			t := &s.feed.Targets
			for k := t.Offsets[r]; k < t.Offsets[r+1]; k++ {
				if i := t.Index[k]; t.Y[k] == 1 {
					e[i] = m.positiveError(z[i])
				} else {
					e[i] -= t.Y[k]
				}
			}
		}
	})
	return func() {
		fill()
		kernel.Gemm(s.pool, m.classes, m.width, s.rows, kernel.Matrix{Data: m.errs.data, Stride: m.classes, Trans: true},
			kernel.Matrix{Data: m.x.get(), Stride: m.width}, m.dw.data, m.width, false, nil)
	}
}

// stripe is the number of columns of x summed at a time: two sums and the
// pieces of dW and x they need stay in the first cache.
const stripe = 1024

// measurement holds a batch's row lists by class.
type measurement struct {
	s              *session
	x, z, dw, errs *ref // errs: Z when dw is computed here
	theta          *ref
	classes, width int
	probabilities  bool
	scale          func() float32 // of dw

	entries   []entry // row lists, class after class
	pairs     []pair
	heads     []int32 // [classes+1] into entries
	present   []int32 // classes that occur
	confident []int32 // scratch: columns with p > 3/4
	sums      []float32
	task      func(task, worker int)
}

type pair struct {
	class, row int32
	positive   bool
}

// entry is a listed row: its weight in g1 and in g0.
type entry struct {
	row    int32
	g1, g0 float32
}

func (m *measurement) run() {
	m.list()
	clear(m.theta.data)
	m.s.pool.Run(len(m.present), m.task)
}

// list collects the rows to look at, by class, in ascending order of row.
func (m *measurement) list() {
	t := &m.s.feed.Targets
	m.pairs = m.pairs[:0]
	clear(m.heads)
	for r := range m.s.rows {
		row := m.z.get()[r*m.classes : (r+1)*m.classes]
		lo, hi := t.Offsets[r], t.Offsets[r+1]
		for k := lo; k < hi; k++ {
			if t.Y[k] == 1 {
				m.pairs = append(m.pairs, pair{t.Index[k], int32(r), true})
			}
		}
		if m.errs != nil {
			continue // Z itself was multiplied: nothing to correct
		}
		limit := float32(math.Log(3)) // the logit of 3/4
		for _, c := range m.confident[:kernel.GreaterIndices(row, limit, m.confident)] {
			if at, ok := slices.BinarySearch(t.Index[lo:hi], c); !ok || t.Y[int(lo)+at] != 1 {
				m.pairs = append(m.pairs, pair{c, int32(r), false})
			}
		}
	}
	for _, p := range m.pairs {
		m.heads[p.class+1]++
	}
	for c := range m.classes {
		m.heads[c+1] += m.heads[c]
	}
	m.fill()
}

// fill sorts the pairs into the classes' lists and weighs them.
func (m *measurement) fill() {
	m.entries = slices.Grow(m.entries[:0], len(m.pairs))[:len(m.pairs)]
	m.present = m.present[:0]
	next := m.confident // free here; one cursor a class
	copy(next, m.heads[:m.classes])
	for _, p := range m.pairs {
		m.entries[next[p.class]] = m.weigh(p)
		next[p.class]++
	}
	for c := range m.classes {
		for _, e := range m.entries[m.heads[c]:m.heads[c+1]] {
			if e.row < 0 {
				m.present = append(m.present, int32(c))
				break
			}
		}
	}
	for i := range m.entries {
		m.entries[i].row &^= positiveFlag
	}
}

// positiveFlag marks an entry as positive until the classes that occur are
// known; a positive's g1 may be zero.
const positiveFlag = math.MinInt32

func (m *measurement) weigh(p pair) entry {
	z := m.z.get()[int(p.row)*m.classes+int(p.class)]
	if m.errs != nil {
		e := m.positiveError(z)
		return entry{p.row | positiveFlag, e, -e} // the very value in errs: what is taken from g0 was added to it
	}
	if p.positive {
		_, loss := kernel.CETerm(z, 1, 1)
		return entry{p.row | positiveFlag, m.positiveError(z), float32(-(1 + nn.LossEpsilon) * loss)}
	}
	_, loss := kernel.CETerm(z, 0, 0)
	return entry{p.row, 0, float32(1/(1+math.Exp(-float64(z))) - (1+nn.LossEpsilon)*loss)}
}

// positiveError is p-1 for a positive's z, without the cancellation near p = 1.
func (m *measurement) positiveError(z float32) float32 {
	if m.probabilities {
		return z - 1
	}
	return float32(-1 / (1 + math.Exp(float64(z))))
}

// class computes theta of one class.
func (m *measurement) class(c int32, worker int) {
	list := m.entries[m.heads[c]:m.heads[c+1]]
	dw := m.dw.data[int(c)*m.width : (int(c)+1)*m.width]
	x, scale := m.x.get(), m.scale()
	var n1, n0, n float64
	for lo := 0; lo < m.width; lo += stripe {
		k := min(stripe, m.width-lo)
		g1 := m.sums[worker*2*stripe:][:k]
		g0 := m.sums[worker*2*stripe+stripe:][:k]
		clear(g1)
		kernel.Scale(g0, dw[lo:lo+k], scale)
		for _, e := range list {
			row := x[int(e.row)*m.width+lo:][:k]
			if e.g1 != 0 {
				kernel.Axpy(g1, row, e.g1)
			}
			kernel.Axpy(g0, row, e.g0)
		}
		n1 += kernel.SumSquares(g1)
		n0 += kernel.SumSquares(g0)
		kernel.Accumulate(g1, g0)
		n += kernel.SumSquares(g1)
	}
	m.theta.data[c] = theta(math.Sqrt(n1), math.Sqrt(n0), math.Sqrt(n))
}

// theta is (|g1|+|g0|)/|g1+g0| with 0/0 = 1 and x/0 = +Inf.
func theta(n1, n0, n float64) float32 {
	switch {
	case n > 0:
		return float32((n1 + n0) / n)
	case n1+n0 > 0:
		return float32(math.Inf(1))
	}
	return 1
}
