// Pooling in two dimensions and over all positions, channels innermost. Each
// kernel moves its operands once.

// ---- 2x2 max-pool; an odd last row or column has no part in it

template <class T, int V> struct pooling {
	T *y;
	const T *x;
	int height, width, channels;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		int across = width / 2, down = height / 2, image = r / (across * down), at = r - image * across * down;
		int top = at / across * 2, left = at % across * 2;
		const T *p = x + (((u64)image * height + top) * width + left) * channels + c;
		reg<V> best = load<T, V>(p);
#pragma unroll
		for (int k = 1; k < 4; k++) {
			reg<V> v = load<T, V>(p + (u64)((k >> 1) * width + (k & 1)) * channels);
#pragma unroll
			for (int i = 0; i < V; i++) best.f[i] = choose(v.f[i] > best.f[i], v.f[i], best.f[i]);
		}
		store<T, V>(y + (u64)r * channels + c, best);
	}
};

template <class T> DEVICE void max_pool(T *y, const T *x, int rows, int height, int width, int channels) {
	const int V = vec<T>::n;
	int windows = rows * (height / 2) * (width / 2);
	if (channels % V == 0 && aligned(y) && aligned(x))
		each_row<V>(pooling<T, V>{y, x, height, width, channels}, windows, channels);
	else
		each_row<1>(pooling<T, 1>{y, x, height, width, channels}, windows, channels);
}

//@ y[rows*(height/2)*(width/2)*channels] x[rows*height*width*channels]
KERNEL maxpool2d_forward_f32(float *y, const float *x, int rows, int height, int width, int channels) { max_pool(y, x, rows, height, width, channels); }
KERNEL maxpool2d_forward_bf16(bf16 *y, const bf16 *x, int rows, int height, int width, int channels) { max_pool(y, x, rows, height, width, channels); }

// A row of the walk is a cell of up to 2x2 positions.
template <class T, int V> struct pooling_back {
	T *dx;
	const T *dy, *x;
	int height, width, channels;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		int across = (width + 1) / 2, down = (height + 1) / 2, image = r / (across * down), at = r - image * across * down;
		int top = at / across * 2, left = at % across * 2;
		u64 first = (((u64)image * height + top) * width + left) * channels + c;
		reg<V> d, zero, best, at_best;
#pragma unroll
		for (int i = 0; i < V; i++) {
			zero.f[i] = 0.0f;
			at_best.f[i] = 0.0f;
		}
		if (top + 1 < height && left + 1 < width) {
			d = load<T, V>(dy + (((u64)image * (height / 2) + top / 2) * (width / 2) + left / 2) * channels + c);
			best = load<T, V>(x + first);
#pragma unroll
			for (int k = 1; k < 4; k++) {
				reg<V> v = load<T, V>(x + first + (u64)((k >> 1) * width + (k & 1)) * channels);
#pragma unroll
				for (int i = 0; i < V; i++) {
					bool better = v.f[i] > best.f[i];
					best.f[i] = choose(better, v.f[i], best.f[i]);
					at_best.f[i] = choose(better, (float)k, at_best.f[i]);
				}
			}
#pragma unroll
			for (int k = 0; k < 4; k++) {
				reg<V> o;
#pragma unroll
				for (int i = 0; i < V; i++) o.f[i] = choose(at_best.f[i] == (float)k, d.f[i], 0.0f);
				store<T, V>(dx + first + (u64)((k >> 1) * width + (k & 1)) * channels, o);
			}
			return;
		}
		store<T, V>(dx + first, zero);
		if (left + 1 < width) store<T, V>(dx + first + channels, zero);
		if (top + 1 < height) store<T, V>(dx + first + (u64)width * channels, zero);
	}
};

template <class T> DEVICE void max_pool_back(T *dx, const T *dy, const T *x, int rows, int height, int width, int channels) {
	const int V = vec<T>::n;
	int cells = rows * ((height + 1) / 2) * ((width + 1) / 2);
	if (channels % V == 0 && aligned(dx) && aligned(dy) && aligned(x))
		each_row<V>(pooling_back<T, V>{dx, dy, x, height, width, channels}, cells, channels);
	else
		each_row<1>(pooling_back<T, 1>{dx, dy, x, height, width, channels}, cells, channels);
}

//@ dx[rows*height*width*channels] dy[rows*(height/2)*(width/2)*channels] x[rows*height*width*channels]
KERNEL maxpool2d_backward_f32(float *dx, const float *dy, const float *x, int rows, int height, int width, int channels) { max_pool_back(dx, dy, x, rows, height, width, channels); }
KERNEL maxpool2d_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, int rows, int height, int width, int channels) { max_pool_back(dx, dy, x, rows, height, width, channels); }

// ---- average over all positions: a row of the walk is an image, whose
// positions a thread adds in order; with A, of relu(x scale + shift)

template <class T, int V, bool A> struct averaging {
	T *y;
	const T *x;
	const float *coef;
	int positions, channels;
	reg<V> scale, shift;
	__device__ __forceinline__ void begin(int c) {
		if (A) {
			scale = table<V>(coef + c);
			shift = table<V>(coef + channels + c);
		}
	}
	__device__ __forceinline__ void row(int r, int c) {
		const T *p = x + (u64)r * positions * channels + c;
		reg<V> s;
#pragma unroll
		for (int i = 0; i < V; i++) s.f[i] = 0.0f;
#pragma unroll 8
		for (int k = 0; k < positions; k++) {
			reg<V> v = load<T, V>(p + (u64)k * channels);
#pragma unroll
			for (int i = 0; i < V; i++) s.f[i] += A ? positive(fmaf(v.f[i], scale.f[i], shift.f[i])) : v.f[i];
		}
		float f = 1.0f / (float)positions;
#pragma unroll
		for (int i = 0; i < V; i++) s.f[i] *= f;
		store<T, V>(y + (u64)r * channels + c, s);
	}
};

template <class T, bool A> DEVICE void average(T *y, const T *x, const float *coef, int rows, int positions, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(y) && aligned(x))
		each_row<V>(averaging<T, V, A>{y, x, coef, positions, channels}, rows, channels);
	else
		each_row<1>(averaging<T, 1, A>{y, x, coef, positions, channels}, rows, channels);
}

//@ y[rows*channels] x[rows*positions*channels]
KERNEL avgpool_forward_f32(float *y, const float *x, int rows, int positions, int channels) { average<float, false>(y, x, 0, rows, positions, channels); }
KERNEL avgpool_forward_bf16(bf16 *y, const bf16 *x, int rows, int positions, int channels) { average<bf16, false>(y, x, 0, rows, positions, channels); }

//@ y[rows*channels] x[rows*positions*channels] coef[2*channels]
KERNEL batchnorm_apply_relu_avgpool_f32(float *y, const float *x, const float *coef, int rows, int positions, int channels) { average<float, true>(y, x, coef, rows, positions, channels); }
KERNEL batchnorm_apply_relu_avgpool_bf16(bf16 *y, const bf16 *x, const float *coef, int rows, int positions, int channels) { average<bf16, true>(y, x, coef, rows, positions, channels); }

template <class T, int V> struct spreading {
	T *dx;
	const T *dy;
	int positions, channels;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		reg<V> d = load<T, V>(dy + (u64)(r / positions) * channels + c);
		float f = 1.0f / (float)positions;
#pragma unroll
		for (int i = 0; i < V; i++) d.f[i] *= f;
		store<T, V>(dx + (u64)r * channels + c, d);
	}
};

template <class T> DEVICE void spread(T *dx, const T *dy, int rows, int positions, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(dx) && aligned(dy))
		each_row<V>(spreading<T, V>{dx, dy, positions, channels}, rows * positions, channels);
	else
		each_row<1>(spreading<T, 1>{dx, dy, positions, channels}, rows * positions, channels);
}

//@ dx[rows*positions*channels] dy[rows*channels]
KERNEL avgpool_backward_f32(float *dx, const float *dy, int rows, int positions, int channels) { spread(dx, dy, rows, positions, channels); }
KERNEL avgpool_backward_bf16(bf16 *dx, const bf16 *dy, int rows, int positions, int channels) { spread(dx, dy, rows, positions, channels); }

// ---- max-pool of two neighbours in a sequence [rows, length, filters]

template <class T, int V> struct pairing {
	T *y;
	const T *x;
	int length, channels;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		int half = length / 2, image = r / half, at = r - image * half;
		const T *p = x + ((u64)image * length + 2 * at) * channels + c;
		reg<V> a = load<T, V>(p), b = load<T, V>(p + channels);
#pragma unroll
		for (int i = 0; i < V; i++) a.f[i] = choose(b.f[i] > a.f[i], b.f[i], a.f[i]);
		store<T, V>(y + (u64)r * channels + c, a);
	}
};

template <class T, int V> struct pairing_back {
	T *dx;
	const T *dy, *x;
	int length, channels;
	__device__ __forceinline__ void begin(int) {}
	__device__ __forceinline__ void row(int r, int c) {
		int cells = (length + 1) / 2, image = r / cells, at = r - image * cells;
		u64 first = ((u64)image * length + 2 * at) * channels + c;
		reg<V> da, db;
		if (2 * at + 1 < length) {
			reg<V> d = load<T, V>(dy + ((u64)image * (length / 2) + at) * channels + c);
			reg<V> a = load<T, V>(x + first), b = load<T, V>(x + first + channels);
#pragma unroll
			for (int i = 0; i < V; i++) {
				bool second = b.f[i] > a.f[i];
				da.f[i] = choose(second, 0.0f, d.f[i]);
				db.f[i] = choose(second, d.f[i], 0.0f);
			}
			store<T, V>(dx + first + channels, db);
		} else {
#pragma unroll
			for (int i = 0; i < V; i++) da.f[i] = 0.0f;
		}
		store<T, V>(dx + first, da);
	}
};

template <class T> DEVICE void max_pairs(T *y, const T *x, int rows, int length, int filters) {
	const int V = vec<T>::n;
	if (filters % V == 0 && aligned(y) && aligned(x))
		each_row<V>(pairing<T, V>{y, x, length, filters}, rows * (length / 2), filters);
	else
		each_row<1>(pairing<T, 1>{y, x, length, filters}, rows * (length / 2), filters);
}

template <class T> DEVICE void max_pairs_back(T *dx, const T *dy, const T *x, int rows, int length, int filters) {
	const int V = vec<T>::n;
	if (filters % V == 0 && aligned(dx) && aligned(dy) && aligned(x))
		each_row<V>(pairing_back<T, V>{dx, dy, x, length, filters}, rows * ((length + 1) / 2), filters);
	else
		each_row<1>(pairing_back<T, 1>{dx, dy, x, length, filters}, rows * ((length + 1) / 2), filters);
}

//@ y[rows*(length/2)*filters] x[rows*length*filters]
KERNEL maxpool1d_forward_f32(float *y, const float *x, int rows, int length, int filters) { max_pairs(y, x, rows, length, filters); }
KERNEL maxpool1d_forward_bf16(bf16 *y, const bf16 *x, int rows, int length, int filters) { max_pairs(y, x, rows, length, filters); }

//@ dx[rows*length*filters] dy[rows*(length/2)*filters] x[rows*length*filters]
KERNEL maxpool1d_backward_f32(float *dx, const float *dy, const float *x, int rows, int length, int filters) { max_pairs_back(dx, dy, x, rows, length, filters); }
KERNEL maxpool1d_backward_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, int rows, int length, int filters) { max_pairs_back(dx, dy, x, rows, length, filters); }
