package kernel

import "sdnn/nn"

// Dropout sets dst[j] = scale x[j] where nn.Hash32(key, j) >= threshold, else
// 0 (also for NaN and infinite x[j]), for one row of a batch. threshold is
// nn.KeepThreshold of the rate and scale 1/(1-rate). The gradient is the same
// function of the output's gradient: the mask is drawn again, not stored, with
// the same bits on every path.
func Dropout(dst, x []float32, key uint64, threshold uint32, scale float32) {
	sameLength("Dropout", len(dst), len(x))
	vec().dropout(dst, x, uint32(key), uint32(key>>32), threshold, scale)
}

func dropoutPortable(dst, x []float32, lo, hi, threshold uint32, scale float32) {
	key := uint64(hi)<<32 | uint64(lo)
	for j, v := range x {
		if nn.Hash32(key, uint32(j)) >= threshold {
			dst[j] = scale * v
		} else {
			dst[j] = 0
		}
	}
}
