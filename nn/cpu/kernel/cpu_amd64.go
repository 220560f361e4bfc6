package kernel

import "golang.org/x/sys/cpu"

// features lists what x/sys/cpu found by CPUID and XGETBV: a feature counts
// only when the operating system saves its registers.
var features = []feature{
	{"avx2", cpu.X86.HasAVX2, AVX2},
	{"fma", cpu.X86.HasFMA, AVX2},
	{"avx512f", cpu.X86.HasAVX512F, AVX512},
	{"avx512bw", cpu.X86.HasAVX512BW, AVX512},
	{"avx512dq", cpu.X86.HasAVX512DQ, AVX512},
	{"avx512vl", cpu.X86.HasAVX512VL, AVX512},
	{"avx512_bf16", cpu.X86.HasAVX512BF16, Portable},
}
