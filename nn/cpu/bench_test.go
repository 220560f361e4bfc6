package cpu_test

import (
	"testing"
	"time"

	"sdnn/nn"
)

// BenchmarkNeglection runs stage-1 steps of the paper's video net at full size
// (1152 features, 64 filters, 3862 classes, three labels a video) and tells
// what part of a step the neglection degree takes. Needs 3 GB.
func BenchmarkNeglection(b *testing.B) {
	const batch, classes = 1024, 3862
	m := videoNet("conv1d", batch, 1152, classes)
	s, err := engine(b, 2).Compile(m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	f := s.Feed(0)
	fill(f, 1, batch, classes)
	f.Targets.Reset()
	for r := range batch {
		// Zipf-like: a third of the labels fall into a few large classes.
		h := nn.Hash32(2, uint32(r))
		c := int32(h % 20)
		f.Targets.Add(c, 1, 1)
		f.Targets.Add(20+int32(h>>8)%500, 1, 1)
		f.Targets.Add(520+int32(h>>4)%(classes-520), 1, 1)
		f.Targets.EndRow()
	}
	p := s.(nn.Profiler)
	for step := int64(1); b.Loop(); step++ {
		if step == 2 {
			p.SetProfiling(true) // the first step touches the memory
		}
		if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: step}); err != nil {
			b.Fatal(err)
		}
	}
	var theta, all time.Duration
	for _, o := range p.Profile(true) {
		all += o.Time
		if o.Kind == "neglection" {
			theta += o.Time
		}
	}
	if all > theta {
		b.ReportMetric(100*theta.Seconds()/(all-theta).Seconds(), "%-of-step")
	}
}

// BenchmarkNeglectionOfImages measures the neglection degrees of one batch of
// 128 images with 4096 features and 100 classes: where the layer's gradient is at
// hand, and where it is not, because a dropout lies between (vgg16).
func BenchmarkNeglectionOfImages(b *testing.B) {
	const batch, width, classes = 128, 4096, 100
	for _, name := range []string{"gradient", "product"} {
		b.Run(name, func(b *testing.B) {
			m := videoNet("logistic", batch, width, classes)
			if name == "product" {
				m.ClassWeight = nil
			}
			s, err := engine(b, 2).Compile(m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(0)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			fill(s.Feed(0), 1, batch, classes)
			p := s.(nn.Profiler)
			step := func() {
				if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1}); err != nil {
					b.Fatal(err)
				}
			}
			step()
			p.SetProfiling(true)
			for b.Loop() {
				step()
			}
			for _, o := range p.Profile(true) {
				if o.Kind == "neglection" {
					b.ReportMetric(o.Time.Seconds()*1e3/float64(o.Calls), "ms/batch")
				}
			}
		})
	}
}
