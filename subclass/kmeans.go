package subclass

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
)

// Samples are the points to cluster, a row each. Rows may be mapped or computed on
// the fly: Row returns row i, either its own memory or buf filled (len(buf) =
// Dim()), and is called concurrently with different buffers. Rows must be finite.
type Samples interface {
	Len() int
	Dim() int
	Row(i int, buf []float32) []float32
}

// Matrix is Samples in memory, row major.
type Matrix struct {
	Data  []float32
	Width int
}

// Len implements Samples.
func (m Matrix) Len() int { return len(m.Data) / m.Width }

// Dim implements Samples.
func (m Matrix) Dim() int { return m.Width }

// Row implements Samples.
func (m Matrix) Row(i int, _ []float32) []float32 { return m.Data[i*m.Width : (i+1)*m.Width] }

// KMeansOptions are the settings of [KMeans]; the zero value of a field is the
// default.
type KMeansOptions struct {
	Clusters      int     // 2 by default
	Restarts      int     // by default 10, and more where rows are few: see manyRestarts
	MaxIterations int     // of one restart; 300 by default
	Tolerance     float64 // of the centres' squared shift, in mean variances of a feature; 1e-4 by default
	Seed          uint64
	Threads       int  // 0: one for each processor; the result does not depend on it
	Dots          Dots // nil: portable Go
}

// A small problem has the rougher landscape (ten restarts of 60 rows in 3 clusters
// find the optimum one time in five) and costs next to nothing, so that it gets as
// many restarts as fit in restartBudget multiplications an iteration.
const (
	fewRestarts   = 10
	manyRestarts  = 250
	restartBudget = 4 << 20
)

// withDefaults fills in the defaults for n rows of f features.
func (o KMeansOptions) withDefaults(n, f int) KMeansOptions {
	o.Clusters = cmp.Or(o.Clusters, 2)
	if o.Restarts == 0 {
		o.Restarts = min(max(restartBudget/max(n*f*o.Clusters, 1), fewRestarts), manyRestarts)
	}
	o.MaxIterations = cmp.Or(o.MaxIterations, 300)
	o.Tolerance = cmp.Or(o.Tolerance, 1e-4)
	if o.Dots == nil {
		o.Dots = goDots
	}
	return o
}

// Clustering is the result of [KMeans]. Clusters are numbered by descending size,
// equal sizes by their first row.
type Clustering struct {
	Cluster    []uint8     // of each row; every cluster has a row
	Centers    [][]float64 // mean of each cluster
	Inertia    float64     // sum of squared distances of the rows to their means
	Iterations int         // of the best restart
}

// KMeans clusters s by Lloyd's algorithm from k-means++ seeds (D. Arthur and S.
// Vassilvitskii, SODA 2007, with their greedy variant of several candidates a step)
// and returns the best of several restarts by inertia. Restarts stop when their
// centres hardly move; where rows are few, single rows are then exchanged; the best
// restart goes on until no row changes its cluster. A cluster that loses its last row
// gets the row farthest from its own mean.
//
// All restarts run side by side, so that a row is fetched once for all of them, and
// a row whose nearest centre cannot have changed is not fetched at all: see lloyd.
// The result depends on the samples, the options and the Dots, not on the number of
// threads. It panics if there are fewer rows than clusters or more than MaxClusters
// clusters; the only error is ctx's.
func KMeans(ctx context.Context, s Samples, options KMeansOptions) (*Clustering, error) {
	o := options.withDefaults(s.Len(), s.Dim())
	if o.Clusters < 1 || o.Clusters > MaxClusters || s.Len() < o.Clusters || s.Dim() < 1 || o.Restarts < 1 {
		panic(fmt.Sprintf("subclass: KMeans: %d rows of %d features in %d clusters, %d restarts", s.Len(), s.Dim(), o.Clusters, o.Restarts))
	}
	l := newLloyd(s, o)
	l.center()
	if err := l.seed(ctx); err != nil {
		return nil, err
	}
	if err := l.iterate(ctx, l.tolerance); err != nil {
		return nil, err
	}
	if l.n*l.f*l.k*len(l.restarts) <= 2*restartBudget {
		l.parallel(len(l.restarts), func(w *scratch, i int) { l.exchange(w, l.restarts[i]) })
	}
	best := l.restarts[0]
	for _, r := range l.restarts {
		if r.inertia(l.spread) < best.inertia(l.spread) {
			best = r
		}
	}
	best.active = true
	if err := l.iterate(ctx, 0); err != nil {
		return nil, err
	}
	return l.result(best), nil
}

// result gathers a restart's outcome, with the inertia computed afresh.
func (l *lloyd) result(r *restart) *Clustering {
	c := &Clustering{Cluster: make([]uint8, l.n), Iterations: r.iterations}
	first := make([]int, l.k)
	for i := l.n - 1; i >= 0; i-- {
		c.Cluster[i] = l.assign[i*len(l.restarts)+r.index]
		first[c.Cluster[i]] = i
	}
	order := make([]int, l.k)
	for j := range order {
		order[j] = j
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(r.counts[b], r.counts[a]), cmp.Compare(first[a], first[b]))
	})
	number := make([]uint8, l.k)
	for to, from := range order {
		number[from] = uint8(to)
		center := slices.Clone(r.centers[from])
		for d := range center {
			center[d] += l.mean[d]
		}
		c.Centers = append(c.Centers, center)
	}
	for i := range c.Cluster {
		c.Cluster[i] = number[c.Cluster[i]]
	}
	parts := make([]float64, l.blocks)
	l.parallel(l.blocks, func(w *scratch, b int) {
		for i := l.begin(b); i < l.begin(b+1); i++ {
			parts[b] += squaredDistance(l.s.Row(i, w.row), c.Centers[c.Cluster[i]])
		}
	})
	for _, p := range parts {
		c.Inertia += p
	}
	return c
}

func squaredDistance(x []float32, c []float64) float64 {
	s := 0.0
	for d, v := range x {
		e := float64(v) - c[d]
		s += float64(e * e)
	}
	return s
}

// inertia follows from the means: sum |x-mu|^2 - sum n_j |c_j-mu|^2, where spread is
// the first sum.
func (r *restart) inertia(spread float64) float64 {
	for j, n := range r.counts {
		spread -= float64(n) * r.squares[j]
	}
	return math.Max(spread, 0)
}
