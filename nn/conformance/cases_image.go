package conformance

import (
	"fmt"
	"math"
	"strings"

	"sdnn/nn"
)

// image adds an input of images.
func (b *builder) image(name string, height, width, channels int) *nn.Value {
	v := b.g.NewImageInput(name, b.batch, height, width, channels)
	b.feats = append(b.feats, v)
	return v
}

// frozen begins a net whose normalisations use their running statistics always.
func frozen(batch int) *builder {
	b := build(batch)
	b.frozen = true
	return b
}

// named tells a frozen net from the other of the same form.
func (b *builder) named(format string, args ...any) string {
	name := fmt.Sprintf(format, args...)
	if b.frozen {
		name += "-frozen"
	}
	return name
}

// conv2d adds a convolution with parameters name.weight and, with bias, name.bias.
func (b *builder) conv2d(name string, x *nn.Value, outputs, kernel int, op nn.Conv2D, bias bool) *nn.Value {
	depth := kernel * kernel * x.Shape[3]
	in := []*nn.Value{x, b.g.NewParam(name+".weight", nn.Shape{outputs, kernel, kernel, x.Shape[3]},
		nn.Init{Kind: nn.InitNormal, Arg: math.Sqrt(2 / float64(depth))})}
	if bias {
		in = append(in, b.g.NewParam(name+".bias", nn.Shape{outputs}, nn.Init{Kind: nn.InitNormal, Arg: 0.2}))
	}
	return b.apply(name, op, in...)
}

// conv3 adds the customary convolution 3x3 that keeps the size.
func (b *builder) conv3(name string, x *nn.Value, outputs int) *nn.Value {
	return b.conv2d(name, x, outputs, 3, nn.Conv2D{Stride: 1, Pad: 1}, false)
}

// norm adds a batch normalisation with parameters name.weight and name.bias and
// buffers name.running_mean and name.running_var.
func (b *builder) norm(name string, x *nn.Value) *nn.Value {
	c := nn.Shape{x.Shape[len(x.Shape)-1]}
	var op nn.Op = nn.BatchNorm{Epsilon: 1e-5, Momentum: 0.1}
	if b.frozen {
		op = nn.BatchNormInference{Epsilon: 1e-5}
	}
	return b.apply(name, op, x,
		b.g.NewParam(name+".weight", c, nn.Init{Kind: nn.InitNormal, Arg: 1}),
		b.g.NewParam(name+".bias", c, nn.Init{Kind: nn.InitNormal, Arg: 0.3}),
		b.g.NewBuffer(name+".running_mean", c, nn.Init{Kind: nn.InitNormal, Arg: 0.3}),
		b.g.NewBuffer(name+".running_var", c, nn.Init{Arg: 1}))
}

func (b *builder) relu(x *nn.Value) *nn.Value    { return b.apply(x.Name+"/relu", nn.ReLU{}, x) }
func (b *builder) sigmoid(x *nn.Value) *nn.Value { return b.apply(x.Name+"/sigmoid", nn.Sigmoid{}, x) }
func (b *builder) pool(x *nn.Value) *nn.Value    { return b.apply(x.Name+"/pool", nn.MaxPool2D{}, x) }
func (b *builder) average(x *nn.Value) *nn.Value {
	return b.apply(x.Name+"/average", nn.GlobalAvgPool{}, x)
}
func (b *builder) normReLU(name string, x *nn.Value) *nn.Value { return b.relu(b.norm(name, x)) }
func (b *builder) add(name string, x, y *nn.Value) *nn.Value {
	return b.apply(name, nn.Add{}, x, y)
}
func (b *builder) dropout(name string, x *nn.Value, stream uint32) *nn.Value {
	return b.apply(name, nn.Dropout{Rate: 0.3, Stream: stream}, x)
}

// withStatistics is plain with running variances of their own for each channel.
// A normalisation takes away a bias before it and the length of the weights
// before it, so that gradients of those cancel.
func withStatistics(m *nn.Model) *testCase {
	c := plain(m)
	c.cancels = true
	c.set = map[string][]float32{}
	for _, v := range m.Graph.Buffers() {
		if strings.HasSuffix(v.Name, "running_var") {
			x := make([]float32, v.Shape.Size())
			nn.FillUniform(x, nn.KeyOfString(3, v.Name), 0.9)
			for i := range x {
				x[i]++
			}
			c.set[v.Name] = x
		}
	}
	return c
}

// imageCases are nets of images. Channels are such that engines treat specially
// (multiples of 16, 3) and such that they cannot (5, 35); sizes odd and even.
func imageCases() []*testCase {
	cases := []*testCase{
		plain(poolOfInput(4, 6, 8, 16)), plain(poolOfInput(3, 5, 7, 3)), plain(poolOfInput(2, 2, 3, 1)),
		plain(averageOfLayer(4, 5, 3, 16)), plain(averageOfLayer(3, 1, 1, 5)),
		pool2DTies(),
		plain(sharedConv()),
		withStatistics(rowNorm()),
		withStatistics(biasBeforeNorm()),
		withStatistics(vggNet(build(5), 8)), withStatistics(vggNet(build(3), 11)), withStatistics(vggNet(frozen(4), 7)),
		withStatistics(residualNet(build(4), 8, []int{4, 4, 8})), withStatistics(residualNet(build(3), 7, []int{16, 16, 32})),
		withStatistics(residualNet(frozen(4), 6, []int{4, 16, 5})),
	}
	for _, s := range convShapes {
		cases = append(cases, plain(conv2DNet(s)))
	}
	for _, kind := range normKinds {
		for _, s := range [][4]int{{3, 4, 6, 16}, {3, 5, 7, 5}, {2, 2, 3, 35}} {
			cases = append(cases, withStatistics(normNet(build(s[0]), kind, s[1], s[2], s[3])))
		}
		cases = append(cases, withStatistics(normNet(frozen(3), kind, 5, 4, 6)))
	}
	return cases
}

// convShape is a convolution of images of height x width from in to out channels.
type convShape struct {
	batch, height, width, in, out, kernel, stride, pad int
	bias                                               bool
}

var convShapes = []convShape{
	{5, 8, 8, 3, 16, 3, 1, 1, true},   // a first layer
	{4, 6, 5, 16, 32, 3, 1, 1, false}, // multiples of 16
	{3, 4, 4, 32, 16, 3, 1, 1, true},
	{3, 7, 5, 5, 7, 3, 1, 1, true}, // odd everything
	{2, 2, 2, 16, 16, 3, 1, 1, false},
	{3, 1, 1, 4, 6, 3, 1, 1, true}, // an image of one pixel
	{1, 3, 1, 2, 1, 3, 1, 1, false},
	{4, 8, 8, 16, 32, 3, 2, 1, false}, // the first of a residual group
	{3, 7, 9, 5, 8, 3, 2, 1, true},
	{4, 8, 6, 16, 16, 1, 1, 0, false},
	{3, 5, 5, 3, 7, 1, 1, 0, true},
	{4, 8, 8, 16, 32, 1, 2, 0, false}, // its shortcut
	{3, 7, 5, 6, 4, 1, 2, 0, true},    // the last row and column unread: their gradient is zero
	{3, 6, 6, 16, 16, 3, 1, 0, true},
	{3, 6, 7, 4, 5, 5, 1, 2, false},
	{2, 4, 5, 3, 4, 3, 1, 2, true}, // grows
	{2, 9, 8, 3, 5, 3, 3, 1, false},
	{2, 5, 6, 3, 4, 2, 2, 0, true},
}

// conv2DNet has a convolution whose gradients for x and W both are needed. The
// classes see each position by itself, so that one mistaken for another shows.
func conv2DNet(s convShape) *nn.Model {
	b := build(s.batch)
	x := b.conv2d("first", b.image("x", s.height, s.width, 3), s.in, 1, nn.Conv2D{Stride: 1}, true)
	y := b.conv2d("conv", b.sigmoid(x), s.out, s.kernel, nn.Conv2D{Stride: s.stride, Pad: s.pad}, s.bias)
	name := fmt.Sprintf("conv2d-%dx%dx%dx%d-to-%d-k%d-s%d-p%d", s.batch, s.height, s.width, s.in, s.out, s.kernel, s.stride, s.pad)
	return b.classify(name, b.flatten("flat", b.sigmoid(y)), 3)
}

// sharedConv has a convolution whose output several ops read, and one whose
// weights another shares.
func sharedConv() *nn.Model {
	b := build(3)
	x := b.conv3("conv1", b.image("x", 5, 6, 3), 16)
	y := b.conv3("conv2", b.sigmoid(x), 16)
	z := b.apply("conv3", nn.Conv2D{Stride: 1, Pad: 1}, b.sigmoid(y), y.Node.In[1])
	return b.classify("conv2d-shared", b.flatten("flat", b.add("sum2", b.add("sum1", z, y), x)), 4)
}

func poolOfInput(batch, height, width, channels int) *nn.Model {
	b := build(batch)
	x := b.conv2d("first", b.pool(b.image("x", height, width, channels)), channels, 1, nn.Conv2D{Stride: 1}, true)
	if x.Shape[1] > 1 && x.Shape[2] > 1 {
		x = b.pool(x) // and one with a gradient
	} else {
		x = b.pool(b.conv2d("second", b.image("x2", height, width, channels), channels, 1, nn.Conv2D{Stride: 1}, true))
	}
	return b.classify(fmt.Sprintf("max-pool2d-%dx%dx%dx%d", batch, height, width, channels), b.flatten("flat", x), 3)
}

func averageOfLayer(batch, height, width, channels int) *nn.Model {
	b := build(batch)
	x := b.sigmoid(b.conv3("conv", b.image("x", height, width, 3), channels))
	return b.classify(fmt.Sprintf("global-avg-pool-%dx%dx%dx%d", batch, height, width, channels), b.average(x), 3)
}

// pool2DTies has small integers, so that a window often holds its maximum twice,
// in float32 as in float64; the gradient belongs to the first.
func pool2DTies() *testCase {
	b := build(5)
	x := b.conv2d("conv", b.image("x", 6, 7, 2), 16, 1, nn.Conv2D{Stride: 1}, true)
	c := plain(b.classify("max-pool2d-ties", b.flatten("flat", b.pool(b.relu(x))), 3))
	c.kinks = true
	weights, bias := make([]float32, 32), make([]float32, 16)
	for i := range weights {
		weights[i] = float32(int(nn.Hash32(5, uint32(i))%3) - 1)
	}
	for i := range bias {
		bias[i] = float32(i%2) - 0.5
	}
	c.set = map[string][]float32{"conv.weight": weights, "conv.bias": bias}
	for _, f := range c.feeds {
		for i := range f.Features[0] {
			f.Features[0][i] = float32(nn.Hash32(78, uint32(i)) % 3)
		}
	}
	return c
}

// rowNorm normalises rows without positions.
func rowNorm() *nn.Model {
	b := build(9)
	x := b.normReLU("bn", b.dense("hidden", b.input("x", 6), 11))
	return b.classify("batch-norm-of-rows", x, 4)
}

// biasBeforeNorm has a bias that the normalisation takes away again: its
// gradient is zero.
func biasBeforeNorm() *nn.Model {
	b := build(4)
	x := b.conv2d("conv", b.image("x", 5, 4, 3), 16, 3, nn.Conv2D{Stride: 1, Pad: 1}, true)
	return b.classify("bias-before-norm", b.average(b.normReLU("bn", x)), 3)
}

// normKinds are the neighbours of a batch normalisation that engines fuse with
// it, or must not.
var normKinds = []string{"alone", "pool", "relu", "relu-pool", "two-readers", "two-readers-of-relu", "pool-and-another",
	"penultimate-before-pool", "of-input", "dropout"}

func normNet(b *builder, kind string, height, width, channels int) *nn.Model {
	x := b.image("x", height, width, 3)
	var penultimate *nn.Value
	y := b.conv3("conv1", x, channels)
	switch kind {
	case "alone":
		y = b.norm("bn", y)
	case "pool":
		y = b.pool(b.norm("bn", y))
	case "relu":
		y = b.normReLU("bn", y)
	case "relu-pool":
		y = b.pool(b.normReLU("bn", y))
	case "two-readers":
		y = b.norm("bn", y)
		y = b.add("sum", b.relu(y), y)
	case "two-readers-of-relu":
		y = b.normReLU("bn", y)
		y = b.add("sum", b.conv3("conv2", y, channels), y)
	case "pool-and-another":
		z := b.normReLU("bn", y)
		y = b.add("sum", b.pool(z), b.pool(b.conv3("conv2", z, channels)))
	case "penultimate-before-pool":
		y = b.normReLU("bn", y)
		penultimate = b.flatten("features", y)
		y = b.pool(y)
	case "of-input":
		y = b.conv3("conv2", b.normReLU("bn", x), channels)
	case "dropout":
		y = b.conv3("conv2", b.dropout("drop", b.normReLU("bn", y), 4), channels)
	}
	m := b.classify(b.named("batch-norm-%s-%d", kind, channels), b.flatten("flat", y), 3)
	if penultimate != nil {
		m.Penultimate, m.ClassWeight = penultimate, nil
	}
	return m
}

// vggNet is a small net of the form of VGG16.
func vggNet(b *builder, size int) *nn.Model {
	x := b.image("x", size, size, 3)
	for i, width := range []int{16, 5, 0, 16, 0} {
		if width == 0 {
			x = b.pool(x)
			continue
		}
		x = b.normReLU(fmt.Sprintf("bn%d", i), b.conv3(fmt.Sprintf("conv%d", i), x, width))
	}
	x = b.flatten("flat", x)
	for i := range uint32(2) {
		x = b.relu(b.dense(fmt.Sprintf("hidden%d", i), x, 12))
		if i == 0 {
			x = b.dropout("drop", x, i)
		}
	}
	return b.classify(b.named("vgg-%d", size), x, 4)
}

// residualNet is a small wide residual net: two blocks of convolutions with
// dropout between them, the second halving the image.
func residualNet(b *builder, size int, widths []int) *nn.Model {
	x := b.conv3("conv1", b.image("x", size, size, 3), widths[0])
	for i, width := range widths[1:] {
		x = b.block(fmt.Sprintf("block%d", i), x, width, 1+i, 0.3)
	}
	return b.classify(b.named("residual-%d-%d", size, widths[0]), b.average(b.normReLU("bn1", x)), 5)
}

// block is a pre-activation block with a convolution as its shortcut where the
// width changes.
func (b *builder) block(name string, x *nn.Value, width, stride int, dropout float64) *nn.Value {
	a := b.normReLU(name+".bn1", x)
	y := b.conv2d(name+".conv1", a, width, 3, nn.Conv2D{Stride: stride, Pad: 1}, false)
	y = b.normReLU(name+".bn2", y)
	if dropout > 0 {
		y = b.apply(name+".drop", nn.Dropout{Rate: dropout, Stream: uint32(len(b.g.Nodes))}, y)
	}
	y = b.conv3(name+".conv2", y, width)
	if width != x.Shape[3] {
		x = b.conv2d(name+".convShortcut", a, width, 1, nn.Conv2D{Stride: stride}, false)
	}
	return b.add(name, y, x)
}
