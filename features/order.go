package features

// Subset is an ordered selection of rows of a split, ascending. It does not change.
type Subset struct{}

// All returns all rows of p.
func All(p *Split) *Subset { panic("features: todo") }

// Head returns the first n rows of s, or all if it has fewer.
func (s *Subset) Head(n int) *Subset { panic("features: todo") }

// ByHash parts s by a hash of the ids: held gets about fraction (0 to 1) of the rows, rest the others. A row's part depends only on
// its id, fraction and seed, so that equal ids stay together and more data does not move old rows. It reads all ids, so it checks all chunks.
func (s *Subset) ByHash(fraction float64, seed uint64) (rest, held *Subset, err error) {
	panic("features: todo")
}

// Split returns the split that s selects from.
func (s *Subset) Split() *Split { panic("features: todo") }

// Rows returns the number of rows selected.
func (s *Subset) Rows() int { panic("features: todo") }

// Row returns the row of the split at position i of the selection.
func (s *Subset) Row(i int) int { panic("features: todo") }

// Shuffle makes a permutation of a subset for each epoch.
type Shuffle struct{}

// NewShuffle returns the shuffle of s with windows of windowRows rows (at least 1; s.Rows() or more for a permutation of the whole).
func NewShuffle(s *Subset, windowRows int, seed uint64) *Shuffle { panic("features: todo") }

// Epoch returns the order of epoch e. Orders of one Shuffle are independent of each other.
func (h *Shuffle) Epoch(e int) *Order { panic("features: todo") }

// Order is a permutation of a subset. It keeps the window it last used, so it is for one goroutine at a time.
type Order struct{}

// Sequential returns the rows of s in their own order.
func Sequential(s *Subset) *Order { panic("features: todo") }

// Len returns the number of rows.
func (o *Order) Len() int { panic("features: todo") }

// Rows fills dst with the row numbers at positions from, from+1, ... and returns the part of dst that was filled: shorter than dst only
// at the end. What is at a position depends on nothing but subset, window, seed, epoch and position.
func (o *Order) Rows(from int, dst []int) []int { panic("features: todo") }

// Loader gathers the next batches in a goroutine of its own while the caller computes, into buffers that the caller owns.
type Loader struct{}

// NewLoader begins to load batches of batch rows (the last may be shorter) from position from of o on. There are slots buffers,
// 0..slots-1: fill(slot, rows) gathers rows into one of them, in the loader's goroutine. o belongs to the loader until Close.
func NewLoader(o *Order, batch, from, slots int, fill func(slot int, rows []int) error) *Loader {
	panic("features: todo")
}

// Next waits for the next batch. The slot and rows belong to the caller until Release(slot). At the end it returns io.EOF; an error
// of fill is returned in the place of its batch and by all later calls.
func (l *Loader) Next() (slot int, rows []int, err error) { panic("features: todo") }

// Release gives a slot back.
func (l *Loader) Release(slot int) { panic("features: todo") }

// Close ends the loader and waits for its goroutine. It may be called more than once.
func (l *Loader) Close() { panic("features: todo") }
