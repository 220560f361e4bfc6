package nn

import "math"

// Random numbers are counter-based: every number is a pure function of a key
// and a counter, so that a run depends on its seed and its data, never on the
// number of threads, on the engine's schedule or on having been interrupted.
// A training row's key comes from RowKey; an op mixes in its own stream with
// StreamKey; element j of the op's row then is Hash32(key, j).

// RowKey returns the key of one example in one epoch of a run.
func RowKey(seed uint64, epoch int, example uint64) uint64 {
	return mix64(mix64(seed+0x9E3779B97F4A7C15*uint64(epoch+1)) ^ mix64(example+0xD1B54A32D192ED03))
}

// StreamKey derives the key of an op's own stream from a row's key, so that
// two dropout layers of one net draw independent masks.
func StreamKey(rowKey uint64, stream uint32) uint64 {
	return mix64(rowKey ^ (uint64(stream)+1)*0xA0761D6478BD642F)
}

// Hash32 returns the 32 random bits at counter j of a key. It needs nothing
// wider than 32-bit adds, multiplies, shifts and xors, so that a vector unit
// computes a lane an element: the constants are those of the lowbias32 mixer
// (C. Wellons), the key's upper half enters between the two multiplies.
func Hash32(key uint64, j uint32) uint32 {
	x := uint32(key) + j*0x9E3779B9
	x ^= x >> 16
	x *= 0x7FEB352D
	x ^= uint32(key >> 32)
	x ^= x >> 15
	x *= 0x846CA68B
	x ^= x >> 16
	return x
}

// KeepThreshold is the bound a dropout mask compares Hash32 with: an element
// is kept iff Hash32(key, j) >= KeepThreshold(rate).
func KeepThreshold(rate float64) uint32 {
	t := math.Floor(rate * (1 << 32))
	if t >= 1<<32 {
		return math.MaxUint32
	}
	return uint32(t)
}

// FillNormal fills dst with independent N(0, 1) numbers: dst[2i] and dst[2i+1]
// are the Box-Muller pair of the counters 2i and 2i+1.
func FillNormal(dst []float32, key uint64) {
	for i := 0; i < len(dst); i += 2 {
		// (h+1)/2^32 is in (0, 1], so the logarithm is finite.
		u := (float64(Hash32(key, uint32(i))) + 1) * (1.0 / (1 << 32))
		v := float64(Hash32(key, uint32(i+1))) * (2 * math.Pi / (1 << 32))
		r := math.Sqrt(-2 * math.Log(u))
		s, c := math.Sincos(v)
		dst[i] = float32(r * c)
		if i+1 < len(dst) {
			dst[i+1] = float32(r * s)
		}
	}
}

// FillUniform fills dst with independent numbers of U(-bound, bound).
func FillUniform(dst []float32, key uint64, bound float64) {
	for i := range dst {
		u := (float64(Hash32(key, uint32(i))) + 0.5) * (1.0 / (1 << 32))
		dst[i] = float32((2*u - 1) * bound)
	}
}

// KeyOfString hashes a name into a key: parameters are initialised from
// (seed, name), so that adding a layer leaves the others' values alone.
func KeyOfString(seed uint64, name string) uint64 {
	h := uint64(0xCBF29CE484222325) // FNV-1a
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 0x100000001B3
	}
	return mix64(h ^ mix64(seed+0x9E3779B97F4A7C15))
}

// mix64 is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xBF58476D1CE4E5B9
	x ^= x >> 27
	x *= 0x94D049BB133111EB
	return x ^ x>>31
}
