package features

import (
	"errors"
	"fmt"
	"io"
)

// Loader gathers the next batches in a goroutine of its own while the caller computes, into buffers that the caller owns. Its
// methods are for one goroutine, but for Close, which may come from another.
type Loader struct {
	order *Order
	fill  func(slot int, rows []int) error
	rows  [][]int // a slot
	free  chan int
	ready chan loaded
	stop  chan struct{}
	end   error // why ready was closed; written before
	last  error // what Next goes on returning
}

type loaded struct {
	slot, rows int
	err        error
}

var errClosed = errors.New("features: loader closed")

// NewLoader begins to load batches of batch rows (the last may be shorter) from position from of o on. There are slots buffers,
// 0..slots-1: fill(slot, rows) gathers rows into one of them, in the loader's goroutine, and must not keep rows. With two slots or more,
// gathering and computing overlap. o belongs to the loader until Close.
func NewLoader(o *Order, batch, from, slots int, fill func(slot int, rows []int) error) *Loader {
	if batch < 1 || slots < 1 || from < 0 || from > o.Len() {
		panic(fmt.Sprintf("features: loader of batches of %d rows in %d slots from position %d of %d", batch, slots, from, o.Len()))
	}
	l := &Loader{order: o, fill: fill, free: make(chan int, slots), ready: make(chan loaded, slots), stop: make(chan struct{}, 1)}
	for slot := range slots {
		l.rows = append(l.rows, make([]int, batch))
		l.free <- slot
	}
	go l.run(from)
	return l
}

func (l *Loader) run(from int) {
	defer close(l.ready)
	window := -1
	for from < l.order.Len() {
		var slot int
		select {
		case <-l.stop:
			l.end = errClosed
			return
		case slot = <-l.free:
		}
		rows := l.order.Rows(from, l.rows[slot])
		if l.order.loaded != window {
			window = l.order.loaded
			l.order.readAhead()
		}
		err := l.fill(slot, rows)
		l.ready <- loaded{slot, len(rows), err} // has room for all slots
		if err != nil {
			l.end = err
			return
		}
		from += len(rows)
	}
	l.end = io.EOF
}

// Next waits for the next batch. The slot and rows belong to the caller until Release(slot). At the end it returns io.EOF; an error
// of fill is returned in the place of its batch and by all later calls.
func (l *Loader) Next() (slot int, rows []int, err error) {
	if l.last == nil {
		b, ok := <-l.ready
		switch {
		case !ok:
			l.last = l.end
		case b.err != nil:
			l.last = b.err
		default:
			return b.slot, l.rows[b.slot][:b.rows], nil
		}
	}
	return 0, nil, l.last
}

// Release gives a slot back.
func (l *Loader) Release(slot int) {
	if slot < 0 || slot >= len(l.rows) {
		panic(fmt.Sprintf("features: release of slot %d of %d", slot, len(l.rows)))
	}
	select {
	case l.free <- slot:
	default:
		panic(fmt.Sprintf("features: slot %d released twice", slot))
	}
}

// Close ends the loader and waits for its goroutine. It may be called more than once.
func (l *Loader) Close() {
	select {
	case l.stop <- struct{}{}:
	default: // told already
	}
	for range l.ready { // until run closes it
	}
}
