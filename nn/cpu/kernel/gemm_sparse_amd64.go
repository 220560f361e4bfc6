package kernel

import "unsafe"

//go:generate go run -C gen . -file sparse -out ../gemm_sparse_amd64.s -stubs ../gemm_sparse_stubs_amd64.go -pkg kernel

// The assembly takes the address of a sparseCall's first field and counts on its layout.
var _ = [1]struct{}{}[unsafe.Sizeof(sparseCall{})-14*8]

// sparseKernels are the kernels by code path and by the columns of B that they multiply by: 32, 64 or 96.
var sparseKernels = [...][3]func(*int){
	AVX2:   {gemmSparse4AVX2, gemmSparse8AVX2, gemmSparse12AVX2},
	AVX512: {gemmSparse2AVX512, gemmSparse4AVX512, gemmSparse6AVX512},
}

// sparseRows multiplies rows of A by the first cols columns of a panel of B, and perhaps more.
func sparseRows(call *sparseCall, cols int) { sparseKernels[path][(cols-1)/32](&call.rows) }

// transpose8 writes value (j, k) of src to dst[k*ldDst + j], for 8 rows j and depth columns k.
func transpose8(dst []float32, ldDst int, src []float32, ld, depth int) {
	gemmTranspose8AVX2(dst, ldDst, src, ld, depth)
}

// copyPanel copies depth rows of cols values of src, ld values apart, to rows of a panel.
func copyPanel(panel, src []float32, ld, depth, cols int) {
	panels := ceilDiv(cols, 16)
	gemmPackBAVX2(panel, 16, sparseCols, src, ld, depth, 16, panels, cols-(panels-1)*16)
}
