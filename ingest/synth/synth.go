// Package synth owns made-up data sets in the raw formats of real ones: small,
// deterministic, learnable, and with hidden subclasses, so that the whole way
// from ingest to metrics can be tried without a download.
//
// How a video of YT8M comes about:
//
//	main class      Zipf: class c with weight 1/(c+1)
//	more classes    2/3 chance for each next one, up to maxLabels; 3 of 4 are
//	                companions of the main class (co-occurrence), the others Zipf
//	hidden mode     one of each class, never written down
//	features        sum of the modes' directions, the main class's at full strength,
//	                the others' at 0.6 to 1, plus noise in every dimension
//	labels          one of 20 beyond the first is left out, as people do
//
// A class has several directions, far apart from each other, by which its videos
// fall in modes. Every fourth class is of the hard kind: its two modes are
// opposite directions, so that no linear classifier can tell it, but one that
// has a subclass for each mode can.
//
// All randomness is counter-based, keyed by (seed, purpose, index), and all
// arithmetic is exactly rounded, so that the bytes depend on the options only:
// not on threads, nor on the machine.
package synth

import (
	"fmt"
	"math"
	"math/bits"
)

// purposes keep the random numbers of different things apart.
const (
	forPrototypes uint64 = iota + 1
	forCompanions
	forTrain
	forValidate
)

// random is a counter-based generator, SplitMix64 (Steele, Lea, Flood 2014):
// cheap to start anywhere.
type random struct{ state uint64 }

// newRandom returns the stream of numbers of (seed, purpose, index).
func newRandom(seed, purpose, index uint64) random {
	r := random{seed}
	r.state = r.next() ^ purpose
	r.state = r.next() ^ index
	r.state = r.next()
	return r
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// unit returns a number in [0, 1), a multiple of 2^-53.
func (r *random) unit() float64 { return float64(r.next()>>11) / (1 << 53) }

// bell returns a number of mean 0 and variance 1 that is nearly normal: the sum
// of four uniform 16-bit numbers. Unlike those of math.Log and math.Cos its bits
// are the same on every machine.
func (r *random) bell() float32 {
	x := r.next()
	sum := int32(x&0xffff) + int32(x>>16&0xffff) + int32(x>>32&0xffff) + int32(x>>48) - 2*0xffff
	const deviation = 37837.2 // of the sum: 65536 * sqrt(4/12)
	return float32(sum) / deviation
}

// zipf draws classes with weights 1, 1/2, 1/3, ...
type zipf struct{ upTo []float64 } // upTo[c] is the weight of classes 0..c

func newZipf(n int) zipf {
	z := zipf{make([]float64, n)}
	sum := 0.0
	for c := range z.upTo {
		sum += 1 / float64(c+1)
		z.upTo[c] = sum
	}
	return z
}

func (z zipf) draw(r *random) int {
	n := len(z.upTo)
	x := r.unit() * z.upTo[n-1]
	lo, hi := 0, n-1
	for lo < hi {
		mid := (lo + hi) / 2
		if x < z.upTo[mid] {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// unitVector fills v with a random direction of length scale.
func unitVector(r *random, v []float32, scale float32) {
	var sum float64
	for i := range v {
		v[i] = r.bell()
		sum += float64(float64(v[i]) * float64(v[i])) // the conversion forbids a fused multiply-add
	}
	by := scale / float32(math.Sqrt(sum))
	for i := range v {
		v[i] *= by
	}
}

// A UsageError says that an option is out of its range. Nothing was written.
type UsageError struct{ Message string }

// Error implements error.
func (e *UsageError) Error() string { return e.Message }

// An ExistsError says that a folder holds files that synth did not write and
// will not touch.
type ExistsError struct {
	Dir, File string
}

// Error implements error.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s: the folder holds %s, which synth does not write for this dataset, or not in this form; give an empty or a new folder", e.Dir, e.File)
}
