package cuda_test

import (
	"fmt"
	"testing"

	"sdnn/nn"
)

// That theta is measured in the optimiser's pass changes no bit of training,
// in any precision.
func TestThetaChangesNoBits(t *testing.T) {
	e := computing(t)
	for name, m := range map[string]*nn.Model{"image": imageNet("residual", 4, 4, 6, 8), "video": videoNet("conv1d", 6, 33, 11), "mlp": videoNet("mlp", 6, 33, 11)} {
		for _, p := range []nn.Precision{nn.F32, nn.BF16} {
			for _, o := range []nn.Optimizer{nn.NewAdam(), nn.NewSGD(5e-4)} {
				var runs []*run
				for _, purpose := range []nn.Purpose{nn.Training, nn.Measuring} {
					r := start(t, e, m, nn.CompileOptions{Purpose: purpose, Optimizer: o, Precision: p, Seed: 3})
					for i := 1; i <= 6; i++ {
						r.step(i, m.Batch-i%2, 0.01)
					}
					r.sync()
					runs = append(runs, r)
				}
				sameBits(t, fmt.Sprintf("%s, %s, %s, measured", name, p, o.Kind), runs[1].state(), runs[0].state())
				for _, s := range runs[1].results {
					if len(s.Theta) != m.Outputs() {
						t.Fatalf("%s: %d degrees", name, len(s.Theta))
					}
				}
			}
		}
	}
}
