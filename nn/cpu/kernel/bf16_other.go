//go:build !amd64

package kernel

// bf16Path is never used: BF16Err refuses other architectures.
var bf16Path *gemmISA
