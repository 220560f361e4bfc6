package cpu

import (
	"time"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cpu/pool"
)

// roofSets are the working sets whose bandwidth is measured, in bytes: the first-level and the second-level
// caches of a few cores, the third level, and memory.
var roofSets = []int{64 << 10, 512 << 10, 2 << 20, 8 << 20, 32 << 20, 64 << 20, 128 << 20}

// roofTime is about how long each bandwidth is measured.
const roofTime = 12 * time.Millisecond

// Roof implements nn.Profiler.
func (s *session) Roof() nn.Roof {
	r := nn.Roof{Path: kernel.Path().String(), Flops: kernel.Peak(s.pool), BF16Flops: kernel.PeakBF16(s.pool)}
	data, free := pool.Alloc(roofSets[len(roofSets)-1] / 4)
	defer free()
	for i := range data {
		data[i] = 1
	}
	for _, set := range roofSets {
		r.Bandwidth = append(r.Bandwidth, nn.Bandwidth{Set: float64(set), Rate: s.bandwidth(data[:set/4])})
	}
	// What a large set can have, so can a smaller one: a lesser figure was disturbed.
	for i := len(r.Bandwidth) - 2; i >= 0; i-- {
		r.Bandwidth[i].Rate = max(r.Bandwidth[i].Rate, r.Bandwidth[i+1].Rate)
	}
	return r
}

// bandwidth is the best of what kernels move over data, in bytes a second: one that only reads, one that writes where it
// has read, and one that reads one half and adds it to the other. Every thread keeps to its part.
func (s *session) bandwidth(data []float32) float64 {
	threads := s.pool.Threads()
	part := len(data) / threads &^ 63
	best := 0.0
	for _, k := range []struct {
		moved int // bytes for each element of data
		f     func(x []float32)
	}{
		{4, func(x []float32) { kernel.MaxAbs(x) }},
		{8, func(x []float32) { kernel.Scale(x, x, 1) }},
		{6, func(x []float32) { kernel.Accumulate(x[:len(x)/2], x[len(x)/2:]) }},
	} {
		// A small set is gone over often enough for the threads' meeting not to count.
		turns := max(1, 1<<24/(4*len(data)))
		task := func(t, _ int) {
			for range turns {
				k.f(data[t*part : (t+1)*part])
			}
		}
		for begun, n := time.Now(), 0; n < 3 || time.Since(begun) < roofTime; n++ {
			start := time.Now()
			s.pool.Run(threads, task)
			best = max(best, float64(k.moved*part*threads*turns)/time.Since(start).Seconds())
		}
	}
	return best
}
