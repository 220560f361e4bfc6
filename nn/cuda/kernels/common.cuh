// What every source begins with: types, 16-byte accesses, the walk over
// channels, sums of a block, random numbers. No headers: NVRTC has none.

typedef unsigned char u8;
typedef unsigned short bf16; // the upper half of a float
typedef unsigned int u32;
typedef unsigned long long u64;

#define DEVICE static __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(256)
#define KERNEL3 extern "C" __global__ void __launch_bounds__(256, 3) // with so few registers that three blocks fit a multiprocessor
#define THREADS 256

// ---- numbers

DEVICE float widen(float x) { return x; }
DEVICE float widen(bf16 x) { return __uint_as_float((u32)x << 16); }

// To the nearest bf16, ties to even; NaN stays NaN.
DEVICE bf16 narrow_bf16(float f) {
	u32 u = __float_as_uint(f);
	if ((u & 0x7fffffffu) > 0x7f800000u) return (bf16)((u >> 16) | 0x40u);
	return (bf16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

DEVICE void narrow_to(float &to, float f) { to = f; }
DEVICE void narrow_to(bf16 &to, float f) { to = narrow_bf16(f); }

template <class T> DEVICE T narrow(float f) {
	T to;
	narrow_to(to, f);
	return to;
}

// Two at once: one instruction from compute capability 8.0 on.
DEVICE u32 narrow_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
	u32 r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
	return r;
#else
	return (u32)narrow_bf16(low) | (u32)narrow_bf16(high) << 16;
#endif
}

// The float that a T can hold: what a later kernel reads back.
template <class T> DEVICE float rounded(float f) { return widen(narrow<T>(f)); }

// choose takes both values, so that the compiler does not load one of them only
// where it is chosen: sixteen bytes would become four loads.
DEVICE float choose(bool c, float a, float b) { return c ? a : b; }

DEVICE float positive(float x) { return x > 0.0f ? x : 0.0f; }

// ---- 16-byte accesses: V elements in registers as floats

template <int V> struct reg {
	float f[V];
};

template <class T> struct vec;
template <> struct vec<float> {
	enum { n = 4 };
};
template <> struct vec<bf16> {
	enum { n = 8 };
};

// on_card tells NVRTC that a pointer from a table is one to the card's memory:
// else every access asks whether it is.
DEVICE void on_card(const void *p) {
#ifdef __CUDACC_RTC__
	__builtin_assume(__isGlobal(p));
#endif
}

DEVICE bool aligned(const void *p) { return ((u64)p & 15) == 0; }

template <class T, int V> struct access;

template <class T> struct access<T, 1> {
	static __device__ __forceinline__ void load(reg<1> &r, const T *p) { r.f[0] = widen(*p); }
	static __device__ __forceinline__ void store(T *p, const reg<1> &r) { *p = narrow<T>(r.f[0]); }
};

template <> struct access<float, 4> {
	static __device__ __forceinline__ void load(reg<4> &r, const float *p) {
		uint4 q = *(const uint4 *)p;
		r.f[0] = __uint_as_float(q.x);
		r.f[1] = __uint_as_float(q.y);
		r.f[2] = __uint_as_float(q.z);
		r.f[3] = __uint_as_float(q.w);
	}
	static __device__ __forceinline__ void store(float *p, const reg<4> &r) {
		uint4 q;
		q.x = __float_as_uint(r.f[0]);
		q.y = __float_as_uint(r.f[1]);
		q.z = __float_as_uint(r.f[2]);
		q.w = __float_as_uint(r.f[3]);
		*(uint4 *)p = q;
	}
};

DEVICE void widen_pair(float &low, float &high, u32 q) {
	low = __uint_as_float(q << 16);
	high = __uint_as_float(q & 0xffff0000u);
}

template <> struct access<bf16, 8> {
	static __device__ __forceinline__ void load(reg<8> &r, const bf16 *p) {
		uint4 q = *(const uint4 *)p;
		widen_pair(r.f[0], r.f[1], q.x);
		widen_pair(r.f[2], r.f[3], q.y);
		widen_pair(r.f[4], r.f[5], q.z);
		widen_pair(r.f[6], r.f[7], q.w);
	}
	static __device__ __forceinline__ void store(bf16 *p, const reg<8> &r) {
		uint4 q;
		q.x = narrow_pair(r.f[0], r.f[1]);
		q.y = narrow_pair(r.f[2], r.f[3]);
		q.z = narrow_pair(r.f[4], r.f[5]);
		q.w = narrow_pair(r.f[6], r.f[7]);
		*(uint4 *)p = q;
	}
};

// Eight bytes as one number, which no compiler takes apart.
template <> struct access<bf16, 4> { // beside four floats
	static __device__ __forceinline__ void load(reg<4> &r, const bf16 *p) {
		u64 q = *(const u64 *)p;
		widen_pair(r.f[0], r.f[1], (u32)q);
		widen_pair(r.f[2], r.f[3], (u32)(q >> 32));
	}
	static __device__ __forceinline__ void store(bf16 *p, const reg<4> &r) {
		*(u64 *)p = (u64)narrow_pair(r.f[0], r.f[1]) | (u64)narrow_pair(r.f[2], r.f[3]) << 32;
	}
};

template <class T, int V> DEVICE reg<V> load(const T *p) {
	reg<V> r;
	access<T, V>::load(r, p);
	return r;
}
template <class T, int V> DEVICE void store(T *p, const reg<V> &r) { access<T, V>::store(p, r); }

// V floats of a small table that stays in cache.
template <int V> DEVICE reg<V> table(const float *p) {
	reg<V> r;
#pragma unroll
	for (int i = 0; i < V; i++) r.f[i] = p[i];
	return r;
}

// ---- the walk over [rows, channels]
//
// A block is tx x ty threads: lane x takes V neighbouring channels and keeps
// what belongs to them in registers, lane y takes rows. tx is a power of two
// that divides the row's vectors where one of 4 to 32 does, so that few lanes
// idle and a warp reads at least 64 contiguous bytes a row. Blocks are (tiles of
// channels) x (slices of rows).

struct walk {
	int tx, ty, x, y;   // extent of the block, and this thread in it
	int from, to;       // rows of the slice
	__device__ __forceinline__ walk(int vectors, int rows, int most = 5) {
		int bits = most; // tx is 1 << bits: shifts, where a division would be twenty instructions
		while (bits > 2 && (vectors & ((1 << bits) - 1))) bits--;
		while (bits > 0 && 1 << bits >> 1 >= vectors) bits--;
		tx = 1 << bits;
		ty = THREADS >> bits;
		x = (int)threadIdx.x & (tx - 1);
		y = (int)threadIdx.x >> bits;
		int per = (rows + (int)gridDim.y - 1) / (int)gridDim.y;
		from = min((int)blockIdx.y * per, rows);
		to = min(from + per, rows);
	}
};

// each_row calls op.begin(c) for the thread's channels and op.row(r, c) for
// its rows.
template <int V, class Op> DEVICE void each_row(Op op, int rows, int channels) {
	int vectors = channels / V;
	walk w(vectors, rows);
	for (int v = (int)blockIdx.x * w.tx + w.x; v < vectors; v += (int)gridDim.x * w.tx) {
		op.begin(v * V);
		for (int r = w.from + w.y; r < w.to; r += w.ty) op.row(r, v * V);
	}
}

// each_pair is each_row for an op that says apart what it reads: op.take(r, c)
// returns it, op.put(it, r, c) computes and writes. Two rows are read before one
// is written, which the compiler could not do by itself, as y may be x: a card
// needs some 32 KB a multiprocessor on their way to be at its bandwidth, and one
// access a thread is not always that much.
template <int V, class Op> DEVICE void each_pair(Op op, int rows, int channels) {
	int vectors = channels / V;
	walk w(vectors, rows);
	for (int v = (int)blockIdx.x * w.tx + w.x; v < vectors; v += (int)gridDim.x * w.tx) {
		op.begin(v * V);
		int r = w.from + w.y;
		for (; r + w.ty < w.to; r += 2 * w.ty) {
			typename Op::taken a = op.take(r, v * V), b = op.take(r + w.ty, v * V);
			op.put(a, r, v * V);
			op.put(b, r + w.ty, v * V);
		}
		if (r < w.to) op.put(op.take(r, v * V), r, v * V);
	}
}

// last_block reports to all threads of a block whether it is the last of n to
// call it with a counter, which is 0 before and after. What the others have
// written before is then to be seen.
DEVICE bool last_block(int *counter, int n) {
	__shared__ int before;
	__threadfence();
	__syncthreads();
	if (threadIdx.x == 0) {
		before = atomicAdd(counter, 1);
		if (before == n - 1) *counter = 0;
	}
	__syncthreads();
	bool last = before == n - 1;
	if (last) __threadfence();
	return last;
}

#define TILE 32 // channels that a block sums at most, so that its last one has little to add up

// finish_tile adds up the slices of a tile's channels, in double and in one
// order, and calls f.channel(c, sums).
template <int K, class F> DEVICE void finish_tile(const F &f, double *shared, const float *partial, int slices, int channels, int first, int width) {
	int columns = K * width, lanes = THREADS / columns; // powers of two
	int column = (int)threadIdx.x % columns, lane = (int)threadIdx.x / columns, c = first + column % width;
	double s = 0.0;
	if (c < channels) {
		const float *p = partial + (u64)(column / width) * channels + c;
#pragma unroll 8
		for (int i = lane; i < slices; i += lanes) s += (double)p[(u64)i * K * channels];
	}
	__syncthreads();
	shared[threadIdx.x] = s;
	__syncthreads();
	for (int d = lanes / 2; d > 0; d >>= 1) {
		if (lane < d) shared[threadIdx.x] += shared[threadIdx.x + d * columns];
		__syncthreads();
	}
	if ((int)threadIdx.x >= width || first + (int)threadIdx.x >= channels) return;
	double sums[K];
#pragma unroll
	for (int k = 0; k < K; k++) sums[k] = shared[k * width + (int)threadIdx.x];
	f.channel(first + (int)threadIdx.x, sums);
}

// sum_rows is each_row for an op that sums K numbers a channel into op.sum[K],
// and says how many rows to read before one is used (turns, see each_pair);
// sums of the slice go to partial[slice][k][channels], each added up in one
// order whatever the card: rows of a thread, then lanes, then warps. The block
// that is the last of its channels finishes them, by f; counters has a number a
// tile.
template <int V, int K, class Op, class F> DEVICE void sum_rows(Op op, const F &f, float *partial, int *counters, int rows, int channels) {
	const int bits = V == 1 ? 5 : V == 4 ? 3 : 2; // V << bits is TILE
	__shared__ float warps[K * V << bits][THREADS / 32];
	__shared__ double shared[THREADS];
	int vectors = channels / V;
	walk w(vectors, rows, bits);
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	for (int tile = blockIdx.x; tile * w.tx < vectors; tile += gridDim.x) {
		int v = tile * w.tx + w.x;
#pragma unroll
		for (int k = 0; k < K; k++)
#pragma unroll
			for (int i = 0; i < V; i++) op.sum[k].f[i] = 0.0f;
		if (v < vectors) {
			op.begin(v * V);
#pragma unroll Op::turns
			for (int r = w.from + w.y; r < w.to; r += w.ty) op.row(r, v * V);
		}
#pragma unroll
		for (int k = 0; k < K; k++)
#pragma unroll
			for (int i = 0; i < V; i++) {
				float s = op.sum[k].f[i];
				for (int d = 16; d >= w.tx; d >>= 1) s += __shfl_xor_sync(0xffffffffu, s, d);
				if (lane < w.tx) warps[(k * w.tx + lane) * V + i][warp] = s;
			}
		__syncthreads();
		for (int j = threadIdx.x; j < K * w.tx * V; j += THREADS) {
			int k = j / (w.tx * V), c = tile * w.tx * V + j % (w.tx * V);
			float s = 0.0f;
#pragma unroll
			for (int i = 0; i < THREADS / 32; i++) s += warps[j][i];
			if (c < channels) partial[((u64)blockIdx.y * K + k) * channels + c] = s;
		}
		if (last_block(counters + tile, gridDim.y))
			finish_tile<K>(f, shared, partial, gridDim.y, channels, tile * w.tx * V, w.tx * V);
	}
}

// add_slices returns the sum over slices of partial[slice][stride] at column c,
// in double, for a block of 16 columns x 16 lanes; every thread of the block
// calls it, and those of lane 0 have the result.
DEVICE double add_slices(double *shared, const float *partial, int stride, int slices, int c, bool inside) {
	int lane = threadIdx.x / 16;
	double s = 0.0;
	if (inside)
		for (int i = lane; i < slices; i += THREADS / 16) s += (double)partial[(u64)i * stride + c];
	__syncthreads();
	shared[threadIdx.x] = s;
	__syncthreads();
	for (int d = THREADS / 32; d > 0; d >>= 1) {
		if (lane < d) shared[threadIdx.x] += shared[threadIdx.x + d * 16];
		__syncthreads();
	}
	return shared[threadIdx.x % 16];
}

// gradients is what follows from the sums of a normalisation's gradient over the
// rows, of dy and of dy (x - mean): the gradients of gamma and beta, the three
// coefficients of dx, and the gradient of a bias that was added to x: the sum of
// dx over all rows, which is zero but for roundings.
struct gradients {
	float *dgamma, *dbeta, *back, *dbias;
	const float *gamma, *mean, *inv;
	int rows, channels;
	__device__ __forceinline__ void channel(int c, const double *sums) const {
		double s1 = sums[0], is = (double)inv[c], m = (double)mean[c], dg = sums[1] * is, g = (double)gamma[c] * is;
		dbeta[c] = (float)s1;
		dgamma[c] = (float)dg;
		float a = (float)g, b = (float)(-g * is * dg / rows), d = (float)(-g * s1 / rows + g * is * m * dg / rows);
		back[c] = a;
		back[channels + c] = b;
		back[2 * channels + c] = d;
		if (dbias) dbias[c] = (float)((double)a * s1 + rows * ((double)b * m + (double)d));
	}
};

// ---- sums of a block

// block_sum returns the sum of v over the block's 256 threads to all of them.
DEVICE double block_sum(double *shared, double v) {
	__syncthreads();
	shared[threadIdx.x] = v;
	__syncthreads();
	for (int d = THREADS / 2; d > 0; d >>= 1) {
		if ((int)threadIdx.x < d) shared[threadIdx.x] += shared[threadIdx.x + d];
		__syncthreads();
	}
	return shared[0];
}

// warp_sum is the sum over the warp's lanes, to all of them.
DEVICE float warp_sum(float v) {
	for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
	return v;
}

// ---- random numbers: nn.Hash32, nn.StreamKey

DEVICE u64 mix64(u64 x) {
	x ^= x >> 30;
	x *= 0xBF58476D1CE4E5B9ull;
	x ^= x >> 27;
	x *= 0x94D049BB133111EBull;
	return x ^ x >> 31;
}

DEVICE u64 stream_key(u64 row_key, u32 stream) { return mix64(row_key ^ ((u64)stream + 1) * 0xA0761D6478BD642Full); }

DEVICE u32 hash32(u64 key, u32 j) {
	u32 x = (u32)key + j * 0x9E3779B9u;
	x ^= x >> 16;
	x *= 0x7FEB352Du;
	x ^= (u32)(key >> 32);
	x ^= x >> 15;
	x *= 0x846CA68Bu;
	x ^= x >> 16;
	return x;
}

// A place in the dropout of [images*positions, channels]: the key of the row's
// image, and the counter of the row's first element. Rows come in ascending
// order, and most have the image of the one before.
struct drop_place {
	const u64 *keys;
	int positions, channels;
	u32 stream;
	int from, to; // rows of the image
	u64 key;
	__device__ __forceinline__ void begin() { from = to = 0; }
	__device__ __forceinline__ u32 at(int r) {
		if (r >= to) {
			int image = r / positions;
			from = image * positions;
			to = from + positions;
			key = stream_key(keys[image], stream);
		}
		return (u32)((r - from) * channels);
	}
};

// ---- lists of rows: bits [classes][2][words], words = (rows+31)/32, are a bit a
// row: first of a class's positives, then of the rows whose p is above 3/4 for
// it. The loss sets them for theta.

#define LISTED 1024 // rows listed at a time

struct row_list {
	int count[LISTED / 32 + 1];
	int row[LISTED];
	float g1[LISTED], g0[LISTED]; // what a row weighs in g1 and in g0
};

// list_rows fills the list with the listed ones of LISTED rows from first on, in
// ascending order; z is the class's column.
template <class W> DEVICE void list_rows(W weigh, row_list &l, const u32 *positives, const u32 *confident, int words, int first, const float *z, int stride) {
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = first / 32;
	__syncthreads(); // the list is free
	for (int i = warp; i < LISTED / 32; i += THREADS / 32)
		if (lane == 0) l.count[i + 1] = at + i < words ? __popc(positives[at + i] | confident[at + i]) : 0;
	if (threadIdx.x == 0) l.count[0] = 0;
	__syncthreads();
	if (threadIdx.x == 0)
		for (int i = 0; i < LISTED / 32; i++) l.count[i + 1] += l.count[i];
	__syncthreads();
	for (int i = warp; i < LISTED / 32 && at + i < words; i += THREADS / 32) {
		u32 pos = positives[at + i], any = pos | confident[at + i];
		if (!(any >> lane & 1u)) continue;
		int slot = l.count[i] + __popc(any & ((1u << lane) - 1u)), r = first + 32 * i + lane;
		l.row[slot] = r;
		weigh(z[(u64)r * stride], pos >> lane & 1u, l.g1[slot], l.g0[slot]);
	}
	__syncthreads();
}

// occurs reports whether a class has positives, to all threads.
DEVICE bool occurs(row_list &l, const u32 *positives, int words) {
	__syncthreads();
	if (threadIdx.x == 0) l.count[0] = 0;
	__syncthreads();
	for (int i = threadIdx.x; i < words; i += THREADS)
		if (positives[i]) l.count[0] = 1;
	__syncthreads();
	return l.count[0] != 0;
}
