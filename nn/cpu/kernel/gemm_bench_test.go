package kernel

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"sdnn/nn/cpu/pool"
)

// benchThreads returns the threads of the benchmarks: SDNN_BENCH_THREADS or all.
func benchThreads() int {
	if n, err := strconv.Atoi(os.Getenv("SDNN_BENCH_THREADS")); err == nil {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// The products of the video nets: forward (NT), backward to the data (NN) and
// to the weights (TN) of the dense layers of logistic (1152 -> 3962), mlp
// (1152 -> 2048 -> 3962) and conv1d (36864 -> 3962).
var benchShapes = []struct {
	m, n, k int // 0 stands for the batch
	op      string
}{
	{0, 3962, 1152, "NT"}, {3962, 1152, 0, "TN"},
	{0, 2048, 1152, "NT"}, {2048, 1152, 0, "TN"},
	{0, 3962, 2048, "NT"}, {0, 2048, 3962, "NN"}, {3962, 2048, 0, "TN"},
	{0, 3962, 36864, "NT"}, {3962, 36864, 0, "TN"}, {0, 36864, 3962, "NN"},
}

// BenchmarkGemm reports the best of the runs, in GF/s: the machine may be shared.
func BenchmarkGemm(b *testing.B) {
	p := pool.New(benchThreads())
	defer p.Close()
	for _, batch := range []int{1024, 128} {
		for _, s := range benchShapes {
			m, n, k := s.m, s.n, s.k
			if m == 0 {
				m = batch
			}
			if k == 0 {
				k = batch
			}
			b.Run(fmt.Sprintf("batch=%d/%dx%dx%d%s", batch, m, n, k, s.op), func(b *testing.B) {
				x, w, c := filled(m, k, s.op[0] == 'T'), filled(k, n, s.op[1] == 'T'), make([]float32, m*n)
				Gemm(p, m, n, k, x, w, c, n, false, nil)
				best := time.Duration(1 << 62)
				for b.Loop() {
					start := time.Now()
					Gemm(p, m, n, k, x, w, c, n, false, nil)
					best = min(best, time.Since(start))
				}
				b.ReportMetric(2*float64(m)*float64(n)*float64(k)/float64(best.Nanoseconds()), "GF/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// filled returns an operand without gaps, of small values.
func filled(rows, cols int, trans bool) Matrix {
	x := Matrix{Data: make([]float32, rows*cols), Stride: cols, Trans: trans}
	if trans {
		x.Stride = rows
	}
	for i := range x.Data {
		x.Data[i] = float32(i%17) / 16
	}
	return x
}
