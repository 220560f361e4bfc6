//go:build !amd64

package kernel

// features is empty: only amd64 has code paths beside the portable one.
var features []feature
