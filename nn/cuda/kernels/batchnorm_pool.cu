// Batch normalisation, backward, behind which are a ReLU and a 2x2 max-pool: dy
// is the gradient of the pool's output, and goes to the first position in
// row-major order that has the window's maximum, if that is above 0.

// window finds the position of the maximum of a window, 4 if none is above 0,
// and keeps x there.
template <class T, int V> struct window {
	reg<V> x[4];
	__device__ __forceinline__ void take(const T *p, int width, int channels) {
#pragma unroll
		for (int k = 0; k < 4; k++) x[k] = load<T, V>(p + (u64)((k >> 1) * width + (k & 1)) * channels);
	}
	__device__ __forceinline__ int best(int i, float scale, float shift) const {
		int at = 4;
		float top = 0.0f;
#pragma unroll
		for (int k = 0; k < 4; k++) {
			float z = fmaf(x[k].f[i], scale, shift);
			if (z > top) {
				top = z;
				at = k;
			}
		}
		return at;
	}
};

template <class T, int V> struct pool_sums {
	enum { turns = 2 };
	const T *dy, *x;
	const float *mean, *coef;
	int height, width, channels;
	reg<V> sum[2], m, scale, shift;
	__device__ __forceinline__ void begin(int c) {
		m = table<V>(mean + c);
		scale = table<V>(coef + c);
		shift = table<V>(coef + channels + c);
	}
	__device__ __forceinline__ void row(int r, int c) {
		int across = width / 2, down = height / 2, image = r / (across * down), at = r - image * across * down;
		int top = at / across * 2, left = at % across * 2;
		reg<V> d = load<T, V>(dy + (u64)r * channels + c);
		window<T, V> w;
		w.take(x + (((u64)image * height + top) * width + left) * channels + c, width, channels);
#pragma unroll
		for (int i = 0; i < V; i++) {
			int k = w.best(i, scale.f[i], shift.f[i]);
			// Selected without an index, so that the window stays in registers.
			float v = choose(k == 0, w.x[0].f[i], choose(k == 1, w.x[1].f[i], choose(k == 2, w.x[2].f[i], w.x[3].f[i])));
			float g = choose(k < 4, d.f[i], 0.0f);
			sum[0].f[i] += g;
			sum[1].f[i] = fmaf(g, v - m.f[i], sum[1].f[i]);
		}
	}
};

template <class T, int V> DEVICE void pool_reduce_of(const gradients &f, float *partial, int *counters, const T *dy, const T *x, const float *coef, int rows, int height, int width, int channels) {
	pool_sums<T, V> op;
	op.dy = dy;
	op.x = x;
	op.mean = f.mean;
	op.coef = coef;
	op.height = height;
	op.width = width;
	op.channels = channels;
	sum_rows<V, 2>(op, f, partial, counters, rows * (height / 2) * (width / 2), channels);
}

template <class T> DEVICE void pool_reduce(const gradients &f, float *partial, int *counters, const T *dy, const T *x, const float *coef, int rows, int height, int width, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(dy) && aligned(x))
		pool_reduce_of<T, V>(f, partial, counters, dy, x, coef, rows, height, width, channels);
	else
		pool_reduce_of<T, 1>(f, partial, counters, dy, x, coef, rows, height, width, channels);
}

//@ dgamma[channels] dbeta[channels] back[3*channels] dbias?[channels] partial[2*slices*channels] counters[65535]
//@ dy[rows*(height/2)*(width/2)*channels] x[rows*height*width*channels] mean[channels] gamma[channels] inv[channels] coef[2*channels]
KERNEL batchnorm_backward_reduce_relu_maxpool_f32(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const float *dy, const float *x, const float *mean, const float *gamma, const float *inv, const float *coef, int rows, int height, int width, int channels, int slices) { pool_reduce(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows * height * width, channels}, partial, counters, dy, x, coef, rows, height, width, channels); }
KERNEL batchnorm_backward_reduce_relu_maxpool_bf16(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const bf16 *dy, const bf16 *x, const float *mean, const float *gamma, const float *inv, const float *coef, int rows, int height, int width, int channels, int slices) { pool_reduce(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows * height * width, channels}, partial, counters, dy, x, coef, rows, height, width, channels); }

// A row of the walk is a cell of up to 2x2 positions: those of an odd last row
// or column belong to no window and get the part of dx that is not dy's.
template <class T, int V> struct pool_apply {
	T *dx;
	const T *dy, *x;
	const float *coef, *back;
	int height, width, channels;
	reg<V> scale, shift, fy, fx, f1;
	__device__ __forceinline__ void begin(int c) {
		scale = table<V>(coef + c);
		shift = table<V>(coef + channels + c);
		fy = table<V>(back + c);
		fx = table<V>(back + channels + c);
		f1 = table<V>(back + 2 * channels + c);
	}
	__device__ __forceinline__ void row(int r, int c) {
		int across = (width + 1) / 2, down = (height + 1) / 2, image = r / (across * down), at = r - image * across * down;
		int top = at / across * 2, left = at % across * 2;
		u64 first = (((u64)image * height + top) * width + left) * channels + c;
		if (top + 1 < height && left + 1 < width) {
			u64 out = (((u64)image * (height / 2) + top / 2) * (width / 2) + left / 2) * channels + c;
			reg<V> d = load<T, V>(dy + out), best;
			window<T, V> w;
			w.take(x + first, width, channels);
#pragma unroll
			for (int i = 0; i < V; i++) best.f[i] = (float)w.best(i, scale.f[i], shift.f[i]);
#pragma unroll
			for (int k = 0; k < 4; k++) {
				reg<V> o;
#pragma unroll
				for (int i = 0; i < V; i++) {
					o.f[i] = fmaf(w.x[k].f[i], fx.f[i], f1.f[i]);
					o.f[i] = choose(best.f[i] == (float)k, fmaf(d.f[i], fy.f[i], o.f[i]), o.f[i]);
				}
				store<T, V>(dx + first + (u64)((k >> 1) * width + (k & 1)) * channels, o);
			}
			return;
		}
		alone(first);
		if (left + 1 < width) alone(first + channels);
		if (top + 1 < height) alone(first + (u64)width * channels);
	}
	__device__ __forceinline__ void alone(u64 at) {
		reg<V> v = load<T, V>(x + at);
#pragma unroll
		for (int i = 0; i < V; i++) v.f[i] = fmaf(v.f[i], fx.f[i], f1.f[i]);
		store<T, V>(dx + at, v);
	}
};

template <class T, int V> DEVICE void pool_apply_of(T *dx, const T *dy, const T *x, const float *coef, const float *back, int rows, int height, int width, int channels) {
	pool_apply<T, V> op;
	op.dx = dx;
	op.dy = dy;
	op.x = x;
	op.coef = coef;
	op.back = back;
	op.height = height;
	op.width = width;
	op.channels = channels;
	each_row<V>(op, rows * ((height + 1) / 2) * ((width + 1) / 2), channels);
}

template <class T> DEVICE void pool_apply_rows(T *dx, const T *dy, const T *x, const float *coef, const float *back, int rows, int height, int width, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(dx) && aligned(dy) && aligned(x))
		pool_apply_of<T, V>(dx, dy, x, coef, back, rows, height, width, channels);
	else
		pool_apply_of<T, 1>(dx, dy, x, coef, back, rows, height, width, channels);
}

//@ dx[rows*height*width*channels] dy[rows*(height/2)*(width/2)*channels] x[rows*height*width*channels] coef[2*channels] back[3*channels]
KERNEL batchnorm_backward_apply_relu_maxpool_f32(float *dx, const float *dy, const float *x, const float *coef, const float *back, int rows, int height, int width, int channels) { pool_apply_rows(dx, dy, x, coef, back, rows, height, width, channels); }
KERNEL batchnorm_backward_apply_relu_maxpool_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, const float *coef, const float *back, int rows, int height, int width, int channels) { pool_apply_rows(dx, dy, x, coef, back, rows, height, width, channels); }
