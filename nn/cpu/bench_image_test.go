package cpu_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"sdnn/cnn"
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

var imageBatch = flag.Int("image-batch", 128, "batch of the image nets' benchmarks")

// BenchmarkImageStep runs training and evaluation steps of the image nets and
// reports the milliseconds a step of every kind of op, taking the fastest of each
// op's runs, which noise spoils least. Set -benchtime 5x,
// and -image-batch for less.
func BenchmarkImageStep(b *testing.B) {
	for _, net := range []string{"vgg16", "wrn-16-8"} {
		batch := *imageBatch
		if net != "vgg16" {
			batch /= 4
		}
		for _, training := range []bool{true, false} {
			name := fmt.Sprintf("%s/batch=%d/training=%v/%v", net, batch, training, kernel.Path())
			b.Run(name, func(b *testing.B) { benchmarkImages(b, net, batch, training) })
		}
	}
}

func benchmarkImages(b *testing.B, net string, batch int, training bool) {
	m, err := cnn.Build(cnn.Spec{Net: net, Batch: batch, Outputs: 10, Size: 32, Channels: 3})
	if err != nil {
		b.Fatal(err)
	}
	purpose := nn.Evaluation
	if training {
		purpose = nn.Training
	}
	s, err := engine(b, 2).Compile(m, nn.CompileOptions{Purpose: purpose, Optimizer: nn.NewSGD(5e-4)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fill(s.Feed(0), 1, batch, 10)
	p := s.(nn.Profiler)
	step := func() {
		if training {
			err = s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1})
		} else {
			_, _, err = s.Forward(0)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	step()
	var best []nn.OpProfile
	for b.Loop() {
		p.SetProfiling(true)
		step()
		now := p.Profile(training)
		if best == nil {
			best = now
		}
		for i, o := range now {
			best[i].Time = min(best[i].Time, o.Time)
		}
	}
	kinds := map[string]time.Duration{}
	for _, o := range best {
		kinds[o.Kind] += o.Time
	}
	for kind, k := range kinds {
		b.ReportMetric(1e3*k.Seconds(), "ms/"+kind)
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "images/s")
}
