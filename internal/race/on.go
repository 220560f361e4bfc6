//go:build race

// Package race tells tests whether the race detector looks on: it makes naive
// loops slow and sync.Pool forget things at random.
package race

// Enabled reports whether the race detector looks on.
const Enabled = true
