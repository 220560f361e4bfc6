// One-dimensional convolution of a one-channel sequence: x [rows, length], w
// [filters, taps], y [rows, length, filters]. The chain of convolution (3 taps),
// ReLU, max-pool and dropout runs as one pass each way: what lies between, the
// largest values of the video net's step, never reaches memory.
//
// Column sums are here too: what they share is the sum over rows.

// ---- column sums: partial is [slices][channels]

template <class T, int V> struct summing {
	enum { turns = 4 };
	const T *x;
	int channels;
	reg<V> sum[1];
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		reg<V> v = load<T, V>(x + (u64)r * channels + c);
#pragma unroll
		for (int i = 0; i < V; i++) sum[0].f[i] += v.f[i];
	}
};

struct column {
	float *y;
	__device__ __forceinline__ void channel(int c, const double *sums) const { y[c] = (float)sums[0]; }
};

template <class T> DEVICE void sum_columns(float *y, float *partial, int *counters, const T *x, int rows, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(x))
		sum_rows<V, 1>(summing<T, V>{x, channels}, column{y}, partial, counters, rows, channels);
	else
		sum_rows<1, 1>(summing<T, 1>{x, channels}, column{y}, partial, counters, rows, channels);
}

//@ y[channels] partial[slices*channels] counters[65535] x[rows*channels]
KERNEL column_sum_f32(float *y, float *partial, int *counters, const float *x, int rows, int channels, int slices) { sum_columns(y, partial, counters, x, rows, channels); }
//@ y[channels] partial[slices*channels] counters[65535] x[rows*channels]
KERNEL column_sum_bf16(float *y, float *partial, int *counters, const bf16 *x, int rows, int channels, int slices) { sum_columns(y, partial, counters, x, rows, channels); }

// The gradient of a ReLU, dropout behind it or not, and its column sums, the
// gradient of the bias before it: relu_backward or relu_dropout_backward, and
// column_sum of what they write, to the bit.
template <class T, int V> struct relu_summing {
	enum { turns = 2 };
	T *dx;
	const T *dy, *y;
	int channels;
	float scale;
	reg<V> sum[1];
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		u64 at = (u64)r * channels + c;
		reg<V> d = load<T, V>(dy + at), v = load<T, V>(y + at);
#pragma unroll
		for (int i = 0; i < V; i++) {
			d.f[i] = rounded<T>(choose(v.f[i] > 0.0f, d.f[i] * scale, 0.0f));
			sum[0].f[i] += d.f[i];
		}
		store<T, V>(dx + at, d);
	}
};

template <class T> DEVICE void relu_sum(float *db, float *partial, int *counters, T *dx, const T *dy, const T *y, int rows, int channels, float scale) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(dx) && aligned(dy) && aligned(y))
		sum_rows<V, 1>(relu_summing<T, V>{dx, dy, y, channels, scale}, column{db}, partial, counters, rows, channels);
	else
		sum_rows<1, 1>(relu_summing<T, 1>{dx, dy, y, channels, scale}, column{db}, partial, counters, rows, channels);
}

//@ db[channels] partial[slices*channels] counters[65535] dx[rows*channels] dy[rows*channels] y[rows*channels]
KERNEL relu_backward_sum_f32(float *db, float *partial, int *counters, float *dx, const float *dy, const float *y, int rows, int channels, int slices, float scale) { relu_sum(db, partial, counters, dx, dy, y, rows, channels, scale); }
//@ db[channels] partial[slices*channels] counters[65535] dx[rows*channels] dy[rows*channels] y[rows*channels]
KERNEL relu_backward_sum_bf16(float *db, float *partial, int *counters, bf16 *dx, const bf16 *dy, const bf16 *y, int rows, int channels, int slices, float scale) { relu_sum(db, partial, counters, dx, dy, y, rows, channels, scale); }

// ---- convolution, ReLU, max-pool: a row of the walk is a window

// The four inputs that a window of two positions sees, 0 outside the sequence.
template <class T> struct sight {
	float x[4];
	__device__ __forceinline__ sight(const T *row, int at, int length) {
		const T *p = row + 2 * at;
		x[0] = at > 0 ? widen(p[-1]) : 0.0f;
		x[1] = widen(p[0]);
		x[2] = widen(p[1]);
		x[3] = 2 * at + 2 < length ? widen(p[2]) : 0.0f;
	}
};

// The weights of V filters, and the two values of a window before the ReLU.
template <int V> struct taps3 {
	reg<V> w[3], bias;
	__device__ __forceinline__ void begin(const float *weights, const float *b, int c) {
#pragma unroll
		for (int i = 0; i < V; i++) {
			bias.f[i] = b[c + i];
#pragma unroll
			for (int t = 0; t < 3; t++) w[t].f[i] = weights[(c + i) * 3 + t];
		}
	}
	__device__ __forceinline__ float at(int i, const float *x) const {
		return fmaf(w[2].f[i], x[2], fmaf(w[1].f[i], x[1], fmaf(w[0].f[i], x[0], bias.f[i])));
	}
};

// The place of a window in its sequence, and the dropout's key of that. Windows
// come in ascending order, and most are of the sequence of the one before: that
// costs no division.
template <class T, bool D> struct window_place {
	int from, to; // windows of the sequence
	const T *x;
	u64 key;
	__device__ __forceinline__ void begin() { from = to = 0; }
	__device__ __forceinline__ int at(int r, const T *all, int length, const u64 *keys, u32 stream) {
		if (r >= to) {
			int half = length / 2, image = r / half;
			from = image * half;
			to = from + half;
			x = all + (u64)image * length;
			if (D) key = stream_key(keys[image], stream);
		}
		return r - from;
	}
};

// What a dropout of the windows lets pass; element j of a row of the batch is
// drawn by counter j.
struct mask_args {
	const u64 *keys;
	u32 stream, threshold;
	float scale;
};

template <int V> DEVICE void masked(reg<V> &v, const mask_args &m, u64 key, int j) {
#pragma unroll
	for (int i = 0; i < V; i++) v.f[i] = choose(hash32(key, (u32)(j + i)) >= m.threshold, v.f[i] * m.scale, 0.0f);
}

template <class T, int V, bool D> struct conv_pool {
	T *y;
	const T *x;
	const float *w, *bias;
	int length, filters;
	mask_args mask;
	taps3<V> t;
	window_place<T, D> place;
	__device__ __forceinline__ void begin(int c) {
		t.begin(w, bias, c);
		place.begin();
	}
	__device__ __forceinline__ void row(int r, int c) {
		int at = place.at(r, x, length, mask.keys, mask.stream);
		sight<T> s(place.x, at, length);
		reg<V> o;
#pragma unroll
		for (int i = 0; i < V; i++) {
			float a = t.at(i, s.x), b = t.at(i, s.x + 1);
			o.f[i] = positive(b > a ? b : a);
		}
		if (D) masked(o, mask, place.key, at * filters + c);
		store<T, V>(y + (u64)r * filters + c, o);
	}
};

template <class T, bool D> DEVICE void conv_pool_rows(T *y, const T *x, const float *w, const float *bias, int rows, int length, int filters, mask_args m) {
	const int V = vec<T>::n;
	if (filters % V == 0 && aligned(y))
		each_row<V>(conv_pool<T, V, D>{y, x, w, bias, length, filters, m}, rows * (length / 2), filters);
	else
		each_row<1>(conv_pool<T, 1, D>{y, x, w, bias, length, filters, m}, rows * (length / 2), filters);
}

//@ y[rows*(length/2)*filters] x[rows*length] w[filters*3] bias[filters]
KERNEL conv1d_relu_maxpool_forward_f32(float *y, const float *x, const float *w, const float *bias, int rows, int length, int filters) { conv_pool_rows<float, false>(y, x, w, bias, rows, length, filters, mask_args()); }
KERNEL conv1d_relu_maxpool_forward_bf16(bf16 *y, const bf16 *x, const float *w, const float *bias, int rows, int length, int filters) { conv_pool_rows<bf16, false>(y, x, w, bias, rows, length, filters, mask_args()); }

//@ y[rows*(length/2)*filters] x[rows*length] w[filters*3] bias[filters] keys[rows]
KERNEL conv1d_relu_maxpool_dropout_forward_f32(float *y, const float *x, const float *w, const float *bias, const u64 *keys, int rows, int length, int filters, u32 stream, u32 threshold, float scale) { conv_pool_rows<float, true>(y, x, w, bias, rows, length, filters, mask_args{keys, stream, threshold, scale}); }
KERNEL conv1d_relu_maxpool_dropout_forward_bf16(bf16 *y, const bf16 *x, const float *w, const float *bias, const u64 *keys, int rows, int length, int filters, u32 stream, u32 threshold, float scale) { conv_pool_rows<bf16, true>(y, x, w, bias, rows, length, filters, mask_args{keys, stream, threshold, scale}); }

// The gradient of weights and bias; the window's gradient goes to its maximum,
// the first of equal ones, if that is above 0.
template <class T, int V, bool D> struct conv_pool_back {
	enum { turns = 2 };
	const T *dy, *x;
	const float *w, *bias;
	int length, filters;
	mask_args mask;
	taps3<V> t;
	reg<V> sum[4];
	window_place<T, D> place;
	__device__ __forceinline__ void begin(int c) {
		t.begin(w, bias, c);
		place.begin();
	}
	__device__ __forceinline__ void row(int r, int c) {
		int at = place.at(r, x, length, mask.keys, mask.stream);
		sight<T> s(place.x, at, length);
		reg<V> d = load<T, V>(dy + (u64)r * filters + c);
		if (D) masked(d, mask, place.key, at * filters + c);
#pragma unroll
		for (int i = 0; i < V; i++) {
			float a = t.at(i, s.x), b = t.at(i, s.x + 1);
			bool second = b > a;
			float g = choose((second ? b : a) > 0.0f, d.f[i], 0.0f);
#pragma unroll
			for (int k = 0; k < 3; k++) {
				float left = s.x[k], right = s.x[k + 1]; // by value, so that s stays in registers
				sum[k].f[i] = fmaf(g, choose(second, right, left), sum[k].f[i]);
			}
			sum[3].f[i] += g;
		}
	}
};

struct tap_gradients {
	float *dw, *db;
	__device__ __forceinline__ void channel(int f, const double *sums) const {
#pragma unroll
		for (int t = 0; t < 3; t++) dw[f * 3 + t] = (float)sums[t];
		db[f] = (float)sums[3];
	}
};

template <class T, bool D> DEVICE void conv_pool_back_rows(const tap_gradients &f, float *partial, int *counters, const T *dy, const T *x, const float *w, const float *bias, int rows, int length, int filters, mask_args m) {
	const int V = 4; // twice as many would spill
	if (filters % V == 0 && aligned(dy))
		sum_rows<V, 4>(conv_pool_back<T, V, D>{dy, x, w, bias, length, filters, m}, f, partial, counters, rows * (length / 2), filters);
	else
		sum_rows<1, 4>(conv_pool_back<T, 1, D>{dy, x, w, bias, length, filters, m}, f, partial, counters, rows * (length / 2), filters);
}

//@ dw[filters*3] db[filters] partial[slices*4*filters] counters[65535] dy[rows*(length/2)*filters] x[rows*length] w[filters*3] bias[filters]
KERNEL conv1d_relu_maxpool_backward_f32(float *dw, float *db, float *partial, int *counters, const float *dy, const float *x, const float *w, const float *bias, int rows, int length, int filters, int slices) { conv_pool_back_rows<float, false>(tap_gradients{dw, db}, partial, counters, dy, x, w, bias, rows, length, filters, mask_args()); }
KERNEL conv1d_relu_maxpool_backward_bf16(float *dw, float *db, float *partial, int *counters, const bf16 *dy, const bf16 *x, const float *w, const float *bias, int rows, int length, int filters, int slices) { conv_pool_back_rows<bf16, false>(tap_gradients{dw, db}, partial, counters, dy, x, w, bias, rows, length, filters, mask_args()); }

//@ dw[filters*3] db[filters] partial[slices*4*filters] counters[65535] dy[rows*(length/2)*filters] x[rows*length] w[filters*3] bias[filters] keys[rows]
KERNEL conv1d_relu_maxpool_dropout_backward_f32(float *dw, float *db, float *partial, int *counters, const float *dy, const float *x, const float *w, const float *bias, const u64 *keys, int rows, int length, int filters, int slices, u32 stream, u32 threshold, float scale) { conv_pool_back_rows<float, true>(tap_gradients{dw, db}, partial, counters, dy, x, w, bias, rows, length, filters, mask_args{keys, stream, threshold, scale}); }
KERNEL conv1d_relu_maxpool_dropout_backward_bf16(float *dw, float *db, float *partial, int *counters, const bf16 *dy, const bf16 *x, const float *w, const float *bias, const u64 *keys, int rows, int length, int filters, int slices, u32 stream, u32 threshold, float scale) { conv_pool_back_rows<bf16, true>(tap_gradients{dw, db}, partial, counters, dy, x, w, bias, rows, length, filters, mask_args{keys, stream, threshold, scale}); }

// partial is [slices][taps+1][filters], the bias last.
//@ dw[filters*taps] db[filters] partial[slices*(taps+1)*filters]
KERNEL conv1d_backward_finish_f32(float *dw, float *db, const float *partial, int filters, int taps, int slices) {
	__shared__ double shared[THREADS];
	int columns = (taps + 1) * filters, c = blockIdx.x * 16 + threadIdx.x % 16;
	double s = add_slices(shared, partial, columns, slices, c, c < columns);
	if (c >= columns || threadIdx.x >= 16) return;
	int t = c / filters, f = c % filters;
	if (t < taps)
		dw[f * taps + t] = (float)s;
	else
		db[f] = (float)s;
}

// ---- any odd number of taps, nothing fused: right, and not fast

template <class T> DEVICE void conv_any(T *y, const T *x, const float *w, const float *bias, int rows, int length, int filters, int taps) {
	u64 n = (u64)rows * length * filters, step = (u64)gridDim.x * THREADS;
	for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
		int f = (int)(i % filters), l = (int)(i / filters % length);
		const T *row = x + i / filters / length * length;
		float s = bias[f];
		for (int t = 0; t < taps; t++) {
			int at = l + t - taps / 2;
			if (at >= 0 && at < length) s = fmaf(w[f * taps + t], widen(row[at]), s);
		}
		y[i] = narrow<T>(s);
	}
}

//@ y[rows*length*filters] x[rows*length] w[filters*taps] bias[filters]
KERNEL conv1d_forward_f32(float *y, const float *x, const float *w, const float *bias, int rows, int length, int filters, int taps) { conv_any(y, x, w, bias, rows, length, filters, taps); }
KERNEL conv1d_forward_bf16(bf16 *y, const bf16 *x, const float *w, const float *bias, int rows, int length, int filters, int taps) { conv_any(y, x, w, bias, rows, length, filters, taps); }

// A block takes a filter and a slice of the rows' positions.
template <class T> DEVICE void conv_any_weight(float *partial, const T *dy, const T *x, int rows, int length, int filters, int taps) {
	__shared__ double shared[THREADS];
	int f = blockIdx.x, positions = rows * length, per = (positions + (int)gridDim.y - 1) / (int)gridDim.y;
	int from = min((int)blockIdx.y * per, positions), to = min(from + per, positions);
	for (int t = 0; t <= taps; t++) {
		double s = 0.0;
		for (int p = from + threadIdx.x; p < to; p += THREADS) {
			int image = p / length, at = p - image * length + t - taps / 2;
			float v = t == taps ? 1.0f : at >= 0 && at < length ? widen(x[(u64)image * length + at]) : 0.0f;
			s += (double)(widen(dy[(u64)p * filters + f]) * v);
		}
		s = block_sum(shared, s);
		if (threadIdx.x == 0) partial[((u64)blockIdx.y * (taps + 1) + t) * filters + f] = (float)s;
	}
}

//@ partial[slices*(taps+1)*filters] dy[rows*length*filters] x[rows*length]
KERNEL conv1d_backward_weight_f32(float *partial, const float *dy, const float *x, int rows, int length, int filters, int taps, int slices) { conv_any_weight(partial, dy, x, rows, length, filters, taps); }
KERNEL conv1d_backward_weight_bf16(float *partial, const bf16 *dy, const bf16 *x, int rows, int length, int filters, int taps, int slices) { conv_any_weight(partial, dy, x, rows, length, filters, taps); }

template <class T> DEVICE void conv_any_data(T *dx, const T *dy, const float *w, int rows, int length, int filters, int taps) {
	u64 n = (u64)rows * length, step = (u64)gridDim.x * THREADS;
	for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
		int l = (int)(i % length);
		const T *row = dy + i / length * length * filters;
		float s = 0.0f;
		for (int t = 0; t < taps; t++) {
			int at = l - t + taps / 2;
			if (at < 0 || at >= length) continue;
			for (int f = 0; f < filters; f++) s = fmaf(w[f * taps + t], widen(row[(u64)at * filters + f]), s);
		}
		dx[i] = narrow<T>(s);
	}
}

//@ dx[rows*length] dy[rows*length*filters] w[filters*taps]
KERNEL conv1d_backward_data_f32(float *dx, const float *dy, const float *w, int rows, int length, int filters, int taps) { conv_any_data(dx, dy, w, rows, length, filters, taps); }
KERNEL conv1d_backward_data_bf16(bf16 *dx, const bf16 *dy, const float *w, int rows, int length, int filters, int taps) { conv_any_data(dx, dy, w, rows, length, filters, taps); }
