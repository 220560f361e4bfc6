package kernel

//go:generate go run -C gen . -file bf16 -out ../bf16_amd64.s -stubs ../bf16_stubs_amd64.go -pkg kernel

// bf16Path holds GemmBF16's inner loops.
var bf16Path = &gemmISA{
	mr: 14, nr: 32, per: 2, kc: bf16KC, aStep: 16, maxRows: 1024, maxCols: 256, group: 4, fmas: 64,
	micro:          microBF16,
	packLine:       gemmConvertBF16,
	packRows:       packRowsBF16,
	packTransposed: gemmPackTransposedBF16,
}

// kernelsBF16 are the micro-kernels by layout of the panel of A and its rows.
var kernelsBF16 = [2][15]func(*int){
	{nil, gemmBF16Rows1, gemmBF16Rows2, gemmBF16Rows3, gemmBF16Rows4, gemmBF16Rows5,
		gemmBF16Rows6, gemmBF16Rows7, gemmBF16Rows8, gemmBF16Rows9, gemmBF16Rows10,
		gemmBF16Rows11, gemmBF16Rows12, gemmBF16Rows13, gemmBF16Rows14},
	{nil, gemmBF16Columns1, gemmBF16Columns2, gemmBF16Columns3, gemmBF16Columns4, gemmBF16Columns5,
		gemmBF16Columns6, gemmBF16Columns7, gemmBF16Columns8, gemmBF16Columns9, gemmBF16Columns10,
		gemmBF16Columns11, gemmBF16Columns12, gemmBF16Columns13, gemmBF16Columns14},
}

// microBF16 is gemmISA.micro.
func microBF16(rows int, transposed bool, call *microCall) {
	layout := 0
	if transposed {
		layout = 1
	}
	kernelsBF16[layout][rows](&call.k)
}

// packRowsBF16 is gemmISA.packRows: panels of B have two vectors, those of A one.
func packRowsBF16(dst []float32, panel, step int, src []float32, ld, depth, width, panels, last int) {
	if step == 16 {
		gemmPackABF16(dst, panel, step, src, ld, depth, width, panels, last)
		return
	}
	gemmPackBBF16(dst, panel, step, src, ld, depth, width, panels, last)
}
