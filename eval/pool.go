package eval

import "slices"

// pool holds every video's K best classes until the pooled average precision is
// asked for. An entry is one word that orders by descending score:
//
//	 63                  32 31           1  0
//	+----------------------+--------------+---+
//	| descending score key |    class     |hit|
//	+----------------------+--------------+---+
//
// Entries go straight into the bucket of their score's leading bits (sign,
// exponent, three bits of the fraction), so that the final sort works on one bucket
// at a time, in scratch memory, and never holds a second copy of the pool.
type pool struct {
	buckets [1 << bucketBits]bucket
	entries int
	scratch [2][]uint64
}

const (
	bucketBits  = 12
	bucketShift = 64 - bucketBits
	// restBits are the score bits below the bucket's, sorted in two radix passes.
	restBits  = 32 - bucketBits
	radixBits = restBits / 2
	// chunkEntries balances the slack of half-full chunks (some 150 buckets are in
	// use for probabilities) against the number of chunks.
	chunkEntries = 1024
	// smallBucket is where a comparison sort beats two radix passes.
	smallBucket = 1024
)

type bucket struct {
	full [][]uint64
	last []uint64
}

func makeEntry(k rankedKey, hit bool) uint64 {
	e := k&^(1<<32-1) | uint64(keyClass(k))<<1
	if hit {
		e |= 1
	}
	return e
}

func (p *pool) add(entry uint64) {
	b := &p.buckets[entry>>bucketShift]
	if len(b.last) == cap(b.last) {
		if b.last != nil {
			b.full = append(b.full, b.last)
		}
		b.last = make([]uint64, 0, chunkEntries)
	}
	b.last = append(b.last, entry)
	p.entries++
}

// ascend calls visit with all entries, a bucket at a time, in order of descending
// score; the order of equal scores is unspecified. The slice is valid during the
// call.
func (p *pool) ascend(visit func(entries []uint64)) {
	for i := range p.buckets {
		b := &p.buckets[i]
		if n := len(b.full)*chunkEntries + len(b.last); n > 0 {
			visit(p.sorted(b, n))
		}
	}
}

// sorted returns the n entries of b in ascending order of their score keys.
func (p *pool) sorted(b *bucket, n int) []uint64 {
	for i := range p.scratch {
		if cap(p.scratch[i]) < n {
			p.scratch[i] = make([]uint64, n)
		}
		p.scratch[i] = p.scratch[i][:n]
	}
	if n <= smallBucket {
		out := p.scratch[0][:0]
		for _, c := range b.full {
			out = append(out, c...)
		}
		out = append(out, b.last...)
		slices.Sort(out)
		return out
	}
	// Least significant digit first: the first pass gathers the chunks as it goes.
	const low, high = 32, 32 + radixBits
	at := b.offsets(low)
	for _, c := range b.full {
		scatter(p.scratch[0], c, &at, low)
	}
	scatter(p.scratch[0], b.last, &at, low)
	at = b.offsets(high)
	scatter(p.scratch[1], p.scratch[0], &at, high)
	return p.scratch[1]
}

// offsets returns where each value of the digit at shift starts in sorted order.
func (b *bucket) offsets(shift uint) (at [1 << radixBits]int) {
	count := func(c []uint64) {
		for _, e := range c {
			at[e>>shift%(1<<radixBits)]++
		}
	}
	for _, c := range b.full {
		count(c)
	}
	count(b.last)
	sum := 0
	for d, n := range at {
		at[d] = sum
		sum += n
	}
	return at
}

func scatter(dst, src []uint64, at *[1 << radixBits]int, shift uint) {
	for _, e := range src {
		d := e >> shift % (1 << radixBits)
		dst[at[d]] = e
		at[d]++
	}
}
