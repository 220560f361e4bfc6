// The optimisers (nn.Optimizer), one launch over all parameters.
//
// table [tensors][7] of 64-bit words: addresses of w, its gradient, the
// optimiser's first and second state, and w rounded to bf16 (0: none); then the
// number of elements, with bit 63 set if the gradient is bf16, and how many of
// them make a row. A block takes a piece of up to 4096 elements of a row of a
// tensor: chunks [count][2] is the tensor and which of its pieces, row by row.
//
// Adam moves 28 bytes an element, and 2 for the bf16 copy; SGD 20, and 2.

#define CHUNK 4096

struct sgd {
	enum { states = 1 };
	float rate, momentum, decay;
	__device__ __forceinline__ void step(float &w, float &u, float &, float g) const {
		g = fmaf(decay, w, g);
		u = fmaf(momentum, u, g);
		w = fmaf(-rate, fmaf(momentum, u, g), w);
	}
};

struct adam {
	enum { states = 2 };
	float rate, beta1, rest1, beta2, rest2, epsilon, decay;
	__device__ __forceinline__ void step(float &w, float &m, float &v, float g) const {
		g = fmaf(decay, w, g);
		m = fmaf(beta1, m, rest1 * g);
		v = fmaf(beta2, v, rest2 * g * g);
		w -= rate * m / (sqrtf(v) + epsilon);
	}
};

// piece is what a block takes of a tensor.
struct piece {
	float *w;
	const void *g;
	float *a, *b;
	bf16 *shadow;
	u64 row, from, to; // the row begins at row
	int line;          // the row's number
	bool half, whole;  // the gradient is bf16; vectors of 4 elements can be used
	__device__ __forceinline__ piece(const u64 *table, const int *chunk) {
		const u64 *t = table + (u64)chunk[0] * 7;
		w = (float *)t[0];
		g = (const void *)t[1];
		a = (float *)t[2];
		b = (float *)t[3];
		shadow = (bf16 *)t[4];
		on_card(w);
		on_card(g);
		on_card(a);
		on_card(b);
		on_card(shadow);
		half = (t[5] >> 63) != 0;
		u64 n = t[5] & ~(1ull << 63), width = t[6];
		int pieces = (int)((width + CHUNK - 1) / CHUNK);
		line = chunk[1] / pieces;
		row = (u64)line * width;
		from = row + (u64)(chunk[1] % pieces) * CHUNK;
		to = row + width < from + CHUNK ? row + width : from + CHUNK;
		whole = (width == n || width % 4 == 0) && aligned(w) && aligned(g) && aligned(a) && aligned(b) && aligned(shadow);
	}
};

// update_vector returns the gradient.
template <class O, class G, int V> DEVICE reg<V> update_vector(const O &o, const piece &t, u64 i) {
	reg<V> w = load<float, V>(t.w + i), g = load<G, V>((const G *)t.g + i), a = load<float, V>(t.a + i), b = a;
	if (O::states > 1) b = load<float, V>(t.b + i);
#pragma unroll
	for (int k = 0; k < V; k++) o.step(w.f[k], a.f[k], b.f[k], g.f[k]);
	store<float, V>(t.w + i, w);
	store<float, V>(t.a + i, a);
	if (O::states > 1) store<float, V>(t.b + i, b);
	if (t.shadow) store<bf16, V>(t.shadow + i, w);
	return g;
}

template <class O, class G> DEVICE void update_piece(const O &o, const piece &t) {
	u64 whole = t.whole ? t.from + (t.to - t.from) / 4 * 4 : t.from;
	for (u64 i = t.from + 4 * threadIdx.x; i < whole; i += 4 * THREADS) update_vector<O, G, 4>(o, t, i);
	for (u64 i = whole + threadIdx.x; i < t.to; i += THREADS) update_vector<O, G, 1>(o, t, i);
}

template <class O> DEVICE void update(const O &o, const u64 *table, const int *chunks, int count) {
	for (int k = blockIdx.x; k < count; k += gridDim.x) {
		piece t(table, chunks + 2 * k);
		if (t.half)
			update_piece<O, bf16>(o, t);
		else
			update_piece<O, float>(o, t);
	}
}

//@ table[7*tensors] chunks[2*count] step[1]
KERNEL sgd_f32(const u64 *table, const int *chunks, const float *step, int tensors, int count, float momentum, float decay) {
	sgd o = {step[0], momentum, decay};
	update(o, table, chunks, count);
}

//@ table[7*tensors] chunks[2*count] step[1]
KERNEL adam_f32(const u64 *table, const int *chunks, const float *step, int tensors, int count, float beta1, float rest1, float beta2, float rest2, float epsilon, float decay) {
	adam o = {step[0], beta1, rest1, beta2, rest2, epsilon, decay};
	update(o, table, chunks, count);
}

// ---- and theta (theta.cu) in the same pass over dW
//
// The dW of the classification layer is (g1 + g0) / rows but for the e of the
// loss, so that
//
//	g1 = sum over positives of Z x
//	g0 = (1+e) rows dW + sum over listed rows of b x
//
// where b = -(1+e) loss' at a positive, Z - (1+e) loss' at a negative with
// p > 3/4, and loss' the gradient that training uses. What is added to an
// optimiser's pass over a class's dW are the listed rows of x. Weights end in the
// same bits as without.

struct weigh_logit {
	__device__ __forceinline__ void operator()(float at, bool positive, float &g1, float &g0) const {
		const double e = 1e-5;
		double z = (double)at, t = exp(-fabs(z)), big = 1.0 / (1.0 + t), small = t * big;
		double p = z < 0.0 ? small : big, q = z < 0.0 ? big : small;
		if (positive) {
			g1 = (float)-q;
			g0 = (float)((1.0 + e) * p * q / (p + e));
		} else {
			g1 = 0.0f;
			g0 = (float)(p - (1.0 + e) * p * q / (q + e));
		}
	}
};

// measured is what theta is made of: tensor is the number of dW's parameter, its
// rows the classes.
template <class T> struct measured {
	double *partial; // [classes][chunks][3]: squares of g1, g0, g1 + g0
	const u32 *bits;
	const T *x;
	const float *z;
	int tensor, rows, classes, stride, width;
	float scale;
};

// update_class is update_piece with the sums of the piece's columns; all threads
// take as many turns, as they list rows together.
template <class O, class G, class T, int V> DEVICE void update_class(const O &o, const piece &t, const measured<T> &m, row_list &l, double *shared) {
	int words = (m.rows + 31) / 32;
	const u32 *positives = m.bits + (u64)t.line * 2 * words;
	double n1 = 0.0, n0 = 0.0, n = 0.0;
	bool listed = false;
	for (u64 base = t.from; base < t.to; base += V * THREADS) {
		u64 i = base + V * threadIdx.x;
		bool inside = i < t.to;
		reg<V> g1, g0;
#pragma unroll
		for (int j = 0; j < V; j++) g1.f[j] = g0.f[j] = 0.0f;
		if (inside) {
			reg<V> g = update_vector<O, G, V>(o, t, i);
#pragma unroll
			for (int j = 0; j < V; j++) g0.f[j] = m.scale * g.f[j];
		}
		const T *column = m.x + (i - t.row);
		for (int first = 0; first < m.rows; first += LISTED) {
			if (!listed || m.rows > LISTED) list_rows(weigh_logit(), l, positives, positives + words, words, first, m.z + t.line, m.stride);
			listed = true;
			int count = inside ? l.count[LISTED / 32] : 0;
#pragma unroll 4
			for (int k = 0; k < count; k++) {
				reg<V> v = load<T, V>(column + (u64)l.row[k] * m.width);
				float w1 = l.g1[k], w0 = l.g0[k];
#pragma unroll
				for (int j = 0; j < V; j++) {
					g1.f[j] = fmaf(w1, v.f[j], g1.f[j]);
					g0.f[j] = fmaf(w0, v.f[j], g0.f[j]);
				}
			}
		}
#pragma unroll
		for (int j = 0; j < V; j++) {
			float s = g1.f[j] + g0.f[j];
			n1 += (double)(g1.f[j] * g1.f[j]);
			n0 += (double)(g0.f[j] * g0.f[j]);
			n += (double)(s * s);
		}
	}
	n1 = block_sum(shared, n1);
	n0 = block_sum(shared, n0);
	n = block_sum(shared, n);
	if (threadIdx.x == 0) {
		int pieces = (m.width + CHUNK - 1) / CHUNK;
		double *out = m.partial + ((u64)t.line * pieces + (t.from - t.row) / CHUNK) * 3;
		out[0] = n1;
		out[1] = n0;
		out[2] = n;
	}
}

template <class O, class G, class T> DEVICE void update_and_measure(const O &o, const piece &t, const measured<T> &m, bool class_row, row_list &l, double *shared) {
	if (!class_row)
		update_piece<O, G>(o, t);
	else if (t.whole && m.width % 4 == 0 && aligned(m.x))
		update_class<O, G, T, 4>(o, t, m, l, shared);
	else
		update_class<O, G, T, 1>(o, t, m, l, shared);
}

template <class O, class T> DEVICE void update_all(const O &o, const measured<T> &m, const u64 *table, const int *chunks, int count) {
	__shared__ row_list list;
	__shared__ double shared[THREADS];
	int words = (m.rows + 31) / 32;
	for (int k = blockIdx.x; k < count; k += gridDim.x) {
		piece t(table, chunks + 2 * k);
		bool class_row = chunks[2 * k] == m.tensor && occurs(list, m.bits + (u64)t.line * 2 * words, words);
		if (t.half)
			update_and_measure<O, bf16, T>(o, t, m, class_row, list, shared);
		else
			update_and_measure<O, float, T>(o, t, m, class_row, list, shared);
	}
}

//@ partial[3*classes*((width+4095)/4096)] table[7*tensors] chunks[2*count] step[1] bits[2*classes*((rows+31)/32)] x[rows*width] z[(rows-1)*stride+classes]
KERNEL3 sgd_theta_f32(double *partial, const u64 *table, const int *chunks, const float *step, const u32 *bits, const float *x, const float *z, int tensors, int count, int tensor, int rows, int classes, int stride, int width, float scale, float momentum, float decay) {
	sgd o = {step[0], momentum, decay};
	update_all(o, measured<float>{partial, bits, x, z, tensor, rows, classes, stride, width, scale}, table, chunks, count);
}

//@ partial[3*classes*((width+4095)/4096)] table[7*tensors] chunks[2*count] step[1] bits[2*classes*((rows+31)/32)] x[rows*width] z[(rows-1)*stride+classes]
KERNEL3 adam_theta_f32(double *partial, const u64 *table, const int *chunks, const float *step, const u32 *bits, const float *x, const float *z, int tensors, int count, int tensor, int rows, int classes, int stride, int width, float scale, float beta1, float rest1, float beta2, float rest2, float epsilon, float decay) {
	adam o = {step[0], beta1, rest1, beta2, rest2, epsilon, decay};
	update_all(o, measured<float>{partial, bits, x, z, tensor, rows, classes, stride, width, scale}, table, chunks, count);
}

//@ partial[3*classes*((width+4095)/4096)] table[7*tensors] chunks[2*count] step[1] bits[2*classes*((rows+31)/32)] x[rows*width] z[(rows-1)*stride+classes]
KERNEL3 sgd_theta_bf16(double *partial, const u64 *table, const int *chunks, const float *step, const u32 *bits, const bf16 *x, const float *z, int tensors, int count, int tensor, int rows, int classes, int stride, int width, float scale, float momentum, float decay) {
	sgd o = {step[0], momentum, decay};
	update_all(o, measured<bf16>{partial, bits, x, z, tensor, rows, classes, stride, width, scale}, table, chunks, count);
}

//@ partial[3*classes*((width+4095)/4096)] table[7*tensors] chunks[2*count] step[1] bits[2*classes*((rows+31)/32)] x[rows*width] z[(rows-1)*stride+classes]
KERNEL3 adam_theta_bf16(double *partial, const u64 *table, const int *chunks, const float *step, const u32 *bits, const bf16 *x, const float *z, int tensors, int count, int tensor, int rows, int classes, int stride, int width, float scale, float beta1, float rest1, float beta2, float rest2, float epsilon, float decay) {
	adam o = {step[0], beta1, rest1, beta2, rest2, epsilon, decay};
	update_all(o, measured<bf16>{partial, bits, x, z, tensor, rows, classes, stride, width, scale}, table, chunks, count);
}
