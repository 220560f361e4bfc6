package subclass

import (
	"fmt"

	"sdnn/nn"
)

// Targeting turns the labels of a training row into targets of the subclass
// cross-entropy (method, eq. of the subclass CE; several labels a row are allowed).
// For each label, the subclass that the row was put in gets y = 1, m = 1; its
// siblings get y = 0, m = SubclassWeight, or, with a SiblingTarget A > 0, y = A,
// m = 1.
type Targeting struct {
	Partition      *Partition
	SubclassWeight float32 // w in [0, 1]: 1 ignores confusion between siblings, 0 treats them as strangers
	SiblingTarget  float32 // A in [0, 1]; 0 is the paper
}

// AddRow appends the targets of training row row, which has the given labels
// (repeated ones count once), to dst and closes the row. It allocates nothing but
// dst's growth. It panics if a label is out of range or if the row is not one of
// those that its class was split by.
func (t *Targeting) AddRow(dst *nn.Targets, row int, labels []int32) {
	begin := len(dst.Index)
	p := t.Partition
	m := p.Map()
	for i, c := range labels {
		if c < 0 || int(c) >= m.Classes() {
			panic(fmt.Sprintf("subclass: AddRow: row %d has label %d of %d classes", row, c, m.Classes()))
		}
		if contains(labels[:i], c) {
			continue
		}
		members := m.Members(int(c))
		own := members[p.Cluster(int(c), row)]
		for _, s := range members {
			switch {
			case s == own:
				insert(dst, begin, s, 1, 1)
			case t.SiblingTarget > 0:
				insert(dst, begin, s, t.SiblingTarget, 1)
			case t.SubclassWeight > 0: // m = 0 is what unlisted columns have
				insert(dst, begin, s, 0, t.SubclassWeight)
			}
		}
	}
	dst.EndRow()
}

// contains is slices.Contains for the few labels of a row.
func contains(s []int32, v int32) bool {
	for _, x := range s {
		if x == v {
			return true
		}
	}
	return false
}

// insert adds an entry to the row that begins at begin, keeping columns ascending.
// Rows have few entries, mostly in order already.
func insert(dst *nn.Targets, begin int, column int32, y, m float32) {
	dst.Add(column, y, m)
	for i := len(dst.Index) - 1; i > begin && dst.Index[i-1] > column; i-- {
		dst.Index[i], dst.Index[i-1] = dst.Index[i-1], dst.Index[i]
		dst.Y[i], dst.Y[i-1] = dst.Y[i-1], dst.Y[i]
		dst.M[i], dst.M[i-1] = dst.M[i-1], dst.M[i]
	}
}
