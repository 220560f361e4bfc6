// The neglection degree of every class that occurs in the batch (nn.Neglection):
// with Z = p - y, g1 the sum of Z x over the class's positives and g0 over the
// other rows, theta = (|g1| + |g0|) / |g1 + g0|.
//
// dW of the layer is (g1 + g0) / rows but for the e of the loss, so that
//
//	g1 = sum over positives of Z x
//	g0 = (1+e) rows dW + sum over listed rows of b x
//
// where b = -(1+e) loss' at a positive, Z - (1+e) loss' at a negative with
// p > 3/4, and loss' the gradient that training uses. One pass over the dW of
// the classes that occur and the listed rows of x.

// ---- lists: for each class a bit a row, first of the positives, then of the
// negatives with p > 3/4

#define LOG_3 1.0986122886681098f // the logit of 3/4

// A block takes 32 classes: bits of 1024 rows at a time in shared memory. It
// also sets theta to 0 and appends the classes that occur to present[1..], whose
// count is present[0]; in which order does not matter.
//@ bits[2*classes*((rows+31)/32)] present[classes+1] theta[classes] z?[(rows-1)*stride+classes] offsets[rows+1] index[] y[]
KERNEL theta_list_f32(u32 *bits, int *present, float *theta, const float *z, const int *offsets, const int *index, const float *y, int rows, int classes, int stride) {
	__shared__ u32 listed[2][32][33];
	__shared__ u32 occurs;
	int lane = threadIdx.x % 32, group = threadIdx.x / 32, words = (rows + 31) / 32;
	for (int first = blockIdx.x * 32; first < classes; first += gridDim.x * 32) {
		int c = first + lane;
		if (threadIdx.x == 0) occurs = 0;
		for (int base = 0; base < words; base += 32) {
			for (int w = group; w < 32; w += THREADS / 32) {
				u32 word = 0;
				if (z && c < classes)
					for (int i = 0; i < 32; i++) {
						int r = (base + w) * 32 + i;
						if (r < rows && z[(u64)r * stride + c] > LOG_3) word |= 1u << i;
					}
				listed[0][lane][w] = 0;
				listed[1][lane][w] = word;
			}
			__syncthreads();
			int r0 = min(base * 32, rows), r1 = min(r0 + 1024, rows);
			for (int e = offsets[r0] + (int)threadIdx.x; e < offsets[r1]; e += THREADS) {
				int of = index[e] - first;
				if (of < 0 || of >= 32 || y[e] != 1.0f) continue;
				int lo = r0, hi = r1; // the row whose entries e is one of
				while (hi - lo > 1) {
					int mid = (lo + hi) / 2;
					if (offsets[mid] <= e)
						lo = mid;
					else
						hi = mid;
				}
				atomicOr(&listed[0][of][(lo - r0) / 32], 1u << (lo - r0) % 32);
				atomicOr(&occurs, 1u << of);
			}
			__syncthreads();
			for (int i = threadIdx.x; i < 32 * 32; i += THREADS) {
				int of = i / 32, w = i % 32;
				if (first + of >= classes || base + w >= words) continue;
				u64 at = (u64)(first + of) * 2 * words + base + w;
				bits[at] = listed[0][of][w];
				bits[at + words] = listed[1][of][w] & ~listed[0][of][w];
			}
			__syncthreads();
		}
		if (threadIdx.x < 32 && c < classes) {
			theta[c] = 0.0f;
			if (occurs >> lane & 1u) present[1 + atomicAdd(present, 1)] = c;
		}
		__syncthreads();
	}
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
			out[c] = narrow<T>(p - y[k]);
		}
	}
}

//@ e[rows*stride] z[(rows-1)*stride+classes] offsets[rows+1] index[] y[]
KERNEL theta_errors_f32(float *e, const float *z, const int *offsets, const int *index, const float *y, int rows, int classes, int stride, int probabilities) { errors(e, z, offsets, index, y, rows, classes, stride, probabilities); }
KERNEL theta_errors_bf16(bf16 *e, const float *z, const int *offsets, const int *index, const float *y, int rows, int classes, int stride, int probabilities) { errors(e, z, offsets, index, y, rows, classes, stride, probabilities); }

// ---- norms

// What a listed row weighs in g1 and g0. mode 0: dW is training's; 1, 2: it is
// the product of Z itself, of logits and of probabilities.
DEVICE void weigh(float at, bool listed_positive, int mode, float &g1, float &g0) {
	const double e = 1e-5;
	double z = (double)at;
	if (mode) {
		double p = mode == 2 ? z : 1.0 / (1.0 + exp(-z));
		g1 = (float)(p - 1.0);
		g0 = (float)(1.0 - p);
		return;
	}
	double t = exp(-fabs(z)), big = 1.0 / (1.0 + t), small = t * big;
	double p = z < 0.0 ? small : big, q = z < 0.0 ? big : small;
	if (listed_positive) {
		g1 = (float)-q;
		g0 = (float)((1.0 + e) * p * q / (p + e));
	} else {
		g1 = 0.0f;
		g0 = (float)(p - (1.0 + e) * p * q / (q + e));
	}
}

#define THETA_COLUMNS 2048 // of a chunk: 8 a thread

// Rows are listed 256 at a time in shared memory, in ascending order.
struct row_list {
	int count[THREADS / 32 + 1];
	int row[THREADS];
	float g1[THREADS], g0[THREADS];
};

// list_rows fills the list with the listed rows of 256 rows from first on.
DEVICE void list_rows(row_list &l, const u32 *positives, const u32 *confident, int words, int first, const float *z, int stride, int mode) {
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = first / 32 + warp;
	u32 pos = at < words ? positives[at] : 0, any = pos | (at < words ? confident[at] : 0);
	__syncthreads(); // the list is free
	if (lane == 0) l.count[warp + 1] = __popc(any);
	if (threadIdx.x == 0) l.count[0] = 0;
	__syncthreads();
	if (threadIdx.x == 0)
		for (int i = 0; i < THREADS / 32; i++) l.count[i + 1] += l.count[i];
	__syncthreads();
	if (any >> lane & 1u) {
		int slot = l.count[warp] + __popc(any & ((1u << lane) - 1u)), r = first + threadIdx.x;
		l.row[slot] = r;
		weigh(z[(u64)r * stride], pos >> lane & 1u, mode, l.g1[slot], l.g0[slot]);
	}
	__syncthreads();
}

// class_norms sums the squares of a class's g1, g0 and g1+g0 over the columns of
// a chunk: a thread takes R vectors of V columns.
template <class T, int V> DEVICE void class_norms(double *out, row_list &l, double *shared, const u32 *positives, const u32 *confident, int words, const T *x, const float *z, const float *dw, int rows, int stride, int width, int from, int mode, float scale) {
	const int R = 8 / V;
	reg<V> g1[R], g0[R];
#pragma unroll
	for (int i = 0; i < R; i++) {
		int c = from + (i * THREADS + (int)threadIdx.x) * V;
#pragma unroll
		for (int j = 0; j < V; j++) {
			g1[i].f[j] = 0.0f;
			g0[i].f[j] = V == 1 && c < width ? scale * dw[c] : 0.0f;
		}
		if (V > 1 && c < width) {
#pragma unroll
			for (int q = 0; q < V; q += 4) {
				reg<4> d = load<float, 4>(dw + c + q);
#pragma unroll
				for (int j = 0; j < 4; j++) g0[i].f[(q + j) % V] = scale * d.f[j];
			}
		}
	}
	for (int first = 0; first < rows; first += THREADS) {
		list_rows(l, positives, confident, words, first, z, stride, mode);
		int n = l.count[THREADS / 32];
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

// Blocks go through (chunk, class that occurs), chunk by chunk, so that the
// columns of x that the classes share are read from the card's cache.
template <class T> DEVICE void norms(double *partial, const u32 *bits, const int *present, const T *x, const float *z, const float *dw, int rows, int classes, int stride, int width, int chunks, int mode, float scale) {
	__shared__ row_list list;
	__shared__ double shared[THREADS];
	int words = (rows + 31) / 32, count = present[0];
	bool whole = width % vec<T>::n == 0 && aligned(x) && aligned(dw);
	for (u64 i = blockIdx.x; i < (u64)count * chunks; i += gridDim.x) {
		int chunk = (int)(i / count), c = present[1 + (int)(i % count)];
		const u32 *positives = bits + (u64)c * 2 * words;
		double *out = partial + ((u64)c * chunks + chunk) * 3;
		if (whole)
			class_norms<T, vec<T>::n>(out, list, shared, positives, positives + words, words, x, z + c, dw + (u64)c * width, rows, stride, width, chunk * THETA_COLUMNS, mode, scale);
		else
			class_norms<T, 1>(out, list, shared, positives, positives + words, words, x, z + c, dw + (u64)c * width, rows, stride, width, chunk * THETA_COLUMNS, mode, scale);
	}
}

//@ partial[3*classes*chunks] bits[2*classes*((rows+31)/32)] present[classes+1] x[rows*width] z[(rows-1)*stride+classes] dw[classes*width]
KERNEL theta_norms_f32(double *partial, const u32 *bits, const int *present, const float *x, const float *z, const float *dw, int rows, int classes, int stride, int width, int chunks, int mode, float scale) { norms(partial, bits, present, x, z, dw, rows, classes, stride, width, chunks, mode, scale); }
KERNEL theta_norms_bf16(double *partial, const u32 *bits, const int *present, const bf16 *x, const float *z, const float *dw, int rows, int classes, int stride, int width, int chunks, int mode, float scale) { norms(partial, bits, present, x, z, dw, rows, classes, stride, width, chunks, mode, scale); }

// 0/0 is 1 and x/0 is infinite.
//@ theta[classes] partial[3*classes*chunks] present[classes+1]
KERNEL theta_finish_f32(float *theta, const double *partial, const int *present, int classes, int chunks) {
	int i = blockIdx.x * THREADS + threadIdx.x;
	if (i >= present[0]) return;
	int c = present[1 + i];
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
