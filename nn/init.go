package nn

import "math"

// InitKind is a distribution of initial values.
type InitKind uint8

// The initial distributions.
const (
	InitConstant InitKind = iota // Arg everywhere
	InitUniform                  // U(-Arg, Arg)
	InitNormal                   // N(0, Arg)
)

// Init is how a parameter begins. Values depend on the seed and the
// parameter's name alone, so every engine starts from the same bits.
type Init struct {
	Kind InitKind
	Arg  float64
}

// Fill writes the initial values of the parameter called name.
func (i Init) Fill(dst []float32, seed uint64, name string) {
	key := KeyOfString(seed, name)
	switch i.Kind {
	case InitUniform:
		FillUniform(dst, key, i.Arg)
	case InitNormal:
		FillNormal(dst, key)
		for j := range dst {
			dst[j] *= float32(i.Arg)
		}
	default:
		for j := range dst {
			dst[j] = float32(i.Arg)
		}
	}
}

// TorchUniform is PyTorch's default for linear and convolutional layers, weights and bias
// alike: U(-1/sqrt(fanIn), 1/sqrt(fanIn)).
func TorchUniform(fanIn int) Init { return Init{InitUniform, 1 / math.Sqrt(float64(fanIn))} }

// GlorotUniform is TensorFlow's default: U(-l, l), l = sqrt(6/(fanIn+fanOut)).
func GlorotUniform(fanIn, fanOut int) Init {
	return Init{InitUniform, math.Sqrt(6 / float64(fanIn+fanOut))}
}
