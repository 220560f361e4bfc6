package cuda

import "sdnn/nn"

// pool2d lowers a pool that is not part of another op, or its gradient.
func (l *lowering) pool2d(n *nn.Node, kernel string) {
	in, t := l.operands(n)
	x := n.In[len(n.In)-1]
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		args := []any{b.place(n.Out[0])}
		for _, v := range in {
			args = append(args, b.place(v))
		}
		return b.call(kernel+suffix(t), append(args, b.rows, x.Shape[1], x.Shape[2], x.Shape[3])...)
	})
}

// averagePool lowers the average over the positions of image, or its gradient.
func (l *lowering) averagePool(n *nn.Node, image *nn.Value, kernel string) {
	in, t := l.operands(n)
	c := channels(image)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call(kernel+suffix(t), b.place(n.Out[0]), b.place(in[0]), b.rows, image.Width()/c, c)
	})
}
