package kernel

import (
	"testing"
	"time"

	"sdnn/nn/cpu/pool"
)

// BenchmarkGemmPeak measures what no product can exceed: multiply-adds between
// registers on every thread.
func BenchmarkGemmPeak(b *testing.B) {
	const n = 1e6
	p := pool.New(benchThreads())
	defer p.Close()
	for _, c := range []struct {
		level Level
		lanes float64
		loop  func(int)
	}{{AVX2, 8, gemmPeakAVX2}, {AVX512, 16, gemmPeakAVX512}} {
		if !Has(c.level) {
			continue
		}
		b.Run(c.level.String(), func(b *testing.B) {
			f := func(int, int) { c.loop(n) }
			best := time.Duration(1 << 62)
			for b.Loop() {
				start := time.Now()
				p.Run(p.Threads(), f)
				best = min(best, time.Since(start))
			}
			b.ReportMetric(2*12*c.lanes*n*float64(p.Threads())/float64(best.Nanoseconds()), "GF/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
