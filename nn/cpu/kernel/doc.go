// Package kernel holds the inner loops of the cpu engine: the matrix product
// (gemm*.go) and the vector kernels (vec*.go). Every kernel exists once in
// portable Go and, on amd64, in AVX2 and AVX-512 assembly that the module in
// gen writes; Path says which is in use and SDNN_CPU forces one (cpu.go).
//
// # The matrix product
//
// C is cut in tiles, a task of the pool each. A tile is computed block by
// block of gemmKC products:
//
//	            columns of B: <= maxCols                     micro-tile: mr x nr of C
//	           +----+----+----+----+                         in registers (AVX-512 14 x 32,
//	gemmKC     |    |    |    |    |  packed block of B,     AVX2 6 x 16, portable 4 x 4)
//	products   | nr | nr | nr | nr |  in panels: stays in
//	           |    |    |    |    |  the L2 cache           +--------------+
//	           +----+----+----+----+                         | B row, 2 vec |
//	+--------+ +----+----+----+----+                       +-+--------------+
//	| mr     | |    |    |    |    |  a row of micro-tiles  |a| acc          |
//	+--------+ +----+----+----+----+  of C: L1 and L2,     |a| acc          |
//	| panel  | |    |    |    |    |  fetched before it    |a| acc          |
//	| of A:  | +----+----+----+----+  is added to          |.| ...          |
//	| L1     | |    |    |    |    |                       +-+--------------+
//	+--------+ +----+----+----+----+                      a value of A is broadcast
//
// For each panel of A the micro-kernel goes over the panels of B, so a panel
// of A is read from L1 and B streams from L2, 128 bytes for 28 multiply-adds
// of 16 values. Packing is copying, but for a transposed B, whose squares of
// 16 x 16 or 8 x 8 values are transposed in registers: a panel of A keeps the
// order of the operand (rows, or columns when stored transposed) and there is
// a micro-kernel for each. While it computes, the micro-kernel walks over the
// memory that will be read next (gemm_ahead.go): the next panel of A, the next
// block of B, and what Epilogue.Tile reads beside the result.
//
// Each tile packs its columns of B for itself; so it does its rows of A, unless
// A is small and many tiles need it, when all of A is packed first
// (gemm_packed.go). Within a product no thread waits for another but there.
// Panels of A are as equal in height as can be (128 rows are eight of 13 and
// two of 12): from 4 rows on (8 accumulators, two units of latency 4) a
// micro-tile runs at nearly the full speed.
//
// An operand may be the windows of images instead of a matrix in memory: they
// are gathered when they are packed (patches.go), which is how convolutions that
// have no fast algorithm are computed (conv_direct.go). A small C is cut along k
// too, when that is deep (gemm_deep.go).
//
// The largest products of training, conv1d's, are computed by one level of Strassen's algorithm:
// seven products of sums of quarters in place of eight (gemm_strassen.go). Its sums have an order of their own,
// the same on every path.
//
// Where an operand is full of zeros, as what ReLU and dropout leave, GemmSparse skips them, in
// the same order of summation and so to the same bits (gemm_sparse.go, gemm_sparse_job.go): samples of the
// operand decide which of the two is faster.
//
// GemmBF16 is the same product with a pair of bfloat16 wherever the above has a
// float32: packing rounds and pairs the operands along k, and VDPBF16PS takes
// the place of the fused multiply-add (bf16.go). A block has up to 1024
// products.
//
// The order of summation, on which reproducibility rests, is documented at
// Gemm and proved by gemm_bits_test.go.
package kernel
