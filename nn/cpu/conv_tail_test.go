package cpu_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/nn/cpu/kernel"
)

// evaluationOf returns the scores and penultimate features of a net after a
// step of training, and the kinds of the ops.
func evaluationOf(t *testing.T, m *nn.Model, tails bool) (out []float32, kinds []string) {
	t.Helper()
	defer cpu.FuseTails(cpu.FuseTails(tails))
	s, err := engine(t, 2).Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill(s.Feed(0), m.Batch, 2, 3)
	if err := s.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}); err != nil {
		t.Fatal(err)
	}
	s.(nn.Profiler).SetProfiling(true)
	scores, _, err := s.Forward(0)
	if err != nil {
		t.Fatal(err)
	}
	out = append(slices.Clone(scores), s.Penultimate()...)
	for _, o := range s.(nn.Profiler).Profile(false) {
		kinds = append(kinds, o.Kind)
	}
	return out, kinds
}

// TestConvTails compares evaluations with tails with those by passes: the same
// bits, and the passes that are meant to be part of a convolution are.
func TestConvTails(t *testing.T) {
	defer kernel.UseFastConv(kernel.UseFastConv(true))
	const norm, relu = "conv2d+batch-norm-inference", "conv2d+batch-norm-inference+relu"
	const add = "conv2d+add+batch-norm-inference+relu"
	for kind, want := range map[string][]string{
		"norm":                        {norm},
		"norm relu":                   {relu},
		"norm relu pool":              {relu, "max-pool2d"}, // the first convolution is none of Winograd's
		"norm pool":                   {norm, "max-pool2d"},
		"two convolutions":            {"conv2d", relu + "+max-pool"},
		"penultimate before the pool": {relu, "max-pool2d"},
		"two readers of the norm":     {norm, "relu", "add"},
		"two readers of the relu":     {relu, "conv2d+add"},
		"pool and another":            {relu, "max-pool2d", "conv2d", "max-pool2d", "add"},
		"residual":                    {relu, relu, add, relu, add},
	} {
		for _, size := range [][4]int{{2, 4, 4, 16}, {3, 7, 9, 16}, {2, 6, 5, 6}} {
			for _, level := range kernel.Levels {
				t.Run(fmt.Sprintf("%s/%v/%v", kind, size, level), func(t *testing.T) {
					useLevel(t, level)
					m := normNet(kind, size[0], size[1], size[2], size[3])
					got, kinds := evaluationOf(t, m, true)
					plain, _ := evaluationOf(t, m, false)
					for i, v := range plain {
						// With few channels a product begins with what it is added to: other roundings.
						if size[3] == 16 && math.Float32bits(v) != math.Float32bits(got[i]) || math.Abs(float64(v-got[i])) > 1e-6*max(1, math.Abs(float64(v))) {
							t.Fatalf("value %d is %g, by passes %g", i, got[i], v)
						}
					}
					if want := strings.Join(want, " "); size[3] == 16 && !strings.HasPrefix(strings.Join(kinds, " "), want+" global") {
						t.Errorf("the ops are %q, want %q", kinds, want)
					}
				})
			}
		}
	}
}
