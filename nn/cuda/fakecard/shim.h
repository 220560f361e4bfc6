// What makes CUDA C a program of the host: the words of the language, the
// functions that our kernels call, and a scheduler that runs a block's threads
// as fibers, which take turns at barriers and shuffles.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };

namespace {

struct index3 { unsigned x, y, z; };
index3 threadIdx, blockIdx, blockDim, gridDim;

// Shared memory is a static variable, and full of nonsense when a block comes to
// it: nobody may count on what an earlier one left. build.go makes of
// __shared__ T x[n]; a static T x[n]; SDNN_SHARED(x)
unsigned long long block_serial;
#define SDNN_SHARED(x) { static unsigned long long of; if (of != block_serial) { of = block_serial; memset(&x, 0xff, sizeof x); } }

inline int min(int a, int b) { return a < b ? a : b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
// One thread runs at a time: plain operations are atomic.
inline unsigned atomicOr(unsigned *p, unsigned v) { unsigned old = *p; *p |= v; return old; }
inline void __threadfence() {}
inline int atomicAdd(int *p, int v) { int old = *p; *p += v; return old; }
#ifdef __APPLE__
inline void sincos(double x, double *s, double *c) { *s = sin(x); *c = cos(x); }
#endif

// ---- fibers

enum { most = 256, stack_bytes = 1 << 16 };
enum state { ready, at_block, at_warp, over };

struct fiber { void *sp; state is; unsigned turn; };
fiber fibers[most];
char *stacks;
void *scheduler;
int current;
float slots[2][most]; // what shuffles exchange; two, as a lane can be one shuffle ahead
void (*entry)(const unsigned long long *);
const unsigned long long *entry_args;

extern "C" void sdnn_switch(void **save, void *to) __asm__("sdnn_fakecard_switch") __attribute__((visibility("hidden")));

#if defined(__x86_64__)
__asm__(R"(
.text
.hidden sdnn_fakecard_switch
.globl sdnn_fakecard_switch
sdnn_fakecard_switch:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
)");
// The stack of a fiber that begins at f: six registers, where to return to, and
// the alignment that a call leaves.
inline void *fresh(char *top, void (*f)()) {
	void **sp = (void **)(top - 16);
	*--sp = 0;
	*--sp = (void *)f;
	for (int i = 0; i < 6; i++) *--sp = 0;
	return sp;
}
#elif defined(__aarch64__)
__asm__(R"(
.text
.hidden sdnn_fakecard_switch
.globl sdnn_fakecard_switch
sdnn_fakecard_switch:
	sub sp, sp, #160
	stp x19, x20, [sp, #0]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	stp d8, d9, [sp, #96]
	stp d10, d11, [sp, #112]
	stp d12, d13, [sp, #128]
	stp d14, d15, [sp, #144]
	mov x9, sp
	str x9, [x0]
	mov sp, x1
	ldp x19, x20, [sp, #0]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	ldp d8, d9, [sp, #96]
	ldp d10, d11, [sp, #112]
	ldp d12, d13, [sp, #128]
	ldp d14, d15, [sp, #144]
	add sp, sp, #160
	ret
)");
inline void *fresh(char *top, void (*f)()) {
	void **sp = (void **)(top - 160);
	memset(sp, 0, 160);
	sp[11] = (void *)f; // x30
	return sp;
}
#else
#error "fakecard runs kernels on amd64 and arm64"
#endif

void leave(state s) {
	fibers[current].is = s;
	sdnn_switch(&fibers[current].sp, scheduler);
}

void fiber_main() {
	entry(entry_args);
	leave(over);
	abort();
}

__attribute__((noinline)) void __syncthreads() { leave(at_block); }

inline float exchange(float v, int from) {
	unsigned turn = fibers[current].turn++ & 1;
	slots[turn][current] = v;
	int lane = current;
	leave(at_warp);
	return slots[turn][(lane & ~31) | from];
}
__attribute__((noinline)) float __shfl_xor_sync(unsigned, float v, int d) { return exchange(v, (current & 31) ^ d); }

// release lets go on whom a barrier holds that all have reached; false if none.
bool release(int n) {
	int waiting = 0;
	bool any = false;
	for (int w = 0; w < n; w += 32) {
		int here = 0, lanes = n - w < 32 ? n - w : 32;
		for (int i = w; i < w + lanes; i++) {
			here += fibers[i].is == at_warp;
			waiting += fibers[i].is == at_block;
		}
		if (here == lanes) {
			for (int i = w; i < w + lanes; i++) fibers[i].is = ready;
			any = true;
		}
	}
	if (waiting == n) {
		for (int i = 0; i < n; i++) fibers[i].is = ready;
		any = true;
	}
	return any;
}

// What the threads of a block do between two barriers, and the blocks of a grid,
// must not depend on who comes first: the order changes from block to block and
// from launch to launch, so that something that does gives other results.
unsigned launches;

int in_order(unsigned order, int i, int n) {
	switch (order % 3) {
	case 0: return i;
	case 1: return n - 1 - i;
	}
	return n & (n - 1) ? n - 1 - i : i * 89 & (n - 1);
}

// run_block returns false if some threads wait for others that never come.
bool run_block(int n, unsigned order) {
	block_serial++;
	for (int i = 0; i < n; i++) {
		fibers[i].sp = fresh(stacks + (size_t)(i + 1) * stack_bytes, fiber_main);
		fibers[i].is = ready;
		fibers[i].turn = 0;
	}
	for (;;) {
		int done = 0;
		for (int k = 0; k < n; k++) {
			int i = in_order(order, k, n);
			if (fibers[i].is == ready) {
				current = i;
				threadIdx.x = (unsigned)i;
				sdnn_switch(&scheduler, fibers[i].sp);
			}
			done += fibers[i].is == over;
		}
		if (done == n) return true;
		if (!release(n)) return false;
	}
}

} // namespace

// sdnn_run runs a kernel over a grid: 0, 1 if a barrier was not reached by all
// threads of a block, 2 if the block is not one that it can run.
extern "C" int sdnn_run(void (*f)(const unsigned long long *), const unsigned long long *args, unsigned gx, unsigned gy, unsigned gz, unsigned threads) {
	if (threads == 0 || threads > most) return 2;
	if (!stacks) stacks = (char *)malloc((size_t)most * stack_bytes);
	entry = f;
	entry_args = args;
	gridDim = {gx, gy, gz};
	blockDim = {threads, 1, 1};
	threadIdx = {0, 0, 0};
	unsigned order = launches++;
	unsigned long long blocks = (unsigned long long)gx * gy * gz;
	for (unsigned long long i = 0; i < blocks; i++) {
		unsigned long long at = order & 1 ? blocks - 1 - i : i;
		blockIdx = {(unsigned)(at % gx), (unsigned)(at / gx % gy), (unsigned)(at / gx / gy)};
		if (!run_block((int)threads, order + (unsigned)i)) return 1;
	}
	return 0;
}

// ---- the kernels
