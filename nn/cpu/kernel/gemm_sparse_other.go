//go:build !amd64

package kernel

// The product that skips zeros is for amd64: these are never called.

func sparseRows(*sparseCall, int) { panic("kernel: no product that skips zeros") }

func transpose8(_ []float32, _ int, _ []float32, _, _ int) {
	panic("kernel: no product that skips zeros")
}

func copyPanel(_, _ []float32, _, _, _ int) { panic("kernel: no product that skips zeros") }
