package nn

import "fmt"

// MemoryError says that a session does not fit into memory, before it takes any.
type MemoryError struct {
	Engine, Model string
	Batch         int
	Of            string // whose memory: "the card's memory"
	Need          int    // bytes
	AtLeast       bool   // Need is only a part of what is needed
	Free          int    // bytes
	Fits          int    // the largest batch that does, 0: none
	Advice        string // what else to do where none fits
}

// Error implements error.
func (e *MemoryError) Error() string {
	need := Bytes(e.Need)
	if e.AtLeast {
		need = "more than " + need
	}
	s := fmt.Sprintf("%s: %s with a batch of %d needs %s of %s, and %s are free: ", e.Engine, e.Model, e.Batch, need, e.Of, Bytes(e.Free))
	if e.Fits == 0 {
		return s + "not even a batch of 1 fits; " + e.Advice
	}
	return s + fmt.Sprintf("the largest batch that fits is %d (--batch %d)", e.Fits, e.Fits)
}

// Bytes writes a number of bytes for people, in MiB, GiB or TiB.
func Bytes(n int) string {
	unit, name := 1<<20, "MiB"
	switch {
	case n >= 1<<40:
		unit, name = 1<<40, "TiB"
	case n >= 1<<30:
		unit, name = 1<<30, "GiB"
	}
	return fmt.Sprintf("%.1f %s", float64(n)/float64(unit), name)
}
