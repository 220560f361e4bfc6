package cuda

import (
	"fmt"
	"unsafe"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// A slot is a batch on its way: a block in page-locked host memory, which the
// feed's slices lie in, and its copy on the card. One asynchronous copy moves
// what the step needs:
//
//	head      numbers of the step: rate of learning, ...
//	keys      [batch] uint64        RowKey of each row
//	index     [batch] int32         rows of kept data
//	offsets   [batch+1] int32       targets, as nn.Targets
//	columns   [entries] int32
//	y, m      [entries] float32
//	features  [batch, width] float32 each
//	results   on the card only, see results
//
// Everything lies at fixed places, so that a graph that reads them can be
// replayed; only a batch with more targets than ever before makes its slot
// anew. A batch of kept data copies what is before the features.
type slot struct {
	number  int
	layout  layout
	host    unsafe.Pointer
	card    driver.Ptr
	feed    nn.Feed
	results unsafe.Pointer // page-locked

	ready    driver.Event // the block has arrived
	computed driver.Event // the results are there
	done     driver.Event // and have arrived
	born     int          // how often the block was made: graphs of an older one are void

	busy    bool // from TrainStep to OnStep
	started bool // from Start to Forward
	step    nn.StepParams
	rows    int
}

// align rounds n bytes up to what keeps every array on a line of the card's memory.
func align(n int) int { return (n + 255) &^ 255 }

// layout is where things lie in a slot's block, in bytes.
type layout struct {
	keys, index, offsets int
	columns, y, m        int
	entries              int // room for this many targets
	features             []int
	small                int // bytes before the features
	size                 int // bytes of the host's part
	results              int // on the card
	cardSize             int
}

// headSize is the room of the numbers of a step.
const headSize = 256

func newLayout(m *nn.Model, entries int) layout {
	l := layout{entries: entries}
	at := headSize
	place := func(bytes int) int {
		p := at
		at = align(at + bytes)
		return p
	}
	l.keys = place(8 * m.Batch)
	l.index = place(4 * m.Batch)
	l.offsets = place(4 * (m.Batch + 1))
	l.columns, l.y, l.m = place(4*entries), place(4*entries), place(4*entries)
	l.small = at
	for _, v := range m.Features {
		l.features = append(l.features, place(4*m.Batch*v.Width()))
	}
	l.size = at
	l.results = place(resultsRoom(m))
	l.cardSize = at
	return l
}

// firstEntries is the room for targets that a slot begins with.
func firstEntries(m *nn.Model) int { return m.Batch * min(m.Outputs(), 16) }

// hostSlice views n elements of a block at an offset.
func hostSlice[T any](block unsafe.Pointer, at, n int) []T {
	return unsafe.Slice((*T)(unsafe.Add(block, at)), n)
}

// makeSlot makes slot number i, or, if it has too little room for targets, its block anew.
func (s *session) makeSlot(sl *slot, entries int) error {
	l := newLayout(s.model, entries)
	host, err := s.card.AllocHost(l.size)
	if err != nil {
		return err
	}
	card, err := s.card.Alloc(l.cardSize)
	if err != nil {
		return fail(err, s.card.FreeHost(host))
	}
	clear(hostSlice[byte](host, 0, l.size))
	f := &sl.feed
	for i, v := range s.model.Features {
		x := hostSlice[float32](host, l.features[i], v.Shape.Size())
		if sl.host == nil {
			f.Features = append(f.Features, x)
			continue
		}
		copy(x, f.Features[i])
		f.Features[i] = x
	}
	keys, index := hostSlice[uint64](host, l.keys, s.model.Batch), hostSlice[int32](host, l.index, s.model.Batch)
	copy(keys, f.Keys)
	copy(index, f.Index)
	f.Keys, f.Index = keys, index
	err = s.freeBlock(sl)
	sl.host, sl.card, sl.layout = host, card, l
	sl.born++
	return err
}

func (s *session) freeBlock(sl *slot) error {
	if sl.host == nil {
		return nil
	}
	host, card := sl.host, sl.card
	sl.host, sl.card = nil, 0
	return fail(s.card.FreeHost(host), s.card.Free(card))
}

// fail returns the first error.
func fail(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pack writes the feed's targets and the step's numbers into the block, and
// returns how many bytes of it the card needs.
func (s *session) pack(sl *slot, h head) (bytes int, err error) {
	f, t := &sl.feed, &sl.feed.Targets
	if n := len(t.Index); n > sl.layout.entries {
		if err := s.makeSlot(sl, min(2*n, s.model.Batch*s.model.Outputs())); err != nil {
			return 0, err
		}
	}
	l := &sl.layout
	h.write(hostSlice[byte](sl.host, 0, headSize))
	copy(hostSlice[uint64](sl.host, l.keys, s.model.Batch), f.Keys) // on itself, unless the feed got keys of its own
	copy(hostSlice[int32](sl.host, l.offsets, s.model.Batch+1), t.Offsets)
	copy(hostSlice[int32](sl.host, l.columns, l.entries), t.Index)
	copy(hostSlice[float32](sl.host, l.y, l.entries), t.Y)
	copy(hostSlice[float32](sl.host, l.m, l.entries), t.M)
	if f.Kept != 0 {
		return l.small, nil
	}
	return l.size, nil
}

// checkFeed says what is wrong with a batch before the card is bothered with it.
func (s *session) checkFeed(sl *slot, training bool) error {
	f := &sl.feed
	if f.Rows < 1 || f.Rows > s.model.Batch {
		return fmt.Errorf("cuda: a batch of %d rows, %s was compiled for 1 to %d", f.Rows, s.model.Name, s.model.Batch)
	}
	t := &f.Targets
	if training && t.Rows() != f.Rows {
		return fmt.Errorf("cuda: the batch has %d rows and targets for %d", f.Rows, t.Rows())
	}
	if max := s.model.Batch * s.model.Outputs(); len(t.Index) > max {
		return fmt.Errorf("cuda: the batch has %d targets, %d rows of %d outputs have at most %d", len(t.Index), s.model.Batch, s.model.Outputs(), max)
	}
	if f.Kept == 0 {
		return nil
	}
	if f.Kept < 0 || f.Kept > len(s.kept) {
		return fmt.Errorf("cuda: the batch names kept data %d, the session keeps %d", f.Kept, len(s.kept))
	}
	for _, r := range f.Index[:f.Rows] {
		if rows := s.kept[f.Kept-1].rows; r < 0 || int(r) >= rows {
			return fmt.Errorf("cuda: the batch names row %d of %d kept ones", r, rows)
		}
	}
	return nil
}
