#include "stub.h"
#ifdef REAL_HEADERS
#include <cudnn.h>
#else
typedef int cudnnStatus_t, cudnnBackendDescriptorType_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t;
typedef struct cudnnContext *cudnnHandle_t;
typedef void *cudnnBackendDescriptor_t;
typedef struct CUstream_st *cudaStream_t;
#define CUDNNWINAPI
#endif
#ifndef STUB_CUDART
#define STUB_CUDART 12060
#endif

enum { SUBLIBRARY_LOADING_FAILED = 1008, BAD_PARAM = 2000, NOT_FINALIZED = 2004, NOT_SUPPORTED = 3000 };
enum { CONVOLUTION = 1, ENGINE, CONFIG, HEURISTICS, PLAN, FORWARD = 10, BACKWARD_W, BACKWARD_DATA, GRAPH = 15, PACK, TENSOR };
struct attribute { int name, type; int64_t count; char *values; struct attribute *next; };
struct descriptor { int kind, final, engine; struct descriptor *op; struct attribute *list; }; // engine, op: of a configuration or plan
struct cudnnContext { cudaStream_t stream; };

static char last_error[256];
static int executed = -1; // the engine that ran last
int stub_engine(void) { return executed; }

size_t CUDNNWINAPI cudnnGetVersion(void) { return 90600; }
size_t CUDNNWINAPI cudnnGetCudartVersion(void) { return STUB_CUDART; }
const char *CUDNNWINAPI cudnnGetErrorString(cudnnStatus_t status) { return (int)status == BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_STUB"; }
void CUDNNWINAPI cudnnGetLastErrorString(char *message, size_t max_size) { snprintf(message, max_size, "%s", last_error); }

// opens reports whether the loader finds a library by its name alone.
static int opens(const char *name) {
	if (dlopen(name, RTLD_LAZY)) return 1;
	snprintf(last_error, sizeof last_error, "%s", dlerror());
	return 0;
}
cudnnStatus_t CUDNNWINAPI cudnnCreate(cudnnHandle_t *handle) {
	ENTER();
#ifdef STUB_SUBLIBRARIES
	if (!opens("libcudnn_graph.so.9") || !opens("libcudnn_engines_precompiled.so.9") || !opens("libcublasLt.so.12") || !opens("libnvrtc.so.12")) return SUBLIBRARY_LOADING_FAILED;
#endif
	(void)opens;
	*handle = calloc(1, sizeof **handle);
	live++;
	return 0;
}
cudnnStatus_t CUDNNWINAPI cudnnDestroy(cudnnHandle_t handle) { ENTER(); free(handle); live--; return 0; }
cudnnStatus_t CUDNNWINAPI cudnnSetStream(cudnnHandle_t handle, cudaStream_t streamId) { ENTER(); handle->stream = streamId; return 0; }

static int bad(const char *format, int a, int b) {
	problem(format, a, b);
	snprintf(last_error, sizeof last_error, format, a, b);
	return BAD_PARAM;
}
cudnnStatus_t CUDNNWINAPI cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t descriptorType, cudnnBackendDescriptor_t *descriptor) {
	ENTER();
	struct descriptor *d = calloc(1, sizeof *d);
	d->kind = descriptorType;
	*descriptor = d;
	live++;
	return 0;
}
cudnnStatus_t CUDNNWINAPI cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
	ENTER();
	struct descriptor *d = descriptor;
	if (d->kind <= 0) return bad("descriptor of kind %d destroyed twice, maybe (%d)", d->kind, 0);
	for (struct attribute *a = d->list, *next; a; a = next) { next = a->next; free(a->values); free(a); }
	d->kind = -1;
	free(d);
	live--;
	return 0;
}
static struct attribute *find(struct descriptor *d, int name) {
	for (struct attribute *a = d->list; a; a = a->next)
		if (a->name == name) return a;
	return NULL;
}

// What each kind of descriptor must have: its attributes, their types, and how many elements.
static const struct { int kind, name, type, count; } rules[] = {
	{TENSOR, 900, 3, 1}, {TENSOR, 901, 1, 1}, {TENSOR, 902, 3, 4}, {TENSOR, 903, 3, 4}, {TENSOR, 906, 3, 1},
	{CONVOLUTION, 100, 1, 1}, {CONVOLUTION, 101, 7, 1}, {CONVOLUTION, 102, 3, 2}, {CONVOLUTION, 103, 3, 2}, {CONVOLUTION, 104, 3, 2}, {CONVOLUTION, 105, 3, 2}, {CONVOLUTION, 106, 3, 1},
	{FORWARD, 700, 4, 1}, {FORWARD, 701, 4, 1}, {FORWARD, 702, 15, 1}, {FORWARD, 703, 15, 1}, {FORWARD, 704, 15, 1}, {FORWARD, 705, 15, 1},
	{BACKWARD_DATA, 706, 4, 1}, {BACKWARD_DATA, 707, 4, 1}, {BACKWARD_DATA, 708, 15, 1}, {BACKWARD_DATA, 709, 15, 1}, {BACKWARD_DATA, 710, 15, 1}, {BACKWARD_DATA, 711, 15, 1},
	{BACKWARD_W, 712, 4, 1}, {BACKWARD_W, 713, 4, 1}, {BACKWARD_W, 714, 15, 1}, {BACKWARD_W, 715, 15, 1}, {BACKWARD_W, 716, 15, 1}, {BACKWARD_W, 717, 15, 1},
	{GRAPH, 800, 0, 1}, {GRAPH, 801, 15, 1}, {HEURISTICS, 200, 8, 1}, {HEURISTICS, 201, 15, 1}, {PLAN, 400, 0, 1}, {PLAN, 401, 15, 1},
	{PACK, 1000, 3, 3}, {PACK, 1001, 6, 3}, {PACK, 1003, 6, 1},
};
enum { RULES = sizeof rules / sizeof *rules };

static int64_t element(int type) { return type == 1 || type == 4 || type == 7 || type == 8 || type == 11 ? 4 : 8; }
cudnnStatus_t CUDNNWINAPI cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t attributeName,
		cudnnBackendAttributeType_t attributeType, int64_t elementCount, const void *arrayOfElements) {
	ENTER();
	struct descriptor *d = descriptor;
	if (d->final) return bad("attribute %d of a final descriptor of kind %d", attributeName, d->kind);
	for (int i = 0; i < RULES; i++)
		if (rules[i].kind == d->kind && rules[i].name == (int)attributeName) {
			if (rules[i].type != (int)attributeType || rules[i].count != elementCount) return bad("attribute %d: wrong type %d or count", attributeName, attributeType);
			if ((int)attributeType == 15 && !(*(struct descriptor **)arrayOfElements)->final && (*(struct descriptor **)arrayOfElements)->kind != CONFIG) return NOT_FINALIZED;
			struct attribute *a = malloc(sizeof *a);
			int64_t bytes = elementCount * element(attributeType);
			*a = (struct attribute){attributeName, attributeType, elementCount, malloc(bytes), d->list};
			memcpy(a->values, arrayOfElements, bytes);
			d->list = a;
			return 0;
		}
	return bad("attribute %d of a descriptor of kind %d", attributeName, d->kind);
}

// The engines: what their numbers are like (notes of cudnnBackendNumericalNote_t) and their workspace.
static const struct { int notes[3], count, workspace, works; } engines[] = {
	{{0, 4}, 2, 100, 1}, // tensor cores, not deterministic
	{{0}, 1, 1 << 20, 1}, // tensor cores, much workspace
	{{0, 7, 9}, 3, 0, 0}, // cannot be planned
	{{0}, 1, 64, 1}, // tensor cores
	{{8}, 1, 0, 1}, // Winograd
	{{2}, 1, 0, 1}, // sums in bf16
	{{9}, 1, 32, 1}, // float32
};
// The lists of the heuristics, by mode; -1 ends one.
static const int lists[4][8] = {{-1}, {3, -1}, {6, -1}, {0, 1, 2, 4, 5, 3, -1}};

cudnnStatus_t CUDNNWINAPI cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
	ENTER();
	struct descriptor *d = descriptor;
	int any = 0;
	for (int i = 0; i < RULES; i++)
		if (rules[i].kind == d->kind) {
			any = 1;
			if (!find(d, rules[i].name)) return bad("kind %d lacks attribute %d", d->kind, rules[i].name);
		}
	if (!any) return bad("kind %d is not finalized by a caller (%d)", d->kind, 0);
	if (d->kind == PLAN) {
		struct descriptor *config = *(struct descriptor **)find(d, 401)->values;
		d->engine = config->engine;
		d->op = config->op;
		if (!engines[d->engine].works) return NOT_SUPPORTED;
	}
	d->final = 1;
	return 0;
}
cudnnStatus_t CUDNNWINAPI cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t attributeName,
		cudnnBackendAttributeType_t attributeType, int64_t requestedElementCount, int64_t *elementCount, void *arrayOfElements) {
	ENTER();
	struct descriptor *d = descriptor;
	struct descriptor **out = arrayOfElements;
	if (d->kind == HEURISTICS && (int)attributeName == 202 && (int)attributeType == 15) {
		const int *list = lists[*(int *)find(d, 200)->values];
		int n = 0;
		for (; list[n] >= 0; n++)
			if (n < requestedElementCount) {
				if (out[n]->kind != CONFIG) return bad("element %d is of kind %d", n, out[n]->kind);
				out[n]->engine = list[n];
				out[n]->op = *(struct descriptor **)find(*(struct descriptor **)find(d, 201)->values, 801)->values;
			}
		*elementCount = requestedElementCount && requestedElementCount < n ? requestedElementCount : n;
		return 0;
	}
	if (d->kind == CONFIG && (int)attributeName == 300 && (int)attributeType == 15 && requestedElementCount == 1 && out[0]->kind == ENGINE) {
		out[0]->engine = d->engine;
		*elementCount = 1;
		return 0;
	}
	if (d->kind == ENGINE && (int)attributeName == 1303 && (int)attributeType == 11) {
		*elementCount = engines[d->engine].count;
		memcpy(arrayOfElements, engines[d->engine].notes, 4 * *elementCount);
		return 0;
	}
	if (d->kind == PLAN && (int)attributeName == 402 && (int)attributeType == 3 && requestedElementCount == 1) {
		*(int64_t *)arrayOfElements = engines[d->engine].workspace;
		*elementCount = 1;
		return 0;
	}
	return bad("attribute %d read of kind %d", attributeName, d->kind);
}

// A tensor at its address.
struct view { char *p; int bf16; int64_t dims[4], strides[4]; };
static struct view view(struct descriptor *op, int name, struct descriptor *pack) {
	struct descriptor *t = *(struct descriptor **)find(op, name)->values;
	struct view v = {.bf16 = *(int *)find(t, 901)->values == 9};
	memcpy(v.dims, find(t, 902)->values, sizeof v.dims);
	memcpy(v.strides, find(t, 903)->values, sizeof v.strides);
	int64_t id = *(int64_t *)find(t, 906)->values, *ids = (int64_t *)find(pack, 1000)->values;
	for (int i = 0; i < 3; i++)
		if (ids[i] == id) v.p = ((char **)find(pack, 1001)->values)[i];
	if (!v.p || *(int64_t *)find(t, 900)->values != 16) problem("tensor %d has no address, or another alignment", (int)id);
	return v;
}
static int64_t at(struct view *v, int64_t n, int64_t c, int64_t h, int64_t w) { return n * v->strides[0] + c * v->strides[1] + h * v->strides[2] + w * v->strides[3]; }
static float load(struct view *v, int64_t i) { return v->bf16 ? from_bf16(((uint16_t *)v->p)[i]) : ((float *)v->p)[i]; }
static void store(struct view *v, int64_t i, float f) {
	if (v->bf16) ((uint16_t *)v->p)[i] = to_bf16(f);
	else ((float *)v->p)[i] = f;
}

cudnnStatus_t CUDNNWINAPI cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t executionPlan, cudnnBackendDescriptor_t variantPack) {
	ENTER();
	struct descriptor *plan = executionPlan, *pack = variantPack;
	if (!handle->stream || plan->kind != PLAN || !plan->final || pack->kind != PACK || !pack->final) return bad("execution of kinds %d and %d", plan->kind, pack->kind);
	executed = plan->engine;
	int64_t bytes = engines[executed].workspace;
	char *workspace = *(char **)find(pack, 1003)->values;
	if (bytes && (!workspace || workspace[bytes - 1] != 'w')) problem("workspace of engine %d: %d bytes", executed, (int)bytes);
	struct descriptor *op = plan->op;
	int base = op->kind == FORWARD ? 700 : op->kind == BACKWARD_DATA ? 706 : 712;
	if (*(float *)find(op, base)->values != 1 || *(float *)find(op, base + 1)->values != 0) problem("alpha or beta of %d (%d)", base, 0);
	struct descriptor *how = *(struct descriptor **)find(op, base + 2)->values;
	int64_t pad = *(int64_t *)find(how, 105)->values, stride = *(int64_t *)find(how, 103)->values;
	if (*(int *)find(how, 101)->values != 1 || *(int *)find(how, 100)->values != 0) problem("mode or type of the convolution (%d %d)", 0, 0);
	struct view x = view(op, op->kind == FORWARD ? 704 : op->kind == BACKWARD_DATA ? 710 : 716, pack);
	struct view w = view(op, op->kind == FORWARD ? 703 : op->kind == BACKWARD_DATA ? 709 : 715, pack);
	struct view y = view(op, op->kind == FORWARD ? 705 : op->kind == BACKWARD_DATA ? 711 : 717, pack);
	struct view *result = op->kind == FORWARD ? &y : op->kind == BACKWARD_DATA ? &x : &w;
	int64_t size = result->dims[0] * result->dims[1] * result->dims[2] * result->dims[3];
	double *sum = calloc(size, sizeof *sum);
	for (int64_t n = 0; n < y.dims[0]; n++) for (int64_t o = 0; o < y.dims[1]; o++) for (int64_t i = 0; i < y.dims[2]; i++) for (int64_t j = 0; j < y.dims[3]; j++)
		for (int64_t c = 0; c < w.dims[1]; c++) for (int64_t r = 0; r < w.dims[2]; r++) for (int64_t s = 0; s < w.dims[3]; s++) {
			int64_t h = i * stride + r - pad, k = j * stride + s - pad;
			if (h < 0 || k < 0 || h >= x.dims[2] || k >= x.dims[3]) continue;
			int64_t ix = at(&x, n, c, h, k), iw = at(&w, o, c, r, s), iy = at(&y, n, o, i, j);
			if (op->kind == FORWARD) sum[iy] += (double)load(&x, ix) * load(&w, iw);
			else if (op->kind == BACKWARD_DATA) sum[ix] += (double)load(&y, iy) * load(&w, iw);
			else sum[iw] += (double)load(&y, iy) * load(&x, ix);
		}
	for (int64_t i = 0; i < size; i++) store(result, i, sum[i]);
	free(sum);
	return 0;
}
