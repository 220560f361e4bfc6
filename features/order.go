package features

import (
	"fmt"
	"math/bits"
	"sort"
)

// Shuffle makes a permutation of a subset for each epoch, at two levels, so that a store larger than memory streams: chunks are
// permuted as wholes, then rows inside windows of the permuted sequence.
//
//	chunks in the order of the file    [ A ][ B ][ C ][ D ][ E ]
//	permuted                           [ D ][ A ][ E ][ C ][ B ]
//	cut into windows of windowRows     |------|------|------|---|
//	rows permuted inside each window   |======|======|======|===|
//
// At any time only the chunks of one window, and of the next, which is read ahead, need be in memory. The permutation is exactly this:
//
//	mix(x)     = the output function of SplitMix64 of x + gamma, gamma = 0x9e3779b97f4a7c15
//	             (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014)
//	key(s)     = mix(mix(mix(seed) + epoch) + s)
//	shuffle by s of v[0..n): for i = n-1 down to 1: j = floor(mix(key(s) + i*gamma) * (i+1) / 2^64), swap v[i] and v[j]
//	chunks     : the chunks that hold rows of the subset, in the order of the file, shuffled by 0
//	windows    : the subset's rows, chunk by chunk in that order, cut every windowRows rows; window w shuffled by w+1
//	             (derived rows belong to the chunk of their base, see Subset.WithDerived)
//
// (all modulo 2^64).
type Shuffle struct {
	subset        *Subset
	window        int
	seed          uint64
	chunks, spans []int // see Subset.spans
}

// NewShuffle returns the shuffle of s with windows of windowRows rows (at least 1; s.Rows() or more for a permutation of the whole).
func NewShuffle(s *Subset, windowRows int, seed uint64) *Shuffle {
	if windowRows < 1 {
		panic(fmt.Sprintf("features: shuffle with windows of %d rows", windowRows))
	}
	h := &Shuffle{subset: s, window: max(1, min(windowRows, s.n)), seed: seed}
	h.chunks, h.spans = s.spans()
	return h
}

// Epoch returns the order of epoch e. Orders of one Shuffle are independent of each other.
func (h *Shuffle) Epoch(e int) *Order {
	n := len(h.chunks)
	o := &Order{subset: h.subset, shuffle: h, key: mix(mix(h.seed) + uint64(e)), order: make([]int, n), starts: make([]int, n+1),
		window: make([]int, 0, h.window), loaded: -1}
	for k := range o.order {
		o.order[k] = k
	}
	shuffle(mix(o.key), o.order)
	for k, c := range o.order {
		o.starts[k+1] = o.starts[k] + h.spans[c+1] - h.spans[c]
	}
	return o
}

// Order is a permutation of a subset. It keeps the window it last used, so it is for one goroutine at a time.
type Order struct {
	subset  *Subset
	shuffle *Shuffle // nil: sequential
	key     uint64   // mix(mix(seed) + epoch)
	order   []int    // permuted indices of shuffle.chunks
	starts  []int    // position of the first row of each
	window  []int    // rows of the loaded window, permuted
	loaded  int      // its number
}

// Sequential returns the rows of s in their own order.
func Sequential(s *Subset) *Order { return &Order{subset: s} }

// Len returns the number of rows.
func (o *Order) Len() int { return o.subset.n }

// Subset returns the rows that are ordered.
func (o *Order) Subset() *Subset { return o.subset }

// Rows fills dst with the row numbers at positions from, from+1, ... and returns the part of dst that was filled: shorter than dst
// only at the end. What is at a position depends on nothing but subset, window, seed, epoch and position; a position anywhere costs no
// more than its window.
func (o *Order) Rows(from int, dst []int) []int {
	if from < 0 || from > o.Len() {
		panic(fmt.Sprintf("features: position %d of %d", from, o.Len()))
	}
	dst = dst[:min(len(dst), o.Len()-from)]
	if o.shuffle == nil {
		for i := range dst {
			dst[i] = o.subset.Row(from + i)
		}
		return dst
	}
	for done := 0; done < len(dst); {
		w := (from + done) / o.shuffle.window
		o.load(w)
		done += copy(dst[done:], o.window[from+done-w*o.shuffle.window:])
	}
	return dst
}

// load makes w the window at hand.
func (o *Order) load(w int) {
	if o.loaded == w {
		return
	}
	o.window = o.window[:0]
	o.visit(w, func(_, from, to int) {
		for i := from; i < to; i++ {
			o.window = append(o.window, o.subset.Row(i))
		}
	})
	shuffle(mix(o.key+uint64(w)+1), o.window)
	o.loaded = w
}

// visit calls f for each part of window w that comes from one chunk, with the positions of the subset that it takes.
func (o *Order) visit(w int, f func(chunk, from, to int)) {
	h := o.shuffle
	begin, end := w*h.window, min((w+1)*h.window, o.Len())
	for k := sort.SearchInts(o.starts, begin+1) - 1; k < len(o.order) && o.starts[k] < end; k++ {
		c := o.order[k]
		from := h.spans[c] + max(0, begin-o.starts[k])
		to := h.spans[c] + min(o.starts[k+1], end) - o.starts[k]
		f(h.chunks[c], from, to)
	}
}

// readAhead asks the system for the chunks of the window after the one at hand.
func (o *Order) readAhead() {
	if o.shuffle == nil || (o.loaded+1)*o.shuffle.window >= o.Len() {
		return
	}
	o.visit(o.loaded+1, func(chunk, _, _ int) { o.subset.split.willNeed(chunk) })
}

const gamma = 0x9e3779b97f4a7c15

// mix is the output function of SplitMix64 after one step of its state.
func mix(x uint64) uint64 {
	x += gamma
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// shuffle is Fisher and Yates' with the random numbers mix(key + i*gamma).
func shuffle(key uint64, v []int) {
	for i := len(v) - 1; i > 0; i-- {
		j, _ := bits.Mul64(mix(key+uint64(i)*gamma), uint64(i+1))
		v[i], v[j] = v[j], v[i]
	}
}
