// The optimisers (nn.Optimizer), one launch over all parameters.
//
// table [tensors][6] of 64-bit words: addresses of w, its gradient, the
// optimiser's first and second state, and w rounded to bf16 (0: none); then the
// number of elements, with bit 63 set if the gradient is bf16. A block takes 4096
// elements of a tensor: chunks [count][2] is the tensor and which 4096.
//
// Adam moves 28 bytes an element, and 2 for the bf16 copy; SGD 20, and 2.

#define CHUNK 4096

struct sgd {
	enum { states = 1 };
	float rate, momentum, decay;
	__device__ __forceinline__ void step(float &w, float &u, float &, float g) const {
		g = fmaf(decay, w, g);
		u = fmaf(momentum, u, g);
		w -= rate * fmaf(momentum, u, g);
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

// tensor is a row of the table.
struct tensor {
	float *w;
	const void *g;
	float *a, *b;
	bf16 *shadow;
	u64 n;
	bool half;
};

template <class O, class G, int V> DEVICE void update_vector(const O &o, const tensor &t, u64 i) {
	reg<V> w = load<float, V>(t.w + i), g = load<G, V>((const G *)t.g + i), a = load<float, V>(t.a + i), b = a;
	if (O::states > 1) b = load<float, V>(t.b + i);
#pragma unroll
	for (int k = 0; k < V; k++) o.step(w.f[k], a.f[k], b.f[k], g.f[k]);
	store<float, V>(t.w + i, w);
	store<float, V>(t.a + i, a);
	if (O::states > 1) store<float, V>(t.b + i, b);
	if (t.shadow) store<bf16, V>(t.shadow + i, w);
}

template <class O, class G> DEVICE void update_chunk(const O &o, const tensor &t, u64 from) {
	u64 to = from + CHUNK < t.n ? from + CHUNK : t.n, whole = from;
	if (aligned(t.w) && aligned(t.g) && aligned(t.a) && aligned(t.b) && aligned(t.shadow)) {
		whole = from + (to - from) / 4 * 4;
		for (u64 i = from + 4 * threadIdx.x; i < whole; i += 4 * THREADS) update_vector<O, G, 4>(o, t, i);
	}
	for (u64 i = whole + threadIdx.x; i < to; i += THREADS) update_vector<O, G, 1>(o, t, i);
}

template <class O> DEVICE void update(const O &o, const u64 *table, const int *chunks, int count) {
	for (int k = blockIdx.x; k < count; k += gridDim.x) {
		const u64 *row = table + (u64)chunks[2 * k] * 6;
		tensor t = {(float *)row[0], (const void *)row[1], (float *)row[2], (float *)row[3], (bf16 *)row[4], row[5] & ~(1ull << 63), (row[5] >> 63) != 0};
		u64 from = (u64)chunks[2 * k + 1] * CHUNK;
		if (t.half)
			update_chunk<O, bf16>(o, t, from);
		else
			update_chunk<O, float>(o, t, from);
	}
}

//@ table[6*tensors] chunks[2*count] step[1]
KERNEL sgd_f32(const u64 *table, const int *chunks, const float *step, int tensors, int count, float momentum, float decay) {
	sgd o = {step[0], momentum, decay};
	update(o, table, chunks, count);
}

//@ table[6*tensors] chunks[2*count] step[1]
KERNEL adam_f32(const u64 *table, const int *chunks, const float *step, int tensors, int count, float beta1, float rest1, float beta2, float rest2, float epsilon, float decay) {
	adam o = {step[0], beta1, rest1, beta2, rest2, epsilon, decay};
	update(o, table, chunks, count);
}
