package train

import (
	"math"

	"sdnn/features"
	"sdnn/nn"
)

// tally counts what the rows of a stage say of each output and class, before
// the first step.
type tally struct {
	// positive and negative are the weights with which the loss pulls each output
	// up and down: the sums of y and of 1-m over the rows. With one subclass a
	// class they are n and N-n.
	positive, negative []float64 // [S]
	classes            []int64   // [C]: rows of each class
}

// count counts the rows of a stage, pairs included.
func (f *feeder) count(rows *features.Subset) *tally {
	m := f.targeting.Partition.Map()
	n := tally{make([]float64, m.Subclasses()), make([]float64, m.Subclasses()), make([]int64, m.Classes())}
	for s := range n.negative {
		n.negative[s] = float64(rows.Rows())
	}
	var row nn.Targets
	for i := range rows.Rows() {
		r := rows.Row(i)
		labels := f.labels(r)
		for j, l := range labels {
			if !repeated(labels[:j], l) {
				n.classes[l]++
			}
		}
		row.Reset()
		f.targeting.AddRow(&row, r, labels)
		for j, s := range row.Index {
			n.positive[s] += float64(row.Y[j])
			n.negative[s] -= float64(row.M[j])
		}
	}
	return &n
}

// prior is the bias with which every output starts at its log odds,
//
//	b = ln((n + 1/2) / (N - n + 1/2)),
//
// the half standing for what few rows leave open; width is the length of the
// parameter, a multiple of the outputs. With all other inputs of the layer at 0
// the mean gradient of every logit is then 0 from the first step, where a bias of
// 0 spends the first epochs on unlearning that half of all rows have each class.
// The E experts of a mixture get it each; they share its output with a gate that
// stands for none, so that it starts at E/(E+1) of the odds' probability
// (method, section 13; as Lin et al., "Focal loss", ICCV 2017, section 3.3).
func (n *tally) prior(width int) []float32 {
	each := width / len(n.positive)
	b := make([]float32, 0, width)
	for s, up := range n.positive {
		v := float32(math.Log((up + 0.5) / (n.negative[s] + 0.5)))
		for range each {
			b = append(b, v)
		}
	}
	return b
}
