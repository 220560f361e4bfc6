package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// subclassCE lowers the loss with its gradient: one pass over the logits, then
// the mean of the rows' losses. Losses are added in float64.
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
	kernel := "subclass_ce_logits_" + suffix(t)
	if o.Probabilities {
		kernel = "subclass_ce_probabilities_f32"
	}
	l.emit(n.Op.Kind(), reads, writes, func(b *binder) []launch {
		var gradient, weight any
		if training {
			gradient = b.place(dz)
		}
		if len(n.In) == 2 {
			weight = b.place(n.In[1])
		}
		return append(b.call(kernel, gradient, b.place(rowLoss), b.place(in), weight, fedOffsets, fedColumns, fedY, fedM, b.rows, z.Width(), l.stride(z)),
			b.call("loss_mean_f64", b.place(loss), b.place(rowLoss), b.rows)...)
	})
}

// The modes of theta_norms.
const (
	thetaOfTraining      = 0 // dW is training's, with the e of the loss in it
	thetaOfLogits        = 1 // dW is made here
	thetaOfProbabilities = 2
)

// neglection lowers the measurement of theta: with the classification layer's
// dW at hand, two sparse sums over the listed rows of each class and three
// norms (see nn.Neglection); without it the product of the errors and x first.
func (l *lowering) neglection(n *nn.Node, o nn.Neglection) {
	x, z, theta := n.In[0], n.In[1], n.Out[0]
	t := l.typeOf(x)
	in := l.in(z, driver.F32)
	classes, width, stride := z.Width(), x.Width(), l.stride(z)
	chunks := kernels.ThetaChunks(width)
	bits := l.temp(func(rows int) int { return 4 * 2 * classes * ((rows + 31) / 32) })
	partial := l.temp(func(int) int { return 8 * 3 * classes * chunks })
	present := l.temp(func(int) int { return 4 * (classes + 1) }) // how many classes occur, and which
	reads, writes := []*nn.Value{x, in}, []*nn.Value{theta, bits, partial, present}
	mode := thetaOfTraining
	var errs, dw *nn.Value // of a layer without a dW of its own
	if len(n.In) == 3 {
		dw = n.In[2]
		reads = append(reads, dw)
	} else {
		mode = thetaOfLogits
		if o.Probabilities {
			mode = thetaOfProbabilities
		}
		errs = l.temp(func(rows int) int { return t.Size() * rows * stride })
		dw = l.temp(func(int) int { return 4 * stride * width })
		writes = append(writes, errs, dw)
	}
	l.emit(n.Op.Kind(), reads, writes, func(b *binder) []launch {
		scale, listed := float32(float64(b.rows)*(1+nn.LossEpsilon)), any(b.place(in))
		if mode != thetaOfTraining {
			scale, listed = 1, nil
		}
		run := append([]launch{b.zero(present)}, b.call("theta_list_f32", b.place(bits), b.place(present), b.place(theta), listed, fedOffsets, fedColumns, fedY, b.rows, classes, stride)...)
		if mode != thetaOfTraining {
			run = append(run, b.call("theta_errors_"+suffix(t), b.place(errs), b.place(in), fedOffsets, fedColumns, fedY,
				b.rows, classes, stride, mode-thetaOfLogits)...)
			run = append(run, b.matmul(driver.MatmulSpec{M: stride, N: width, K: b.rows, TransA: true, AB: t, D: driver.F32},
				b.place(dw), b.place(errs), b.place(x), place{})...)
		}
		run = append(run, b.call("theta_norms_"+suffix(t), b.place(partial), b.place(bits), b.place(present), b.place(x), b.place(in), b.place(dw),
			b.rows, classes, stride, width, chunks, mode, scale)...)
		return append(run, b.call("theta_finish_f32", b.place(theta), b.place(partial), b.place(present), classes, chunks)...)
	})
}
