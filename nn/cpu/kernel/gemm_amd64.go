package kernel

import "unsafe"

//go:generate go run -C gen . -file gemm_strassen -out ../gemm_strassen_amd64.s -stubs ../gemm_strassen_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file gemm -out ../gemm_amd64.s -stubs ../gemm_stubs_amd64.go -pkg kernel

// gemmPaths holds the product's inner loops by code path.
var gemmPaths = [...]*gemmISA{Portable: &portableGemm, AVX2: &avx2Gemm, AVX512: &avx512Gemm}

var avx2Gemm = gemmISA{
	mr: 6, nr: 16, per: 1, kc: gemmKC, aStep: 8, maxRows: 1024, maxCols: 256, group: 8, fmas: 16,
	micro:          microAVX2,
	packLine:       packLine,
	packRows:       packRowsAVX2,
	packTransposed: gemmPackTransposedAVX2,
	sums:           func(s *sumsCall) { strassenSumsAVX2((*int)(unsafe.Pointer(s))) },
}

var avx512Gemm = gemmISA{
	mr: 14, nr: 32, per: 1, kc: gemmKC, aStep: 16, maxRows: 1024, maxCols: 384, group: 4, fmas: 32,
	micro:          microAVX512,
	packLine:       packLine,
	packRows:       packRowsAVX512,
	packTransposed: gemmPackTransposedAVX512,
	sums:           func(s *sumsCall) { strassenSumsAVX512((*int)(unsafe.Pointer(s))) },
}

// The assembly takes the addresses of a microCall's and a sumsCall's first fields and
// counts on their layouts.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(microCall{})-16*8]
	_ = [1]struct{}{}[unsafe.Sizeof(sumsCall{})-10*8]
)

// The micro-kernels by layout of the panel of A (rows, columns) and its rows.
var (
	kernelsAVX2 = [2][7]func(*int){
		{nil, gemmAVX2Rows1, gemmAVX2Rows2, gemmAVX2Rows3, gemmAVX2Rows4, gemmAVX2Rows5, gemmAVX2Rows6},
		{nil, gemmAVX2Columns1, gemmAVX2Columns2, gemmAVX2Columns3, gemmAVX2Columns4, gemmAVX2Columns5, gemmAVX2Columns6},
	}
	kernelsAVX512 = [2][15]func(*int){
		{nil, gemmAVX512Rows1, gemmAVX512Rows2, gemmAVX512Rows3, gemmAVX512Rows4, gemmAVX512Rows5,
			gemmAVX512Rows6, gemmAVX512Rows7, gemmAVX512Rows8, gemmAVX512Rows9, gemmAVX512Rows10,
			gemmAVX512Rows11, gemmAVX512Rows12, gemmAVX512Rows13, gemmAVX512Rows14},
		{nil, gemmAVX512Columns1, gemmAVX512Columns2, gemmAVX512Columns3, gemmAVX512Columns4, gemmAVX512Columns5,
			gemmAVX512Columns6, gemmAVX512Columns7, gemmAVX512Columns8, gemmAVX512Columns9, gemmAVX512Columns10,
			gemmAVX512Columns11, gemmAVX512Columns12, gemmAVX512Columns13, gemmAVX512Columns14},
	}
)

// microAVX2 is gemmISA.micro.
func microAVX2(rows int, transposed bool, call *microCall) {
	layout := 0
	if transposed {
		layout = 1
	}
	kernelsAVX2[layout][rows](&call.k)
}

// microAVX512 is gemmISA.micro.
func microAVX512(rows int, transposed bool, call *microCall) {
	layout := 0
	if transposed {
		layout = 1
	}
	kernelsAVX512[layout][rows](&call.k)
}

// packRowsAVX2 is gemmISA.packRows: panels of B have two vectors, those of A one.
func packRowsAVX2(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int) {
	if step == 8 {
		gemmPackAAVX2(dst, panel, step, src, ld, depth, width, panels, last)
		return
	}
	gemmPackBAVX2(dst, panel, step, src, ld, depth, width, panels, last)
}

// packRowsAVX512 is gemmISA.packRows: panels of B have two vectors, those of A one.
func packRowsAVX512(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int) {
	if step == 16 {
		gemmPackAAVX512(dst, panel, step, src, ld, depth, width, panels, last)
		return
	}
	gemmPackBAVX512(dst, panel, step, src, ld, depth, width, panels, last)
}

// fetchLines asks for lines of memory from address on, of each of rows that are step bytes apart.
func fetchLines(address uintptr, rows, lines, step int) { gemmFetchAVX2(address, rows, lines, step) }
