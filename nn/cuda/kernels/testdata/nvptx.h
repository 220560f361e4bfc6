// What clang needs to compile the sources for NVIDIA's machine without CUDA's
// headers: NVRTC has all of this built in. See TestNVPTX.
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))

// As vectors, which clang does not take apart; NVRTC keeps its structures whole.
typedef unsigned uint4 __attribute__((ext_vector_type(4)));
typedef unsigned uint2 __attribute__((ext_vector_type(2)));
struct uint3 { unsigned x, y, z; };
struct dim3 {
	unsigned x, y, z;
	__device__ dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};
#include <__clang_cuda_builtin_vars.h>

extern "C" {
__device__ float expf(float);
__device__ float logf(float);
__device__ float fabsf(float);
__device__ float fmaxf(float, float);
__device__ double exp(double);
__device__ double log(double);
__device__ double fabs(double);
__device__ void sincos(double, double *, double *);
}
__device__ float sqrtf(float x) { return __nvvm_sqrt_rn_f(x); }
__device__ double sqrt(double x) { return __nvvm_sqrt_rn_d(x); }
__device__ float fmaf(float a, float b, float c) { return __nvvm_fma_rn_f(a, b, c); }
__device__ int __popc(unsigned x) { return __builtin_popcount(x); }
__device__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return __nvvm_mulhi_ull(a, b); }
__device__ float __uint_as_float(unsigned u) { return __builtin_bit_cast(float, u); }
__device__ unsigned __float_as_uint(float f) { return __builtin_bit_cast(unsigned, f); }
__device__ __attribute__((convergent)) float __shfl_xor_sync(unsigned mask, float v, int d);
__device__ unsigned atomicOr(unsigned *p, unsigned v) { return __atomic_fetch_or(p, v, 0); }
__device__ void __threadfence() { __nvvm_membar_gl(); }
__device__ int atomicAdd(int *p, int v) { return __atomic_fetch_add(p, v, 0); }
__device__ int min(int a, int b) { return a < b ? a : b; }
