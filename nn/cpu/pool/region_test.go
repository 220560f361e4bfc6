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
// do everything itself, is less. The workers spin between regions (busy), or sleep because the pause was long (parked).
// It reports the median and the 99th percentile of the regions in microseconds: the machine may be shared.
func BenchmarkRegion(b *testing.B) {
	for threads := 2; threads <= runtime.GOMAXPROCS(0); threads *= 2 {
		for _, c := range []struct {
			name  string
			pause time.Duration
		}{{"busy", 0}, {"parked", 300 * time.Microsecond}} {
			b.Run(fmt.Sprintf("threads=%d/%s", threads, c.name), func(b *testing.B) {
				p := New(threads)
				defer p.Close()
				times := regionTimes(b, p, c.pause)
				slices.Sort(times)
				b.ReportMetric(times[len(times)/2].Seconds()*1e6, "us/region")
				b.ReportMetric(times[len(times)*99/100].Seconds()*1e6, "us/region-p99")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// regionTimes runs regions, pause apart, and returns how long each took.
func regionTimes(b *testing.B, p *Pool, pause time.Duration) []time.Duration {
	var begun atomic.Int32
	all := int32(p.Threads())
	f := func(int, int) {
		begun.Add(1)
		for begun.Load() < all {
		}
	}
	var times []time.Duration
	for b.Loop() {
		if pause > 0 {
			time.Sleep(pause)
		}
		begun.Store(0)
		start := time.Now()
		p.Run(p.Threads(), f)
		times = append(times, time.Since(start))
	}
	return times
}
