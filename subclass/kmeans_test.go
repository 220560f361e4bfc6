package subclass

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func cluster(t testing.TB, s Samples, o KMeansOptions) *Clustering {
	t.Helper()
	c, err := KMeans(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// blobs draws rows around a few random centres of different weight.
func blobs(r *rand.Rand, n, f, centers int, spread float64) Matrix {
	c := randomVector(r, centers*f)
	m := Matrix{make([]float32, n*f), f}
	for i := range n {
		k := min(r.IntN(centers), r.IntN(centers))
		for d := range f {
			m.Data[i*f+d] = 3 + c[k*f+d] + float32(spread*r.NormFloat64())
		}
	}
	return m
}

// checkClustering recomputes everything in float64 from the rows alone: sizes,
// means, inertia, and that no row is clearly nearer to another mean.
func checkClustering(t *testing.T, s Samples, k int, c *Clustering, fixpoint bool) {
	t.Helper()
	counts := make([]int, k)
	means := make([][]float64, k)
	for j := range means {
		means[j] = make([]float64, s.Dim())
	}
	for i := range s.Len() {
		counts[c.Cluster[i]]++
		addRow(means[c.Cluster[i]], s.Row(i, nil))
	}
	for j, n := range counts {
		if n == 0 {
			t.Fatalf("cluster %d is empty", j)
		}
		if j > 0 && n > counts[j-1] {
			t.Errorf("sizes %v do not descend", counts)
		}
		for d := range means[j] {
			means[j][d] /= float64(n)
			near(t, "mean", c.Centers[j][d], means[j][d], 1e-9)
		}
	}
	inertia := 0.0
	for i := range s.Len() {
		own := squaredDistance(s.Row(i, nil), means[c.Cluster[i]])
		inertia += own
		for j := range means {
			if d := squaredDistance(s.Row(i, nil), means[j]); fixpoint && d < own-1e-4*(1+own) {
				t.Errorf("row %d is in cluster %d at %v, but %d is at %v", i, c.Cluster[i], own, j, d)
			}
		}
	}
	near(t, "inertia", c.Inertia, inertia, 1e-9)
}

func TestGoldenKMeans(t *testing.T) {
	var g struct {
		Cases []struct {
			K       int
			X       [][]float32
			Inertia float64 `json:"inertia_n_init10_seed0"`
			Best    float64 `json:"inertia_best_of_500"`
		}
	}
	readJSON(t, "testdata/kmeans.json", &g)
	for i, c := range g.Cases {
		m := Matrix{flatten(c.X), len(c.X[0])}
		for seed := range uint64(5) {
			got := cluster(t, m, KMeansOptions{Clusters: c.K, Seed: seed})
			checkClustering(t, m, c.K, got, true)
			// Some seeds do better than the golden best of 500, which is no bound.
			if got.Inertia > c.Inertia*(1+1e-9) {
				t.Errorf("set %d, seed %d: inertia %v, scikit-learn %v, best of 500 %v", i+1, seed, got.Inertia, c.Inertia, c.Best)
			}
		}
	}
}

func TestKMeansThreadsDoNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := blobs(r, 3000, 19, 7, 1)
	want := cluster(t, m, KMeansOptions{Clusters: 5, Restarts: 4, Seed: 3, Threads: 1})
	for threads := 2; threads < 9; threads += 3 {
		if got := cluster(t, m, KMeansOptions{Clusters: 5, Restarts: 4, Seed: 3, Threads: threads}); !reflect.DeepEqual(got, want) {
			t.Errorf("%d threads: inertia %v, want %v", threads, got.Inertia, want.Inertia)
		}
	}
	if got := cluster(t, m, KMeansOptions{Clusters: 5, Restarts: 1, Seed: 4}); reflect.DeepEqual(got, want) {
		t.Error("another seed gives the same bits")
	}
}

// Skipping rows by their margins must not change a single assignment.
func TestBoundsAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, k := range []int{2, 3, 8} {
		m := blobs(r, 2000, 24, 10, 1.5)
		run := func(skip bool) ([]uint8, int) {
			seen := 0
			o := KMeansOptions{Clusters: k, Restarts: 3, Seed: 9, Dots: func(out, x []float32, v [][]float32) {
				seen += len(v)
				goDots(out, x, v)
			}, Threads: 1}.withDefaults(m.Len(), m.Dim())
			l := newLloyd(m, o)
			l.center()
			if err := l.seed(context.Background()); err != nil {
				t.Fatal(err)
			}
			l.opt.MaxIterations = 1
			for range 30 {
				for _, r := range l.restarts {
					r.active, r.iterations = true, 0
				}
				if !skip {
					for i := range l.margin {
						l.margin[i] = float32(math.Inf(-1))
					}
				}
				if err := l.iterate(context.Background(), 0); err != nil {
					t.Fatal(err)
				}
			}
			return l.assign, seen
		}
		want, all := run(false)
		got, some := run(true)
		if !slices.Equal(got, want) {
			t.Errorf("k=%d: assignments differ", k)
		}
		if some > all*3/4 {
			t.Errorf("k=%d: %d of %d dot products: the bounds skip too little", k, some, all)
		}
	}
}

func TestKMeansDegenerate(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	same := Matrix{make([]float32, 40*3), 3}
	for i := range same.Data {
		same.Data[i] = 5
	}
	twoPoints := Matrix{make([]float32, 50*2), 2}
	for i := range 5 {
		twoPoints.Data[2*i] = 1
	}
	for name, c := range map[string]struct {
		m Matrix
		k int
	}{
		"all equal": {same, 4}, "two points, five clusters": {twoPoints, 5}, "one cluster": {blobs(r, 30, 4, 3, 1), 1},
		"as many clusters as rows": {blobs(r, 9, 4, 3, 1), 9}, "one feature": {blobs(r, 100, 1, 4, .1), 3}, "two rows": {blobs(r, 2, 4, 1, 1), 2},
	} {
		t.Run(name, func(t *testing.T) {
			got := cluster(t, c.m, KMeansOptions{Clusters: c.k, Seed: 1})
			checkClustering(t, c.m, c.k, got, true)
			if name == "as many clusters as rows" && got.Inertia > 1e-9 {
				t.Errorf("inertia %v, want 0", got.Inertia)
			}
		})
	}
}

// A centre far away from everything loses all rows and must get the farthest row.
func TestEmptyClusterIsRefilled(t *testing.T) {
	m := Matrix{[]float32{0, 1, 2, 3, 10}, 1}
	l := newLloyd(m, KMeansOptions{Clusters: 3, Restarts: 1, Threads: 1}.withDefaults(5, 1))
	l.center()
	r := l.restarts[0]
	r.counts[0] = 5
	r.centers = [][]float64{{-1}, {0}, {1e6}}
	l.aim(r)
	l.opt.MaxIterations = 1
	if err := l.iterate(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	// Relative to the mean 3.2: rows 0 to 2 went to centre -1, 3 and 10 to centre 0; the
	// means are 1 and 6.5 and rows 3 and 10 are farthest, at 3.5.
	if want := []uint8{0, 0, 0, 2, 1}; !slices.Equal(l.assign, want) {
		t.Errorf("clusters %v, want %v", l.assign, want)
	}
	if !slices.Equal(r.counts, []int64{3, 1, 1}) {
		t.Errorf("counts %v", r.counts)
	}
	near(t, "centre", r.centers[2][0]+l.mean[0], 3, 1e-12)
}

func TestKMeansStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := KMeans(ctx, blobs(rand.New(rand.NewPCG(1, 1)), 50, 3, 2, 1), KMeansOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// BenchmarkKMeans is the size of issue "images": 10,000 images of one class.
func BenchmarkKMeans(b *testing.B) {
	if testing.Short() {
		b.Skip("takes seconds")
	}
	r := rand.New(rand.NewPCG(2, 3))
	// Rows of low effective rank, like images: the margins are as hard as there.
	const n, f, rank = 10_000, 3072, 30
	basis := randomVector(r, rank*f)
	m := Matrix{make([]float32, n*f), f}
	for i := range n {
		row := m.Data[i*f : (i+1)*f]
		for k := range rank {
			w := float32(r.NormFloat64() / float64(1+k))
			for d, v := range basis[k*f : (k+1)*f] {
				row[d] += w * v
			}
		}
	}
	for b.Loop() {
		c, err := KMeans(context.Background(), m, KMeansOptions{Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.Iterations), "iterations")
	}
}
