package cpu_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sdnn/cnn"
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// normNet builds nets around a batch normalisation, of c channels (some no
// multiple of 16) and h x w images (some odd), whose neighbours the engine can fuse, or must not.
func normNet(kind string, batch, h, w, c int) *nn.Model {
	g := nn.NewGraph()
	x := g.NewImageInput("x", batch, h, w, 2)
	m := &nn.Model{Name: kind, Batch: batch, Graph: g, Features: []*nn.Value{x}}
	conv := func(name string, in *nn.Value, out int, bias bool) *nn.Value {
		k := in.Shape[3]
		args := []*nn.Value{in, g.NewParam(name+".weight", nn.Shape{out, 3, 3, k}, nn.Init{Kind: nn.InitNormal, Arg: 1 / math.Sqrt(float64(9*k))})}
		if bias {
			args = append(args, g.NewParam(name+".bias", nn.Shape{out}, nn.Init{Kind: nn.InitNormal, Arg: 0.5}))
		}
		return g.Apply(name, nn.Conv2D{Stride: 1, Pad: 1}, args...)[0]
	}
	norm := func(name string, in *nn.Value) *nn.Value {
		s := nn.Shape{in.Shape[len(in.Shape)-1]}
		return g.Apply(name, nn.BatchNorm{Epsilon: 1e-5, Momentum: 0.1}, in,
			g.NewParam(name+".weight", s, nn.Init{Kind: nn.InitNormal, Arg: 1}), g.NewParam(name+".bias", s, nn.Init{Kind: nn.InitNormal, Arg: 0.3}),
			g.NewBuffer(name+".mean", s, nn.Init{}), g.NewBuffer(name+".var", s, nn.Init{Arg: 1}))[0]
	}
	relu := func(in *nn.Value) *nn.Value { return g.Apply(in.Name+"/relu", nn.ReLU{}, in)[0] }
	pool := func(in *nn.Value) *nn.Value { return g.Apply(in.Name+"/pool", nn.MaxPool2D{}, in)[0] }
	add := func(a, b *nn.Value) *nn.Value { return g.Apply(a.Name+"/add", nn.Add{}, a, b)[0] }

	y := conv("conv1", x, c, true)
	switch kind {
	case "norm":
		y = norm("bn", y)
	case "norm pool": // no ReLU between
		y = pool(norm("bn", y))
	case "norm relu":
		y = relu(norm("bn", y))
	case "norm relu pool":
		y = pool(relu(norm("bn", y)))
	case "two readers of the norm":
		y = norm("bn", y)
		y = add(relu(y), y)
	case "two readers of the relu":
		y = relu(norm("bn", y))
		y = add(conv("conv2", y, c, false), y)
	case "pool and another":
		z := relu(norm("bn", y))
		y = add(pool(z), pool(conv("conv2", z, c, false)))
	case "two convolutions":
		y = pool(relu(norm("bn", conv("conv2", y, c, true))))
	case "penultimate before the pool":
		y = relu(norm("bn", y))
		m.Penultimate = y
		y = pool(y)
	case "residual":
		for i := range 2 {
			z := conv(fmt.Sprintf("conv2.%d", i), relu(norm(fmt.Sprintf("bn1.%d", i), y)), c, false)
			z = conv(fmt.Sprintf("conv3.%d", i), relu(norm(fmt.Sprintf("bn2.%d", i), z)), c, true)
			y = add(z, y)
		}
		y = relu(norm("bn", y))
	case "norm of the input":
		y = conv("conv2", relu(norm("bn", x)), c, true)
	}
	classify(m, g.Apply("average", nn.GlobalAvgPool{}, y)[0], c)
	return m
}

// classify ends m with three classes from the c numbers of y, and their loss.
func classify(m *nn.Model, y *nn.Value, c int) {
	g := m.Graph
	if m.Penultimate == nil {
		m.Penultimate = y
	}
	w2 := g.NewParam("classes.weight", nn.Shape{3, c}, nn.Init{Kind: nn.InitNormal, Arg: 1})
	m.Output = g.Apply("classes", nn.Dense{}, y, w2, g.NewParam("classes.bias", nn.Shape{3}, nn.Init{}))[0]
	m.Loss = g.Apply("loss", nn.SubclassCE{}, m.Output)[0]
}

var normNets = []string{"norm", "norm pool", "norm relu", "norm relu pool", "two readers of the norm", "two readers of the relu",
	"pool and another", "penultimate before the pool", "residual", "norm of the input"}

// naive evaluates a model's loss in float64, by the definition of each op, in
// training mode.
type naive struct {
	m      *nn.Model
	values map[*nn.Value][]float64
	rows   int
	labels []int32 // the positive of each row
}

func (n *naive) loss() float64 {
	var loss float64
	for _, node := range n.m.Graph.Nodes {
		x, out := n.values[node.In[0]], node.Out[0]
		y := make([]float64, n.rows*out.Shape[1:].Size())
		switch o := node.Op.(type) {
		case nn.Conv2D:
			n.conv(y, x, node, o.Stride, o.Pad)
		case nn.BatchNorm:
			n.norm(y, x, node, o.Epsilon)
		case nn.ReLU:
			for i, v := range x {
				y[i] = max(v, 0)
			}
		case nn.Add:
			for i, v := range x {
				y[i] = v + n.values[node.In[1]][i]
			}
		case nn.MaxPool2D:
			s, c := node.In[0].Shape, out.Shape[3]
			for i := range y {
				p := i / c
				ox, oy, r := p%out.Shape[2], p/out.Shape[2]%out.Shape[1], p/out.Shape[2]/out.Shape[1]
				y[i] = math.Inf(-1)
				for k := range 4 {
					y[i] = max(y[i], x[((r*s[1]+2*oy+k/2)*s[2]+2*ox+k%2)*c+i%c])
				}
			}
		case nn.GlobalAvgPool:
			c := out.Shape[1]
			per := len(x) / n.rows
			for i, v := range x {
				y[i/per*c+i%c] += v / float64(per/c)
			}
		case nn.Dense:
			w, b := n.values[node.In[1]], n.values[node.In[2]]
			in, outs := node.In[0].Shape[1], out.Shape[1]
			for i := range y {
				y[i] = b[i%outs]
				for k := range in {
					y[i] += x[i/outs*in+k] * w[i%outs*in+k]
				}
			}
		case nn.SubclassCE:
			loss = n.crossEntropy(x)
		}
		n.values[out] = y
	}
	return loss
}

func (n *naive) conv(y, x []float64, node *nn.Node, stride, pad int) {
	s, o, w := node.In[0].Shape, node.Out[0].Shape, n.values[node.In[1]]
	k := node.In[1].Shape[1]
	for i := range y {
		p, ch := i/o[3], i%o[3]
		ox, oy, r := p%o[2], p/o[2]%o[1], p/o[2]/o[1]
		if len(node.In) == 3 {
			y[i] = n.values[node.In[2]][ch]
		}
		for t := range k * k {
			iy, ix := oy*stride+t/k-pad, ox*stride+t%k-pad
			if iy < 0 || iy >= s[1] || ix < 0 || ix >= s[2] {
				continue
			}
			for c := range s[3] {
				y[i] += w[(ch*k*k+t)*s[3]+c] * x[((r*s[1]+iy)*s[2]+ix)*s[3]+c]
			}
		}
	}
}

func (n *naive) norm(y, x []float64, node *nn.Node, epsilon float64) {
	gamma, beta := n.values[node.In[1]], n.values[node.In[2]]
	c := len(gamma)
	for ch := range c {
		var mean, square float64
		count := float64(len(x) / c)
		for i := ch; i < len(x); i += c {
			mean += x[i] / count
		}
		for i := ch; i < len(x); i += c {
			square += (x[i] - mean) * (x[i] - mean) / count
		}
		for i := ch; i < len(x); i += c {
			y[i] = gamma[ch]*(x[i]-mean)/math.Sqrt(square+epsilon) + beta[ch]
		}
	}
}

// crossEntropy is the plain one: fill gives each row one positive.
func (n *naive) crossEntropy(z []float64) (loss float64) {
	s := len(z) / n.rows
	for i, v := range z {
		p := 1 / (1 + math.Exp(-v))
		if int(n.labels[i/s]) != i%s {
			p = 1 - p
		}
		loss -= math.Log(p+nn.LossEpsilon) / float64(n.rows)
	}
	return loss
}

// Whatever is fused, the loss and the gradient of every parameter are those of
// a naive float64 evaluation: gradients by central differences.
func TestNormsAgainstDifferences(t *testing.T) {
	shapes := [][5]int{{3, 4, 6, 16, 3}, {3, 5, 7, 5, 2}, {2, 2, 3, 35, 2}} // batch, height, width, channels, rows
	for _, kind := range normNets {
		for _, s := range shapes {
			m := normNet(kind, s[0], s[1], s[2], s[3])
			var steps []*normStep
			for _, level := range kernel.Levels {
				if kernel.Has(level) {
					steps = append(steps, newNormStep(t, level, m, s[4]))
				} else {
					t.Logf("NOT CHECKED: this CPU has no %v", level)
				}
			}
			checkDifferences(t, steps)
		}
	}
}

// normStep is a training step on one code path.
type normStep struct {
	naive // the parameters before it
	level kernel.Level
	loss  float64
	grads map[*nn.Value][]float64
}

func newNormStep(t *testing.T, level kernel.Level, m *nn.Model, rows int) *normStep {
	t.Helper()
	before, err := kernel.Use(level)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = kernel.Use(before) }()
	n := &normStep{naive: naive{m: m, values: map[*nn.Value][]float64{}, rows: rows}, level: level, grads: map[*nn.Value][]float64{}}
	s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0), Seed: 3, KeepGradients: true,
		OnStep: func(r nn.StepResult) { n.loss = r.Loss }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := s.Feed(0)
	fill(f, 4, rows, 3)
	n.labels = slices.Clone(f.Targets.Index)
	n.values[m.Features[0]] = wide(f.Features[0][:rows*m.Features[0].Width()])
	for _, v := range m.Graph.Params() {
		_ = s.ReadState(v.Name, func(d []float32) error { n.values[v] = wide(d); return nil })
	}
	if err := s.TrainStep(0, nn.StepParams{LR: 0, Step: 1}); err != nil {
		t.Fatal(err)
	}
	for _, v := range m.Graph.Params() {
		_ = s.ReadState("grad/"+v.Name, func(d []float32) error { n.grads[v] = wide(d); return nil })
	}
	return n
}

func wide(d []float32) []float64 {
	x := make([]float64, len(d))
	for i, v := range d {
		x[i] = float64(v)
	}
	return x
}

// checkDifferences compares all steps with the naive evaluation of the first.
func checkDifferences(t *testing.T, steps []*normStep) {
	t.Helper()
	n := steps[0]
	want := n.naive.loss()
	for _, s := range steps {
		if math.Abs(s.loss-want) > 1e-5*want {
			t.Errorf("%s, %v: loss %g, want %g", n.m.Name, s.level, s.loss, want)
		}
	}
	for _, v := range n.m.Graph.Params() {
		if n.grads[v] == nil {
			continue // not part of this net
		}
		p, top := n.values[v], 0.0
		for _, g := range n.grads[v] {
			top = max(top, math.Abs(g))
		}
		for i := 0; i < len(p); i += 1 + len(p)/3 {
			const h = 1e-7 // seldom across the bend of a ReLU
			was := p[i]
			p[i] = was + h
			up := n.naive.loss()
			p[i] = was - h
			want := (up - n.naive.loss()) / (2 * h)
			p[i] = was
			for _, s := range steps {
				if got := s.grads[v][i]; math.Abs(got-want) > 2e-5*top+2e-6 {
					t.Errorf("%s, %v: gradient of %s[%d] is %g, want %g", n.m.Name, s.level, v.Name, i, got, want)
				}
			}
		}
	}
}

// The passes that are meant to be fused are.
func TestNormsAreFused(t *testing.T) {
	for kind, want := range map[string][]string{
		"norm":           {"batch-norm", "batch-norm-backward"},
		"norm relu":      {"batch-norm+relu", "relu+batch-norm-backward"},
		"norm relu pool": {"batch-norm+relu+max-pool", "max-pool+relu+batch-norm-backward"},
		"norm pool":      {"batch-norm", "max-pool2d", "max-pool2d-backward", "batch-norm-backward"},
		"residual": {"batch-norm+relu", "batch-norm+relu", "add+statistics", "batch-norm+relu", "batch-norm+relu", "add+statistics", "batch-norm+relu",
			"relu+batch-norm-backward", "relu+batch-norm-backward", "relu+batch-norm-backward+add", "column-sum",
			"relu+batch-norm-backward", "relu+batch-norm-backward+add", "column-sum"}, // of biases before a sum
		"penultimate before the pool": {"batch-norm+relu+max-pool", "max-pool+relu+batch-norm-backward"},
	} {
		s, err := engine(t, 1).Compile(normNet(kind, 2, 4, 4, 16), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatal(err)
		}
		fill(s.Feed(0), 1, 2, 3)
		s.(nn.Profiler).SetProfiling(true)
		if err := s.TrainStep(0, nn.StepParams{Step: 1}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Forward(0); err != nil {
			t.Fatal(err)
		}
		got := normPasses(s.(nn.Profiler).Profile(true))
		if !slices.Equal(got, want) {
			t.Errorf("%s: passes are %q, want %q", kind, got, want)
		}
		if kind == "penultimate before the pool" { // evaluation is asked for what is before the pool
			want := []string{"max-pool2d"} // the normalisation is part of a convolution
			if got := normPasses(s.(nn.Profiler).Profile(false)); !slices.Equal(got, want) {
				t.Errorf("%s: passes of evaluation are %q, want %q", kind, got, want)
			}
		}
		s.Close()
	}
}

// normPasses lists the kinds of the ops that are neither products nor at the ends of a net.
func normPasses(ops []nn.OpProfile) (kinds []string) {
	for _, o := range ops {
		switch {
		case strings.Contains(o.Kind, "conv"), strings.Contains(o.Kind, "dense"), strings.Contains(o.Kind, "global"),
			o.Kind == "sgd", o.Kind == "subclass-ce", o.Name == "d:classes.bias":
		default:
			kinds = append(kinds, o.Kind)
		}
	}
	return kinds
}

// Statistics keep their precision far from zero, where the sum of squares
// would lose all of it in float32.
func TestStatisticsFarFromZero(t *testing.T) {
	for _, level := range kernel.Levels {
		t.Run(level.String(), func(t *testing.T) {
			useLevel(t, level)
			const batch, side, away = 9, 31, 1000
			m := normNet("norm of the input", batch, side, side, 16)
			s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			x := s.Feed(0).Features[0]
			fill(s.Feed(0), 1, batch, 3)
			var mean, square [2]float64
			for i := range x {
				x[i] += away
				mean[i%2] += float64(x[i]) / (batch * side * side)
			}
			for i, v := range x {
				square[i%2] += (float64(v) - mean[i%2]) * (float64(v) - mean[i%2]) / (batch*side*side - 1)
			}
			if err := s.TrainStep(0, nn.StepParams{Step: 1}); err != nil {
				t.Fatal(err)
			}
			for c := range 2 {
				_ = s.ReadState("bn.mean", func(d []float32) error {
					if want := 0.1 * mean[c]; math.Abs(float64(d[c])-want) > 1e-7*want {
						t.Errorf("running mean %g, want %g", d[c], want)
					}
					return nil
				})
				_ = s.ReadState("bn.var", func(d []float32) error {
					if want := 0.9 + 0.1*square[c]; math.Abs(float64(d[c])-want) > 1e-6 {
						t.Errorf("running variance %g, want %g", d[c], want)
					}
					return nil
				})
			}
		})
	}
}

// imageNets are small image nets with every pass that package cnn's have.
func imageNets(t *testing.T) []*nn.Model {
	s := cnn.Spec{Net: "vgg", Batch: 17, Outputs: 7, Size: 8, Channels: 3, Dropout: 0.3}
	vgg := cnn.VGG(s, []int{16, 24, 0, 20, 0, 5, 0}, 20)
	s.Net = "wrn"
	return []*nn.Model{vgg, cnn.WRN(s, 2, []int{16, 32, 20}), normNet("two readers of the relu", 21, 9, 7, 20)}
}

// A step of an image net in its steady state allocates nothing.
func TestImageStepAllocatesNothing(t *testing.T) {
	for _, m := range imageNets(t) {
		s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatal(err)
		}
		fill(s.Feed(0), 1, m.Batch, m.Outputs())
		run := func() {
			if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Forward(0); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			run()
		}
		if n := testing.AllocsPerRun(10, run); n > 0 {
			t.Errorf("%s: a step allocates %g times", m.Name, n)
		}
		s.Close()
	}
}
