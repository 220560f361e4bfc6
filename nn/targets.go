package nn

// Targets are the labels of a batch for the subclass cross-entropy, in
// compressed sparse rows: row r has the entries Offsets[r] to Offsets[r+1]-1;
// an entry names a column of the output and its y and m (method of Gkalelis
// and Mezaris 2020, eq. of the subclass CE). A column that is not listed has
// y = 0 and m = 0. Columns ascend within a row. A sparse form because a video
// has three labels of 3862: a dense one would be the largest array of a step.
type Targets struct {
	Offsets []int32   // len Rows()+1, Offsets[0] = 0
	Index   []int32   // output column of each entry
	Y       []float32 // 1 at a positive's own subclass, else the sibling target
	M       []float32 // 1 - M weighs log(1-p): 1 at a positive, w at its siblings
}

// Reset empties t, keeping its memory.
func (t *Targets) Reset() {
	t.Offsets = append(t.Offsets[:0], 0)
	t.Index, t.Y, t.M = t.Index[:0], t.Y[:0], t.M[:0]
}

// Add appends an entry to the row under construction.
func (t *Targets) Add(column int32, y, m float32) {
	t.Index = append(t.Index, column)
	t.Y = append(t.Y, y)
	t.M = append(t.M, m)
}

// EndRow closes the row under construction.
func (t *Targets) EndRow() { t.Offsets = append(t.Offsets, int32(len(t.Index))) }

// Rows returns the number of closed rows.
func (t *Targets) Rows() int {
	if len(t.Offsets) == 0 {
		return 0
	}
	return len(t.Offsets) - 1
}
