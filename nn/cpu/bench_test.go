package cpu_test

import (
	"testing"

	"sdnn/nn"
)

// BenchmarkTrainStep runs a training step of a video net at full size, 1152
// features and 3962 outputs; set -benchtime 5x. The metric is videos a second.
func BenchmarkTrainStep(b *testing.B) {
	for _, c := range []struct {
		kind  string
		batch int
	}{{"logistic", 1024}, {"logistic", 128}, {"moe", 128}} {
		for _, p := range []nn.Purpose{nn.Training, nn.Measuring} {
			name := c.kind + "/train"
			if p == nn.Measuring {
				name = c.kind + "/measure"
			}
			b.Run(name, func(b *testing.B) { benchmarkStep(b, videoNet(c.kind, c.batch, 1152, 3862), p) })
		}
	}
}

func benchmarkStep(b *testing.B, m *nn.Model, p nn.Purpose) {
	s, err := engine(b, 2).Compile(m, nn.CompileOptions{Purpose: p, Optimizer: nn.NewAdam()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fill(s.Feed(0), 1, m.Batch, m.Outputs())
	step := int64(0)
	for b.Loop() {
		step++
		if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: step}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*m.Batch)/b.Elapsed().Seconds(), "videos/s")
}
