package nn

import "time"

// OpProfile is what one op of a compiled program has cost, and what it has to do in one call with the batch at hand.
type OpProfile struct {
	Kind  string
	Name  string // of the value it computes
	Calls int
	Time  time.Duration // of all calls
	Best  time.Duration // of the fastest call

	// Flops are the floating-point operations by the op's definition: 2 a multiply-add, of a convolution those of the direct
	// algorithm. 0: the op is bound by memory.
	Flops float64
	// Work are those of Flops that the algorithm in use leaves: less than Flops for a convolution by Winograd's algorithm, where
	// it counts the products at the transform's points, the unused pixels of tiles at an edge among them, and no transforms.
	Work float64
	BF16 bool // the products are of bfloat16
	// Bytes is the least traffic: operands and results once for each pass over them, and no scratch memory.
	Bytes float64
	// Set is the size of the operands and results in bytes: if a cache holds them, the traffic may be the cache's.
	Set float64
}

// Profiler is a session that can time its ops.
type Profiler interface {
	// SetProfiling starts (and resets) or stops the clocks.
	SetProfiling(on bool)
	// Profile lists the ops of the training step, or of evaluation, in order.
	Profile(training bool) []OpProfile
	// Roof measures the machine. It takes some tenths of a second and must not be called during a step.
	Roof() Roof
}

// Roof is what a machine does at best, with the code path and the threads at hand: the roof of the roofline model (Williams,
// Waterman and Patterson, CACM 52(4), 2009). The zero Roof is not known.
type Roof struct {
	Path      string  // code path, such as "avx512"
	Flops     float64 // floating-point operations a second in float32
	BF16Flops float64 // the same of products of bfloat16; 0: none
	Bandwidth []Bandwidth
}

// Bandwidth is the traffic that is possible on a working set. A Roof has them by ascending Set, the last far larger than
// the caches: memory.
type Bandwidth struct {
	Set  float64 // bytes
	Rate float64 // bytes a second
}

// Bound says what an op's floor is made of.
type Bound string

// The bounds.
const (
	BoundFlops Bound = "flops"
	BoundBytes Bound = "bytes"
)

// Floor returns the least time that a call of the op can take, in seconds,
//
//	max(Work / peak, Bytes / bandwidth)
//
// and which of the two it is. The bandwidth is that of the largest measured working set which is not larger than the op's:
// never less than what the op could have. It returns 0 where the roof is not known.
func (r *Roof) Floor(o *OpProfile) (seconds float64, bound Bound) {
	peak := r.Flops
	if o.BF16 {
		peak = r.BF16Flops
	}
	bound = BoundBytes
	if rate := r.rate(o.Set); rate > 0 {
		seconds = o.Bytes / rate
	}
	if peak > 0 && o.Work/peak > seconds {
		seconds, bound = o.Work/peak, BoundFlops
	}
	return seconds, bound
}

// rate is the bandwidth on a working set.
func (r *Roof) rate(set float64) float64 {
	rate := 0.0
	for i, b := range r.Bandwidth {
		if i == 0 || b.Set <= set {
			rate = b.Rate
		}
	}
	return rate
}

// Raise makes r the best of r and another measurement of the same machine: a measurement that was disturbed shows too little.
// One of them may have fewer sets, or none where it failed: the first ones.
func (r *Roof) Raise(other Roof) {
	if len(r.Bandwidth) < len(other.Bandwidth) {
		*r, other = other, *r
	}
	r.Flops, r.BF16Flops = max(r.Flops, other.Flops), max(r.BF16Flops, other.BF16Flops)
	for i, b := range other.Bandwidth {
		r.Bandwidth[i].Rate = max(r.Bandwidth[i].Rate, b.Rate)
	}
}
