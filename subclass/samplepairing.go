package subclass

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"sdnn/nn"
)

// PairingRule is how SamplePairing mixes two images, pixel by pixel and plane by plane.
type PairingRule string

const (
	// PairMean is SamplePairing (H. Inoue, "Data augmentation by pairing samples for
	// images classification", 2018): floor((a+b)/2).
	PairMean PairingRule = "mean"
	// PairWrapped is what the authors' code does, whose sum overflows its byte:
	// floor(((a+b) mod 256)/2). It has no use but to reproduce their results.
	PairWrapped PairingRule = "wrapped"
)

// Mix writes the mixture of the images a and b to dst; all have the same length, and
// dst may be a or b.
func (r PairingRule) Mix(dst, a, b []byte) {
	if len(a) != len(dst) || len(b) != len(dst) {
		panic(fmt.Sprintf("subclass: Mix of %d and %d bytes to %d", len(a), len(b), len(dst)))
	}
	mix := meanOfBytes
	switch r {
	case PairMean:
	case PairWrapped:
		mix = wrappedMeanOfBytes
	default:
		panic(fmt.Sprintf("subclass: pairing rule %q", r))
	}
	le := binary.LittleEndian
	for len(dst) >= 8 {
		le.PutUint64(dst, mix(le.Uint64(a), le.Uint64(b)))
		dst, a, b = dst[8:], a[8:], b[8:]
	}
	for i := range dst {
		dst[i] = byte(mix(uint64(a[i]), uint64(b[i])))
	}
}

const (
	highBits = 0x8080808080808080 // of each of eight bytes
	lowBits  = 0x0101010101010101
)

// meanOfBytes halves the sums of eight pairs of bytes: what both have, and half of
// what one has.
func meanOfBytes(a, b uint64) uint64 { return a&b + (a^b)&^lowBits>>1 }

// wrappedMeanOfBytes is meanOfBytes without the carry out of a byte: the sum of the
// lower seven bits cannot leave its byte, and the highest bit is added without carry.
func wrappedMeanOfBytes(a, b uint64) uint64 {
	sum := (a&^highBits + b&^highBits) ^ (a^b)&highBits
	return sum >> 1 &^ highBits
}

// A Pair is a new training image: the mixture of image Row, whose label it has, and
// of image Partner. Both are training rows.
type Pair struct{ Row, Partner int32 }

// Pairings returns the images that SamplePairing adds: one for each row of the
// neglected classes, class by class in the given order of neglection, so that those
// classes double. Partners are drawn uniformly, with replacement, from all rows of
// the original training set, of any class. The partner of a row is the floor of
// StreamKey(RowKey(seed, class, row), 0x70616972) * rows / 2^64, with the keys of
// package nn: it depends on nothing else.
func Pairings(neglected []Positives, rows int, seed uint64) []Pair {
	n := 0
	for _, p := range neglected {
		n += len(p.Rows)
	}
	pairs := make([]Pair, 0, n)
	for _, p := range neglected {
		for _, row := range p.Rows {
			if row < 0 || int(row) >= rows {
				panic(fmt.Sprintf("subclass: Pairings of row %d of %d", row, rows))
			}
			key := nn.StreamKey(nn.RowKey(seed, p.Class, uint64(row)), 0x70616972)
			partner, _ := bits.Mul64(key, uint64(rows))
			pairs = append(pairs, Pair{row, int32(partner)})
		}
	}
	return pairs
}
