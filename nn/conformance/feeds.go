package conformance

import (
	"math"

	"sdnn/nn"
)

// labelling is a way to draw targets.
type labelling struct {
	none     bool    // every third row has no label
	siblings bool    // columns 2i and 2i+1 are siblings of each other
	y, m     float32 // of a positive's sibling
}

var (
	plainLabels  = labelling{none: true}
	hardSiblings = labelling{siblings: true, m: 0.9}
	softSiblings = labelling{none: true, siblings: true, y: 0.5, m: 1}
)

// newFeed draws a batch of rows: normal features and about two labels a row.
func newFeed(m *nn.Model, rows int, key uint64, l labelling) *nn.Feed {
	f := &nn.Feed{Rows: rows}
	for i, v := range m.Features {
		x := make([]float32, rows*v.Width())
		nn.FillNormal(x, nn.StreamKey(key, uint32(i)))
		f.Features = append(f.Features, x)
	}
	f.Targets.Reset()
	outputs := m.Outputs()
	for r := range rows {
		k := nn.RowKey(key, 1, uint64(r))
		f.Keys = append(f.Keys, k)
		y, weight := make([]float32, outputs), make([]float32, outputs)
		for j := range 1 + int(nn.Hash32(k, 0)%3) {
			c := int(nn.Hash32(k, uint32(j+1)) % uint32(outputs))
			if l.none && r%3 == 2 {
				break
			}
			if s := c ^ 1; l.siblings && s < outputs && y[s] != 1 {
				y[s], weight[s] = l.y, l.m
			}
			y[c], weight[c] = 1, 1
		}
		addDense(&f.Targets, y, weight)
	}
	return f
}

// addDense adds a row of targets given densely.
func addDense(t *nn.Targets, y, m []float32) {
	for c := range y {
		if y[c] != 0 || m[c] != 0 {
			t.Add(int32(c), y[c], m[c])
		}
	}
	t.EndRow()
}

// fill puts a batch into a slot. What lies behind the batch's rows is poisoned:
// an engine that lets it into a result is found.
func fill(s nn.Session, m *nn.Model, slot int, f *nn.Feed) {
	to := s.Feed(slot)
	to.Rows = f.Rows
	for i, x := range f.Features {
		n := copy(to.Features[i], x)
		for j := n; j < len(to.Features[i]); j++ {
			to.Features[i][j] = float32(math.NaN())
		}
	}
	if len(to.Keys) < m.Batch {
		to.Keys = make([]uint64, m.Batch)
	}
	copy(to.Keys, f.Keys)
	to.Targets.Reset()
	for r := range f.Targets.Rows() {
		for e := f.Targets.Offsets[r]; e < f.Targets.Offsets[r+1]; e++ {
			to.Targets.Add(f.Targets.Index[e], f.Targets.Y[e], f.Targets.M[e])
		}
		to.Targets.EndRow()
	}
}
