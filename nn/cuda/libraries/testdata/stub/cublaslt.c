#include "stub.h"
#ifdef REAL_HEADERS
#include <cublasLt.h>
#else
typedef int cublasStatus_t, cublasComputeType_t, cudaDataType_t, cudaDataType;
typedef int cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t;
typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct { uint64_t data[8]; } *cublasLtMatrixLayout_t;
typedef struct { uint64_t data[32]; } *cublasLtMatmulDesc_t;
typedef struct { uint64_t data[8]; } *cublasLtMatmulPreference_t;
typedef struct { uint64_t data[8]; } cublasLtMatmulAlgo_t;
typedef struct {
	cublasLtMatmulAlgo_t algo;
	size_t workspaceSize;
	cublasStatus_t state;
	float wavesCount;
	int reserved[4];
} cublasLtMatmulHeuristicResult_t;
typedef struct CUstream_st *cudaStream_t;
#define CUBLASWINAPI
#endif
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == 64, "cublasLtMatmulAlgo_t");
_Static_assert(sizeof(cublasLtMatmulHeuristicResult_t) == 96, "cublasLtMatmulHeuristicResult_t");
_Static_assert(offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) == 64, "workspaceSize");
_Static_assert(offsetof(cublasLtMatmulHeuristicResult_t, state) == 72, "state");

enum { NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { HANDLE = 0x4c54, LAYOUT = 0x4c41, DESC = 0x4445, PREF = 0x5052, ALGO = 0x414c };
struct layout { uint64_t magic, type, rows, cols; int64_t ld; };
struct desc { uint64_t magic, compute, scale, trans[2], epilogue, bias, biasType; };
struct pref { uint64_t magic, workspace, reduction, align[4]; };

size_t CUBLASWINAPI cublasLtGetVersion(void) { return 120604; }
const char *CUBLASWINAPI cublasLtGetStatusName(cublasStatus_t status) { return (int)status == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_STUB"; }
cublasStatus_t CUBLASWINAPI cublasLtCreate(cublasLtHandle_t *lightHandle) {
	ENTER();
	uint64_t *h = malloc(8);
	*h = HANDLE;
	*lightHandle = (cublasLtHandle_t)h;
	live++;
	return 0;
}
#define CHECK(p, m) do { if (*(uint64_t *)(p) != (m)) { problem("%s: %p is no %s", __func__, (void *)(p), #m); return INVALID_VALUE; } } while (0)
#define DESTROY(p, m) do { ENTER(); CHECK(p, m); *(uint64_t *)(p) = 0; free((void *)(p)); live--; return 0; } while (0)
cublasStatus_t CUBLASWINAPI cublasLtDestroy(cublasLtHandle_t lightHandle) { DESTROY(lightHandle, HANDLE); }

cublasStatus_t CUBLASWINAPI cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmulDesc, cublasComputeType_t computeType, cudaDataType_t scaleType) {
	ENTER();
	if ((int)computeType != 68 && (int)computeType != 77) problem("compute type %d", (int)computeType);
	if ((int)scaleType != 0) problem("scale type %d", (int)scaleType);
	struct desc *d = calloc(1, sizeof *d);
	*d = (struct desc){DESC, computeType, scaleType, {0, 0}, 1, 0, (uint64_t)-1};
	*matmulDesc = (cublasLtMatmulDesc_t)d;
	live++;
	return 0;
}
cublasStatus_t CUBLASWINAPI cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmulDesc) { DESTROY(matmulDesc, DESC); }
cublasStatus_t CUBLASWINAPI cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmulDesc, cublasLtMatmulDescAttributes_t attr, const void *buf, size_t sizeInBytes) {
	ENTER();
	CHECK(matmulDesc, DESC);
	struct desc *d = (struct desc *)matmulDesc;
	if (sizeInBytes != ((int)attr == 8 ? 8 : 4)) { problem("attribute %d of %zu bytes", (int)attr, sizeInBytes); return INVALID_VALUE; }
	switch ((int)attr) {
	case 3: d->trans[0] = *(int32_t *)buf; return 0;
	case 4: d->trans[1] = *(int32_t *)buf; return 0;
	case 7: d->epilogue = *(uint32_t *)buf; return 0;
	case 8: d->bias = *(uint64_t *)buf; return 0;
	case 26: d->biasType = *(int32_t *)buf; return 0;
	}
	problem("attribute %d of a product", (int)attr);
	return INVALID_VALUE;
}
cublasStatus_t CUBLASWINAPI cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *matLayout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
	ENTER();
	if ((int)type != 0 && (int)type != 14) problem("type %d", (int)type);
	if (ld < (int64_t)rows) problem("a leading dimension of %lld for %llu rows", (long long)ld, (unsigned long long)rows);
	struct layout *l = malloc(sizeof *l);
	*l = (struct layout){LAYOUT, type, rows, cols, ld};
	*matLayout = (cublasLtMatrixLayout_t)l;
	live++;
	return 0;
}
cublasStatus_t CUBLASWINAPI cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t matLayout) { DESTROY(matLayout, LAYOUT); }
cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *pref) {
	ENTER();
	struct pref *p = calloc(1, sizeof *p);
	*p = (struct pref){PREF, 0, 7, {256, 256, 256, 256}};
	*pref = (cublasLtMatmulPreference_t)p;
	live++;
	return 0;
}
cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref) { DESTROY(pref, PREF); }
cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr, const void *buf, size_t sizeInBytes) {
	ENTER();
	CHECK(pref, PREF);
	struct pref *p = (struct pref *)pref;
	if (sizeInBytes != ((int)attr == 1 ? 8 : 4)) { problem("preference %d of %zu bytes", (int)attr, sizeInBytes); return INVALID_VALUE; }
	switch ((int)attr) {
	case 1: p->workspace = *(uint64_t *)buf; return 0;
	case 3: p->reduction = *(uint32_t *)buf; return 0;
	case 5: case 6: case 7: case 8: p->align[(int)attr - 5] = *(uint32_t *)buf; return 0;
	}
	problem("preference %d", (int)attr);
	return INVALID_VALUE;
}

// fits checks that the matrices of op(A) op(B) = D fit together.
static int fits(struct desc *d, struct layout *a, struct layout *b, struct layout *c) {
	uint64_t m = d->trans[0] ? a->cols : a->rows, k = d->trans[0] ? a->rows : a->cols;
	uint64_t kb = d->trans[1] ? b->cols : b->rows, n = d->trans[1] ? b->rows : b->cols;
	if (c->rows != m || c->cols != n || k != kb) { problem("%llux%llu times %llux%llu is not %llux%llu", (unsigned long long)m, (unsigned long long)k, (unsigned long long)kb, (unsigned long long)n, (unsigned long long)c->rows, (unsigned long long)c->cols); return 0; }
	if (a->type != b->type || (c->type == 14 && a->type == 0)) return 0;
	if ((d->epilogue & 4) && (!d->bias || d->biasType != c->type)) return 0;
	return 1;
}
cublasStatus_t CUBLASWINAPI cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t operationDesc, cublasLtMatrixLayout_t Adesc,
		cublasLtMatrixLayout_t Bdesc, cublasLtMatrixLayout_t Cdesc, cublasLtMatrixLayout_t Ddesc, cublasLtMatmulPreference_t preference,
		int requestedAlgoCount, cublasLtMatmulHeuristicResult_t heuristicResultsArray[], int *returnAlgoCount) {
	ENTER();
	CHECK(lightHandle, HANDLE); CHECK(operationDesc, DESC); CHECK(Adesc, LAYOUT); CHECK(Bdesc, LAYOUT); CHECK(Cdesc, LAYOUT); CHECK(Ddesc, LAYOUT); CHECK(preference, PREF);
	struct pref *p = (struct pref *)preference;
	if (p->reduction != 3 || p->align[0] != 16 || p->align[1] != 16 || p->align[2] != 16 || p->align[3] != 16) problem("preferences");
	*returnAlgoCount = 0;
	if (!fits((struct desc *)operationDesc, (struct layout *)Adesc, (struct layout *)Bdesc, (struct layout *)Ddesc)) return NOT_SUPPORTED;
	// One that cannot run, one that wants half of the workspace there may be, and one a quarter.
	for (int i = 0; i < 3 && i < requestedAlgoCount; i++) {
		cublasLtMatmulHeuristicResult_t *r = &heuristicResultsArray[i];
		memset(r, 0, sizeof *r);
		r->algo.data[0] = ALGO;
		r->algo.data[7] = i;
		r->workspaceSize = i ? p->workspace / (2 * i) : 0;
		r->state = i ? 0 : NOT_SUPPORTED;
		*returnAlgoCount = i + 1;
	}
	return 0;
}

static float load(const void *p, uint64_t type, size_t i) { return type == 14 ? from_bf16(((uint16_t *)p)[i]) : ((float *)p)[i]; }
static void store(void *p, uint64_t type, size_t i, float v) {
	if (type == 14) ((uint16_t *)p)[i] = to_bf16(v);
	else ((float *)p)[i] = v;
}
static float tf32(float v) { // to 10 bits, as a mark that TF32 was asked for
	uint32_t bits;
	memcpy(&bits, &v, 4);
	bits = (bits + 0x1000) & ~0x1fffu;
	memcpy(&v, &bits, 4);
	return v;
}
cublasStatus_t CUBLASWINAPI cublasLtMatmul(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t computeDesc, const void *alpha, const void *A,
		cublasLtMatrixLayout_t Adesc, const void *B, cublasLtMatrixLayout_t Bdesc, const void *beta, const void *C, cublasLtMatrixLayout_t Cdesc, void *D,
		cublasLtMatrixLayout_t Ddesc, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspaceSizeInBytes, cudaStream_t stream) {
	ENTER();
	CHECK(lightHandle, HANDLE); CHECK(computeDesc, DESC); CHECK(Adesc, LAYOUT); CHECK(Bdesc, LAYOUT); CHECK(Cdesc, LAYOUT); CHECK(Ddesc, LAYOUT); CHECK(algo, ALGO);
	struct desc *d = (struct desc *)computeDesc;
	struct layout *a = (struct layout *)Adesc, *b = (struct layout *)Bdesc, *l = (struct layout *)Ddesc;
	if (C != D || Cdesc != Ddesc || (algo->data[7] != 1 && algo->data[7] != 2) || !stream) problem("cublasLtMatmul: C %p, D %p, algorithm %d, stream %p", C, D, (int)algo->data[7], (void *)stream);
	if (workspaceSizeInBytes && (!workspace || ((char *)workspace)[workspaceSizeInBytes - 1] != 'w')) problem("workspace of %zu bytes", workspaceSizeInBytes);
	if (!fits(d, a, b, l)) return NOT_SUPPORTED;
	uint64_t inner = d->trans[0] ? a->rows : a->cols;
	for (uint64_t j = 0; j < l->cols; j++)
		for (uint64_t i = 0; i < l->rows; i++) {
			double sum = 0;
			for (uint64_t k = 0; k < inner; k++) {
				float x = load(A, a->type, d->trans[0] ? i * a->ld + k : k * a->ld + i);
				float y = load(B, b->type, d->trans[1] ? k * b->ld + j : j * b->ld + k);
				if (d->compute == 77) x = tf32(x), y = tf32(y);
				sum += (double)x * y;
			}
			float v = *(float *)alpha * (float)sum + (*(float *)beta ? *(float *)beta * load(C, l->type, j * l->ld + i) : 0);
			if (d->epilogue & 4) v += load((void *)d->bias, d->biasType, i);
			if (d->epilogue & 2 && v < 0) v = 0;
			store(D, l->type, j * l->ld + i, v);
		}
	return 0;
}
