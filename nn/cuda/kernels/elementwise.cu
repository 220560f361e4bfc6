// Elementwise kernels. Each moves its inputs and its output once, 16 bytes an
// access where the pointers allow it.

// flat calls f for all n elements of up to three inputs.
template <class T, int V, class F> DEVICE void flat_vectors(F f, T *y, const T *a, const T *b, u64 n) {
	u64 step = (u64)gridDim.x * THREADS, first = (u64)blockIdx.x * THREADS + threadIdx.x, whole = n / V;
	for (u64 i = first; i < whole; i += step) {
		reg<V> p = load<T, V>(a + i * V), q, r;
		if (F::inputs > 1) q = load<T, V>(b + i * V);
#pragma unroll
		for (int k = 0; k < V; k++) r.f[k] = f(p.f[k], F::inputs > 1 ? q.f[k] : 0.0f);
		store<T, V>(y + i * V, r);
	}
	for (u64 i = whole * V + first; i < n; i += step)
		y[i] = narrow<T>(f(widen(a[i]), F::inputs > 1 ? widen(b[i]) : 0.0f));
}

template <class T, class F> DEVICE void flat(F f, T *y, const T *a, const T *b, u64 n) {
	if (aligned(y) && aligned(a) && (F::inputs < 2 || aligned(b)))
		flat_vectors<T, vec<T>::n>(f, y, a, b, n);
	else
		flat_vectors<T, 1>(f, y, a, b, n);
}

struct relu {
	enum { inputs = 1 };
	__device__ __forceinline__ float operator()(float x, float) { return positive(x); }
};
struct relu_back {
	enum { inputs = 2 };
	float scale;
	__device__ __forceinline__ float operator()(float dy, float y) { return y > 0.0f ? dy * scale : 0.0f; }
};
struct sigmoid {
	enum { inputs = 1 };
	__device__ __forceinline__ float operator()(float x, float) { return 1.0f / (1.0f + expf(-x)); }
};
struct sigmoid_back {
	enum { inputs = 2 };
	__device__ __forceinline__ float operator()(float dy, float y) { return dy * y * (1.0f - y); }
};
struct plus {
	enum { inputs = 2 };
	__device__ __forceinline__ float operator()(float a, float b) { return a + b; }
};

//@ y[n] x[n]
KERNEL relu_forward_f32(float *y, const float *x, u64 n) { flat(relu(), y, x, x, n); }
KERNEL relu_forward_bf16(bf16 *y, const bf16 *x, u64 n) { flat(relu(), y, x, x, n); }

//@ dx[n] dy[n] y[n]
KERNEL relu_backward_f32(float *dx, const float *dy, const float *y, u64 n) { flat(relu_back{1.0f}, dx, dy, y, n); }
KERNEL relu_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *y, u64 n) { flat(relu_back{1.0f}, dx, dy, y, n); }

// y is what dropout behind a ReLU wrote: 0 where either stopped the value.
//@ dx[n] dy[n] y[n]
KERNEL relu_dropout_backward_f32(float *dx, const float *dy, const float *y, u64 n, float scale) { flat(relu_back{scale}, dx, dy, y, n); }
KERNEL relu_dropout_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *y, u64 n, float scale) { flat(relu_back{scale}, dx, dy, y, n); }

//@ y[n] x[n]
KERNEL sigmoid_forward_f32(float *y, const float *x, u64 n) { flat(sigmoid(), y, x, x, n); }
KERNEL sigmoid_forward_bf16(bf16 *y, const bf16 *x, u64 n) { flat(sigmoid(), y, x, x, n); }

//@ dx[n] dy[n] y[n]
KERNEL sigmoid_backward_f32(float *dx, const float *dy, const float *y, u64 n) { flat(sigmoid_back(), dx, dy, y, n); }
KERNEL sigmoid_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *y, u64 n) { flat(sigmoid_back(), dx, dy, y, n); }

//@ y[n] a[n] b[n]
KERNEL add_f32(float *y, const float *a, const float *b, u64 n) { flat(plus(), y, a, b, n); }
KERNEL add_bf16(bf16 *y, const bf16 *a, const bf16 *b, u64 n) { flat(plus(), y, a, b, n); }

// ---- a bias a channel

template <class T, int V, bool R> struct biased {
	T *y;
	const T *x;
	const float *bias;
	int channels;
	reg<V> b;
	typedef reg<V> taken;
	__device__ __forceinline__ void begin(int c) { b = table<V>(bias + c); }
	__device__ __forceinline__ taken take(int r, int c) { return load<T, V>(x + (u64)r * channels + c); }
	__device__ __forceinline__ void put(taken v, int r, int c) {
#pragma unroll
		for (int i = 0; i < V; i++) {
			v.f[i] += b.f[i];
			if (R) v.f[i] = positive(v.f[i]);
		}
		store<T, V>(y + (u64)r * channels + c, v);
	}
};

template <class T, bool R> DEVICE void bias_channels(T *y, const T *x, const float *bias, int rows, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(y) && aligned(x))
		each_pair<V>(biased<T, V, R>{y, x, bias, channels}, rows, channels);
	else
		each_pair<1>(biased<T, 1, R>{y, x, bias, channels}, rows, channels);
}

//@ y[rows*channels] x[rows*channels] bias[channels]
KERNEL bias_f32(float *y, const float *x, const float *bias, int rows, int channels) { bias_channels<float, false>(y, x, bias, rows, channels); }
KERNEL bias_bf16(bf16 *y, const bf16 *x, const float *bias, int rows, int channels) { bias_channels<bf16, false>(y, x, bias, rows, channels); }
KERNEL bias_relu_f32(float *y, const float *x, const float *bias, int rows, int channels) { bias_channels<float, true>(y, x, bias, rows, channels); }
KERNEL bias_relu_bf16(bf16 *y, const bf16 *x, const float *bias, int rows, int channels) { bias_channels<bf16, true>(y, x, bias, rows, channels); }

// ---- conversion: a thread takes 8 elements, 16 bytes of bf16

//@ y[n] x[n]
KERNEL convert_f32_bf16(bf16 *y, const float *x, u64 n) {
	u64 step = (u64)gridDim.x * THREADS, first = (u64)blockIdx.x * THREADS + threadIdx.x;
	u64 whole = aligned(y) && aligned(x) ? n / 8 : 0;
	for (u64 i = first; i < whole; i += step) {
		reg<4> a = load<float, 4>(x + i * 8), b = load<float, 4>(x + i * 8 + 4);
		reg<8> r;
#pragma unroll
		for (int k = 0; k < 4; k++) {
			r.f[k] = a.f[k];
			r.f[k + 4] = b.f[k];
		}
		store<bf16, 8>(y + i * 8, r);
	}
	for (u64 i = whole * 8 + first; i < n; i += step) y[i] = narrow_bf16(x[i]);
}

//@ y[n] x[n]
KERNEL convert_bf16_f32(float *y, const bf16 *x, u64 n) {
	u64 step = (u64)gridDim.x * THREADS, first = (u64)blockIdx.x * THREADS + threadIdx.x;
	u64 whole = aligned(y) && aligned(x) ? n / 8 : 0;
	for (u64 i = first; i < whole; i += step) {
		reg<8> r = load<bf16, 8>(x + i * 8);
		reg<4> a, b;
#pragma unroll
		for (int k = 0; k < 4; k++) {
			a.f[k] = r.f[k];
			b.f[k] = r.f[k + 4];
		}
		store<float, 4>(y + i * 8, a);
		store<float, 4>(y + i * 8 + 4, b);
	}
	for (u64 i = whole * 8 + first; i < n; i += step) y[i] = widen(x[i]);
}

// ---- dropout and noise: a row of the batch has a key; element j of its row is
// drawn by counter j

template <class T, int V> struct dropping {
	T *y;
	const T *x;
	const u64 *keys;
	int width;
	u32 stream, threshold;
	float scale;
	struct taken {
		reg<V> x;
		u64 key;
	};
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ taken take(int r, int c) {
		taken v;
		v.x = load<T, V>(x + (u64)r * width + c);
		v.key = keys[r];
		return v;
	}
	__device__ __forceinline__ void put(taken v, int r, int c) {
		u64 key = stream_key(v.key, stream);
#pragma unroll
		for (int i = 0; i < V; i++) v.x.f[i] = choose(hash32(key, (u32)(c + i)) >= threshold, v.x.f[i] * scale, 0.0f);
		store<T, V>(y + (u64)r * width + c, v.x);
	}
};

template <class T> DEVICE void drop(T *y, const T *x, const u64 *keys, int rows, int width, u32 stream, u32 threshold, float scale) {
	const int V = vec<T>::n;
	if (width % V == 0 && aligned(y) && aligned(x))
		each_pair<V>(dropping<T, V>{y, x, keys, width, stream, threshold, scale}, rows, width);
	else
		each_pair<1>(dropping<T, 1>{y, x, keys, width, stream, threshold, scale}, rows, width);
}

//@ y[rows*width] x[rows*width] keys[rows]
KERNEL dropout_f32(float *y, const float *x, const u64 *keys, int rows, int width, u32 stream, u32 threshold, float scale) { drop(y, x, keys, rows, width, stream, threshold, scale); }
KERNEL dropout_bf16(bf16 *y, const bf16 *x, const u64 *keys, int rows, int width, u32 stream, u32 threshold, float scale) { drop(y, x, keys, rows, width, stream, threshold, scale); }

// noise adds std N(0, 1) as nn.FillNormal draws it: a thread takes the pair of
// two counters, in double so that what the cpu draws differs by roundings alone.
template <class T> DEVICE void add_noise(T *y, const T *x, const u64 *keys, int rows, int width, u32 stream, float std) {
	int pairs = (width + 1) / 2;
	u64 step = (u64)gridDim.x * THREADS, n = (u64)rows * pairs;
	for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
		int r = (int)(i / pairs), j = 2 * (int)(i % pairs);
		u64 key = stream_key(keys[r], stream), at = (u64)r * width + j;
		double u = ((double)hash32(key, (u32)j) + 1.0) * (1.0 / 4294967296.0);
		double v = (double)hash32(key, (u32)j + 1) * (6.283185307179586476925286766559 / 4294967296.0);
		double radius = sqrt(-2.0 * log(u)), s, c;
		sincos(v, &s, &c);
		y[at] = narrow<T>(widen(x[at]) + (float)(radius * c) * std);
		if (j + 1 < width) y[at + 1] = narrow<T>(widen(x[at + 1]) + (float)(radius * s) * std);
	}
}

//@ y[rows*width] x[rows*width] keys[rows]
KERNEL noise_f32(float *y, const float *x, const u64 *keys, int rows, int width, u32 stream, float std) { add_noise(y, x, keys, rows, width, stream, std); }
KERNEL noise_bf16(bf16 *y, const bf16 *x, const u64 *keys, int rows, int width, u32 stream, float std) { add_noise(y, x, keys, rows, width, stream, std); }
