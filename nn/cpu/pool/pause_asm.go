//go:build amd64 || arm64

package pool

// pause executes n spin-wait hints, n at least 1: the core saves power and
// lets a sibling thread run.
//
//go:noescape
func pause(n uint32)
