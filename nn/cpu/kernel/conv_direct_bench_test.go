package kernel

import (
	"testing"
	"time"

	"sdnn/nn/cpu/pool"
)

// The convolutions of the wide residual networks and of VGG16 that are direct:
// first layers, shortcuts and those of stride 2.
var directBenches = []struct {
	name string
	s    ConvShape
}{
	{"first-16", ConvShape{Batch: 128, H: 32, W: 32, C: 3, OH: 32, OW: 32, O: 16, K: 3, Stride: 1, Pad: 1}},
	{"first-64", ConvShape{Batch: 128, H: 32, W: 32, C: 3, OH: 32, OW: 32, O: 64, K: 3, Stride: 1, Pad: 1}},
	{"shortcut-16-32", ConvShape{Batch: 128, H: 32, W: 32, C: 16, OH: 32, OW: 32, O: 32, K: 1, Stride: 1}},
	{"shortcut-32-64", ConvShape{Batch: 128, H: 32, W: 32, C: 32, OH: 16, OW: 16, O: 64, K: 1, Stride: 2}},
	{"shortcut-64-128", ConvShape{Batch: 128, H: 16, W: 16, C: 64, OH: 8, OW: 8, O: 128, K: 1, Stride: 2}},
	{"half-32-64", ConvShape{Batch: 128, H: 32, W: 32, C: 32, OH: 16, OW: 16, O: 64, K: 3, Stride: 2, Pad: 1}},
	{"half-64-128", ConvShape{Batch: 128, H: 16, W: 16, C: 64, OH: 8, OW: 8, O: 128, K: 3, Stride: 2, Pad: 1}},
	{"shortcut-16-128", ConvShape{Batch: 32, H: 32, W: 32, C: 16, OH: 32, OW: 32, O: 128, K: 1, Stride: 1}},
	{"shortcut-128-256", ConvShape{Batch: 32, H: 32, W: 32, C: 128, OH: 16, OW: 16, O: 256, K: 1, Stride: 2}},
	{"half-128-256", ConvShape{Batch: 32, H: 32, W: 32, C: 128, OH: 16, OW: 16, O: 256, K: 3, Stride: 2, Pad: 1}},
	{"half-256-512", ConvShape{Batch: 32, H: 16, W: 16, C: 256, OH: 8, OW: 8, O: 512, K: 3, Stride: 2, Pad: 1}},
	{"half-320-640", ConvShape{Batch: 16, H: 16, W: 16, C: 320, OH: 8, OW: 8, O: 640, K: 3, Stride: 2, Pad: 1}},
}

// BenchmarkDirectConv reports the best of the runs: the machine may be shared.
func BenchmarkDirectConv(b *testing.B) {
	p := pool.New(benchThreads())
	defer p.Close()
	for _, d := range directBenches {
		for _, kind := range convKinds {
			s := d.s
			b.Run(d.name+"/"+[]string{"forward", "data", "weights"}[kind], func(b *testing.B) {
				v := NewDirectConv(kind, s)
				x, w, y := filled(s.Batch*s.H*s.W, s.C, false).Data, filled(s.O, s.depth(), false).Data, filled(s.outputs(s.Batch), s.O, false).Data
				a := ConvArgs{Rows: s.Batch, X: x, W: w, Out: y}
				switch kind {
				case ConvData:
					a.X, a.Out = y, x
				case ConvWeights:
					a.DY, a.Out = y, w
				}
				a.Work = make([]float32, v.Workspace())
				best := time.Duration(1 << 62)
				for b.Loop() {
					start := time.Now()
					v.Run(p, a)
					best = min(best, time.Since(start))
				}
				b.ReportMetric(2*float64(s.outputs(s.Batch))*float64(s.depth())*float64(s.O)/float64(best.Nanoseconds()), "GF/s")
				b.ReportMetric(float64(best.Microseconds())/1000, "ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
