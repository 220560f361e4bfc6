package pool

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRegion is the cost of a parallel region in which every thread takes part: no task ends before all have begun, so
// that what is measured is opening the region, the arrival of the last thread, and closing. BenchmarkRun, where the caller may
// do everything itself, is less. The workers spin between regions, as they do between the ops of a step; nobody waits for one
// that sleeps. It reports the median and the 99th percentile of the regions in microseconds: the machine may be shared.
func BenchmarkRegion(b *testing.B) {
	for threads := 2; threads <= runtime.GOMAXPROCS(0); threads *= 2 {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			p := New(threads)
			defer p.Close()
			var begun atomic.Int32
			all := int32(threads)
			f := func(int, int) {
				begun.Add(1)
				for begun.Load() < all {
				}
			}
			var times []time.Duration
			for b.Loop() {
				begun.Store(0)
				start := time.Now()
				p.Run(threads, f)
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2].Seconds()*1e6, "us/region")
			b.ReportMetric(times[len(times)*99/100].Seconds()*1e6, "us/region-p99")
			b.ReportMetric(0, "ns/op")
		})
	}
}
