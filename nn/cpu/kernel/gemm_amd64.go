package kernel

// gemmPaths holds the product's inner loops by code path.
var gemmPaths = [...]*gemmISA{Portable: &portableGemm, AVX2: &portableGemm, AVX512: &portableGemm}
