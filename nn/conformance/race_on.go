//go:build race

package conformance

// raced: the race detector looks on.
const raced = true
