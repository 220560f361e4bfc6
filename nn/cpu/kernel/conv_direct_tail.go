package kernel

// tailEpilogue is the epilogue of a forward product: the bias, then ConvTail on
// what the product has just finished.
func (v *DirectConv) tailEpilogue() Epilogue {
	a, n := &v.args, v.s.outputs(v.args.Rows)*v.s.O
	e, t := Epilogue{Bias: a.Bias}, &v.args.Tail
	if t.Pool {
		panic("kernel: DirectConv does not pool")
	}
	if t.none() {
		return e
	}
	if t.Scale != nil && (len(t.Scale) < v.s.O || len(t.Shift) < v.s.O) || t.Sum != nil && len(t.Sum) < n {
		panic("kernel: DirectConv: the operands of the tail are too short")
	}
	e.Tile = v.runTail
	if t.Residual != nil {
		v.beside[0] = Matrix{Data: t.Residual, Stride: v.s.O}
		e.Beside = v.beside[:]
	}
	return e
}

// applyTail does the tail on a part of the output.
func (v *DirectConv) applyTail(row, rows, col, cols int, c []float32, ldc, worker int) {
	t, coef := &v.args.Tail, v.coef[worker][:2*cols]
	if t.Scale != nil {
		copy(coef, t.Scale[col:col+cols])
		copy(coef[cols:], t.Shift[col:col+cols])
	}
	run := cols // values that lie together
	if cols == ldc && cols == v.s.O {
		run, rows = rows*cols, 1
	}
	for r := range rows {
		y, at := c[r*ldc:][:run], (row+r)*v.s.O+col
		if t.Residual != nil {
			Add(y, y, t.Residual[at:at+run])
		}
		if t.Sum != nil {
			copy(t.Sum[at:at+run], y)
		}
		switch {
		case t.Scale != nil && t.ReLU:
			ChanAffineReLU(y, y, coef)
		case t.Scale != nil:
			ChanAffine(y, y, coef)
		}
	}
}
