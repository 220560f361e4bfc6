// Package mlp owns the networks for precomputed video features:
//
//	logistic  x ─ dense S
//	mlp       x ─ dense H ─ ReLU ─ dropout ─ dense S
//	moe       x ─ gates S*(E+1), experts S*E ─ mixture S
//	conv1d    x ─ noise ─ L2 ─ conv1d(64, 3) ─ ReLU ─ max-pool 2 ─ flatten ─ dense S
//
// where x is every feature column L2-normalised apart, then concatenated.
// conv1d is the video network of Gkalelis and Mezaris (MMM 2020); the others
// are those that YouTube-8M users expect. Each ends in the subclass
// cross-entropy. The package knows neither engines nor what an output means.
package mlp

import (
	"fmt"
	"slices"
	"strings"

	"sdnn/nn"
)

// The networks.
const (
	Logistic = "logistic"
	MLP      = "mlp"
	MoE      = "moe"
	Conv1D   = "conv1d"
)

// Nets lists the networks.
func Nets() []string { return []string{Logistic, MLP, MoE, Conv1D} }

// Column is a feature column of the store: an input of the network.
type Column struct {
	Name  string
	Width int
}

// Spec describes a network.
type Spec struct {
	Net     string
	Batch   int      // most rows of a step
	Outputs int      // S: classes, or subclasses
	Columns []Column // at least one; the order of Model.Features

	Hidden  int     // mlp: units of the hidden layer
	Dropout float64 // mlp: rate after the hidden layer; conv1d: on the flattened maps
	Noise   float64 // standard deviation of the noise on x in training
	Experts int     // moe: experts of a class
	Filters int     // conv1d: filters of width 3

	// Weighted adds the constant OutputWeight [S] to the loss; without it every
	// output weighs 1 and Model.OutputWeight is nil.
	Weighted bool
}

// ConvWidth is the width of conv1d's filters.
const ConvWidth = 3

// Streams of random numbers, one an op, so that a net's noise stays what it is
// when another op is added.
const (
	streamNoise   = 0
	streamDropout = 1
)

// Parameter names, the same in every checkpoint. Weights of dense layers are
// [outputs, inputs].
const (
	hiddenWeight, hiddenBias = "hidden.weight", "hidden.bias"
	convWeight, convBias     = "conv.weight", "conv.bias"
	gatesWeight              = "gates.weight"
	expertsWeight            = "experts.weight"
	expertsBias              = "experts.bias"
	outputWeight, outputBias = "classifier.weight", "classifier.bias"
)

// Build makes the network of a spec. Errors are a user's: an unknown net, or
// columns too narrow for conv1d.
func Build(s Spec) (*nn.Model, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	b := &builder{Spec: s, g: nn.NewGraph(), m: &nn.Model{Name: s.Net, Batch: s.Batch}}
	b.m.Graph = b.g
	x := b.input()
	switch s.Net {
	case Logistic:
		b.classify(x, nn.TorchUniform)
	case MLP:
		h := b.relu(b.dense("hidden", x, s.Hidden, hiddenWeight, hiddenBias, nn.TorchUniform))
		b.classify(b.dropout(h), nn.TorchUniform)
	case MoE:
		b.mixture(x)
	case Conv1D:
		b.conv(x)
	}
	b.loss()
	return b.m, nil
}

func (s Spec) check() error {
	if !slices.Contains(Nets(), s.Net) {
		return fmt.Errorf("mlp: unknown net %q; the nets are %s", s.Net, strings.Join(Nets(), ", "))
	}
	if s.Batch < 1 || s.Outputs < 1 || len(s.Columns) == 0 {
		return fmt.Errorf("mlp: %s needs a batch, outputs and feature columns (has %d, %d, %d)", s.Net, s.Batch, s.Outputs, len(s.Columns))
	}
	width := 0
	for _, c := range s.Columns {
		width += c.Width
	}
	if s.Net == Conv1D && width < 2 {
		return fmt.Errorf("mlp: conv1d pools pairs of features: %d feature is too few", width)
	}
	if need := map[string]int{MLP: s.Hidden, MoE: s.Experts, Conv1D: s.Filters}; s.Net != Logistic && need[s.Net] < 1 {
		return fmt.Errorf("mlp: %s needs at least one hidden unit, expert or filter", s.Net)
	}
	return nil
}

type builder struct {
	Spec
	g *nn.Graph
	m *nn.Model
}

// initFor gives a layer's initial weights from its fan-in.
type initFor func(fanIn int) nn.Init

// input is x: the columns normalised apart and joined, and in training the
// noise; conv1d normalises once more after the noise, as the paper's net does.
func (b *builder) input() *nn.Value {
	var parts []*nn.Value
	for _, c := range b.Columns {
		v := b.g.NewInput(c.Name, b.Batch, c.Width)
		b.m.Features = append(b.m.Features, v)
		parts = append(parts, b.g.Apply("norm."+c.Name, nn.L2Norm{}, v)[0])
	}
	x := parts[0]
	if len(parts) > 1 {
		x = b.g.Apply("features", nn.Concat{}, parts...)[0]
	}
	if b.Noise > 0 {
		x = b.g.Apply("noise", nn.GaussianNoise{Std: b.Noise, Stream: streamNoise}, x)[0]
	}
	if b.Net == Conv1D {
		x = b.g.Apply("norm", nn.L2Norm{}, x)[0]
	}
	return x
}

func (b *builder) dense(name string, x *nn.Value, width int, weight, bias string, init initFor) *nn.Value {
	w := b.g.NewParam(weight, nn.Shape{width, x.Width()}, init(x.Width()))
	in := []*nn.Value{x, w}
	if bias != "" {
		in = append(in, b.g.NewParam(bias, nn.Shape{width}, init(x.Width())))
	}
	return b.g.Apply(name, nn.Dense{}, in...)[0]
}

func (b *builder) relu(x *nn.Value) *nn.Value { return b.g.Apply(x.Name+".relu", nn.ReLU{}, x)[0] }

func (b *builder) dropout(x *nn.Value) *nn.Value {
	if b.Dropout == 0 {
		return x
	}
	return b.g.Apply("dropout", nn.Dropout{Rate: b.Dropout, Stream: streamDropout}, x)[0]
}

// classify is the classification layer: one dense layer, whose gradient gives
// the neglection degree.
func (b *builder) classify(x *nn.Value, init initFor) {
	b.m.Penultimate = x
	b.m.Output = b.dense("logits", x, b.Outputs, outputWeight, outputBias, init)
	b.m.ClassWeight, b.m.OutputBias = b.m.Output.Node.In[1], b.m.Output.Node.In[2]
}

// mixture is YouTube-8M's mixture of experts; its gates have no bias, as in
// the starter code.
func (b *builder) mixture(x *nn.Value) {
	gates := b.dense("gates", x, b.Outputs*(b.Experts+1), gatesWeight, "", nn.TorchUniform)
	experts := b.dense("experts", x, b.Outputs*b.Experts, expertsWeight, expertsBias, nn.TorchUniform)
	b.m.Penultimate, b.m.OutputBias = x, experts.Node.In[2]
	b.m.Output = b.g.Apply("probabilities", nn.MixtureOfExperts{Experts: b.Experts}, gates, experts)[0]
	b.m.Probabilities = true
}

// conv is the paper's net after its input; TensorFlow's initial values, with
// biases at 0.
func (b *builder) conv(x *nn.Value) {
	w := b.g.NewParam(convWeight, nn.Shape{b.Filters, ConvWidth}, nn.GlorotUniform(ConvWidth, ConvWidth*b.Filters))
	bias := b.g.NewParam(convBias, nn.Shape{b.Filters}, nn.Init{})
	y := b.relu(b.g.Apply("conv", nn.Conv1D{}, x, w, bias)[0])
	p := b.g.Apply("pool", nn.MaxPool1D{}, y)[0]
	flat := b.dropout(b.g.Apply("flat", nn.Reshape{Shape: nn.Shape{p.Width()}}, p)[0])
	b.classify(flat, func(fanIn int) nn.Init { return nn.GlorotUniform(fanIn, b.Outputs) })
	b.m.OutputBias.Init = nn.Init{}
}

func (b *builder) loss() {
	in := []*nn.Value{b.m.Output}
	if b.Weighted {
		b.m.OutputWeight = b.g.NewConstant("output_weight", nn.Shape{b.Outputs}, nn.Init{Kind: nn.InitConstant, Arg: 1})
		in = append(in, b.m.OutputWeight)
	}
	b.m.Loss = b.g.Apply("loss", nn.SubclassCE{Probabilities: b.m.Probabilities}, in...)[0]
}
