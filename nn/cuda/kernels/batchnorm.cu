// Batch normalisation over [rows, channels], forward. Statistics are sums of
// x - K and its square, K the channel's first value, so that a large mean costs
// no digits; they are put together in double.
//
// Passes over memory: statistics read x; apply reads x and writes y.

// ---- statistics: partial is [slices][2][channels], then K [channels]

template <class T, int V> struct moments {
	enum { turns = 4 };
	const T *x;
	int channels;
	float *first;
	reg<V> sum[2], shift;
	__device__ __forceinline__ void begin(int c) {
		shift = load<T, V>(x + c);
		if (blockIdx.y == 0 && threadIdx.x < 32) store_first(c);
	}
	__device__ __forceinline__ void store_first(int c) {
#pragma unroll
		for (int i = 0; i < V; i++) first[c + i] = shift.f[i];
	}
	__device__ __forceinline__ void add(const reg<V> &v) {
#pragma unroll
		for (int i = 0; i < V; i++) {
			float d = v.f[i] - shift.f[i];
			sum[0].f[i] += d;
			sum[1].f[i] += d * d;
		}
	}
	__device__ __forceinline__ void row(int r, int c) { add(load<T, V>(x + (u64)r * channels + c)); }
};

template <class T, int V> struct add_moments : moments<T, V> {
	enum { turns = 2 };
	T *y;
	const T *b;
	__device__ __forceinline__ reg<V> total(u64 at) {
		reg<V> p = load<T, V>(this->x + at), q = load<T, V>(b + at);
#pragma unroll
		for (int i = 0; i < V; i++) p.f[i] = rounded<T>(p.f[i] + q.f[i]);
		return p;
	}
	__device__ __forceinline__ void begin(int c) {
		this->shift = total(c);
		if (blockIdx.y == 0 && threadIdx.x < 32) this->store_first(c);
	}
	__device__ __forceinline__ void row(int r, int c) {
		u64 at = (u64)r * this->channels + c;
		reg<V> v = total(at);
		store<T, V>(y + at, v);
		this->add(v);
	}
};

// scale_shift sets y = x scale + shift; shift makes up for scale's rounding, so
// that y is right where x is near the mean.
DEVICE void scale_shift(float *coef, int channels, int c, float gamma, float beta, float mean, float inv) {
	float scale = (float)((double)gamma * (double)inv);
	coef[c] = scale;
	coef[channels + c] = (float)((double)beta - (double)scale * (double)mean);
}

// What follows from a channel's sums: the statistics of the batch, what applying
// needs, and the running statistics (nn.BatchNorm). bias is one that was not added
// to x: the mean alone sees it.
struct statistics {
	float *mean, *inv, *coef, *running_mean, *running_var;
	const float *gamma, *beta, *bias, *first;
	int rows, channels;
	float epsilon, momentum;
	__device__ __forceinline__ void channel(int c, const double *sums) const {
		double d = sums[0] / rows, squares = sums[1] - sums[0] * d;
		if (squares < 0.0) squares = 0.0;
		double m = (double)first[c] + d;
		mean[c] = (float)m;
		inv[c] = (float)(1.0 / sqrt(squares / rows + (double)epsilon));
		scale_shift(coef, channels, c, gamma[c], beta[c], mean[c], inv[c]);
		double seen = m + (bias ? (double)bias[c] : 0.0), moved = (double)momentum;
		running_mean[c] = (float)((1.0 - moved) * (double)running_mean[c] + moved * seen);
		running_var[c] = (float)((1.0 - moved) * (double)running_var[c] + moved * squares / (rows > 1 ? rows - 1 : 1));
	}
};

template <class T, int V> DEVICE void stats_of(const statistics &f, float *partial, int *counters, const T *x, int slices) {
	moments<T, V> op;
	op.x = x;
	op.channels = f.channels;
	op.first = partial + (u64)2 * slices * f.channels;
	sum_rows<V, 2>(op, f, partial, counters, f.rows, f.channels);
}

template <class T> DEVICE void stats(statistics f, float *partial, int *counters, const T *x, int slices) {
	const int V = vec<T>::n;
	f.first = partial + (u64)2 * slices * f.channels;
	if (f.channels % V == 0 && aligned(x))
		stats_of<T, V>(f, partial, counters, x, slices);
	else
		stats_of<T, 1>(f, partial, counters, x, slices);
}

template <class T, int V> DEVICE void add_stats_of(const statistics &f, float *partial, int *counters, T *y, const T *a, const T *b, int slices) {
	add_moments<T, V> op;
	op.x = a;
	op.channels = f.channels;
	op.first = partial + (u64)2 * slices * f.channels;
	op.y = y;
	op.b = b;
	sum_rows<V, 2>(op, f, partial, counters, f.rows, f.channels);
}

template <class T> DEVICE void add_stats(statistics f, float *partial, int *counters, T *y, const T *a, const T *b, int slices) {
	const int V = vec<T>::n;
	f.first = partial + (u64)2 * slices * f.channels;
	if (f.channels % V == 0 && aligned(y) && aligned(a) && aligned(b))
		add_stats_of<T, V>(f, partial, counters, y, a, b, slices);
	else
		add_stats_of<T, 1>(f, partial, counters, y, a, b, slices);
}

//@ mean[channels] inv[channels] coef[2*channels] running_mean[channels] running_var[channels] partial[(2*slices+1)*channels]
//@ counters[65535] x[rows*channels] gamma[channels] beta[channels] bias?[channels]
KERNEL batchnorm_stats_f32(float *mean, float *inv, float *coef, float *running_mean, float *running_var, float *partial, int *counters, const float *x, const float *gamma, const float *beta, const float *bias, int rows, int channels, int slices, float epsilon, float momentum) { stats(statistics{mean, inv, coef, running_mean, running_var, gamma, beta, bias, 0, rows, channels, epsilon, momentum}, partial, counters, x, slices); }
//@ mean[channels] inv[channels] coef[2*channels] running_mean[channels] running_var[channels] partial[(2*slices+1)*channels]
//@ counters[65535] x[rows*channels] gamma[channels] beta[channels] bias?[channels]
KERNEL batchnorm_stats_bf16(float *mean, float *inv, float *coef, float *running_mean, float *running_var, float *partial, int *counters, const bf16 *x, const float *gamma, const float *beta, const float *bias, int rows, int channels, int slices, float epsilon, float momentum) { stats(statistics{mean, inv, coef, running_mean, running_var, gamma, beta, bias, 0, rows, channels, epsilon, momentum}, partial, counters, x, slices); }

// y = a + b and the statistics of y: the sum of a residual net, on its way to
// the next normalisation.
//@ mean[channels] inv[channels] coef[2*channels] running_mean[channels] running_var[channels] partial[(2*slices+1)*channels]
//@ counters[65535] y[rows*channels] a[rows*channels] b[rows*channels] gamma[channels] beta[channels] bias?[channels]
KERNEL batchnorm_add_stats_f32(float *mean, float *inv, float *coef, float *running_mean, float *running_var, float *partial, int *counters, float *y, const float *a, const float *b, const float *gamma, const float *beta, const float *bias, int rows, int channels, int slices, float epsilon, float momentum) { add_stats(statistics{mean, inv, coef, running_mean, running_var, gamma, beta, bias, 0, rows, channels, epsilon, momentum}, partial, counters, y, a, b, slices); }
//@ mean[channels] inv[channels] coef[2*channels] running_mean[channels] running_var[channels] partial[(2*slices+1)*channels]
//@ counters[65535] y[rows*channels] a[rows*channels] b[rows*channels] gamma[channels] beta[channels] bias?[channels]
KERNEL batchnorm_add_stats_bf16(float *mean, float *inv, float *coef, float *running_mean, float *running_var, float *partial, int *counters, bf16 *y, const bf16 *a, const bf16 *b, const float *gamma, const float *beta, const float *bias, int rows, int channels, int slices, float epsilon, float momentum) { add_stats(statistics{mean, inv, coef, running_mean, running_var, gamma, beta, bias, 0, rows, channels, epsilon, momentum}, partial, counters, y, a, b, slices); }

// What applying needs in evaluation, from the running statistics.
//@ coef[2*channels] gamma[channels] beta[channels] mean[channels] var[channels] bias?[channels]
KERNEL batchnorm_coef_f32(float *coef, const float *gamma, const float *beta, const float *mean, const float *var, const float *bias, int channels, float epsilon) {
	int c = blockIdx.x * THREADS + threadIdx.x;
	if (c >= channels) return;
	float inv = (float)(1.0 / sqrt((double)var[c] + (double)epsilon));
	scale_shift(coef, channels, c, gamma[c], beta[c], mean[c], inv);
	if (bias) coef[channels + c] = (float)((double)coef[channels + c] + (double)coef[c] * (double)bias[c]);
}

// ---- apply

template <class T, int V, bool R, bool D> struct applying {
	T *y;
	const T *x;
	const float *coef;
	int channels;
	drop_place place; // with dropout, D
	u32 threshold;
	float keep;
	reg<V> scale, shift;
	typedef reg<V> taken;
	__device__ __forceinline__ void begin(int c) {
		scale = table<V>(coef + c);
		shift = table<V>(coef + channels + c);
		if (D) place.begin();
	}
	__device__ __forceinline__ taken take(int r, int c) { return load<T, V>(x + (u64)r * channels + c); }
	__device__ __forceinline__ void put(taken v, int r, int c) {
#pragma unroll
		for (int i = 0; i < V; i++) {
			v.f[i] = fmaf(v.f[i], scale.f[i], shift.f[i]);
			if (R) v.f[i] = positive(v.f[i]);
		}
		if (D) {
			u32 j = place.at(r) + (u32)c;
#pragma unroll
			for (int i = 0; i < V; i++) v.f[i] = choose(hash32(place.key, j + i) >= threshold, v.f[i] * keep, 0.0f);
		}
		store<T, V>(y + (u64)r * channels + c, v);
	}
};

template <class T, int V, bool R, bool D> DEVICE void apply_of(T *y, const T *x, const float *coef, int rows, int channels, const u64 *keys, int positions, u32 stream, u32 threshold, float keep) {
	applying<T, V, R, D> op;
	op.y = y;
	op.x = x;
	op.coef = coef;
	op.channels = channels;
	op.place.keys = keys;
	op.place.positions = positions;
	op.place.channels = channels;
	op.place.stream = stream;
	op.threshold = threshold;
	op.keep = keep;
	each_pair<V>(op, rows, channels);
}

template <class T, bool R, bool D> DEVICE void apply(T *y, const T *x, const float *coef, int rows, int channels, const u64 *keys, int positions, u32 stream, u32 threshold, float keep) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(y) && aligned(x))
		apply_of<T, V, R, D>(y, x, coef, rows, channels, keys, positions, stream, threshold, keep);
	else
		apply_of<T, 1, R, D>(y, x, coef, rows, channels, keys, positions, stream, threshold, keep);
}

//@ y[rows*channels] x[rows*channels] coef[2*channels]
KERNEL batchnorm_apply_f32(float *y, const float *x, const float *coef, int rows, int channels) { apply<float, false, false>(y, x, coef, rows, channels, 0, 1, 0, 0, 1.0f); }
KERNEL batchnorm_apply_bf16(bf16 *y, const bf16 *x, const float *coef, int rows, int channels) { apply<bf16, false, false>(y, x, coef, rows, channels, 0, 1, 0, 0, 1.0f); }
KERNEL batchnorm_apply_relu_f32(float *y, const float *x, const float *coef, int rows, int channels) { apply<float, true, false>(y, x, coef, rows, channels, 0, 1, 0, 0, 1.0f); }
KERNEL batchnorm_apply_relu_bf16(bf16 *y, const bf16 *x, const float *coef, int rows, int channels) { apply<bf16, true, false>(y, x, coef, rows, channels, 0, 1, 0, 0, 1.0f); }

// rows are images here, of positions x channels.
//@ y[rows*positions*channels] x[rows*positions*channels] coef[2*channels] keys[rows]
KERNEL batchnorm_apply_relu_dropout_f32(float *y, const float *x, const float *coef, const u64 *keys, int rows, int positions, int channels, u32 stream, u32 threshold, float scale) { apply<float, true, true>(y, x, coef, rows * positions, channels, keys, positions, stream, threshold, scale); }
KERNEL batchnorm_apply_relu_dropout_bf16(bf16 *y, const bf16 *x, const float *coef, const u64 *keys, int rows, int positions, int channels, u32 stream, u32 threshold, float scale) { apply<bf16, true, true>(y, x, coef, rows * positions, channels, keys, positions, stream, threshold, scale); }

// ---- apply, ReLU and 2x2 max-pool: a row of the walk is a window

template <class T, int V> struct apply_pooling {
	T *y;
	const T *x;
	const float *coef;
	int height, width, channels;
	reg<V> scale, shift;
	__device__ __forceinline__ void begin(int c) {
		scale = table<V>(coef + c);
		shift = table<V>(coef + channels + c);
	}
	__device__ __forceinline__ void row(int r, int c) {
		int across = width / 2, down = height / 2, image = r / (across * down), at = r - image * across * down;
		int top = at / across * 2, left = at % across * 2;
		const T *p = x + (((u64)image * height + top) * width + left) * channels + c;
		reg<V> best;
#pragma unroll
		for (int i = 0; i < V; i++) best.f[i] = 0.0f; // the ReLU
#pragma unroll
		for (int k = 0; k < 4; k++) {
			reg<V> v = load<T, V>(p + (u64)((k >> 1) * width + (k & 1)) * channels);
#pragma unroll
			for (int i = 0; i < V; i++) {
				float z = fmaf(v.f[i], scale.f[i], shift.f[i]);
				best.f[i] = z > best.f[i] ? z : best.f[i];
			}
		}
		store<T, V>(y + (u64)r * channels + c, best);
	}
};

template <class T, int V> DEVICE void apply_pool_of(T *y, const T *x, const float *coef, int rows, int height, int width, int channels) {
	apply_pooling<T, V> op;
	op.y = y;
	op.x = x;
	op.coef = coef;
	op.height = height;
	op.width = width;
	op.channels = channels;
	each_row<V>(op, rows * (height / 2) * (width / 2), channels);
}

template <class T> DEVICE void apply_pool(T *y, const T *x, const float *coef, int rows, int height, int width, int channels) {
	const int V = vec<T>::n;
	if (channels % V == 0 && aligned(y) && aligned(x))
		apply_pool_of<T, V>(y, x, coef, rows, height, width, channels);
	else
		apply_pool_of<T, 1>(y, x, coef, rows, height, width, channels);
}

//@ y[rows*(height/2)*(width/2)*channels] x[rows*height*width*channels] coef[2*channels]
KERNEL batchnorm_apply_relu_maxpool_f32(float *y, const float *x, const float *coef, int rows, int height, int width, int channels) { apply_pool(y, x, coef, rows, height, width, channels); }
KERNEL batchnorm_apply_relu_maxpool_bf16(bf16 *y, const bf16 *x, const float *coef, int rows, int height, int width, int channels) { apply_pool(y, x, coef, rows, height, width, channels); }
