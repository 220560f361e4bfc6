package subclass

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// lloyd is the state of KMeans. With mu the mean of all rows and every centre c_j
// held as its difference from mu, a row x is nearest to the centre of the largest
//
//	f_j(x) = x.d_j - b_j,  d_j = c_j - c_0,  b_j = mu.d_j + (|c_j|^2 - |c_0|^2) / 2,  f_0 = 0
//
// which takes k-1 dot products for k centres. margin, the lead of a row's cluster
// over the second best, is kept for every row and restart. When centres move by
// D_j, f_a - f_j falls by at most
//
//	|x-mu| (|D_a| + |D_j|) + (|c_a'|^2 - |c_a|^2 - |c_j'|^2 + |c_j|^2) / 2
//
// (Cauchy-Schwarz), so while the margin stays positive the row keeps its cluster
// unseen. This is the bound of G. Hamerly, "Making k-means even faster", SDM 2010,
// on squared distances.
type lloyd struct {
	s         Samples
	opt       KMeansOptions
	n, f, k   int
	restarts  []*restart
	mean      []float64
	total     []float64 // sum of all rows
	spread    float64   // sum of |x-mu|^2
	tolerance float64   // of the squared shift of a restart's centres
	radius    []float32 // |x-mu| of each row
	// Of row i and restart r, at i*len(restarts)+r:
	assign []uint8
	margin []float32

	// Sums over rows are taken in blocks of rows, a partial sum each, which are then
	// added in order: the same additions whatever the number of threads.
	blocks  int
	partial []*partial
	workers []*scratch
}

// restart is one run of Lloyd's algorithm.
type restart struct {
	index      int
	active     bool
	iterations int
	moved      int64       // rows that changed cluster in the last iteration
	counts     []int64     // rows of each cluster
	sums       [][]float64 // of each cluster's rows; the first is what the others leave of the total
	centers    [][]float64 // c_j
	squares    []float64   // |c_j|^2
	dirs       [][]float32 // d_j from j = 1 on
	offsets    []float64   // b_j from j = 1 on
	slope      []float64   // most that the margin of a row in cluster a falls by |x-mu|
	intercept  []float64   // and besides
}

// partial is what one block of rows changes: for restart r and cluster j >= 1, at
// r*k+j, the sum of the rows that came less those that left. Sums are cleared when
// first touched.
type partial struct {
	sums   [][]float64
	dirty  []bool
	counts []int64
	moved  []int64
}

// scratch is one worker's buffers.
type scratch struct {
	row     []float32
	due     []*restart  // restarts that need the current row
	vectors [][]float32 // their directions
	out     []float32
}

const (
	maxBlocks = 32
	// partialBudget bounds the memory of all partial sums; wide features with many
	// clusters get fewer blocks.
	partialBudget = 128 << 20
)

func newLloyd(s Samples, o KMeansOptions) *lloyd {
	l := &lloyd{s: s, opt: o, n: s.Len(), f: s.Dim(), k: o.Clusters}
	each := o.Restarts * l.k * l.f * 8
	l.blocks = max(1, min(maxBlocks, l.n/16, partialBudget/each))
	l.radius = make([]float32, l.n)
	l.assign = make([]uint8, l.n*o.Restarts)
	l.margin = make([]float32, l.n*o.Restarts)
	for i := range o.Restarts {
		l.restarts = append(l.restarts, newRestart(i, l.k, l.f))
	}
	for range l.blocks {
		l.partial = append(l.partial, &partial{
			sums: make([][]float64, o.Restarts*l.k), dirty: make([]bool, o.Restarts*l.k),
			counts: make([]int64, o.Restarts*l.k), moved: make([]int64, o.Restarts),
		})
	}
	threads := o.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	for range min(threads, max(l.blocks, o.Restarts)) {
		l.workers = append(l.workers, &scratch{row: make([]float32, l.f)})
	}
	return l
}

func newRestart(index, k, f int) *restart {
	r := &restart{index: index, active: true, counts: make([]int64, k), squares: make([]float64, k), offsets: make([]float64, k), slope: make([]float64, k), intercept: make([]float64, k)}
	for range k {
		r.sums = append(r.sums, make([]float64, f))
		r.centers = append(r.centers, make([]float64, f))
		r.dirs = append(r.dirs, make([]float32, f))
	}
	return r
}

// begin returns the first row of block b.
func (l *lloyd) begin(b int) int { return b * l.n / l.blocks }

// parallel calls work for 0 to n-1, each once, on all workers.
func (l *lloyd) parallel(n int, work func(w *scratch, i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, w := range l.workers[:min(n, len(l.workers))] {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				work(w, i)
			}
		})
	}
	wait.Wait()
}

// center computes the mean, the rows' distances from it and the tolerance.
func (l *lloyd) center() {
	l.total, l.mean = make([]float64, l.f), make([]float64, l.f)
	sums := make([][]float64, l.blocks)
	l.parallel(l.blocks, func(w *scratch, b int) {
		sums[b] = make([]float64, l.f)
		for i := l.begin(b); i < l.begin(b+1); i++ {
			addRow(sums[b], l.s.Row(i, w.row))
		}
	})
	for _, s := range sums {
		addVector(l.total, s)
	}
	for d := range l.mean {
		l.mean[d] = l.total[d] / float64(l.n)
	}
	spreads := make([]float64, l.blocks)
	l.parallel(l.blocks, func(w *scratch, b int) {
		for i := l.begin(b); i < l.begin(b+1); i++ {
			q := squaredDistance(l.s.Row(i, w.row), l.mean)
			spreads[b] += q
			l.radius[i] = float32(math.Sqrt(q))
		}
	})
	for _, s := range spreads {
		l.spread += s
	}
	l.tolerance = l.opt.Tolerance * l.spread / float64(l.n) / float64(l.f)
}

// iterate runs the active restarts until their centres' squared shift is at most
// tolerance, no row moves, or the iterations are used up.
func (l *lloyd) iterate(ctx context.Context, tolerance float64) error {
	for {
		var active []*restart
		for _, r := range l.restarts {
			if r.active {
				active = append(active, r)
			}
		}
		if len(active) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		l.parallel(l.blocks, func(w *scratch, b int) { l.assignBlock(w, b, active) })
		l.parallel(len(active), func(_ *scratch, i int) { l.collect(active[i]) })
		for _, r := range active {
			l.refill(r)
			shift := l.update(r)
			r.iterations++
			r.active = r.moved > 0 && shift > tolerance && r.iterations < l.opt.MaxIterations
		}
	}
}

// assignBlock finds the nearest centre of the rows of block b.
func (l *lloyd) assignBlock(w *scratch, b int, active []*restart) {
	p := l.partial[b]
	for i := l.begin(b); i < l.begin(b+1); i++ {
		w.due, w.vectors = w.due[:0], w.vectors[:0]
		for _, r := range active {
			at := i*len(l.restarts) + r.index
			a := l.assign[at]
			l.margin[at] -= float32(r.slope[a]*float64(l.radius[i]) + r.intercept[a])
			if l.margin[at] <= 0 {
				w.due = append(w.due, r)
				w.vectors = append(w.vectors, r.dirs[1:]...)
			}
		}
		if len(w.due) == 0 {
			continue
		}
		x := l.s.Row(i, w.row)
		out := w.dots(l.opt.Dots, x)
		for _, r := range w.due {
			l.assignRow(p, r, i, x, out[:l.k-1])
			out = out[l.k-1:]
		}
	}
}

func (w *scratch) dots(dots Dots, x []float32) []float32 {
	if cap(w.out) < len(w.vectors) {
		w.out = make([]float32, len(w.vectors))
	}
	out := w.out[:len(w.vectors)]
	dots(out, x, w.vectors)
	return out
}

// assignRow puts row i, x, in the cluster of the largest f_j, given x.d_j for j >= 1.
// Of equal ones the row's own cluster wins, then the lowest.
func (l *lloyd) assignRow(p *partial, r *restart, i int, x, products []float32) {
	at := i*len(l.restarts) + r.index
	own := int(l.assign[at])
	best, lead, second := own, 0.0, math.Inf(-1)
	if own > 0 {
		lead = float64(products[own-1]) - r.offsets[own]
	}
	for j := range l.k {
		if j == own {
			continue
		}
		f := 0.0
		if j > 0 {
			f = float64(products[j-1]) - r.offsets[j]
		}
		if f > lead {
			best, lead, second = j, f, lead
		} else if f > second {
			second = f
		}
	}
	l.margin[at] = float32(lead - second)
	if best == own {
		return
	}
	l.assign[at] = uint8(best)
	p.moved[r.index]++
	p.move(r.index*l.k+own, own, x, -1)
	p.move(r.index*l.k+best, best, x, +1)
}

// move counts x in (sign +1) or out (-1) of cluster j, at index at.
func (p *partial) move(at, j int, x []float32, sign int64) {
	p.counts[at] += sign
	if j == 0 {
		return
	}
	if !p.dirty[at] {
		p.dirty[at] = true
		if p.sums[at] == nil {
			p.sums[at] = make([]float64, len(x))
		}
		clear(p.sums[at])
	}
	if sign > 0 {
		addRow(p.sums[at], x)
	} else {
		subRow(p.sums[at], x)
	}
}

// collect adds what the blocks changed to restart r's counts and sums.
func (l *lloyd) collect(r *restart) {
	r.moved = 0
	for _, p := range l.partial {
		r.moved += p.moved[r.index]
		p.moved[r.index] = 0
		for j := range l.k {
			at := r.index*l.k + j
			r.counts[j] += p.counts[at]
			p.counts[at] = 0
			if p.dirty[at] {
				p.dirty[at] = false
				addVector(r.sums[j], p.sums[at])
			}
		}
	}
}

// update moves the centres of r to the means of their rows, prepares the next
// iteration and returns the squared shift of all centres together.
func (l *lloyd) update(r *restart) (shift float64) {
	l.restSum(r)
	moves, gains := make([]float64, l.k), make([]float64, l.k)
	for j, c := range r.centers {
		n, moved := float64(r.counts[j]), 0.0
		for d := range c {
			v := r.sums[j][d]/n - l.mean[d]
			moved += float64((v - c[d]) * (v - c[d]))
			c[d] = v
		}
		shift += moved
		moves[j] = math.Sqrt(moved)
		gains[j] = r.squares[j] // until aim has the new ones
	}
	l.aim(r)
	for j := range gains {
		gains[j] = (r.squares[j] - gains[j]) / 2
	}
	for a := range l.k {
		r.slope[a], r.intercept[a] = 0, math.Inf(-1)
		for j := range l.k {
			if j != a {
				r.slope[a] = max(r.slope[a], moves[a]+moves[j])
				r.intercept[a] = max(r.intercept[a], gains[a]-gains[j])
			}
		}
	}
	return shift
}

// restSum sets the first cluster's sum, which the partial sums leave out, to what
// the others leave.
func (l *lloyd) restSum(r *restart) {
	copy(r.sums[0], l.total)
	for _, s := range r.sums[1:] {
		for d, v := range s {
			r.sums[0][d] -= v
		}
	}
}

// aim computes squares, dirs and offsets from the centres.
func (l *lloyd) aim(r *restart) {
	for j, c := range r.centers {
		r.squares[j] = 0
		for _, v := range c {
			r.squares[j] += float64(v * v)
		}
	}
	for j := 1; j < l.k; j++ {
		b := (r.squares[j] - r.squares[0]) / 2
		for d := range r.dirs[j] {
			v := float32(r.centers[j][d] - r.centers[0][d])
			r.dirs[j][d] = v
			b += float64(l.mean[d] * float64(v))
		}
		r.offsets[j] = b
	}
}

// refill gives every empty cluster of r the row farthest from the mean of its own
// cluster, among the clusters that have another row to keep.
func (l *lloyd) refill(r *restart) {
	for empty, n := range r.counts {
		if n > 0 {
			continue
		}
		i := l.farthest(r)
		at := i*len(l.restarts) + r.index
		from := l.assign[at]
		x := l.s.Row(i, l.workers[0].row)
		if from > 0 {
			subRow(r.sums[from], x)
		}
		if empty > 0 {
			addRow(r.sums[empty], x)
		}
		r.counts[from]--
		r.counts[empty]++
		l.assign[at], l.margin[at] = uint8(empty), float32(math.Inf(-1)) // its lead is not known
		r.moved++
	}
}

// farthest returns the row farthest from the mean of its cluster, of equal ones the
// first, among clusters of at least two rows.
func (l *lloyd) farthest(r *restart) int {
	l.restSum(r)
	means := make([][]float64, l.k)
	for j, n := range r.counts {
		means[j] = make([]float64, l.f)
		for d := range means[j] {
			means[j][d] = r.sums[j][d] / float64(max(n, 1))
		}
	}
	rows, distances := make([]int, l.blocks), make([]float64, l.blocks)
	l.parallel(l.blocks, func(w *scratch, b int) {
		distances[b] = -1
		for i := l.begin(b); i < l.begin(b+1); i++ {
			j := l.assign[i*len(l.restarts)+r.index]
			if r.counts[j] < 2 {
				continue
			}
			if d := squaredDistance(l.s.Row(i, w.row), means[j]); d > distances[b] {
				rows[b], distances[b] = i, d
			}
		}
	})
	best := 0
	for b, d := range distances {
		if d > distances[best] {
			best = b
		}
	}
	return rows[best]
}

func addRow(sum []float64, x []float32) {
	sum = sum[:len(x)]
	for d, v := range x {
		sum[d] += float64(v)
	}
}

func subRow(sum []float64, x []float32) {
	sum = sum[:len(x)]
	for d, v := range x {
		sum[d] -= float64(v)
	}
}

func addVector(sum, x []float64) {
	for d, v := range x {
		sum[d] += v
	}
}
