package subclass

import "math"

// exchange improves r beyond Lloyd's algorithm by moving single rows for as long as a
// move lowers the inertia with both means adapted to it: row x goes from cluster a to
// b if n_b/(n_b+1) |x-c_b|^2 < n_a/(n_a-1) |x-c_a|^2 (J. A. Hartigan, "Clustering
// Algorithms", 1975). No row is then nearer to another mean either. The two rules
// differ by about 1/n, so that it is worth its sequential passes for few rows only.
func (l *lloyd) exchange(w *scratch, r *restart) {
	means := make([][]float64, l.k)
	for j, c := range r.centers {
		means[j] = make([]float64, l.f)
		for d, v := range c {
			means[j][d] = v + l.mean[d]
		}
	}
	for range l.opt.MaxIterations {
		moved := false
		for i := range l.n {
			at := i*len(l.restarts) + r.index
			x, from := l.s.Row(i, w.row), int(l.assign[at])
			to := r.better(x, from, means)
			if to == from {
				continue
			}
			moved = true
			l.assign[at] = uint8(to)
			shiftMean(means[from], x, -1/float64(r.counts[from]-1))
			shiftMean(means[to], x, 1/float64(r.counts[to]+1))
			r.counts[from]--
			r.counts[to]++
			subRow(r.sums[from], x)
			addRow(r.sums[to], x)
		}
		if !moved {
			break
		}
	}
	l.update(r)
	for i := r.index; i < len(l.margin); i += len(l.restarts) {
		l.margin[i] = float32(math.Inf(-1)) // the means went their own way
	}
}

// better returns the cluster that row x of cluster from should go to, or from.
func (r *restart) better(x []float32, from int, means [][]float64) int {
	n := float64(r.counts[from])
	if n < 2 {
		return from
	}
	// A gain below rounding could send a row back and forth.
	least, to := squaredDistance(x, means[from])*n/(n-1)*(1-1e-9), from
	for j, c := range means {
		if j != from {
			n := float64(r.counts[j])
			if d := squaredDistance(x, c) * n / (n + 1); d < least {
				least, to = d, j
			}
		}
	}
	return to
}

func shiftMean(mean []float64, x []float32, by float64) {
	for d, v := range x {
		mean[d] += float64(by * (float64(v) - mean[d]))
	}
}
