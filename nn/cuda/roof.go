package cuda

import (
	"time"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// roofPlan says how a card is measured.
type roofPlan struct {
	sets []int         // bytes, ascending: within the second-level cache of a large card, beyond that of every card
	side map[bool]int  // of the square product that is timed; of bf16 with true
	time time.Duration // that each figure is measured for
}

var usualRoof = roofPlan{
	sets: []int{8 << 20, 32 << 20, 128 << 20, 1 << 30},
	side: map[bool]int{false: 4096, true: 8192},
	time: 15 * time.Millisecond,
}

// Roof implements nn.Profiler: the card's memory by kernels of the engine's own,
// its products by cuBLASLt, of float32 as the session multiplies them and, where
// the card has it, of bfloat16. It is not known where the card's memory is full
// or a call fails; what is wrong with the card its next call will say.
func (s *session) Roof() nn.Roof {
	if s.err != nil {
		return nn.Roof{}
	}
	r, err := s.roof(usualRoof)
	if err != nil {
		return nn.Roof{}
	}
	return r
}

func (s *session) roof(plan roofPlan) (r nn.Roof, err error) {
	data, err := s.roofMemory(&plan)
	if err != nil || data == 0 {
		return r, err
	}
	defer func() { err = fail(err, s.card.SyncStream(s.compute), s.card.Free(data)) }()
	size := plan.sets[len(plan.sets)-1]
	if err := s.card.Zero(data, size, s.compute); err != nil {
		return r, err
	}
	r.Path = s.e.info.Name
	for _, set := range plan.sets {
		rate, err := s.bandwidth(plan, data, set)
		if err != nil {
			return r, err
		}
		r.Bandwidth = append(r.Bandwidth, nn.Bandwidth{Set: float64(set), Rate: rate})
	}
	// What a large set can have, so can a smaller one: there the launches count.
	for i := len(r.Bandwidth) - 2; i >= 0; i-- {
		r.Bandwidth[i].Rate = max(r.Bandwidth[i].Rate, r.Bandwidth[i+1].Rate)
	}
	if r.Flops, err = s.productRate(plan, data, driver.F32); err == nil && s.e.info.SupportsBF16 {
		r.BF16Flops, err = s.productRate(plan, data, driver.BF16)
	}
	return r, err
}

// roofMemory takes memory for the largest set that fits, and leaves larger ones
// out of the plan; 0 if none does.
func (s *session) roofMemory(plan *roofPlan) (driver.Ptr, error) {
	free, err := s.card.MemoryFree()
	if err != nil {
		return 0, err
	}
	for len(plan.sets) > 0 && plan.sets[len(plan.sets)-1] > free-spare {
		plan.sets = plan.sets[:len(plan.sets)-1]
	}
	if len(plan.sets) == 0 {
		return 0, nil
	}
	return s.card.Alloc(plan.sets[len(plan.sets)-1])
}

// best is the most that a run of f does in a second, if it does work in all.
func (s *session) best(plan roofPlan, work float64, f func() error) (float64, error) {
	most := 0.0
	for n, total := 0, time.Duration(0); n < 3 || total < plan.time && n < 1000; n++ {
		took, err := s.clock(f)
		if err != nil {
			return 0, err
		}
		total += took
		most = max(most, work/max(took, 1).Seconds())
	}
	return most, nil
}

// bandwidth is the best of what kernels move within a set, in bytes a second:
// one that only reads, one that writes one half with what is in the other, and
// one that adds two thirds into the third.
func (s *session) bandwidth(plan roofPlan, data driver.Ptr, set int) (float64, error) {
	const channels = 1024
	rows := set / (4 * channels) * 7 / 8 // the rest has room for the sums
	slices := kernels.Slices(rows, channels)
	half, third := set/2&^255, set/3&^255
	turns := max(1, plan.sets[len(plan.sets)-1]/(4*set)) // so that neither the launch nor the clock counts for a small set
	best := 0.0
	for _, k := range []struct {
		moved  int
		launch func() error
	}{
		{4 * channels * (rows + slices), func() error {
			return s.e.set.Launch(s.compute, "column_sum_f32", kernels.P(data.Add(4*channels*(rows+slices))), kernels.P(data.Add(4*channels*rows)), kernels.P(s.counters), kernels.P(data), kernels.I(rows), kernels.I(channels), kernels.I(slices))
		}},
		{2 * half, func() error {
			return s.e.set.Launch(s.compute, "relu_forward_f32", kernels.P(data.Add(half)), kernels.P(data), kernels.L(uint64(half/4)))
		}},
		{3 * third, func() error {
			return s.e.set.Launch(s.compute, "add_f32", kernels.P(data.Add(2*third)), kernels.P(data), kernels.P(data.Add(third)), kernels.L(uint64(third/4)))
		}},
	} {
		rate, err := s.best(plan, float64(k.moved)*float64(turns), func() error {
			for range turns {
				if err := k.launch(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		best = max(best, rate)
	}
	return best, nil
}

// productRate is what a large product of square matrices does, in operations a
// second. The factors are random: zeros need less power, and the card is faster.
func (s *session) productRate(plan roofPlan, data driver.Ptr, t driver.Type) (rate float64, err error) {
	n, room := plan.side[t == driver.BF16], plan.sets[len(plan.sets)-1]
	bytes := func() int { return align(n * n * t.Size()) }
	for n > 64 && 3*bytes()+matmulWorkspace > room {
		n /= 2
	}
	a, b := data, data.Add(bytes())
	d, workspace := b.Add(bytes()), b.Add(2*bytes())
	key := workspace // any number is a key: what lies there
	for i, p := range []driver.Ptr{a, b} {
		if err := fail(s.card.Zero(p, bytes(), s.compute), s.e.set.Launch(s.compute, "noise_"+suffix(t), kernels.P(p), kernels.P(p), kernels.P(key),
			kernels.I(1), kernels.I(n*n), kernels.U(uint32(i)), kernels.F(1))); err != nil {
			return 0, err
		}
	}
	m, err := s.card.PlanMatmul(driver.MatmulSpec{M: n, N: n, K: n, AB: t, D: t, Math: s.math}, min(matmulWorkspace, room-3*bytes()))
	if err != nil {
		return 0, err
	}
	defer func() { err = fail(err, s.card.SyncStream(s.compute), m.Close()) }()
	return s.best(plan, 2*float64(n)*float64(n)*float64(n), func() error { return m.Run(d, a, b, 0, workspace, s.compute) })
}
