package cpu

import (
	"math"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// subclassCE lowers the loss with its gradient: a dense pass that takes every
// output for negative, then the few listed targets are put right.
func (l *lowering) subclassCE(n *nn.Node, o nn.SubclassCE) {
	z, loss, dz := n.In[0], n.Out[0], n.Out[1]
	withGrad := l.p.Purpose != nn.Evaluation
	writes := []*nn.Value{loss}
	if withGrad {
		writes = append(writes, dz)
	}
	op := l.emit(n.Op.Kind(), n.In, writes, func(b *binder) func() {
		c := &ceRows{s: b.s, z: b.ref(z), width: z.Width(), probabilities: o.Probabilities}
		if withGrad {
			c.dz = b.ref(dz)
		}
		if len(n.In) == 2 {
			c.weight = b.ref(n.In[1])
		}
		rows := b.overRows(c.run)
		out := b.ref(loss)
		return func() {
			s := b.s
			if s.feed.Targets.Rows() != s.rows {
				s.loss = math.NaN()
				return
			}
			c.scale = 1 / float64(s.rows)
			rows()
			sum := 0.0
			for _, v := range s.rowLoss[:s.rows] {
				sum += v
			}
			s.loss = sum / float64(s.rows)
			out.data[0] = float32(s.loss)
		}
	})
	op.idle = func(s *session) bool { return s.feed.Targets.Rows() != s.rows }
	// dz over z only if nothing reads z later; the planner knows.
	if withGrad {
		op.plan.InPlace = append(op.plan.InPlace, [2]*nn.Value{op.plan.Reads[0], op.plan.Writes[1]})
	}
}

// ceRows computes the loss of rows into session.rowLoss.
type ceRows struct {
	s             *session
	z, dz, weight *ref // dz nil: the loss alone; weight nil: all ones
	width         int
	scale         float64
	probabilities bool
}

func (c *ceRows) run(lo, hi int) {
	var w []float32
	if c.weight != nil && c.s.weighted {
		w = c.weight.data
	}
	for r := lo; r < hi; r++ {
		z := c.z.get()[r*c.width : (r+1)*c.width]
		var dz []float32
		if c.dz != nil {
			dz = c.dz.data[r*c.width : (r+1)*c.width]
		}
		c.s.rowLoss[r] = c.row(r, z, dz, w)
	}
}

// row is one row's loss; dz may be z itself, so the listed targets' logits are
// read before the dense pass writes.
func (c *ceRows) row(r int, z, dz, w []float32) float64 {
	t := &c.s.feed.Targets
	lo, hi := t.Offsets[r], t.Offsets[r+1]
	term := kernel.CETerm
	if c.probabilities {
		term = kernel.CEProbTerm
	}
	fix := 0.0
	grads := c.s.listed[r][:0]
	for e := lo; e < hi; e++ {
		i := t.Index[e]
		weight := 1.0
		if w != nil {
			weight = float64(w[i])
		}
		base, _ := term(z[i], 0, 0)
		loss, d := term(z[i], t.Y[e], t.M[e])
		fix += weight * (loss - base)
		grads = append(grads, float32(c.scale*weight*d))
	}
	c.s.listed[r] = grads
	loss := c.dense(z, dz, w)
	if dz != nil {
		for k, e := 0, lo; e < hi; k, e = k+1, e+1 {
			dz[t.Index[e]] = grads[k]
		}
	}
	return loss + fix
}

func (c *ceRows) dense(z, dz, w []float32) float64 {
	switch {
	case c.probabilities && dz == nil:
		return kernel.CEProbsLoss(z, w)
	case c.probabilities:
		return kernel.CEProbs(dz, z, w, float32(c.scale))
	case dz == nil:
		return kernel.CELogitsLoss(z, w)
	}
	return kernel.CELogits(dz, z, w, float32(c.scale))
}

// mixture lowers the mixture of experts.
func (l *lowering) mixture(n *nn.Node, m int) {
	s := n.Out[0].Width()
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		gs, es, ps := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.Out[0])
		tmp := newMixtureScratch(b, s, m)
		return b.overWorkers(func(r, worker int) {
			gate, expert := tmp.row(worker, gs.data[r*s*(m+1):], es.data[r*s*m:])
			p := ps.data[r*s : (r+1)*s]
			for i := range p {
				g, e := gate[i*(m+1):(i+1)*(m+1)], expert[i*m:(i+1)*m]
				sum, mix := g[m], float32(0)
				for k, ek := range e {
					sum += g[k]
					mix += g[k] * ek
				}
				p[i] = mix / sum
			}
		})
	})
}

// mixtureBackward: with softmax gates g and experts e, p = sum g_k e_k,
// dgate_k = dp g_k (e_k - p) (e = 0 for the gate that leads nowhere) and
// dexpert_k = dp g_k e_k (1-e_k).
func (l *lowering) mixtureBackward(n *nn.Node, m int) {
	s := n.In[0].Width()
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ds, gs, es := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.In[2])
		dgs, des := b.ref(n.Out[0]), b.ref(n.Out[1])
		tmp := newMixtureScratch(b, s, m)
		return b.overWorkers(func(r, worker int) {
			gate, expert := tmp.row(worker, gs.data[r*s*(m+1):], es.data[r*s*m:])
			for i, d := range ds.data[r*s : (r+1)*s] {
				g, e := gate[i*(m+1):(i+1)*(m+1)], expert[i*m:(i+1)*m]
				dg, de := dgs.data[(r*s+i)*(m+1):][:m+1], des.data[(r*s+i)*m:][:m]
				sum, mix := g[m], float32(0)
				for k, ek := range e {
					sum += g[k]
					mix += g[k] * ek
				}
				p, d := mix/sum, d/sum
				for k, ek := range e {
					dg[k] = d * g[k] * (ek - p)
					de[k] = d * g[k] * ek * (1 - ek)
				}
				dg[m] = -d * g[m] * p
			}
		})
	})
}

// mixtureScratch holds one row's exponentials and sigmoids for each worker.
type mixtureScratch struct {
	gates, experts []float32
	s, m           int
}

func newMixtureScratch(b *binder, s, m int) *mixtureScratch {
	n := b.s.pool.Threads()
	return &mixtureScratch{make([]float32, n*s*(m+1)), make([]float32, n*s*m), s, m}
}

// row returns the unnormalised softmax of the gates, each class's shifted by
// its largest, and the sigmoid of the experts.
func (t *mixtureScratch) row(worker int, gates, experts []float32) (g, e []float32) {
	k := t.m + 1
	g = t.gates[worker*t.s*k:][:t.s*k]
	e = t.experts[worker*t.s*t.m:][:t.s*t.m]
	for i := range t.s {
		in, out := gates[i*k:(i+1)*k], g[i*k:(i+1)*k]
		top := in[0]
		for _, v := range in {
			top = max(top, v)
		}
		for j, v := range in {
			out[j] = v - top
		}
	}
	kernel.Exp(g, g)
	kernel.Sigmoid(e, experts[:t.s*t.m])
	return g, e
}
