//go:build race

package libraries

// raced: the race detector makes sync.Pool forget things at random.
const raced = true
