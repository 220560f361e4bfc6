//go:build !amd64

package kernel

// sparseLeast is a path that no machine has: the product that skips zeros is for amd64.
const sparseLeast = AVX512 + 1

func sparseRows(*sparseCall, int) { panic("kernel: no product that skips zeros") }

func transpose8(_ []float32, _ int, _ []float32, _, _ int) {
	panic("kernel: no product that skips zeros")
}

func copyPanel(_, _ []float32, _, _, _ int) { panic("kernel: no product that skips zeros") }

func fetchLines(uintptr, int, int, int) { panic("kernel: no product that skips zeros") }
