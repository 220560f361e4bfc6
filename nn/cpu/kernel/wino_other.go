//go:build !amd64

package kernel

// winoPaths holds the transforms by code path.
var winoPaths = [...]*winoISA{Portable: &portableWino}
