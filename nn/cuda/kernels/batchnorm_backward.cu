// Batch normalisation, backward, with what lies behind it: ReLU, dropout,
// max-pool, each computed again from x. With s1 = sum dy, s2 = sum dy (x - mean),
//
//	dbeta = s1, dgamma = s2 inv, dx = gamma inv (dy - dbeta/n - (x-mean) inv dgamma/n)
//	      = dy a + x b + c
//
// Passes over memory: reduce reads dy and x; apply reads dy and x and writes dx.

// ---- what comes to dy from behind: the gate at element (r, c)

// A gate says what of dy reaches the normalisation.
template <int V, bool R, bool D> struct gate {
	const float *coef; // with the ReLU, R
	int channels;
	drop_place place; // with dropout, D
	u32 threshold;
	float keep;
	reg<V> scale, shift;
	__device__ __forceinline__ void begin(int c) {
		if (R) {
			scale = table<V>(coef + c);
			shift = table<V>(coef + channels + c);
		}
		if (D) place.begin();
	}
	__device__ __forceinline__ void pass(reg<V> &d, const reg<V> &x, int r, int c) {
		if (D) {
			u32 j = place.at(r) + (u32)c;
#pragma unroll
			for (int i = 0; i < V; i++) d.f[i] = choose(hash32(place.key, j + i) >= threshold, d.f[i] * keep, 0.0f);
		}
		if (R) {
#pragma unroll
			for (int i = 0; i < V; i++) d.f[i] = choose(fmaf(x.f[i], scale.f[i], shift.f[i]) > 0.0f, d.f[i], 0.0f);
		}
	}
};

// The numbers of a gate, as arguments.
struct gate_args {
	const float *coef;
	const u64 *keys;
	int positions, channels;
	u32 stream, threshold;
	float keep;
	template <int V, bool R, bool D> __device__ __forceinline__ void set(gate<V, R, D> &g) const {
		g.coef = coef;
		g.channels = channels;
		g.place.keys = keys;
		g.place.positions = positions;
		g.place.channels = channels;
		g.place.stream = stream;
		g.threshold = threshold;
		g.keep = keep;
	}
};

DEVICE gate_args gated(const float *coef, int channels) {
	gate_args g = {coef, 0, 1, channels, 0, 0, 1.0f};
	return g;
}
DEVICE gate_args gated(const float *coef, int channels, const u64 *keys, int positions, u32 stream, u32 threshold, float keep) {
	gate_args g = {coef, keys, positions, channels, stream, threshold, keep};
	return g;
}

// ---- reduce: partial is [slices][2][channels]; counters are 0 before and after

template <class T, int V, bool R, bool D> struct back_sums {
	enum { turns = 2 };
	const T *dy, *x;
	const float *mean;
	int channels;
	gate<V, R, D> g;
	reg<V> sum[2], m;
	__device__ __forceinline__ void begin(int c) {
		m = table<V>(mean + c);
		g.begin(c);
	}
	__device__ __forceinline__ void row(int r, int c) {
		u64 at = (u64)r * channels + c;
		reg<V> d = load<T, V>(dy + at), v = load<T, V>(x + at);
		g.pass(d, v, r, c);
#pragma unroll
		for (int i = 0; i < V; i++) {
			sum[0].f[i] += d.f[i];
			sum[1].f[i] = fmaf(d.f[i], v.f[i] - m.f[i], sum[1].f[i]);
		}
	}
};

template <class T, int V, bool R, bool D> DEVICE void reduce_of(const gradients &f, float *partial, int *counters, const T *dy, const T *x, gate_args g) {
	back_sums<T, V, R, D> op;
	op.dy = dy;
	op.x = x;
	op.mean = f.mean;
	op.channels = g.channels;
	g.set(op.g);
	sum_rows<V, 2>(op, f, partial, counters, f.rows, g.channels);
}

template <class T, bool R, bool D> DEVICE void reduce(const gradients &f, float *partial, int *counters, const T *dy, const T *x, gate_args g) {
	const int V = vec<T>::n;
	if (g.channels % V == 0 && aligned(dy) && aligned(x))
		reduce_of<T, V, R, D>(f, partial, counters, dy, x, g);
	else
		reduce_of<T, 1, R, D>(f, partial, counters, dy, x, g);
}

//@ dgamma[channels] dbeta[channels] back[3*channels] dbias?[channels] partial[2*slices*channels] counters[65535]
//@ dy[rows*channels] x[rows*channels] mean[channels] gamma[channels] inv[channels]
KERNEL batchnorm_backward_reduce_f32(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const float *dy, const float *x, const float *mean, const float *gamma, const float *inv, int rows, int channels, int slices) { reduce<float, false, false>(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows, channels}, partial, counters, dy, x, gated(0, channels)); }
KERNEL batchnorm_backward_reduce_bf16(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const bf16 *dy, const bf16 *x, const float *mean, const float *gamma, const float *inv, int rows, int channels, int slices) { reduce<bf16, false, false>(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows, channels}, partial, counters, dy, x, gated(0, channels)); }

//@ dgamma[channels] dbeta[channels] back[3*channels] dbias?[channels] partial[2*slices*channels] counters[65535]
//@ dy[rows*channels] x[rows*channels] mean[channels] gamma[channels] inv[channels] coef[2*channels]
KERNEL batchnorm_backward_reduce_relu_f32(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const float *dy, const float *x, const float *mean, const float *gamma, const float *inv, const float *coef, int rows, int channels, int slices) { reduce<float, true, false>(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows, channels}, partial, counters, dy, x, gated(coef, channels)); }
KERNEL batchnorm_backward_reduce_relu_bf16(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const bf16 *dy, const bf16 *x, const float *mean, const float *gamma, const float *inv, const float *coef, int rows, int channels, int slices) { reduce<bf16, true, false>(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows, channels}, partial, counters, dy, x, gated(coef, channels)); }

//@ dgamma[channels] dbeta[channels] back[3*channels] dbias?[channels] partial[2*slices*channels] counters[65535]
//@ dy[rows*positions*channels] x[rows*positions*channels] mean[channels] gamma[channels] inv[channels] coef[2*channels] keys[rows]
KERNEL batchnorm_backward_reduce_relu_dropout_f32(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const float *dy, const float *x, const float *mean, const float *gamma, const float *inv, const float *coef, const u64 *keys, int rows, int positions, int channels, int slices, u32 stream, u32 threshold, float scale) { reduce<float, true, true>(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows * positions, channels}, partial, counters, dy, x, gated(coef, channels, keys, positions, stream, threshold, scale)); }
KERNEL batchnorm_backward_reduce_relu_dropout_bf16(float *dgamma, float *dbeta, float *back, float *dbias, float *partial, int *counters, const bf16 *dy, const bf16 *x, const float *mean, const float *gamma, const float *inv, const float *coef, const u64 *keys, int rows, int positions, int channels, int slices, u32 stream, u32 threshold, float scale) { reduce<bf16, true, true>(gradients{dgamma, dbeta, back, dbias, gamma, mean, inv, rows * positions, channels}, partial, counters, dy, x, gated(coef, channels, keys, positions, stream, threshold, scale)); }

// ---- apply

template <class T, int V, bool R, bool D, bool A> struct back_apply {
	T *dx;
	const T *dy, *x, *residual;
	const float *back;
	int channels;
	gate<V, R, D> g;
	reg<V> fy, fx, f1;
	struct taken {
		reg<V> dy, x, residual;
	};
	__device__ __forceinline__ void begin(int c) {
		fy = table<V>(back + c);
		fx = table<V>(back + channels + c);
		f1 = table<V>(back + 2 * channels + c);
		g.begin(c);
	}
	__device__ __forceinline__ taken take(int r, int c) {
		u64 at = (u64)r * channels + c;
		taken v;
		v.dy = load<T, V>(dy + at);
		v.x = load<T, V>(x + at);
		if (A) v.residual = load<T, V>(residual + at);
		return v;
	}
	__device__ __forceinline__ void put(taken v, int r, int c) {
		g.pass(v.dy, v.x, r, c);
#pragma unroll
		for (int i = 0; i < V; i++) {
			v.dy.f[i] = fmaf(v.dy.f[i], fy.f[i], fmaf(v.x.f[i], fx.f[i], f1.f[i]));
			if (A) v.dy.f[i] += v.residual.f[i];
		}
		store<T, V>(dx + (u64)r * channels + c, v.dy);
	}
};

template <class T, int V, bool R, bool D, bool A> DEVICE void back_apply_of(T *dx, const T *dy, const T *x, const T *residual, const float *back, int rows, gate_args g) {
	back_apply<T, V, R, D, A> op;
	op.dx = dx;
	op.dy = dy;
	op.x = x;
	op.residual = residual;
	op.back = back;
	op.channels = g.channels;
	g.set(op.g);
	each_pair<V>(op, rows, g.channels);
}

template <class T, bool R, bool D, bool A> DEVICE void back_apply_rows(T *dx, const T *dy, const T *x, const T *residual, const float *back, int rows, gate_args g) {
	const int V = vec<T>::n;
	if (g.channels % V == 0 && aligned(dx) && aligned(dy) && aligned(x) && (!A || aligned(residual)))
		back_apply_of<T, V, R, D, A>(dx, dy, x, residual, back, rows, g);
	else
		back_apply_of<T, 1, R, D, A>(dx, dy, x, residual, back, rows, g);
}

//@ dx[rows*channels] dy[rows*channels] x[rows*channels] back[3*channels]
KERNEL batchnorm_backward_apply_f32(float *dx, const float *dy, const float *x, const float *back, int rows, int channels) { back_apply_rows<float, false, false, false>(dx, dy, x, x, back, rows, gated(0, channels)); }
KERNEL batchnorm_backward_apply_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, const float *back, int rows, int channels) { back_apply_rows<bf16, false, false, false>(dx, dy, x, x, back, rows, gated(0, channels)); }

//@ dx[rows*channels] dy[rows*channels] x[rows*channels] coef[2*channels] back[3*channels]
KERNEL batchnorm_backward_apply_relu_f32(float *dx, const float *dy, const float *x, const float *coef, const float *back, int rows, int channels) { back_apply_rows<float, true, false, false>(dx, dy, x, x, back, rows, gated(coef, channels)); }
KERNEL batchnorm_backward_apply_relu_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, const float *coef, const float *back, int rows, int channels) { back_apply_rows<bf16, true, false, false>(dx, dy, x, x, back, rows, gated(coef, channels)); }

//@ dx[rows*channels] dy[rows*channels] x[rows*channels] residual[rows*channels] coef[2*channels] back[3*channels]
KERNEL batchnorm_backward_apply_relu_add_f32(float *dx, const float *dy, const float *x, const float *residual, const float *coef, const float *back, int rows, int channels) { back_apply_rows<float, true, false, true>(dx, dy, x, residual, back, rows, gated(coef, channels)); }
KERNEL batchnorm_backward_apply_relu_add_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, const bf16 *residual, const float *coef, const float *back, int rows, int channels) { back_apply_rows<bf16, true, false, true>(dx, dy, x, residual, back, rows, gated(coef, channels)); }

//@ dx[rows*positions*channels] dy[rows*positions*channels] x[rows*positions*channels] coef[2*channels] back[3*channels] keys[rows]
KERNEL batchnorm_backward_apply_relu_dropout_f32(float *dx, const float *dy, const float *x, const float *coef, const float *back, const u64 *keys, int rows, int positions, int channels, u32 stream, u32 threshold, float scale) { back_apply_rows<float, true, true, false>(dx, dy, x, x, back, rows * positions, gated(coef, channels, keys, positions, stream, threshold, scale)); }
KERNEL batchnorm_backward_apply_relu_dropout_bf16(bf16 *dx, const bf16 *dy, const bf16 *x, const float *coef, const float *back, const u64 *keys, int rows, int positions, int channels, u32 stream, u32 threshold, float scale) { back_apply_rows<bf16, true, true, false>(dx, dy, x, x, back, rows * positions, gated(coef, channels, keys, positions, stream, threshold, scale)); }
