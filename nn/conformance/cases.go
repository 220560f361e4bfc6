package conformance

import (
	"fmt"
	"slices"

	"sdnn/nn"
)

// The ops that nets are made of, by Kind.
var (
	// VideoOps are the ops of the video networks (package mlp).
	VideoOps = []string{"add", "columns", "concat", "conv1d", "dense", "dropout", "gaussian-noise", "l2-norm",
		"max-pool1d", "mixture-of-experts", "neglection", "relu", "reshape", "sigmoid", "subclass-ce"}
	// ImageOps are the ops that the image networks (package cnn) have beside them.
	ImageOps = []string{"batch-norm", "batch-norm-inference", "conv2d", "global-avg-pool", "max-pool2d"}
	// AllOps are all ops that a net of the suite has.
	AllOps = slices.Concat(VideoOps, ImageOps)
)

// testCase is a net with data.
type testCase struct {
	model *nn.Model
	// set replaces initial contents of parameters and constants.
	set   map[string][]float32
	feeds []*nn.Feed
	// kinks says that the loss has corners at these very data, so that finite
	// differences mean nothing.
	kinks bool
	// cancels says that some gradients are zero but for rounding, which Adam would
	// divide by itself: it is left out.
	cancels bool
	// theta says that the targets are those of stage 1, y = m = 1 and weights
	// of one, for which the neglection degree is defined.
	theta bool
}

func (c *testCase) name() string { return c.model.Name }

// kinds lists the kinds of the model's ops.
func (c *testCase) kinds() []string {
	kinds := []string{"neglection"}
	for _, n := range c.model.Graph.Nodes {
		if !slices.Contains(kinds, n.Op.Kind()) {
			kinds = append(kinds, n.Op.Kind())
		}
	}
	return kinds
}

// initial is the state that a session of the case begins with.
func (c *testCase) initial(seed uint64) State {
	st := InitialState(c.model, seed)
	for name, x := range c.set {
		st[name] = widen(x)
	}
	return st
}

// withFeeds gives the model three batches, the second a tail.
func withFeeds(m *nn.Model, l labelling) *testCase {
	c := &testCase{model: m, theta: !l.siblings}
	for i, rows := range []int{m.Batch, (2*m.Batch + 2) / 3, m.Batch} {
		c.feeds = append(c.feeds, newFeed(m, rows, uint64(1000+i), l))
	}
	return c
}

func plain(m *nn.Model) *testCase { return withFeeds(m, plainLabels) }

func allCases() []*testCase {
	cases := []*testCase{
		plain(logistic("dense", 5, 7, 3)),
		plain(logistic("one-row", 1, 4, 3)),
		plain(logistic("one-output", 6, 5, 1)),
		plain(logistic("one-feature", 7, 1, 4)),
		plain(logistic("dense-wide", 33, 130, 67)),
		plain(logistic("dense-deep", 9, 531, 19)),
		plain(logistic("dense-tall", 150, 17, 33)),
		plain(denseWithoutBias()),
		plain(reluNet()),
		plain(sigmoidNet()),
		plain(dropoutNet()),
		plain(dropoutOfInput()),
		plain(noiseNet()),
		plain(l2NormOfInput()),
		plain(l2NormOfLayer()),
		plain(concatNet()),
		plain(columnsNet()),
		plain(reshapeNet()),
		plain(addNet()),
		plain(tiedWeights()),
		plain(convOfLayer()),
		plain(poolWithoutConv()),
		plain(probabilities()),
		plain(branches()),
		plain(cubeNet()),
		plain(concatOfSame()),
		withFeeds(logistic("siblings", 9, 6, 7), hardSiblings),
		withFeeds(logistic("soft-siblings", 9, 6, 8), softSiblings),
		outputWeights(), saturated(), allPositive("all-positive", false), allPositive("all-positive-dw", true), noLabels(), zeroRows(), poolTies(),
	}
	for _, s := range []struct{ batch, length, filters, k, outputs int }{
		{5, 11, 5, 3, 6}, {4, 12, 4, 3, 5}, {3, 2, 3, 1, 2}, {3, 3, 2, 5, 4}, {6, 9, 17, 7, 3}, {4, 41, 64, 3, 9}, {1, 8, 1, 3, 1},
	} {
		cases = append(cases, plain(convNet(s.batch, s.length, s.filters, s.k, s.outputs)))
	}
	for experts := 1; experts <= 4; experts++ {
		cases = append(cases, plain(mixtureNet(9, experts, 5)))
	}
	cases = append(cases, plain(mixtureNet(1, 2, 3)), plain(mixtureNet(6, 2, 1)))
	return append(cases, imageCases()...)
}

func logistic(name string, batch, width, outputs int) *nn.Model {
	b := build(batch)
	return b.classify(name, b.input("x", width), outputs)
}

func denseWithoutBias() *nn.Model {
	b := build(6)
	x := b.input("x", 5)
	w, _ := b.denseParams("hidden", 5, 9)
	h := b.apply("hidden", nn.Dense{}, x, w)
	v := b.g.NewParam("classes.weight", nn.Shape{4, 9}, nn.Init{Kind: nn.InitNormal, Arg: 0.3})
	return b.finish("dense-no-bias", h, b.apply("classes", nn.Dense{}, h, v), false)
}

func reluNet() *nn.Model {
	b := build(13)
	h := b.apply("relu1", nn.ReLU{}, b.dense("hidden1", b.input("x", 10), 19))
	h = b.apply("relu2", nn.ReLU{}, b.dense("hidden2", h, 7))
	return b.classify("relu", h, 5)
}

func sigmoidNet() *nn.Model {
	b := build(7)
	return b.classify("sigmoid", b.apply("act", nn.Sigmoid{}, b.dense("hidden", b.input("x", 6), 9)), 5)
}

func dropoutNet() *nn.Model {
	b := build(11)
	h := b.apply("relu1", nn.ReLU{}, b.dense("hidden1", b.input("x", 8), 37))
	h = b.apply("drop1", nn.Dropout{Rate: 0.3, Stream: 0}, h)
	h = b.apply("relu2", nn.ReLU{}, b.dense("hidden2", h, 21))
	h = b.apply("drop2", nn.Dropout{Rate: 0.5, Stream: 1}, h)
	return b.classify("dropout", h, 6)
}

func dropoutOfInput() *nn.Model {
	b := build(5)
	x := b.apply("drop0", nn.Dropout{Rate: 0, Stream: 3}, b.input("x", 12))
	x = b.apply("drop", nn.Dropout{Rate: 0.25, Stream: 7}, x)
	return b.classify("dropout-of-input", x, 4)
}

func noiseNet() *nn.Model {
	b := build(6)
	x := b.apply("noise1", nn.GaussianNoise{Std: 0.3, Stream: 5}, b.input("x", 9))
	h := b.apply("noise2", nn.GaussianNoise{Std: 1, Stream: 6}, b.dense("hidden", x, 5))
	return b.classify("noise", b.apply("act", nn.Sigmoid{}, h), 4)
}

func l2NormOfInput() *nn.Model {
	b := build(6)
	return b.classify("l2-norm", b.apply("unit", nn.L2Norm{}, b.input("x", 37)), 5)
}

func l2NormOfLayer() *nn.Model {
	b := build(7)
	h := b.apply("unit", nn.L2Norm{}, b.dense("hidden", b.input("x", 6), 11))
	return b.classify("l2-norm-of-layer", h, 5)
}

func concatNet() *nn.Model {
	b := build(7)
	x, y := b.input("x", 5), b.input("y", 3)
	h := b.apply("join", nn.Concat{}, b.dense("left", x, 4), y, b.apply("relu", nn.ReLU{}, b.dense("right", y, 7)))
	return b.classify("concat", h, 5)
}

func columnsNet() *nn.Model {
	b := build(5)
	x := b.input("x", 13)
	mid := b.apply("middle", nn.Columns{From: 4, Width: 6}, x)
	end := b.apply("end", nn.Columns{From: 12, Width: 1}, x)
	return b.classify("columns", b.apply("join", nn.Concat{}, end, mid), 3)
}

// reshapeNet views values whose contents the reverse pass needs again.
func reshapeNet() *nn.Model {
	b := build(5)
	h := b.apply("act1", nn.Sigmoid{}, b.dense("hidden", b.input("x", 7), 12))
	h = b.apply("cube", nn.Reshape{Shape: nn.Shape{4, 3}}, h)
	h = b.apply("act2", nn.Sigmoid{}, h)
	return b.classify("reshape", b.apply("act3", nn.Sigmoid{}, b.flatten("flat", h)), 4)
}

// addNet has values with several readers, and a sum of a value with itself.
func addNet() *nn.Model {
	b := build(6)
	h := b.apply("relu", nn.ReLU{}, b.dense("hidden", b.input("x", 5), 8))
	r := b.apply("act", nn.Sigmoid{}, b.dense("residual", h, 8))
	sum := b.apply("sum", nn.Add{}, h, r)
	return b.classify("add", b.apply("twice", nn.Add{}, sum, sum), 4)
}

// tiedWeights uses one parameter in two layers.
func tiedWeights() *nn.Model {
	b := build(6)
	w, bias := b.denseParams("hidden", 7, 7)
	h := b.apply("act1", nn.Sigmoid{}, b.apply("first", nn.Dense{}, b.input("x", 7), w, bias))
	h = b.apply("act2", nn.Sigmoid{}, b.apply("second", nn.Dense{}, h, w, bias))
	return b.classify("tied-weights", h, 4)
}

// branches has values with several readers of different kinds, some of another
// shape: whoever reuses a value's memory too early is found.
func branches() *nn.Model {
	b := build(6)
	h := b.apply("act1", nn.Sigmoid{}, b.dense("hidden", b.input("x", 5), 12))
	cube := b.apply("cube", nn.Reshape{Shape: nn.Shape{4, 3}}, h)
	c := b.flatten("flat", b.apply("act2", nn.Sigmoid{}, cube))
	r := b.apply("relu", nn.ReLU{}, b.apply("sum1", nn.Add{}, b.dense("second", h, 12), c))
	pooled := b.flatten("flat2", b.apply("pool", nn.MaxPool1D{}, cube))
	other := b.apply("other", nn.Reshape{Shape: nn.Shape{2, 6}}, b.dense("third", r, 12))
	view := b.apply("sum4", nn.Add{}, b.apply("view", nn.Reshape{Shape: nn.Shape{2, 6}}, h), other)
	c = b.apply("sum5", nn.Add{}, b.flatten("flat3", view), c)
	sum := b.apply("sum3", nn.Add{}, b.apply("sum2", nn.Add{}, h, r), c)
	x := b.apply("join", nn.Concat{}, sum, pooled, b.apply("unit", nn.L2Norm{}, h), c)
	return b.classify("branches", x, 4)
}

// cubeNet applies the ops that know only rows to values of three dimensions.
func cubeNet() *nn.Model {
	b := build(5)
	h := b.conv("conv", b.input("x", 7), 3, 3)
	h = b.apply("unit", nn.L2Norm{}, h)
	h = b.apply("noise", nn.GaussianNoise{Std: 0.1, Stream: 11}, h)
	h = b.apply("drop", nn.Dropout{Rate: 0.4, Stream: 12}, h)
	h = b.apply("twice", nn.Add{}, h, b.apply("act", nn.Sigmoid{}, h))
	return b.classify("cube", b.flatten("flat", h), 4)
}

func concatOfSame() *nn.Model {
	b := build(1)
	h := b.dense("hidden", b.input("x", 4), 1)
	g := b.apply("unit", nn.L2Norm{}, b.dense("second", b.apply("act", nn.Sigmoid{}, h), 3))
	return b.classify("concat-of-same", b.apply("join", nn.Concat{}, h, g, h), 2)
}

// convNet is the paper's video net.
func convNet(batch, length, filters, k, outputs int) *nn.Model {
	b := build(batch)
	audio := length / 3
	var x *nn.Value
	if audio == 0 {
		x = b.apply("unit", nn.L2Norm{}, b.input("rgb", length))
	} else {
		x = b.apply("join", nn.Concat{}, b.apply("unit.rgb", nn.L2Norm{}, b.input("rgb", length-audio)),
			b.apply("unit.audio", nn.L2Norm{}, b.input("audio", audio)))
	}
	x = b.apply("noise", nn.GaussianNoise{Std: 0.03, Stream: 2}, x)
	x = b.apply("unit.both", nn.L2Norm{}, x)
	h := b.apply("relu", nn.ReLU{}, b.conv("conv", x, filters, k))
	h = b.flatten("flat", b.apply("pool", nn.MaxPool1D{}, h))
	return b.classify(fmt.Sprintf("conv1d-%dx%dx%d-k%d", batch, length, filters, k), h, outputs)
}

// convOfLayer needs the convolution's gradient for its input.
func convOfLayer() *nn.Model {
	b := build(5)
	h := b.conv("conv", b.dense("hidden", b.input("x", 6), 9), 4, 3)
	h = b.flatten("flat", b.apply("act", nn.Sigmoid{}, h))
	return b.classify("conv1d-of-layer", h, 5)
}

func poolWithoutConv() *nn.Model {
	b := build(5)
	h := b.apply("cube", nn.Reshape{Shape: nn.Shape{7, 3}}, b.dense("hidden", b.input("x", 6), 21))
	return b.classify("max-pool1d", b.flatten("flat", b.apply("pool", nn.MaxPool1D{}, h)), 4)
}

func probabilities() *nn.Model {
	b := build(8)
	x := b.input("x", 6)
	return b.finish("probabilities", x, b.apply("p", nn.Sigmoid{}, b.dense("classes", x, 5)), true)
}

func mixtureNet(batch, experts, outputs int) *nn.Model {
	b := build(batch)
	x := b.input("x", 7)
	p := b.apply("mixture", nn.MixtureOfExperts{Experts: experts}, b.dense("gates", x, outputs*(experts+1)),
		b.dense("experts", x, outputs*experts))
	return b.finish(fmt.Sprintf("mixture-of-experts-%dx%d-m%d", batch, outputs, experts), x, p, true)
}

func outputWeights() *testCase {
	c := withFeeds(logistic("output-weights", 8, 6, 5), softSiblings)
	c.set = map[string][]float32{"output.weight": {1, 3, 0.25, 0, 2}}
	return c
}

// saturated has logits of -16 to 16, one gradient each through one-hot rows:
// 1-p must not be got by subtraction.
func saturated() *testCase {
	const n = 33
	c := plain(logistic("saturated", n, n, 2))
	w := make([]float32, 2*n)
	for i := range n {
		w[i], w[n+i] = float32(i)-16, 0.875*(float32(i)-16)
	}
	c.set = map[string][]float32{"classes.weight": w, "classes.bias": {0, 0}}
	for _, f := range c.feeds {
		oneHotRows(f.Features[0], n)
	}
	return c
}

// allPositive has a class of which every row is a positive that the net knows:
// p-1 is lost where p is a float32. The dW that the neglection degrees are made
// of is at hand or not.
func allPositive(name string, atHand bool) *testCase {
	const n = 21
	c := plain(logistic(name, n, n, 2))
	if !atHand {
		c.model.ClassWeight = nil
	}
	w := make([]float32, 2*n)
	for i := range n {
		w[i], w[n+i] = 8+float32(i)/2, float32(i)-10
	}
	c.set = map[string][]float32{"classes.weight": w, "classes.bias": {0, 0}}
	for _, f := range c.feeds {
		oneHotRows(f.Features[0], n)
		f.Targets.Reset()
		for r := range f.Rows {
			f.Targets.Add(0, 1, 1)
			if r%3 == 0 {
				f.Targets.Add(1, 1, 1)
			}
			f.Targets.EndRow()
		}
	}
	return c
}

// oneHotRows makes x the identity, so that a dense layer's weight [S,N] is the
// transpose of its output.
func oneHotRows(x []float32, n int) {
	clear(x)
	for r := 0; r*n+r < len(x); r++ {
		x[r*n+r] = 1
	}
}

func noLabels() *testCase {
	c := plain(reluNet())
	c.model.Name = "no-labels"
	for _, f := range c.feeds {
		f.Targets.Reset()
		for range f.Rows {
			f.Targets.EndRow()
		}
	}
	return c
}

// zeroRows has rows without audio: they stay zero under L2 normalisation.
func zeroRows() *testCase {
	c := plain(convNet(5, 11, 5, 3, 6))
	c.model.Name = "zero-rows"
	for _, f := range c.feeds {
		clear(f.Features[1])
		clear(f.Features[0][:c.model.Features[0].Width()])
	}
	return c
}

// poolTies has small integers, so that neighbours under the pool are often
// equal, in float32 as in float64; its gradient belongs to the first.
func poolTies() *testCase {
	b := build(7)
	h := b.conv("conv", b.input("x", 13), 4, 3)
	h = b.apply("relu", nn.ReLU{}, h)
	c := plain(b.classify("max-pool1d-ties", b.flatten("flat", b.apply("pool", nn.MaxPool1D{}, h)), 5))
	c.kinks = true
	c.set = map[string][]float32{"conv.weight": {1, 1, 1, 1, 0, 1, 1, -1, 0, 0, 2, 1}, "conv.bias": {0, -1, 0, 1}}
	for _, f := range c.feeds {
		for i := range f.Features[0] {
			f.Features[0][i] = float32(nn.Hash32(77, uint32(i)) % 3)
		}
	}
	return c
}
