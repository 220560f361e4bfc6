//go:build !amd64

package kernel

// gemmPaths holds the product's inner loops by code path.
var gemmPaths = [...]*gemmISA{Portable: &portableGemm}

// fetchLines would ask for memory that is read soon.
func fetchLines(uintptr, int, int, int) {}
