// Package cnn owns the networks for small images: VGG16 with batch
// normalisation and wide residual networks of any valid depth and width, as
// Gkalelis and Mezaris (MMM 2020) use them.
//
//	vgg16      (conv 3x3, BN, ReLU) x 13 with five max-pools ─ 4096 ─ 4096 ─ S
//	wrn-D-W    conv ─ 3 groups of (D-4)/6 pre-activation blocks, 16W 32W 64W wide ─ BN ReLU ─ average ─ S
//
// Images are [N,H,W,C], channels innermost, already normalised. Parameters
// carry the names of the PyTorch modules that are customary for these nets;
// convolution weights are [out, kernel, kernel, in].
package cnn

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"sdnn/nn"
)

// Batch normalisation as in PyTorch's defaults.
const (
	bnEpsilon  = 1e-5
	bnMomentum = 0.1
)

// Spec describes an image network.
type Spec struct {
	Net      string // "vgg16" or "wrn-DEPTH-WIDEN"
	Batch    int    // most rows of a step
	Outputs  int    // S: classes, or subclasses
	Size     int    // height and width of an image, 32
	Channels int    // 3
	// Dropout is the rate: vgg16 after both hidden layers, wrn between the two
	// convolutions of a block.
	Dropout float64
	// Weighted adds the constant OutputWeight [S] to the loss.
	Weighted bool
}

// Known reports whether Build knows the net's name, and if not, why.
func Known(net string) error {
	if net == "vgg16" {
		return nil
	}
	_, _, err := parseWRN(net)
	return err
}

// DefaultDropout is the net's customary rate: VGG16 0.5, WRN 0.3 (CIFAR; the
// paper takes 0.4 on SVHN).
func DefaultDropout(net string) float64 {
	if net == "vgg16" {
		return 0.5
	}
	return 0.3
}

// parseWRN reads "wrn-28-10"; the depth is 6n+4.
func parseWRN(net string) (depth, widen int, err error) {
	part := strings.Split(net, "-")
	if len(part) != 3 || part[0] != "wrn" {
		return 0, 0, fmt.Errorf("cnn: unknown net %q; the image nets are vgg16 and wrn-DEPTH-WIDEN, for instance wrn-28-10", net)
	}
	depth, err1 := strconv.Atoi(part[1])
	widen, err2 := strconv.Atoi(part[2])
	if err1 != nil || err2 != nil || depth < 10 || (depth-4)%6 != 0 || widen < 1 {
		return 0, 0, fmt.Errorf("cnn: %q: the depth of a wide residual net is 6n+4 (10, 16, 22, 28, ...) and the width at least 1", net)
	}
	return depth, widen, nil
}

// Build makes the network of a spec; its errors are a user's.
func Build(s Spec) (*nn.Model, error) {
	if s.Batch < 1 || s.Outputs < 1 || s.Channels < 1 {
		return nil, fmt.Errorf("cnn: %s needs a batch, outputs and channels (has %d, %d, %d)", s.Net, s.Batch, s.Outputs, s.Channels)
	}
	if s.Net == "vgg16" {
		if s.Size < 32 {
			return nil, fmt.Errorf("cnn: vgg16 pools five times: images of %d pixels are too small, 32 are needed", s.Size)
		}
		return VGG(s, []int{64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0}, 4096), nil
	}
	depth, widen, err := parseWRN(s.Net)
	if err != nil {
		return nil, err
	}
	if s.Size < 4 {
		return nil, fmt.Errorf("cnn: %s halves an image twice: %d pixels are too small", s.Net, s.Size)
	}
	return WRN(s, (depth-4)/6, []int{16, 16 * widen, 32 * widen, 64 * widen}), nil
}

// builder grows a model's graph.
type builder struct {
	Spec
	g      *nn.Graph
	m      *nn.Model
	stream uint32
}

func newBuilder(s Spec) (*builder, *nn.Value) {
	g := nn.NewGraph()
	x := g.NewImageInput("image", s.Batch, s.Size, s.Size, s.Channels)
	return &builder{Spec: s, g: g, m: &nn.Model{Name: s.Net, Batch: s.Batch, Graph: g, Features: []*nn.Value{x}}}, x
}

// convTorch is a convolution with bias in PyTorch's default initialisation.
func (b *builder) convTorch(name string, x *nn.Value, out, kernel int) *nn.Value {
	in := x.Shape[3]
	init := nn.TorchUniform(in * kernel * kernel)
	w := b.g.NewParam(name+".weight", nn.Shape{out, kernel, kernel, in}, init)
	bias := b.g.NewParam(name+".bias", nn.Shape{out}, init)
	return b.g.Apply(name, nn.Conv2D{Stride: 1, Pad: kernel / 2}, x, w, bias)[0]
}

// convWide is a convolution without bias, weights N(0, sqrt(2/(k k out))).
func (b *builder) convWide(name string, x *nn.Value, out, kernel, stride int) *nn.Value {
	init := nn.Init{Kind: nn.InitNormal, Arg: math.Sqrt(2 / float64(kernel*kernel*out))}
	w := b.g.NewParam(name+".weight", nn.Shape{out, kernel, kernel, x.Shape[3]}, init)
	return b.g.Apply(name, nn.Conv2D{Stride: stride, Pad: kernel / 2}, x, w)[0]
}

// bnReLU is batch normalisation and ReLU.
func (b *builder) bnReLU(name string, x *nn.Value) *nn.Value {
	c := nn.Shape{x.Shape[len(x.Shape)-1]}
	zero, one := nn.Init{}, nn.Init{Arg: 1}
	y := b.g.Apply(name, nn.BatchNorm{Epsilon: bnEpsilon, Momentum: bnMomentum}, x,
		b.g.NewParam(name+".weight", c, one), b.g.NewParam(name+".bias", c, zero),
		b.g.NewBuffer(name+".running_mean", c, zero), b.g.NewBuffer(name+".running_var", c, one))[0]
	return b.g.Apply(name+"/relu", nn.ReLU{}, y)[0]
}

func (b *builder) dense(name string, x *nn.Value, out int) (y, w *nn.Value) {
	in := x.Shape[1]
	init := nn.TorchUniform(in)
	w = b.g.NewParam(name+".weight", nn.Shape{out, in}, init)
	bias := b.g.NewParam(name+".bias", nn.Shape{out}, init)
	return b.g.Apply(name, nn.Dense{}, x, w, bias)[0], w
}

// dropout adds a dropout of its own stream; a rate of 0 adds nothing.
func (b *builder) dropout(name string, x *nn.Value) *nn.Value {
	b.stream++
	if b.Dropout == 0 {
		return x
	}
	return b.g.Apply(name, nn.Dropout{Rate: b.Dropout, Stream: b.stream}, x)[0]
}

// finish sets output and loss.
func (b *builder) finish(logits *nn.Value) *nn.Model {
	b.m.Output, b.m.OutputBias = logits, logits.Node.In[2]
	in := []*nn.Value{logits}
	if b.Weighted {
		b.m.OutputWeight = b.g.NewConstant("output_weight", nn.Shape{b.Outputs}, nn.Init{Arg: 1})
		in = append(in, b.m.OutputWeight)
	}
	b.m.Loss = b.g.Apply("loss", nn.SubclassCE{}, in...)[0]
	return b.m
}

// VGG builds a VGG-like net: widths lists the 3x3 convolutions, 0 a max-pool,
// then two hidden layers. The neglection degree is measured at the second
// hidden layer's ReLU, before the last dropout, so that ClassWeight is nil:
// the last layer's own gradient sees the features after it.
func VGG(s Spec, widths []int, hidden int) *nn.Model {
	b, x := newBuilder(s)
	at := 0 // index in torch's nn.Sequential "features"
	for _, w := range widths {
		if w == 0 {
			x = b.g.Apply(fmt.Sprintf("features.%d", at), nn.MaxPool2D{}, x)[0]
			at++
			continue
		}
		x = b.convTorch(fmt.Sprintf("features.%d", at), x, w, 3)
		x = b.bnReLU(fmt.Sprintf("features.%d", at+1), x)
		at += 3
	}
	x = b.g.Apply("flatten", nn.Reshape{Shape: nn.Shape{x.Width()}}, x)[0]
	for i, name := range []string{"penultim_layer.0", "penultim_layer.3"} {
		x, _ = b.dense(name, x, hidden)
		x = b.g.Apply(name+"/relu", nn.ReLU{}, x)[0]
		if i == 1 {
			b.m.Penultimate = x
		}
		x = b.dropout(name+"/dropout", x)
	}
	z, _ := b.dense("classifier.1", x, s.Outputs)
	return b.finish(z)
}

// WRN builds a wide residual net of n blocks a group; widths are those of the
// first convolution and of the three groups (Zagoruyko and Komodakis 2016).
func WRN(s Spec, n int, widths []int) *nn.Model {
	b, x := newBuilder(s)
	x = b.convWide("conv1", x, widths[0], 3, 1)
	for group := 1; group < len(widths); group++ {
		for i := range n {
			stride := 1
			if i == 0 && group > 1 {
				stride = 2
			}
			x = b.block(fmt.Sprintf("block%d.layer.%d", group, i), x, widths[group], stride)
		}
	}
	x = b.bnReLU("bn1", x)
	x = b.g.Apply("pool", nn.GlobalAvgPool{}, x)[0]
	b.m.Penultimate = x
	z, w := b.dense("fc", x, s.Outputs)
	b.m.ClassWeight = w
	return b.finish(z)
}

// block is a pre-activation basic block. Where the width changes, the shortcut
// is a 1x1 convolution of the activated input; else it is the input itself.
func (b *builder) block(name string, x *nn.Value, width, stride int) *nn.Value {
	a := b.bnReLU(name+".bn1", x)
	y := b.convWide(name+".conv1", a, width, 3, stride)
	y = b.bnReLU(name+".bn2", y)
	y = b.dropout(name+".dropout", y)
	y = b.convWide(name+".conv2", y, width, 3, 1)
	if x.Shape[3] != width {
		x = b.convWide(name+".convShortcut", a, width, 1, stride)
	}
	return b.g.Apply(name, nn.Add{}, y, x)[0]
}
