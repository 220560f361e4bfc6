package eval

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// MultiLabel accumulates the multi-label metrics (see the package comment) over
// batches of videos. Its methods must not be called concurrently; Add itself works
// on several threads.
type MultiLabel struct {
	classes, topK int

	videos, hits, ignored int64
	positives             []int64 // per class
	// found[m] is the number of labels found among the m best classes, summed over
	// the videos with m labels. Counting per m keeps PERR independent of the order
	// of the videos.
	found []int64
	pool  pool

	workers []*worker
	rows    []rowResult // of the current batch
	entries []uint64    // of the current batch, topK a row
	seen    marks
	scores  []float32 // the current batch
	offsets []int32
	labels  []int32
	next    atomic.Int64
	wait    sync.WaitGroup
}

// rowResult is what one row contributes besides its pool entries.
type rowResult struct {
	best   int32 // number of pool entries
	labels int32 // distinct labels
	found  int32 // labels among as many best classes
	hit    bool  // the best class is a label
	bad    int32 // class of the first NaN, or -1
}

// worker is one thread's buffers; run is its goroutine, built once so that
// starting it allocates nothing.
type worker struct {
	sel  selector
	seen marks
	run  func()
}

// marks is a set of classes that empties in constant time.
type marks struct {
	stamp []uint32
	now   uint32
}

func (m *marks) clear(classes int) {
	if m.stamp == nil {
		m.stamp = make([]uint32, classes)
	}
	m.now++
	if m.now == 0 { // wrapped: old stamps could be mistaken for new ones
		clear(m.stamp)
		m.now = 1
	}
}

// put adds class c and says whether it was new.
func (m *marks) put(c int32) bool {
	if m.stamp[c] == m.now {
		return false
	}
	m.stamp[c] = m.now
	return true
}

func (m *marks) has(c int) bool { return m.stamp[c] == m.now }

// NewMultiLabel returns an accumulator for the given number of classes that pools
// topK entries a video (20 by the YouTube-8M rules) and uses up to threads threads
// (0: one for each processor). It panics if classes or topK is not positive.
func NewMultiLabel(classes, topK, threads int) *MultiLabel {
	if classes <= 0 || topK <= 0 {
		panic(fmt.Sprintf("eval: NewMultiLabel: %d classes, top %d", classes, topK))
	}
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	m := &MultiLabel{classes: classes, topK: min(topK, classes), positives: make([]int64, classes)}
	for range threads {
		w := &worker{}
		w.run = func() {
			defer m.wait.Done()
			m.work(w)
		}
		m.workers = append(m.workers, w)
	}
	return m
}

// ScoreError reports a score that is not a number: the network that gave it has
// diverged.
type ScoreError struct {
	Row   int // in the batch, or -1 where it is not known
	Class int
}

func (e *ScoreError) Error() string {
	return fmt.Sprintf("score of class %d in row %d is NaN: the network has diverged; train with a lower learning rate", e.Class, e.Row)
}

// stripeRows is how many rows a worker claims at a time.
const stripeRows = 16

// Add counts a batch. scores is rows x classes, row major; the labels of row r are
// labels[offsets[r]:offsets[r+1]], so rows = len(offsets)-1. Repeated labels count
// once; labels outside [0, classes) are left out and counted in
// [MultiLabelResult.IgnoredLabels]. A NaN gives a [*ScoreError] and nothing of the
// batch is counted. Add panics if the lengths do not fit. It keeps no reference to
// its arguments and in the steady state allocates only the pool's growth.
func (m *MultiLabel) Add(scores []float32, offsets, labels []int32) error {
	rows := len(offsets) - 1
	if rows < 0 || len(scores) != rows*m.classes {
		panic(fmt.Sprintf("eval: Add: %d scores for %d offsets x %d classes", len(scores), len(offsets), m.classes))
	}
	if cap(m.rows) < rows {
		m.rows = make([]rowResult, rows)
		m.entries = make([]uint64, rows*m.topK)
	}
	m.rows = m.rows[:rows]
	m.scores, m.offsets, m.labels = scores, offsets, labels
	m.next.Store(0)
	threads := min(len(m.workers), (rows+stripeRows-1)/stripeRows)
	m.wait.Add(threads)
	for _, w := range m.workers[:threads] {
		go w.run()
	}
	m.wait.Wait()
	err := m.collect()
	m.scores, m.offsets, m.labels = nil, nil, nil
	return err
}

// work ranks stripes of rows until none is left.
func (m *MultiLabel) work(w *worker) {
	for {
		to := int(m.next.Add(stripeRows))
		from := to - stripeRows
		if from >= len(m.rows) {
			return
		}
		for r := from; r < min(to, len(m.rows)); r++ {
			labels := m.labels[m.offsets[r]:m.offsets[r+1]]
			row := m.scores[r*m.classes : (r+1)*m.classes]
			m.rows[r] = w.rank(row, labels, m.entries[r*m.topK:(r+1)*m.topK])
		}
	}
}

// mark makes the labels the worker's current set and returns how many distinct
// ones lie within the classes.
func (w *worker) mark(labels []int32, classes int) (distinct int) {
	w.seen.clear(classes)
	for _, l := range labels {
		if l >= 0 && int(l) < classes && w.seen.put(l) {
			distinct++
		}
	}
	return distinct
}

// rank evaluates one video and fills entries with its best classes.
func (w *worker) rank(row []float32, labels []int32, entries []uint64) rowResult {
	n := w.mark(labels, len(row))
	keys, bad := w.sel.top(row, max(len(entries), n))
	if bad >= 0 {
		return rowResult{bad: int32(bad)}
	}
	return w.measure(keys, n, entries)
}

// measure computes a video's result from its ranking, best first, of which at most
// len(entries) are pooled.
func (w *worker) measure(keys []rankedKey, labels int, entries []uint64) rowResult {
	res := rowResult{labels: int32(labels), bad: -1}
	for i, k := range keys {
		hit := w.seen.has(keyClass(k))
		if i == 0 {
			res.hit = hit
		}
		if i < labels && hit && keyScore(k) > 0 {
			res.found++
		}
		if i < len(entries) {
			entries[i] = makeEntry(k, hit)
			res.best++
		}
	}
	return res
}

// collect adds the ranked batch to the totals.
func (m *MultiLabel) collect() error {
	for r := range m.rows {
		if bad := m.rows[r].bad; bad >= 0 {
			return &ScoreError{Row: r, Class: int(bad)}
		}
	}
	for r := range m.rows {
		m.count(m.rows[r], m.entries[r*m.topK:], m.labels[m.offsets[r]:m.offsets[r+1]])
	}
	return nil
}

// count adds one video to the totals.
func (m *MultiLabel) count(res rowResult, entries []uint64, labels []int32) {
	m.videos++
	if res.hit {
		m.hits++
	}
	for int(res.labels) >= len(m.found) {
		m.found = append(m.found, 0)
	}
	m.found[res.labels] += int64(res.found)
	for _, e := range entries[:res.best] {
		m.pool.add(e)
	}
	m.seen.clear(m.classes)
	for _, l := range labels {
		if l < 0 || int(l) >= m.classes {
			m.ignored++
		} else if m.seen.put(l) {
			m.positives[l]++
		}
	}
}

// ClassAP is one class's part of the mean average precision.
type ClassAP struct {
	Class     int     `json:"class"`
	Name      string  `json:"name,omitempty"` // empty unless the caller fills it in
	Positives int64   `json:"positives"`
	AP        float64 `json:"ap"` // 0 without positives, and then not part of MAP
}

// MultiLabelResult holds the metrics, all in [0, 1]; the JSON keys are those of
// `sdnn eval`.
type MultiLabelResult struct {
	Videos        int64     `json:"videos"`
	TopK          int       `json:"top_k"`
	HitAt1        float64   `json:"hit_at_1"`
	PERR          float64   `json:"perr"`
	MAP           float64   `json:"map"`
	GAP           float64   `json:"gap"`
	Positives     int64     `json:"positives"`
	Classes       int       `json:"classes_with_positives"`
	IgnoredLabels int64     `json:"ignored_labels,omitempty"`
	PerClass      []ClassAP `json:"per_class,omitempty"`
}

// Result computes the metrics of what was added so far; more may be added
// afterwards. PerClass has an element for every class. Without videos or without
// positives the metrics that divide by them are 0.
func (m *MultiLabel) Result() MultiLabelResult {
	res := MultiLabelResult{Videos: m.videos, TopK: m.topK, IgnoredLabels: m.ignored, PerClass: make([]ClassAP, m.classes)}
	var all averagePrecision
	classes := make([]averagePrecision, m.classes)
	m.pool.ascend(func(entries []uint64) {
		for _, e := range entries {
			score, class, hit := uint32(e>>32), uint32(e)>>1, e&1 == 1
			all.add(score, hit)
			classes[class].add(score, hit)
		}
	})
	sum := 0.0
	for c := range classes {
		n := m.positives[c]
		ap := classes[c].value(n)
		res.PerClass[c] = ClassAP{Class: c, Positives: n, AP: ap}
		res.Positives += n
		if n > 0 {
			res.Classes++
			sum += ap
		}
	}
	res.GAP = all.value(res.Positives)
	if res.Classes > 0 {
		res.MAP = sum / float64(res.Classes)
	}
	if m.videos > 0 {
		res.HitAt1 = float64(m.hits) / float64(m.videos)
		perr := 0.0
		for n, found := range m.found {
			if n > 0 {
				perr += float64(found) / float64(n)
			}
		}
		res.PERR = perr / float64(m.videos)
	}
	return res
}
