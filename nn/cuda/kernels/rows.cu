// Rows of matrices: copies with conversion, padding and gathering, Euclidean
// norms, images from bytes, the best scores.

// ---- copies: row r of y is row index[r] of x, or row r without an index

template <class D, class S, int V> struct copying {
	D *y;
	const S *x;
	const int *index;
	int y_stride, x_stride;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		int from = index ? index[r] : r;
		store<D, V>(y + (u64)r * y_stride + c, load<S, V>(x + (u64)from * x_stride + c));
	}
};

template <class D, class S> DEVICE void copy(D *y, const S *x, const int *index, int rows, int width, int y_stride, int x_stride) {
	if (width % 4 == 0 && y_stride % 4 == 0 && x_stride % 4 == 0 && aligned(y) && aligned(x))
		each_row<4>(copying<D, S, 4>{y, x, index, y_stride, x_stride}, rows, width);
	else
		each_row<1>(copying<D, S, 1>{y, x, index, y_stride, x_stride}, rows, width);
}

// With an index the extent of x is the caller's matter; rows*width are read.
//@ y[(rows-1)*y_stride+width] x[]~rows*width index?[rows]
KERNEL copy_rows_f32_f32(float *y, const float *x, const int *index, int rows, int width, int y_stride, int x_stride) { copy(y, x, index, rows, width, y_stride, x_stride); }
KERNEL copy_rows_f32_bf16(bf16 *y, const float *x, const int *index, int rows, int width, int y_stride, int x_stride) { copy(y, x, index, rows, width, y_stride, x_stride); }
KERNEL copy_rows_bf16_bf16(bf16 *y, const bf16 *x, const int *index, int rows, int width, int y_stride, int x_stride) { copy(y, x, index, rows, width, y_stride, x_stride); }
KERNEL copy_rows_bf16_f32(float *y, const bf16 *x, const int *index, int rows, int width, int y_stride, int x_stride) { copy(y, x, index, rows, width, y_stride, x_stride); }

// ---- rows padded with zeros: to a multiple of 8 channels, for tensor cores

template <class S, int V> struct padding {
	bf16 *y;
	const S *x;
	int width, stride;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		reg<V> v;
#pragma unroll
		for (int i = 0; i < V; i++) v.f[i] = c + i < width ? widen(x[(u64)r * width + c + i]) : 0.0f;
		store<bf16, V>(y + (u64)r * stride + c, v);
	}
};

template <class S> DEVICE void padded(bf16 *y, const S *x, int rows, int width, int y_stride) {
	if (y_stride % 8 == 0 && aligned(y))
		each_row<8>(padding<S, 8>{y, x, width, y_stride}, rows, y_stride);
	else
		each_row<1>(padding<S, 1>{y, x, width, y_stride}, rows, y_stride);
}

//@ y[rows*y_stride] x[rows*width]
KERNEL pad_rows_f32_bf16(bf16 *y, const float *x, int rows, int width, int y_stride) { padded(y, x, rows, width, y_stride); }
//@ y[rows*y_stride] x[rows*width]
KERNEL pad_rows_bf16_bf16(bf16 *y, const bf16 *x, int rows, int width, int y_stride) { padded(y, x, rows, width, y_stride); }

// ---- Euclidean norms: a warp takes a row, and reads it again from cache

template <class D, class S> DEVICE void normalise(D *y, const S *x, const int *index, int rows, int width, int y_stride, int x_stride) {
	int lane = threadIdx.x % 32, warps = gridDim.x * (THREADS / 32);
	bool fours = width % 4 == 0 && y_stride % 4 == 0 && x_stride % 4 == 0 && aligned(y) && aligned(x);
	for (int r = blockIdx.x * (THREADS / 32) + threadIdx.x / 32; r < rows; r += warps) {
		const S *p = x + (u64)(index ? index[r] : r) * x_stride;
		D *q = y + (u64)r * y_stride;
		float s = 0.0f;
		if (fours) {
			for (int c = lane * 4; c < width; c += 128) {
				reg<4> v = load<S, 4>(p + c);
#pragma unroll
				for (int i = 0; i < 4; i++) s = fmaf(v.f[i], v.f[i], s);
			}
		} else {
			for (int c = lane; c < width; c += 32) s = fmaf(widen(p[c]), widen(p[c]), s);
		}
		float norm = fmaxf(sqrtf(warp_sum(s)), 1e-12f);
		if (fours) {
			for (int c = lane * 4; c < width; c += 128) {
				reg<4> v = load<S, 4>(p + c);
#pragma unroll
				for (int i = 0; i < 4; i++) v.f[i] /= norm;
				store<D, 4>(q + c, v);
			}
		} else {
			for (int c = lane; c < width; c += 32) q[c] = narrow<D>(widen(p[c]) / norm);
		}
	}
}

//@ y[(rows-1)*y_stride+width] x[]~rows*width index?[rows]
KERNEL l2norm_forward_f32_f32(float *y, const float *x, const int *index, int rows, int width, int y_stride, int x_stride) { normalise(y, x, index, rows, width, y_stride, x_stride); }
KERNEL l2norm_forward_f32_bf16(bf16 *y, const float *x, const int *index, int rows, int width, int y_stride, int x_stride) { normalise(y, x, index, rows, width, y_stride, x_stride); }
KERNEL l2norm_forward_bf16_bf16(bf16 *y, const bf16 *x, const int *index, int rows, int width, int y_stride, int x_stride) { normalise(y, x, index, rows, width, y_stride, x_stride); }

template <class T> DEVICE void normalise_back(T *dx, const T *dy, const T *x, int rows, int width) {
	int lane = threadIdx.x % 32, warps = gridDim.x * (THREADS / 32);
	for (int r = blockIdx.x * (THREADS / 32) + threadIdx.x / 32; r < rows; r += warps) {
		u64 at = (u64)r * width;
		float squares = 0.0f, along = 0.0f;
		for (int c = lane; c < width; c += 32) {
			float v = widen(x[at + c]);
			squares = fmaf(v, v, squares);
			along = fmaf(v, widen(dy[at + c]), along);
		}
		float norm = fmaxf(sqrtf(warp_sum(squares)), 1e-12f);
		along = warp_sum(along) / norm;
		for (int c = lane; c < width; c += 32) dx[at + c] = narrow<T>((widen(dy[at + c]) - widen(x[at + c]) / norm * along) / norm);
	}
}

//@ dx[rows*width] dy[rows*width] x[rows*width]
KERNEL l2norm_backward_f32(float *dx, const float *dy, const float *x, int rows, int width) { normalise_back(dx, dy, x, rows, width); }
KERNEL l2norm_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, int rows, int width) { normalise_back(dx, dy, x, rows, width); }

// ---- images: features.Augmenter, a thread a pixel

DEVICE u64 mix(u64 x) { return mix64(x + 0x9e3779b97f4a7c15ull); }

DEVICE int below(u64 key, u32 i, int n) { return (int)__umul64hi(mix((key ^ 0x6175676d656e7421ull) + (u64)i * 0x9e3779b97f4a7c15ull), (u64)n); }

// table [3][256] is the normalised value of each byte of each plane. y has pitch
// values a pixel, 0 from the fourth on. Without keys the images stay as they are.
template <class T> DEVICE void augmented(T *y, const u8 *images, const int *index, const u64 *keys, const float *table, int rows, int side, int pitch, int pad, int flip, int cutout) {
	int plane = side * side;
	u64 n = (u64)rows * plane, step = (u64)gridDim.x * THREADS;
	for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
		int image = (int)(i / plane), at = (int)(i % plane), row = at / side, column = at % side;
		int from_row = row, from_column = column;
		bool blank = false;
		if (keys) {
			u64 key = keys[image];
			int half = cutout / 2, cy = below(key, 3, side), cx = below(key, 4, side);
			blank = row >= cy - half && row < cy + half && column >= cx - half && column < cx + half;
			if (flip && below(key, 2, 2) == 1) from_column = side - 1 - column;
			from_row += below(key, 0, 2 * pad + 1) - pad;
			from_column += below(key, 1, 2 * pad + 1) - pad;
		}
		bool inside = from_row >= 0 && from_row < side && from_column >= 0 && from_column < side;
		const u8 *p = images + (u64)(index ? index[image] : image) * 3 * plane + (inside ? from_row * side + from_column : 0);
		T *q = y + i * pitch;
		for (int c = 0; c < 3; c++) {
			int byte = inside ? p[c * plane] : 0;
			q[c] = narrow<T>(blank ? 0.0f : table[c * 256 + byte]);
		}
		for (int c = 3; c < pitch; c++) q[c] = narrow<T>(0.0f);
	}
}

//@ y[rows*side*side*pitch] images[]~rows*side*side*3 index?[rows] keys?[rows] table[768]
KERNEL augment_f32(float *y, const u8 *images, const int *index, const u64 *keys, const float *table, int rows, int side, int pitch, int pad, int flip, int cutout) { augmented(y, images, index, keys, table, rows, side, pitch, pad, flip, cutout); }
KERNEL augment_bf16(bf16 *y, const u8 *images, const int *index, const u64 *keys, const float *table, int rows, int side, int pitch, int pad, int flip, int cutout) { augmented(y, images, index, keys, table, rows, side, pitch, pad, flip, cutout); }

// ---- the k best columns of a row, the best first, the lower column first of
// equal ones. NaN is better than any number, so that it is seen.

// A key orders scores, and of equal scores the lower column first; 0 is none.
DEVICE u64 score_key(float v, int column) {
	u32 u = v == 0.0f ? 0 : __float_as_uint(v); // both zeros are equal
	u = (u & 0x7fffffffu) > 0x7f800000u ? 0xffffffffu : u & 0x80000000u ? ~u : u | 0x80000000u;
	return (u64)u << 32 | (u32)~column;
}

// A block takes a row: each thread keeps the best of its columns that is below
// what was taken last, and only the one that is taken looks again.
//@ value[rows*k] column[rows*k] scores[(rows-1)*stride+outputs]
KERNEL topk_f32(float *value, int *column, const float *scores, int rows, int outputs, int stride, int k) {
	__shared__ u64 best[THREADS];
	for (int r = blockIdx.x; r < rows; r += gridDim.x) {
		const float *row = scores + (u64)r * stride;
		u64 taken = ~0ull, mine = 0;
		for (int i = 0; i < k; i++) {
			if (i == 0 || mine == taken) {
				mine = 0;
				for (int c = threadIdx.x; c < outputs; c += THREADS) {
					u64 key = score_key(row[c], c);
					if (key < taken && key > mine) mine = key;
				}
			}
			__syncthreads();
			best[threadIdx.x] = mine;
			__syncthreads();
			for (int d = THREADS / 2; d > 0; d >>= 1) {
				if ((int)threadIdx.x < d && best[threadIdx.x + d] > best[threadIdx.x]) best[threadIdx.x] = best[threadIdx.x + d];
				__syncthreads();
			}
			taken = best[0];
			if (threadIdx.x == 0) {
				int c = (int)~(u32)taken;
				column[(u64)r * k + i] = taken ? c : -1;
				value[(u64)r * k + i] = taken ? row[c] : -__uint_as_float(0x7f800000u);
			}
			if (!taken) taken = 1; // fewer columns than k: nothing is below
		}
	}
}
