// The subclass cross-entropy with its gradient and the batch's mean loss in one
// pass over z, and the mixture of experts.

#define LOSS_EPSILON 1e-5f

// ---- one output: y and m from the targets; p, q = 1 - p, and what dL/dp is
// multiplied by to get the gradient

#define LOG_3 1.0986122886681098f // the logit of 3/4

struct ce_logit {
	__device__ __forceinline__ static bool confident(float z) { return z > LOG_3; }
	__device__ __forceinline__ static void split(float z, float &p, float &q, float &slope) {
		float t = expf(-fabsf(z)), big = 1.0f / (1.0f + t), small = t * big;
		p = z < 0.0f ? small : big;
		q = z < 0.0f ? big : small;
		slope = p * q;
	}
	__device__ __forceinline__ static void split(double z, double &p, double &q, double &slope) {
		double t = exp(-fabs(z)), big = 1.0 / (1.0 + t), small = t * big;
		p = z < 0.0 ? small : big;
		q = z < 0.0 ? big : small;
		slope = p * q;
	}
};

struct ce_probability {
	__device__ __forceinline__ static bool confident(float) { return false; } // not asked for
	__device__ __forceinline__ static void split(float z, float &p, float &q, float &slope) {
		p = z;
		q = 1.0f - z;
		slope = 1.0f;
	}
	__device__ __forceinline__ static void split(double z, double &p, double &q, double &slope) {
		p = z;
		q = 1.0 - z;
		slope = 1.0;
	}
};

// A block takes a row: first every output as a negative, then the few listed
// targets are put right, in double. The loss is not yet divided by the rows, the
// gradient is; the last block makes the mean of the rows' losses. bits, cleared
// before, is for theta: see row_list.
template <class K, class T> DEVICE void cross_entropy(double *mean, T *dz, double *row_loss, u32 *bits, int *counters, const float *z, const float *weight, const int *offsets, const int *index, const float *y, const float *m, int rows, int outputs, int stride) {
	__shared__ double shared[THREADS];
	float per_row = 1.0f / (float)rows;
	int words = (rows + 31) / 32;
	for (int r = blockIdx.x; r < rows; r += gridDim.x) {
		const float *row = z + (u64)r * stride;
		T *grad = dz ? dz + (u64)r * stride : 0;
		float p, q, slope, loss = 0.0f;
		for (int c = threadIdx.x; c < outputs; c += THREADS) {
			K::split(row[c], p, q, slope);
			float w = weight ? weight[c] : 1.0f;
			loss -= w * logf(q + LOSS_EPSILON);
			if (bits && K::confident(row[c])) atomicOr(bits + ((u64)c * 2 + 1) * words + r / 32, 1u << r % 32);
			if (grad) grad[c] = narrow<T>(w * per_row * slope / (q + LOSS_EPSILON));
		}
		if (grad)
			for (int c = outputs + (int)threadIdx.x; c < stride; c += THREADS) grad[c] = narrow<T>(0.0f);
		double sum = (double)loss;
		__syncthreads(); // before the listed gradients go over the dense ones
		for (int e = offsets[r] + (int)threadIdx.x; e < offsets[r + 1]; e += THREADS) {
			int c = index[e];
			if (bits && y[e] == 1.0f) atomicOr(bits + (u64)c * 2 * words + r / 32, 1u << r % 32);
			double dp, dq, ds, w = weight ? (double)weight[c] : 1.0, pos = (double)y[e], neg = 1.0 - (double)m[e];
			const double epsilon = 1e-5;
			K::split((double)row[c], dp, dq, ds);
			sum -= w * (pos * log(dp + epsilon) + (neg - 1.0) * log(dq + epsilon));
			if (grad) grad[c] = narrow<T>((float)(w / rows * ds * (neg / (dq + epsilon) - pos / (dp + epsilon))));
		}
		sum = block_sum(shared, sum);
		if (threadIdx.x == 0) row_loss[r] = sum;
	}
	if (!last_block(counters, gridDim.x)) return;
	double all = 0.0;
	for (int r = threadIdx.x; r < rows; r += THREADS) all += row_loss[r];
	all = block_sum(shared, all);
	if (threadIdx.x == 0) *mean = all / rows;
}

// dz is null in evaluation, and is not z. Columns from outputs on are padding.
//@ loss[1] dz?[rows*stride] row_loss[rows] bits?[2*outputs*((rows+31)/32)] counters[65535] z[(rows-1)*stride+outputs] weight?[outputs] offsets[rows+1] index[] y[] m[]
KERNEL subclass_ce_logits_f32(double *loss, float *dz, double *row_loss, u32 *bits, int *counters, const float *z, const float *weight, const int *offsets, const int *index, const float *y, const float *m, int rows, int outputs, int stride) { cross_entropy<ce_logit>(loss, dz, row_loss, bits, counters, z, weight, offsets, index, y, m, rows, outputs, stride); }
KERNEL subclass_ce_logits_bf16(double *loss, bf16 *dz, double *row_loss, u32 *bits, int *counters, const float *z, const float *weight, const int *offsets, const int *index, const float *y, const float *m, int rows, int outputs, int stride) { cross_entropy<ce_logit>(loss, dz, row_loss, bits, counters, z, weight, offsets, index, y, m, rows, outputs, stride); }
KERNEL subclass_ce_probabilities_f32(double *loss, float *dz, double *row_loss, u32 *bits, int *counters, const float *z, const float *weight, const int *offsets, const int *index, const float *y, const float *m, int rows, int outputs, int stride) { cross_entropy<ce_probability>(loss, dz, row_loss, bits, counters, z, weight, offsets, index, y, m, rows, outputs, stride); }

// ---- mixture of experts, a thread a class of a row

DEVICE float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

// mixed returns p, and the gates' largest and the sum of their exponentials.
DEVICE float mixed(const float *g, const float *e, int mixtures, float &top, float &sum) {
	top = g[0];
	for (int k = 1; k <= mixtures; k++) top = fmaxf(top, g[k]);
	sum = expf(g[mixtures] - top);
	float mix = 0.0f;
	for (int k = 0; k < mixtures; k++) {
		float share = expf(g[k] - top);
		sum += share;
		mix = fmaf(share, logistic(e[k]), mix);
	}
	return mix / sum;
}

//@ p[(rows-1)*p_stride+outputs] gates[(rows-1)*gates_stride+outputs*(mixtures+1)] experts[(rows-1)*experts_stride+outputs*mixtures]
KERNEL moe_forward_f32(float *p, const float *gates, const float *experts, int rows, int outputs, int mixtures, int p_stride, int gates_stride, int experts_stride) {
	u64 n = (u64)rows * outputs, step = (u64)gridDim.x * THREADS;
	for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
		u64 r = i / outputs;
		int c = (int)(i % outputs);
		float top, sum;
		p[r * p_stride + c] = mixed(gates + r * gates_stride + (u64)c * (mixtures + 1), experts + r * experts_stride + (u64)c * mixtures, mixtures, top, sum);
	}
}

// With gates g (softmax) and experts e: dgate_k = dp g_k (e_k - p), e = 0 for the
// gate that leads nowhere, and dexpert_k = dp g_k e_k (1 - e_k).
template <class T> DEVICE void mixture_back(T *dgates, T *dexperts, const float *dp, const float *gates, const float *experts, int rows, int outputs, int mixtures, int p_stride, int gates_stride, int experts_stride) {
	u64 n = (u64)rows * outputs, step = (u64)gridDim.x * THREADS;
	for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
		u64 r = i / outputs;
		int c = (int)(i % outputs);
		u64 at_gate = r * gates_stride + (u64)c * (mixtures + 1), at_expert = r * experts_stride + (u64)c * mixtures;
		const float *g = gates + at_gate, *e = experts + at_expert;
		float top, sum, p = mixed(g, e, mixtures, top, sum), d = dp[r * p_stride + c];
		for (int k = 0; k < mixtures; k++) {
			float share = expf(g[k] - top) / sum, v = logistic(e[k]);
			dgates[at_gate + k] = narrow<T>(d * share * (v - p));
			dexperts[at_expert + k] = narrow<T>(d * share * v * (1.0f - v));
		}
		dgates[at_gate + mixtures] = narrow<T>(-d * (expf(g[mixtures] - top) / sum) * p);
		if (c == outputs - 1) { // the row's padding
			for (int k = outputs * (mixtures + 1); k < gates_stride; k++) dgates[r * gates_stride + k] = narrow<T>(0.0f);
			for (int k = outputs * mixtures; k < experts_stride; k++) dexperts[r * experts_stride + k] = narrow<T>(0.0f);
		}
	}
}

//@ dgates[rows*gates_stride] dexperts[rows*experts_stride] dp[(rows-1)*p_stride+outputs]
//@ gates[(rows-1)*gates_stride+outputs*(mixtures+1)] experts[(rows-1)*experts_stride+outputs*mixtures]
KERNEL moe_backward_f32(float *dgates, float *dexperts, const float *dp, const float *gates, const float *experts, int rows, int outputs, int mixtures, int p_stride, int gates_stride, int experts_stride) { mixture_back(dgates, dexperts, dp, gates, experts, rows, outputs, mixtures, p_stride, gates_stride, experts_stride); }
KERNEL moe_backward_bf16(bf16 *dgates, bf16 *dexperts, const float *dp, const float *gates, const float *experts, int rows, int outputs, int mixtures, int p_stride, int gates_stride, int experts_stride) { mixture_back(dgates, dexperts, dp, gates, experts, rows, outputs, mixtures, p_stride, gates_stride, experts_stride); }
