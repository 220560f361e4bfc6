package cuda

import (
	"fmt"
	"testing"

	"sdnn/cnn"
	"sdnn/mlp"
	"sdnn/nn"
)

func bigModel(t testing.TB, net string, batch, outputs int) (*nn.Model, nn.Optimizer) {
	t.Helper()
	if cnn.Known(net) == nil {
		m, err := cnn.Build(cnn.Spec{Net: net, Batch: batch, Outputs: outputs, Size: 32, Channels: 3, Dropout: cnn.DefaultDropout(net)})
		if err != nil {
			t.Fatal(err)
		}
		return m, nn.NewSGD(5e-4)
	}
	m, err := mlp.Build(mlp.Spec{Net: net, Batch: batch, Outputs: outputs, Hidden: 1024, Experts: 2, Filters: 64, Dropout: 0.5, Noise: 0.03,
		Columns: []mlp.Column{{Name: "mean_rgb", Width: 1024}, {Name: "mean_audio", Width: 128}}})
	if err != nil {
		t.Fatal(err)
	}
	return m, nn.NewAdam()
}

func TestPlan(t *testing.T) {
	for _, net := range []string{"vgg16", "wrn-28-10", "conv1d", "mlp", "moe", "logistic"} {
		for _, p := range []nn.Precision{nn.BF16} {
			batch, outputs := 128, 100
			if cnn.Known(net) != nil {
				batch, outputs = 1024, 100
			}
			m, o := bigModel(t, net, batch, outputs)
			card := newNullCard(80 << 30)
			e, err := New(card, Options{CacheDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Measuring, Optimizer: o, Precision: p})
			if err != nil {
				t.Fatal(err)
			}
			se := s.(*session)
			f := s.Feed(0)
			f.Rows = batch
			f.Targets.Reset()
			for range batch {
				f.Targets.Add(1, 1, 1)
				f.Targets.EndRow()
			}
			card.launches, card.matmuls, card.convs, card.others = 0, 0, 0, 0
			if err := s.TrainStep(0, nn.StepParams{LR: 1, Step: 1}); err != nil {
				t.Fatal(err)
			}
			z := se.arenaSize()
			fmt.Printf("%s %s: %d launches, %d matmuls, %d convs, %d others; %+v\n", net, p, card.launches, card.matmuls, card.convs, card.others, z)
			if net == "vgg16" && p == nn.BF16 || net == "wrn-28-10" && p == nn.BF16 || net == "conv1d" {
				for i := range se.train.low.ops {
					o := &se.train.low.ops[i]
					fmt.Printf("    %-40s %-40s %.1f MB\n", o.kind, o.name, se.train.low.traffic(o, batch)/1e6)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
