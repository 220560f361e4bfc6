package gorgonia

import "sdnn/nn"

// batch is what the leaves of a run are filled from.
type batch struct{ *nn.Feed }

// fillPositive writes the loss's weight of log(p+e): c y/N.
func (b *batch) fillPositive(dst []float32, outputs int, weight []float32) {
	clear(dst)
	t, n := &b.Targets, float32(b.Rows)
	for r := range t.Rows() {
		for e := t.Offsets[r]; e < t.Offsets[r+1]; e++ {
			dst[r*outputs+int(t.Index[e])] = t.Y[e] * outputWeight(weight, int(t.Index[e])) / n
		}
	}
}

// fillNegative writes the loss's weight of log(1-p+e): c (1-m)/N.
func (b *batch) fillNegative(dst []float32, outputs int, weight []float32) {
	clear(dst)
	t, n := &b.Targets, float32(b.Rows)
	for r := range t.Rows() {
		row := dst[r*outputs : (r+1)*outputs]
		for s := range row {
			row[s] = outputWeight(weight, s) / n
		}
		for e := t.Offsets[r]; e < t.Offsets[r+1]; e++ {
			row[t.Index[e]] = (1 - t.M[e]) * outputWeight(weight, int(t.Index[e])) / n
		}
	}
}

func outputWeight(weight []float32, s int) float32 {
	if weight == nil {
		return 1
	}
	return weight[s]
}
