package fakecard

import (
	"hash/fnv"
	"time"

	"sdnn/nn/cuda/driver"
)

// The card's clock is made up: an operation takes a microsecond, a product or a
// convolution what its candidate takes.

// candidates is the number of candidates of every product and convolution.
const candidates = 3

// candidateTime is what a candidate for a problem takes: each problem has
// another that is the fastest.
func candidateTime(problem string, candidate int) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(problem))
	return time.Duration(20+10*((candidate+int(h.Sum32()>>3))%candidates)) * time.Microsecond
}

// Fastest is the candidate that takes least for a product or convolution, by
// its name in the trace.
func Fastest(problem string) int {
	best := 0
	for i := range candidates {
		if candidateTime(problem, i) < candidateTime(problem, best) {
			best = i
		}
	}
	return best
}

// NewTimedEvent implements driver.Timer.
func (c *Card) NewTimedEvent() (driver.Event, error) {
	h, err := c.NewEvent()
	if err == nil {
		c.mu.Lock()
		c.events[h].timed = true
		c.mu.Unlock()
	}
	return h, err
}

// Elapsed implements driver.Timer.
func (c *Card) Elapsed(from, to driver.Event) (time.Duration, error) {
	err := c.begin("Elapsed")
	defer c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	var at [2]time.Duration
	for i, h := range []driver.Event{from, to} {
		e, err := c.event("Elapsed", h)
		if err != nil {
			return 0, err
		}
		if !e.timed || e.last == nil || !e.last.done {
			return 0, c.invalid("Elapsed", "%s is not a timed event that is over", e.name)
		}
		at[i] = e.at
	}
	return at[1] - at[0], nil
}
