//go:build !amd64

package kernel

// Other architectures have the portable path alone.
var avx2Chan, avx512Chan *chanKernels
