package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sdnn/nn/cpu/pool"
)

// vggLayers are the 3x3 convolutions of VGG16 for 32x32 images with channels
// that are multiples of 16: size, channels in and out.
var vggLayers = [][3]int{{32, 64, 64}, {16, 64, 128}, {16, 128, 128}, {8, 128, 256}, {8, 256, 256},
	{4, 256, 512}, {4, 512, 512}, {2, 512, 512}}

// BenchmarkConv3x3 times every layer of VGG16 at batch 128 in its three
// directions; best is the fastest call in ms, and GF/s what direct convolution
// would have to reach to be as fast.
func BenchmarkConv3x3(b *testing.B) {
	for _, threads := range []int{1, 2} {
		p := pool.New(threads)
		defer p.Close()
		for _, l := range vggLayers {
			for kind := range kindNames {
				b.Run(fmt.Sprintf("threads=%d/map=%d/%d-%d/%s", threads, l[0], l[1], l[2], kindNames[kind]), func(b *testing.B) {
					benchmarkConv3x3(b, p, ConvKind(kind), l[0], l[1], l[2])
				})
			}
		}
	}
}

func benchmarkConv3x3(b *testing.B, p *pool.Pool, kind ConvKind, size, c, o int) {
	k := newWinoCase(kind, 128, 128, size, size, c, o, rand.New(rand.NewPCG(1, 1)))
	conv := NewConv3x3(kind, 128, size, size, c, o)
	a := ConvArgs{Rows: 128, X: k.x, DY: k.dy, W: k.weight, Work: make([]float32, conv.Workspace())}
	if kind == ConvData {
		a.X = k.dy
	}
	a.Out = make([]float32, max(len(k.x), len(k.dy), len(k.weight)))
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		conv.Run(p, a)
		best = min(best, time.Since(start))
	}
	flops := 2 * 9 * float64(c*o) * float64(128*size*size)
	b.ReportMetric(best.Seconds()*1000, "best-ms")
	b.ReportMetric(flops/best.Seconds()/1e9, "GF/s")
}
