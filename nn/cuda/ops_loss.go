package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// subclassCE lowers the loss with its gradient and the mean of the rows' losses:
// one pass over the logits. Losses are added in float64. Where theta is
// measured, the pass also lists the rows that it will look at.
func (l *lowering) subclassCE(n *nn.Node, o nn.SubclassCE) {
	z, loss, dz := n.In[0], n.Out[0], n.Out[1]
	training := l.p.Purpose != nn.Evaluation
	in := l.in(z, driver.F32)
	rowLoss := l.temp(func(rows int) int { return 8 * rows })
	reads, writes := append([]*nn.Value{in}, n.In[1:]...), []*nn.Value{loss, rowLoss}
	t := driver.F32
	if training {
		writes = append(writes, dz)
		if !o.Probabilities {
			t = l.wanted(dz)
		}
		l.setType(dz, t)
	}
	var bits *nn.Value
	if l.p.Theta != nil {
		bits = l.temp(func(rows int) int { return 4 * 2 * z.Width() * ((rows + 31) / 32) })
		l.listed[z] = bits
		writes = append(writes, bits)
	}
	kernel := "subclass_ce_logits_" + suffix(t)
	if o.Probabilities {
		kernel = "subclass_ce_probabilities_f32"
	}
	l.emit(n.Op.Kind(), reads, writes, func(b *binder) (run []launch) {
		var gradient, weight, list any
		if training {
			gradient = b.place(dz)
		}
		if len(n.In) == 2 {
			weight = b.place(n.In[1])
		}
		if bits != nil {
			run, list = append(run, b.zero(bits)), b.place(bits)
		}
		return append(run, b.call(kernel, b.place(loss), gradient, b.place(rowLoss), list, b.s.counters, b.place(in), weight, fedOffsets, fedColumns, fedY, fedM, b.rows, z.Width(), l.stride(z))...)
	})
}

// measured is the measurement of theta with the classification layer's dW at
// hand: the optimiser, which reads dW anyway, leaves sums of squares that theta
// follows from. Its bits do not change by that.
type measured struct {
	node     *nn.Node
	x, z, dw *nn.Value
	t        driver.Type // of x
	bits     *nn.Value   // listed rows
	partial  *nn.Value
}

// fusedTheta reports whether a node measures theta in the optimiser's pass.
func fusedTheta(n *nn.Node) bool { return is[nn.Neglection](n) && len(n.In) == 3 }

// neglection lowers the measurement of theta (see nn.Neglection): with the
// classification layer's dW at hand it is left to the optimiser, without it the
// product of the errors and x is made first.
func (l *lowering) neglection(n *nn.Node, o nn.Neglection) {
	x, z, theta := n.In[0], n.In[1], n.Out[0]
	t, in, bits := l.typeOf(x), l.in(z, driver.F32), l.listed[z]
	if bits == nil {
		panic("cuda: the outputs that theta is measured of are not those of the loss")
	}
	classes, width, stride := z.Width(), x.Width(), l.stride(z)
	if fusedTheta(n) {
		l.measured = &measured{node: n, x: x, z: in, dw: n.In[2], t: t, bits: bits,
			partial: l.temp(func(int) int { return 8 * 3 * classes * kernels.OptimizerPieces(width) })}
		return
	}
	chunks, probabilities := kernels.ThetaChunks(width), 0
	if o.Probabilities {
		probabilities = 1
	}
	partial := l.temp(func(int) int { return 8 * 3 * classes * chunks })
	errs := l.temp(func(rows int) int { return t.Size() * rows * stride })
	dw := l.temp(func(int) int { return 4 * stride * width })
	l.emit(n.Op.Kind(), []*nn.Value{x, in, bits}, []*nn.Value{theta, partial, errs, dw}, func(b *binder) []launch {
		run := b.call("theta_errors_"+suffix(t), b.place(errs), b.place(in), fedOffsets, fedColumns, fedY, b.rows, classes, stride, probabilities)
		run = append(run, b.matmul(driver.MatmulSpec{M: stride, N: width, K: b.rows, TransA: true, AB: t, D: driver.F32},
			b.place(dw), b.place(errs), b.place(x), place{})...)
		run = append(run, b.call("theta_norms_"+suffix(t), b.place(partial), b.place(bits), b.place(x), b.place(in), b.place(dw),
			b.rows, classes, stride, width, chunks, probabilities)...)
		return append(run, b.finishTheta(theta, partial, bits, chunks)...)
	})
}

func (b *binder) finishTheta(theta, partial, bits *nn.Value, chunks int) []launch {
	return b.call("theta_finish_f32", b.place(theta), b.place(partial), b.place(bits), b.rows, theta.Shape[0], chunks)
}

// finish ends a measurement behind the optimiser.
func (m *measured) finish(l *lowering) {
	theta := m.node.Out[0]
	l.emit(m.node.Op.Kind(), []*nn.Value{m.partial, m.bits}, []*nn.Value{theta}, func(b *binder) []launch {
		return b.finishTheta(theta, m.partial, m.bits, kernels.OptimizerPieces(m.x.Width()))
	})
}
