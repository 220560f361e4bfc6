package kernels

import (
	"math"

	"sdnn/nn/cuda/driver"
)

// P is a pointer argument.
func P(p driver.Ptr) driver.Arg { return driver.Arg{Kind: driver.ArgPtr, Bits: uint64(p)} }

// I is an int argument.
func I(v int) driver.Arg {
	if v != int(int32(v)) {
		panic("kernels: an int argument does not fit 32 bits")
	}
	return driver.Arg{Kind: driver.ArgI32, Bits: uint64(uint32(int32(v)))}
}

// U is an unsigned int argument.
func U(v uint32) driver.Arg { return driver.Arg{Kind: driver.ArgU32, Bits: uint64(v)} }

// L is an unsigned long long argument.
func L(v uint64) driver.Arg { return driver.Arg{Kind: driver.ArgU64, Bits: v} }

// F is a float argument.
func F(v float32) driver.Arg {
	return driver.Arg{Kind: driver.ArgF32, Bits: uint64(math.Float32bits(v))}
}
