package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sdnn/nn/cpu/pool"
)

// sparseBench is a product of a dense layer: forward (NT), to the data (NN) or to the weights (TN), with
// zeros in A or in B.
type sparseBench struct {
	name    string
	m, n, k int
	op      string
	inB     bool
}

// BenchmarkGemmSparse compares skipping zeros with Gemm, in turn, at several densities. It reports
// Gemm's time over that of skipping, of the best and of the median times, and both best times.
func BenchmarkGemmSparse(b *testing.B) {
	p := pool.New(benchThreads())
	defer p.Close()
	for _, s := range []sparseBench{
		{"mlp/forward", 1024, 3962, 2048, "NT", false},
		{"mlp/weights", 3962, 2048, 1024, "TN", true},
		{"mlp/hidden-weights", 2048, 1152, 1024, "TN", false},
		{"vgg16/forward", 128, 4096, 4096, "NT", false},
		{"vgg16/data", 128, 4096, 4096, "NN", false},
		{"vgg16/weights", 4096, 4096, 128, "TN", false},
		{"vgg16/weights-of-x", 4096, 4096, 128, "TN", true},
	} {
		for _, density := range []float64{0.25, 0.35, 0.5, 0.6, 0.7, 0.8} {
			b.Run(fmt.Sprintf("%s/%.2f", s.name, density), func(b *testing.B) { s.run(b, p, density) })
		}
	}
}

// run reports the comparison at one density. The gradient of weights is not stored, as in a training step.
func (s *sparseBench) run(b *testing.B, p *pool.Pool, density float64) {
	x, w, c := filled(s.m, s.k, s.op[0] == 'T'), filled(s.k, s.n, s.op[1] == 'T'), make([]float32, s.m*s.n)
	zeroed := x.Data
	if s.inB {
		zeroed = w.Data
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range zeroed {
		zeroed[i] = 1
		if r.Float64() >= density {
			zeroed[i] = 0
		}
	}
	var e *Epilogue
	if s.op == "TN" {
		c, e = nil, &Epilogue{Tile: func(int, int, int, int, []float32, int, int) {}}
	}
	timed := func(f func()) time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	}
	var gemm, sparse []time.Duration
	for b.Loop() {
		gemm = append(gemm, timed(func() { Gemm(p, s.m, s.n, s.k, x, w, c, s.n, false, e) }))
		sparse = append(sparse, timed(func() {
			j := takeSparse(p.Threads())
			j.turned = s.inB
			j.multiply(p, s.m, s.n, s.k, x, w, c, s.n, false, e)
			j.release()
		}))
	}
	slices.Sort(gemm)
	slices.Sort(sparse)
	mid := len(gemm) / 2
	b.ReportMetric(gemm[0].Seconds()/sparse[0].Seconds(), "best")
	b.ReportMetric(gemm[mid].Seconds()/sparse[mid].Seconds(), "median")
	b.ReportMetric(gemm[0].Seconds()*1e3, "ms-gemm")
	b.ReportMetric(sparse[0].Seconds()*1e3, "ms-sparse")
	b.ReportMetric(0, "ns/op")
}
