package subclass

import (
	"context"
	"math"

	"sdnn/nn"
)

// seeding is the state of k-means++ over all restarts.
type seeding struct {
	*lloyd
	trials     int       // candidates a restart and step
	distance   []float32 // squared distance of row i to restart r's nearest seed, at i*restarts+r
	candidate  []float32 // the same to candidate t alone, at (i*restarts+r)*trials+t
	vectors    [][]float32
	squares    []float64 // |c|^2 of each vector
	projection []float64 // mu.c of each vector
}

// seed chooses the first centres: the first of each restart uniformly, each further
// one the best of trials rows drawn with probability proportional to the squared
// distance to the seeds so far.
func (l *lloyd) seed(ctx context.Context) error {
	count := len(l.restarts)
	s := &seeding{lloyd: l, trials: 2 + int(math.Log(float64(l.k))), distance: make([]float32, l.n*count)}
	s.candidate = make([]float32, l.n*count*s.trials)
	for i := range s.distance {
		s.distance[i] = math.MaxFloat32
	}
	chosen := make([]int, count*s.trials)
	for step := range l.k {
		if err := ctx.Err(); err != nil {
			return err
		}
		for r := range count {
			for t := range s.trials {
				chosen[r*s.trials+t] = s.draw(r, step, t)
			}
		}
		best := s.try(chosen)
		for r, t := range best {
			l.load(l.restarts[r].centers[step], chosen[r*s.trials+t])
		}
	}
	for _, r := range l.restarts {
		r.counts[0] = int64(l.n) // every row begins in the first cluster
		l.aim(r)
	}
	return nil
}

// load sets c to row i as a difference from the mean.
func (l *lloyd) load(c []float64, i int) {
	for d, v := range l.s.Row(i, l.workers[0].row) {
		c[d] = float64(v) - l.mean[d]
	}
}

// draw draws trial t of a step of restart r. At the first step all distances are
// equal, so the draw is uniform; so it is when every row coincides with a seed.
func (s *seeding) draw(r, step, t int) int {
	if step == 0 {
		t = 0 // candidates would only serve to prefer central rows
	}
	key := nn.RowKey(s.opt.Seed, r, uint64(step))
	u := (float64(nn.Hash32(key, uint32(2*t))) + float64(nn.Hash32(key, uint32(2*t+1)))/(1<<32)) / (1 << 32)
	count, sum := len(s.restarts), 0.0
	for i := r; i < len(s.distance); i += count {
		sum += float64(s.distance[i])
	}
	if step == 0 || sum == 0 {
		return min(int(u*float64(s.n)), s.n-1)
	}
	u *= sum
	last := 0
	for i := range s.n {
		d := float64(s.distance[i*count+r])
		if d > 0 {
			last = i
		}
		if u -= d; u < 0 {
			break
		}
	}
	return last // not the row where rounding ended, if that has probability 0
}

// try measures the chosen candidates, keeps the one of each restart that leaves the
// smallest sum of squared distances, and returns which.
func (s *seeding) try(chosen []int) (best []int) {
	s.prepare(chosen)
	count := len(s.restarts)
	sums := make([][]float64, s.blocks)
	s.parallel(s.blocks, func(w *scratch, b int) { sums[b] = s.measureBlock(w, b) })
	best = make([]int, count)
	for c := 1; c < len(sums); c++ {
		addVector(sums[0], sums[c])
	}
	for r := range best {
		for t := range s.trials {
			if sums[0][r*s.trials+t] < sums[0][r*s.trials+best[r]] {
				best[r] = t
			}
		}
	}
	for i := range s.distance {
		s.distance[i] = min(s.distance[i], s.candidate[i*s.trials+best[i%count]])
	}
	return best
}

// prepare loads the candidates as float32 differences from the mean.
func (s *seeding) prepare(chosen []int) {
	if s.vectors == nil {
		s.squares, s.projection = make([]float64, len(chosen)), make([]float64, len(chosen))
		for range chosen {
			s.vectors = append(s.vectors, make([]float32, s.f))
		}
	}
	c := make([]float64, s.f)
	for v, i := range chosen {
		s.load(c, i)
		s.squares[v], s.projection[v] = 0, 0
		for d, x := range c {
			y := float32(x)
			s.vectors[v][d] = y
			s.squares[v] += float64(float64(y) * float64(y))
			s.projection[v] += float64(s.mean[d] * float64(y))
		}
	}
}

// measureBlock computes the distances of block b's rows to all candidates,
// |x-mu|^2 - 2 (x-mu).c + |c|^2, and returns for each the sum over the rows of the
// distance to the nearest seed if it were one.
func (s *seeding) measureBlock(w *scratch, b int) []float64 {
	sums := make([]float64, len(s.vectors))
	w.vectors = append(w.vectors[:0], s.vectors...)
	for i := s.begin(b); i < s.begin(b+1); i++ {
		out := w.dots(s.opt.Dots, s.s.Row(i, w.row))
		square := float64(s.radius[i]) * float64(s.radius[i])
		for v, product := range out {
			at := i*len(out) + v
			d := float32(math.Max(0, square-2*(float64(product)-s.projection[v])+s.squares[v]))
			s.candidate[at] = d
			sums[v] += float64(min(d, s.distance[at/s.trials]))
		}
	}
	return sums
}
