package kernel

import (
	"fmt"
	"slices"
	"strings"

	"sdnn/nn/cpu/pool"
)

// bf16KC is the number of pairs of products in a block of GemmBF16's sum at
// most, 1024 products: the usual batch is one block, so that a gradient of
// weights is finished in registers.
const bf16KC = 512

// bf16Feature is the CPU feature that GemmBF16 needs beside those of AVX512.
const bf16Feature = "avx512_bf16"

// BF16Err reports why GemmBF16 cannot run, or nil when it can: the CPU
// features that are missing, or the code path that SDNN_CPU forces.
func BF16Err() error { return bf16Err(path, bf16Missing()) }

// bf16Missing lists the features that GemmBF16 needs and the machine lacks.
func bf16Missing() []string {
	names := missing(AVX512)
	if len(features) > 0 && !slices.ContainsFunc(features, func(f feature) bool { return f.name == bf16Feature && f.has }) {
		names = append(names, bf16Feature)
	}
	return names
}

// bf16Err is BF16Err for a code path and the features that are missing.
func bf16Err(path Level, missing []string) error {
	if len(missing) > 0 {
		return fmt.Errorf("this CPU lacks %s", strings.Join(missing, ", "))
	}
	if path != AVX512 {
		return fmt.Errorf("%s=%v forces a code path that has none; unset %s", environment, path, environment)
	}
	return nil
}

// GemmBF16 is Gemm with the operands rounded to bfloat16, the upper half of a
// float32, on the way: to the nearest, ties to even, subnormal values to 0.
// Sums and C stay float32. It panics where BF16Err is not nil.
//
// Every value of C is a sum of blocks of products, as many as it takes for
// none to have more than 2 bf16KC, of equal length but for the last. Inside a
// block the products are summed from 0 in pairs in ascending order of k by
// VDPBF16PS; an odd last product is paired with 0. As in Gemm the bits do not
// depend on the number of threads or on the shape.
func GemmBF16(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	if err := BF16Err(); err != nil {
		panic("kernel: GemmBF16: " + err.Error())
	}
	multiply(p, bf16Path, bf16Block(k), m, n, k, a, b, c, ldc, accumulate, e)
}

// bf16Block returns the products in a block of a sum of k. They fill vectors of
// packed values.
func bf16Block(k int) int {
	const vector = 32
	blocks := max(1, ceilDiv(k, 2*bf16KC))
	return roundUp(max(1, ceilDiv(k, blocks)), vector)
}
