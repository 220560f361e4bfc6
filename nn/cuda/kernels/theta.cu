// The neglection degree of every class that occurs in the batch (nn.Neglection):
// with Z = p - y, g1 the sum of Z x over the class's positives and g0 over the
// other rows, theta = (|g1| + |g0|) / |g1 + g0|.
//
// Where training has the dW of the layer, the optimiser, which reads it anyway,
// leaves the sums of squares (optimizer.cu). Here is what makes them of a dW that
// is made for it, the product of Z and x, and what ends both. The loss has set
// the bits of the rows.

// p - 1 for a positive's z, without the cancellation near p = 1.
DEVICE float positive_error(float z, int probabilities) {
	return probabilities ? z - 1.0f : (float)(-1.0 / (1.0 + exp((double)z)));
}

// Z = p - y for a layer whose dW is not at hand; padding gets 0.
template <class T> DEVICE void errors(T *e, const float *z, const int *offsets, const int *index, const float *y, int rows, int classes, int stride, int probabilities) {
	for (int r = blockIdx.x; r < rows; r += gridDim.x) {
		const float *row = z + (u64)r * stride;
		T *out = e + (u64)r * stride;
		for (int c = threadIdx.x; c < stride; c += THREADS) {
			float p = 0.0f;
			if (c < classes) p = probabilities ? row[c] : 1.0f / (1.0f + expf(-row[c]));
			out[c] = narrow<T>(p);
		}
		__syncthreads();
		for (int k = offsets[r] + (int)threadIdx.x; k < offsets[r + 1]; k += THREADS) {
			int c = index[k];
			float p = probabilities ? row[c] : 1.0f / (1.0f + expf(-row[c]));
			out[c] = narrow<T>(y[k] == 1.0f ? positive_error(row[c], probabilities) : p - y[k]);
		}
	}
}

//@ e[rows*stride] z[(rows-1)*stride+classes] offsets[rows+1] index[] y[]
KERNEL theta_errors_f32(float *e, const float *z, const int *offsets, const int *index, const float *y, int rows, int classes, int stride, int probabilities) { errors(e, z, offsets, index, y, rows, classes, stride, probabilities); }
KERNEL theta_errors_bf16(bf16 *e, const float *z, const int *offsets, const int *index, const float *y, int rows, int classes, int stride, int probabilities) { errors(e, z, offsets, index, y, rows, classes, stride, probabilities); }

// ---- norms

// A positive's x weighs its Z in g1, and is taken from g0, which begins as dW, with
// the value that dW was made with.
template <class T> struct weigh_error {
	int probabilities;
	__device__ __forceinline__ void operator()(float at, bool, float &g1, float &g0) const {
		g1 = positive_error(at, probabilities);
		g0 = -rounded<T>(g1);
	}
};

#define THETA_COLUMNS 2048 // of a chunk: 8 a thread

// class_norms sums the squares of a class's g1, g0 and g1+g0 over the columns of
// a chunk: a thread takes R vectors of V columns.
template <class T, int V> DEVICE void class_norms(weigh_error<T> weigh, double *out, row_list &l, double *shared, const u32 *positives, int words, const T *x, const float *z, const float *dw, int rows, int stride, int width, int from) {
	const int R = 8 / V;
	reg<V> g1[R], g0[R];
#pragma unroll
	for (int i = 0; i < R; i++) {
		int c = from + (i * THREADS + (int)threadIdx.x) * V;
#pragma unroll
		for (int j = 0; j < V; j++) {
			g1[i].f[j] = 0.0f;
			g0[i].f[j] = V == 1 && c < width ? dw[c] : 0.0f;
		}
		if (V > 1 && c < width) {
#pragma unroll
			for (int q = 0; q < V; q += 4) {
				reg<4> d = load<float, 4>(dw + c + q);
#pragma unroll
				for (int j = 0; j < 4; j++) g0[i].f[(q + j) % V] = d.f[j];
			}
		}
	}
	for (int first = 0; first < rows; first += LISTED) {
		list_rows(weigh, l, positives, positives, words, first, z, stride);
		int n = l.count[LISTED / 32];
		for (int k = 0; k < n; k++) {
			const T *row = x + (u64)l.row[k] * width;
			float w1 = l.g1[k], w0 = l.g0[k];
#pragma unroll
			for (int i = 0; i < R; i++) {
				int c = from + (i * THREADS + (int)threadIdx.x) * V;
				if (c >= width) continue;
				reg<V> v = load<T, V>(row + c);
#pragma unroll
				for (int j = 0; j < V; j++) {
					g1[i].f[j] = fmaf(w1, v.f[j], g1[i].f[j]);
					g0[i].f[j] = fmaf(w0, v.f[j], g0[i].f[j]);
				}
			}
		}
	}
	double n1 = 0.0, n0 = 0.0, n = 0.0;
#pragma unroll
	for (int i = 0; i < R; i++)
#pragma unroll
		for (int j = 0; j < V; j++) {
			float s = g1[i].f[j] + g0[i].f[j];
			n1 += (double)(g1[i].f[j] * g1[i].f[j]);
			n0 += (double)(g0[i].f[j] * g0[i].f[j]);
			n += (double)(s * s);
		}
	n1 = block_sum(shared, n1);
	n0 = block_sum(shared, n0);
	n = block_sum(shared, n);
	if (threadIdx.x == 0) {
		out[0] = n1;
		out[1] = n0;
		out[2] = n;
	}
}

// Blocks go through (chunk, class), chunk by chunk, so that the columns of x that
// the classes share are read from the card's cache.
template <class T> DEVICE void norms(double *partial, const u32 *bits, const T *x, const float *z, const float *dw, int rows, int classes, int stride, int width, int chunks, int probabilities) {
	__shared__ row_list list;
	__shared__ double shared[THREADS];
	int words = (rows + 31) / 32;
	weigh_error<T> weigh = {probabilities};
	bool whole = width % vec<T>::n == 0 && aligned(x) && aligned(dw);
	for (u64 i = blockIdx.x; i < (u64)classes * chunks; i += gridDim.x) {
		int chunk = (int)(i / classes), c = (int)(i % classes);
		const u32 *positives = bits + (u64)c * 2 * words;
		if (!occurs(list, positives, words)) continue;
		double *out = partial + ((u64)c * chunks + chunk) * 3;
		if (whole)
			class_norms<T, vec<T>::n>(weigh, out, list, shared, positives, words, x, z + c, dw + (u64)c * width, rows, stride, width, chunk * THETA_COLUMNS);
		else
			class_norms<T, 1>(weigh, out, list, shared, positives, words, x, z + c, dw + (u64)c * width, rows, stride, width, chunk * THETA_COLUMNS);
	}
}

//@ partial[3*classes*chunks] bits[2*classes*((rows+31)/32)] x[rows*width] z[(rows-1)*stride+classes] dw[classes*width]
KERNEL theta_norms_f32(double *partial, const u32 *bits, const float *x, const float *z, const float *dw, int rows, int classes, int stride, int width, int chunks, int probabilities) { norms(partial, bits, x, z, dw, rows, classes, stride, width, chunks, probabilities); }
KERNEL theta_norms_bf16(double *partial, const u32 *bits, const bf16 *x, const float *z, const float *dw, int rows, int classes, int stride, int width, int chunks, int probabilities) { norms(partial, bits, x, z, dw, rows, classes, stride, width, chunks, probabilities); }

// 0 for a class that does not occur; 0/0 is 1 and x/0 is infinite.
//@ theta[classes] partial[3*classes*chunks] bits[2*classes*((rows+31)/32)]
KERNEL theta_finish_f32(float *theta, const double *partial, const u32 *bits, int rows, int classes, int chunks) {
	int c = blockIdx.x * THREADS + threadIdx.x, words = (rows + 31) / 32;
	if (c >= classes) return;
	u32 any = 0;
	for (int i = 0; i < words; i++) any |= bits[(u64)c * 2 * words + i];
	if (!any) {
		theta[c] = 0.0f;
		return;
	}
	double n1 = 0.0, n0 = 0.0, n = 0.0;
	for (int k = 0; k < chunks; k++) {
		const double *p = partial + ((u64)c * chunks + k) * 3;
		n1 += p[0];
		n0 += p[1];
		n += p[2];
	}
	double up = sqrt(n1) + sqrt(n0);
	theta[c] = n > 0.0 ? (float)(up / sqrt(n)) : up > 0.0 ? __uint_as_float(0x7f800000u) : 1.0f;
}
