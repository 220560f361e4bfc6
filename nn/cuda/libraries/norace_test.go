//go:build !race

package libraries

const raced = false
