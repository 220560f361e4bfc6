package eval

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// naive computes the metrics from their definitions, by sorting everything and
// counting afresh at every place. With a random order of ties it is one of the
// values whose mean MultiLabel gives.
type naive struct {
	hit, perr, mean, gap float64
	aps                  map[int]float64
}

type naiveEntry struct {
	score float32
	class int
	hit   bool
}

func naiveAP(entries []naiveEntry, positives int) float64 {
	slices.SortStableFunc(entries, func(a, b naiveEntry) int {
		if a.score > b.score {
			return -1
		} else if a.score < b.score {
			return 1
		}
		return 0
	})
	sum := 0.0
	for i, e := range entries {
		if !e.hit {
			continue
		}
		hits := 0
		for _, f := range entries[:i+1] {
			if f.hit {
				hits++
			}
		}
		sum += float64(hits) / float64(i+1)
	}
	return sum / float64(positives)
}

// byScore returns the classes by falling score, ties by class.
func byScore(row []float32) []int {
	order := make([]int, len(row))
	for c := range order {
		order[c] = c
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(row[b], row[a]) })
	return order
}

func naiveMetrics(pred [][]float32, labels [][]int32, classes, topK int) naive {
	res := naive{aps: map[int]float64{}}
	var pool []naiveEntry
	byClass := make([][]naiveEntry, classes)
	positives := make([]int, classes)
	total := 0
	for r, row := range pred {
		set := map[int]bool{}
		for _, l := range labels[r] {
			set[int(l)] = true
		}
		for l := range set {
			positives[l]++
			total++
		}
		order := byScore(row)
		if set[order[0]] {
			res.hit++
		}
		found := 0.0
		for _, c := range order[:len(set)] {
			if set[c] && row[c] > 0 {
				found++
			}
		}
		if len(set) > 0 {
			res.perr += found / float64(len(set))
		}
		for _, c := range order[:min(topK, classes)] {
			e := naiveEntry{row[c], c, set[c]}
			pool = append(pool, e)
			byClass[c] = append(byClass[c], e)
		}
	}
	res.hit /= float64(len(pred))
	res.perr /= float64(len(pred))
	for c, n := range positives {
		if n > 0 {
			res.aps[c] = naiveAP(byClass[c], n)
			res.mean += res.aps[c]
		}
	}
	if len(res.aps) > 0 {
		res.mean /= float64(len(res.aps))
	}
	if total > 0 {
		res.gap = naiveAP(pool, total)
	}
	return res
}

// randomCase makes scores of the given kind and up to maxLabels labels a video.
func randomCase(r *rand.Rand, videos, classes, maxLabels int, score func() float32) (pred [][]float32, labels [][]int32) {
	for range videos {
		row := make([]float32, classes)
		for c := range row {
			row[c] = score()
		}
		n := r.IntN(maxLabels + 1)
		var l []int32
		for _, c := range r.Perm(classes)[:n] {
			l = append(l, int32(c))
			row[c] *= float32(int(1) << r.IntN(3)) // exact: no new ties
		}
		pred, labels = append(pred, row), append(labels, l)
	}
	return pred, labels
}

func TestAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := []struct {
		name  string
		score func() float32
	}{
		{"uniform", r.Float32},
		{"sparse", func() float32 { return float32(math.Exp(-20 * math.Sqrt(r.Float64()))) }},
		{"negative", func() float32 { return float32(r.NormFloat64()) - 3 }},
		{"huge", func() float32 { return float32(math.Exp(80 * (r.Float64() - 0.5))) }},
	}
	for _, kind := range kinds {
		for _, shape := range []struct{ videos, classes, labels, topK int }{
			{40, 25, 6, 20}, {30, 7, 7, 20}, {25, 1500, 4, 20}, {20, 1500, 60, 20}, {30, 300, 5, 1}, {1, 1, 1, 3}, {300, 90, 3, 5},
		} {
			pred, labels := randomCase(r, shape.videos, shape.classes, shape.labels, kind.score)
			want := naiveMetrics(pred, labels, shape.classes, shape.topK)
			m := NewMultiLabel(shape.classes, shape.topK, 3)
			if err := m.Add(flatten(pred, labels)); err != nil {
				t.Fatal(err)
			}
			got := m.Result()
			t.Logf("%s %+v: %.4f", kind.name, shape, want.gap)
			near(t, "hit@1", got.HitAt1, want.hit, 1e-12)
			near(t, "PERR", got.PERR, want.perr, 1e-12)
			near(t, "mAP", got.MAP, want.mean, 1e-12)
			near(t, "GAP", got.GAP, want.gap, 1e-12)
			for c, ap := range want.aps {
				near(t, "AP", got.PerClass[c].AP, ap, 1e-12)
			}
		}
	}
}

// The value with ties is the mean over all orders of the tied items.
func TestTiesAreExpectedValue(t *testing.T) {
	for _, c := range []struct {
		seen, hits int64
		group      []bool
	}{
		{0, 0, []bool{true}}, {3, 2, []bool{true, false}}, {5, 0, []bool{false, false}},
		{0, 0, []bool{true, true, false, false, false}}, {4, 3, []bool{true, true, true}}, {10, 4, []bool{true, false, false, true, false, true}},
	} {
		sum, orders := 0.0, 0
		h := int64(0)
		for _, b := range c.group {
			if b {
				h++
			}
		}
		permute(slices.Clone(c.group), 0, func(g []bool) {
			orders++
			hits := c.hits
			for j, b := range g {
				if b {
					hits++
					sum += float64(hits) / float64(c.seen+int64(j)+1)
				}
			}
		})
		near(t, "tied precision", tiedPrecision(c.seen, c.hits, int64(len(c.group)), h), sum/float64(orders), 1e-12)
	}
}

func permute(g []bool, i int, visit func([]bool)) {
	if i == len(g) {
		visit(g)
		return
	}
	for j := i; j < len(g); j++ {
		g[i], g[j] = g[j], g[i]
		permute(g, i+1, visit)
		g[i], g[j] = g[j], g[i]
	}
}

// The order of videos, the batch size and the threads must not change a bit, ties
// included.
func TestOrderBatchesAndThreadsDoNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pred, labels := randomCase(r, 400, 700, 25, func() float32 { return float32(r.IntN(40)) / 64 })
	var want MultiLabelResult
	for trial, batch := range []int{400, 1, 7, 64, 399} {
		m := NewMultiLabel(700, 20, 1+trial)
		order := r.Perm(len(pred))
		for i := 0; i < len(order); i += batch {
			var p [][]float32
			var l [][]int32
			for _, v := range order[i:min(i+batch, len(order))] {
				p, l = append(p, pred[v]), append(l, labels[v])
			}
			if err := m.Add(flatten(p, l)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				m.Result() // reading in between changes nothing
			}
		}
		got := m.Result()
		if trial == 0 {
			want = got
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("batches of %d: GAP %v, PERR %v, mAP %v; want %v, %v, %v", batch, got.GAP, got.PERR, got.MAP, want.GAP, want.PERR, want.MAP)
		}
	}
}

// Properties that hold for any data.
func TestInvariants(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		pred, labels := randomCase(r, 60, 50, 5, r.Float32)
		eval := func(pred [][]float32) MultiLabelResult {
			m := NewMultiLabel(50, 20, 2)
			if err := m.Add(flatten(pred, labels)); err != nil {
				t.Fatal(err)
			}
			return m.Result()
		}
		base := eval(pred)
		// A strictly increasing map of the scores (a power of two is exact) changes nothing.
		scaled := make([][]float32, len(pred))
		perfect := make([][]float32, len(pred))
		for i, row := range pred {
			scaled[i] = make([]float32, len(row))
			for c, v := range row {
				scaled[i][c] = v * 8
			}
			perfect[i] = make([]float32, len(row))
			for _, l := range labels[i] {
				perfect[i][l] = 1
			}
		}
		if got := eval(scaled); !reflect.DeepEqual(got, base) {
			t.Errorf("scaled scores: GAP %v, want %v", got.GAP, base.GAP)
		}
		best := eval(perfect)
		for _, v := range []float64{best.GAP, best.MAP} {
			near(t, "perfect", v, 1, 1e-12)
		}
		if best.HitAt1 < base.HitAt1 || best.PERR < base.PERR {
			t.Errorf("perfect scores are worse: %+v %+v", best.HitAt1, base.HitAt1)
		}
		for _, v := range []float64{base.GAP, base.MAP, base.HitAt1, base.PERR} {
			if v < 0 || v > 1 {
				t.Errorf("metric %v outside [0, 1]", v)
			}
		}
	}
}

func TestNaNIsReportedAndNothingCounted(t *testing.T) {
	for _, negative := range []bool{false, true} { // both signs: x86 makes negative NaNs
		nan := math.Float32frombits(0x7fc00000)
		if negative {
			nan = math.Float32frombits(0xffc00000)
		}
		for _, classes := range []int{10, 2000} {
			scores := make([]float32, 3*classes)
			scores[2*classes+7] = nan
			m := NewMultiLabel(classes, 20, 2)
			err := m.Add(scores, []int32{0, 0, 0, 0}, nil)
			var bad *ScoreError
			if !errors.As(err, &bad) || bad.Row != 2 || bad.Class != 7 {
				t.Errorf("error %v, want row 2 class 7", err)
			}
			if got := m.Result(); got.Videos != 0 {
				t.Errorf("%d videos counted", got.Videos)
			}
		}
	}
}

func TestOddLabels(t *testing.T) {
	m := NewMultiLabel(3, 20, 1)
	if err := m.Add([]float32{.9, .5, .1}, []int32{0, 5}, []int32{0, 0, 3, -1, 0}); err != nil {
		t.Fatal(err)
	}
	got := m.Result()
	if got.Positives != 1 || got.IgnoredLabels != 2 || got.PERR != 1 || got.GAP != 1 {
		t.Errorf("%+v", got)
	}
}

func TestInfinities(t *testing.T) {
	scores := make([]float32, 3000)
	for i := range scores {
		scores[i] = float32(math.Inf(1))
	}
	scores[0] = float32(math.Inf(-1))
	m := NewMultiLabel(3000, 2, 1)
	if err := m.Add(scores, []int32{0, 2}, []int32{1, 0}); err != nil {
		t.Fatal(err)
	}
	// Pool: classes 1 (a hit) and 2, tied: precision 1 or 1/2 at the hit, of two positives.
	near(t, "GAP", m.Result().GAP, 0.75/2, 1e-12)
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pred, labels := randomCase(r, 64, 1500, 5, r.Float32)
	scores, offsets, flat := flatten(pred, labels)
	m := NewMultiLabel(1500, 1, 2) // top 1: the pool's chunks grow rarely
	add := func() {
		if err := m.Add(scores, offsets, flat); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		add()
	}
	if n := testing.AllocsPerRun(50, add); n > 1 {
		t.Errorf("%v allocations a batch", n)
	}
}

// skewed looks like a trained classifier: most scores tiny.
func skewed(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(1 / (1 + math.Exp(7-1.5*r.NormFloat64())))
	}
	return s
}

func BenchmarkAdd(b *testing.B) {
	const rows, classes = 1024, 3862
	r := rand.New(rand.NewPCG(9, 10))
	scores := skewed(r, rows*classes)
	offsets := make([]int32, rows+1)
	var labels []int32
	for i := range rows {
		for range 1 + r.IntN(6) {
			labels = append(labels, int32(r.IntN(classes)))
		}
		offsets[i+1] = int32(len(labels))
	}
	for _, c := range []struct {
		name  string
		shift float32
	}{{"probabilities", 0}, {"negative", -1}} {
		shifted := slices.Clone(scores)
		for i := range shifted {
			shifted[i] += c.shift
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			m := NewMultiLabel(classes, 20, 0)
			for b.Loop() {
				if err := m.Add(shifted, offsets, labels); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "videos/s")
		})
	}
}

// BenchmarkResult is the final sort and sums for 200,000 videos' pool.
func BenchmarkResult(b *testing.B) {
	const videos, classes, topK = 200_000, 3862, 20
	r := rand.New(rand.NewPCG(11, 12))
	m := NewMultiLabel(classes, topK, 0)
	m.videos = videos
	scores := skewed(r, videos*topK)
	for _, s := range scores {
		c := r.IntN(classes)
		hit := r.IntN(7) == 0
		if hit {
			m.positives[c]++
		}
		m.pool.add(makeEntry(makeKey(s*50, c), hit))
	}
	for b.Loop() {
		m.Result()
	}
	b.ReportMetric(float64(b.N)*videos/b.Elapsed().Seconds(), "videos/s")
}

// What grows with the number of videos is the pool, 8 bytes an entry and little
// slack.
func TestMemoryIsThePool(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	const videos, topK = 50_000, 20
	var p pool
	for _, s := range skewed(r, videos*topK) {
		p.add(makeEntry(makeKey(s, 1), false))
	}
	words := 0
	for _, b := range p.buckets {
		words += len(b.full)*chunkEntries + cap(b.last)
	}
	if words > p.entries*6/5 {
		t.Errorf("%d words for %d entries", words, p.entries)
	}
	last, n := uint32(0), 0
	p.ascend(func(entries []uint64) {
		for _, e := range entries {
			if k := uint32(e >> 32); k < last {
				t.Fatalf("entry %d: key %x after %x", n, k, last)
			} else {
				last = k
			}
			n++
		}
	})
	if n != videos*topK {
		t.Errorf("%d entries, want %d", n, videos*topK)
	}
}
