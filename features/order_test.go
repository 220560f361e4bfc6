package features

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
)

func rowsOf(o *Order) []int { return o.Rows(0, make([]int, o.Len())) }

func rowsOfSubset(s *Subset) []int {
	rows := make([]int, s.Rows())
	for i := range rows {
		rows[i] = s.Row(i)
	}
	return rows
}

// subsets of one store, for the property tests.
func subsets(t *testing.T) map[string]*Subset {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 373, small)
	p := mustOpen(t, dir, "train")
	rest, held, err := All(p).ByHash(0.3, 5)
	if err != nil {
		t.Fatal(err)
	}
	_, few, err := held.ByHash(0.1, 6)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Subset{"all": All(p), "head": All(p).Head(101), "one": All(p).Head(1), "none": All(p).Head(0),
		"rest": rest, "held": held, "few": few, "head of held": held.Head(20)}
}

func TestShuffleIsAPermutation(t *testing.T) {
	for name, s := range subsets(t) {
		want := rowsOfSubset(s)
		if !slices.IsSorted(want) {
			t.Errorf("%s: a subset out of order", name)
		}
		if got := rowsOf(Sequential(s)); !slices.Equal(got, want) {
			t.Errorf("%s: Sequential gives %v", name, got)
		}
		for _, window := range []int{1, 7, 10, 64, 373, 10000} {
			h := NewShuffle(s, window, 42)
			got := rowsOf(h.Epoch(3))
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s, window %d: no permutation: %v", name, window, got)
			}
		}
	}
}

func TestShuffleDependsOnSeedAndEpochOnly(t *testing.T) {
	s := subsets(t)["rest"]
	order := func(window int, seed uint64, epoch int) string {
		return fmt.Sprint(rowsOf(NewShuffle(s, window, seed).Epoch(epoch)))
	}
	for _, window := range []int{1, 50, 1000} {
		first := order(window, 1, 0)
		if again := order(window, 1, 0); first != again {
			t.Error("the same seed and epoch give another order")
		}
		if first == order(window, 1, 1) || first == order(window, 2, 0) {
			t.Error("another epoch or seed gives the same order")
		}
	}
	h := NewShuffle(s, 50, 1)
	first, second := h.Epoch(0), h.Epoch(1)
	a := second.Rows(0, make([]int, 60))
	first.Rows(0, make([]int, 100))
	if b := h.Epoch(1).Rows(0, make([]int, 60)); !slices.Equal(a, b) {
		t.Error("orders of one shuffle disturb each other")
	}
}

// Resuming anywhere, with batches of any size, must go on as if nothing had happened.
func TestOrderIsStableUnderResume(t *testing.T) {
	for name, s := range subsets(t) {
		h := NewShuffle(s, 23, 9)
		whole := rowsOf(h.Epoch(2))
		for from := 0; from <= len(whole); from += 1 + len(whole)/50 {
			o := h.Epoch(2)
			for _, n := range []int{3, 40, len(whole)} {
				got := o.Rows(from, make([]int, n))
				if want := whole[from:min(from+n, len(whole))]; !slices.Equal(got, want) {
					t.Fatalf("%s: %d rows from %d: %v, want %v", name, n, from, got, want)
				}
			}
		}
	}
}

// A naive shuffle, written from the doc comment of Shuffle.
func TestShuffleIsAsSpecified(t *testing.T) {
	const window, seed, epoch = 23, 9, 4
	key := func(s uint64) uint64 { return mix(mix(mix(seed)+epoch) + s) }
	permute := func(s uint64, v []int) {
		for i := len(v) - 1; i >= 1; i-- {
			x := mix(key(s) + uint64(i)*gamma)
			// floor(x * (i+1) / 2^64) in two halves
			lo, hi := x&math.MaxUint32, x>>32
			m := uint64(i + 1)
			j := (hi*m + lo*m>>32) >> 32
			v[i], v[j] = v[j], v[i]
		}
	}
	for name, s := range subsets(t) {
		byChunk := map[int][]int{}
		var chunks []int
		for _, row := range rowsOfSubset(s) {
			c := row / 10 // batches have 10 rows, and shards end with full ones, but for the last
			if byChunk[c] == nil {
				chunks = append(chunks, c)
			}
			byChunk[c] = append(byChunk[c], row)
		}
		permute(0, chunks)
		var want []int
		for _, c := range chunks {
			want = append(want, byChunk[c]...)
		}
		for w := 0; w*window < len(want); w++ {
			permute(uint64(w+1), want[w*window:min(len(want), (w+1)*window)])
		}
		if got := rowsOf(NewShuffle(s, window, seed).Epoch(epoch)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	// The first outputs of SplitMix64 with seed 1234567, as published with its reference implementation.
	x := uint64(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := mix(x + uint64(i)*gamma); got != want {
			t.Errorf("SplitMix64 output %d: %d, want %d", i, got, want)
		}
	}
}

// No window may need more chunks than its rows can fill, but for the two at its ends.
func TestShuffleWindowBoundsMemory(t *testing.T) {
	s := subsets(t)["all"]
	const window = 40
	rows := rowsOf(NewShuffle(s, window, 3).Epoch(0))
	for w := 0; w < len(rows); w += window {
		chunks := map[int]bool{}
		for _, row := range rows[w:min(w+window, len(rows))] {
			chunks[s.Split().chunkOf(row)] = true
		}
		if len(chunks) > window/10+2 {
			t.Errorf("the window at %d takes %d chunks of 10 rows", w, len(chunks))
		}
	}
}

// Every row must come to every place equally often: chi-square over 4000 epochs.
func TestShuffleIsUniform(t *testing.T) {
	s := subsets(t)["head of held"]
	const epochs = 4000
	n := s.Rows()
	h := NewShuffle(s, n, 11)
	place := map[int][]int{}
	for e := range epochs {
		for i, row := range rowsOf(h.Epoch(e)) {
			if place[row] == nil {
				place[row] = make([]int, n)
			}
			place[row][i]++
		}
	}
	chi, mean := 0.0, float64(epochs)/float64(n)
	for _, counts := range place {
		for _, c := range counts {
			chi += (float64(c) - mean) * (float64(c) - mean) / mean
		}
	}
	free := float64((n - 1) * (n - 1))
	if z := (chi - free) / math.Sqrt(2*free); math.Abs(z) > 4 {
		t.Errorf("chi-square %.0f for %.0f degrees of freedom: %.1f standard deviations", chi, free, z)
	}
}

func TestByHash(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 4000, WriterOptions{})
	mustWrite(t, dir, "more", 1, 5000, WriterOptions{})
	all := All(mustOpen(t, dir, "train"))
	part := func(s *Subset, fraction float64, seed uint64) (rest, held *Subset) {
		rest, held, err := s.ByHash(fraction, seed)
		if err != nil {
			t.Fatal(err)
		}
		return rest, held
	}
	rest, held := part(all, 0.1, 1)
	if n := held.Rows(); n < 200 || n > 800 { // rows without an id, one in 11, go together
		t.Errorf("a tenth of 4000 rows: %d", n)
	}
	both := append(rowsOfSubset(rest), rowsOfSubset(held)...)
	slices.SortFunc(both, cmp.Compare[int])
	if !slices.Equal(both, rowsOfSubset(all)) {
		t.Error("the parts do not make up the whole")
	}
	if _, again := part(all, 0.1, 1); !slices.Equal(rowsOfSubset(again), rowsOfSubset(held)) {
		t.Error("the same seed gives other parts")
	}
	if _, other := part(all, 0.1, 2); slices.Equal(rowsOfSubset(other), rowsOfSubset(held)) {
		t.Error("another seed gives the same parts")
	}
	_, more := part(All(mustOpen(t, dir, "more")), 0.1, 1)
	if got := rowsOfSubset(more)[:held.Rows()]; !slices.Equal(got, rowsOfSubset(held)) {
		t.Error("more data moved old rows")
	}
	_, wider := part(all, 0.2, 1)
	for _, row := range rowsOfSubset(held) {
		if !slices.Contains(rowsOfSubset(wider), row) {
			t.Fatalf("row %d is in a tenth but not in a fifth", row)
		}
	}
	if rest, held := part(all, 0, 1); held.Rows() != 0 || rest.Rows() != 4000 {
		t.Error("fraction 0")
	}
	if rest, held := part(all, 1, 1); held.Rows() != 4000 || rest.Rows() != 0 {
		t.Error("fraction 1")
	}
	for _, fraction := range []float64{-0.1, 1.1, math.NaN()} {
		if _, _, err := all.ByHash(fraction, 1); err == nil {
			t.Errorf("fraction %v", fraction)
		}
	}
	// FNV-1a of "foobar", from the reference page of its authors.
	if got := fnv1a([]byte("foobar")); got != 0x85944171f73967e8 {
		t.Errorf("FNV-1a %x", got)
	}
}
