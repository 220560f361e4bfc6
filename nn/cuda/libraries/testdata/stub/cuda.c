#include "stub.h"
#ifdef REAL_HEADERS
#include <cuda.h>
#else
typedef int CUresult, CUdevice, CUdevice_attribute, CUfunction_attribute, CUstreamCaptureMode;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
#define CUDAAPI
#define cuDeviceTotalMem cuDeviceTotalMem_v2
#define cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2
#define cuMemGetInfo cuMemGetInfo_v2
#define cuMemAlloc cuMemAlloc_v2
#define cuMemFree cuMemFree_v2
#define cuStreamDestroy cuStreamDestroy_v2
#define cuEventDestroy cuEventDestroy_v2
#define cuMemcpyHtoDAsync cuMemcpyHtoDAsync_v2
#define cuMemcpyDtoHAsync cuMemcpyDtoHAsync_v2
#define cuMemcpyDtoDAsync cuMemcpyDtoDAsync_v2
#define cuStreamBeginCapture cuStreamBeginCapture_v2
#endif

// The card: STUB_CARDS of it, compute capability 9.0, 1 GiB.
#ifndef STUB_CARDS
#define STUB_CARDS 2
#endif
#ifndef STUB_VERSION
#define STUB_VERSION 12060
#endif
#define MEMORY (1ull << 30)

enum { DEVICE = 71 }; // a device's number need not be its index
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, CAPTURE_WRONG = 901 };

struct object { char kind; void *at; size_t bytes; struct object *next; };
static struct object *objects;
static size_t used;
static int started, retained;
static char context_object;
static __thread CUcontext current;

static void *add(char kind, size_t bytes) {
	struct object *o = calloc(1, sizeof *o);
	*o = (struct object){kind, NULL, bytes, objects};
	if (posix_memalign(&o->at, 256, bytes)) abort();
	memset(o->at, 0xff, bytes);
	objects = o;
	live++;
	return o->at;
}
static struct object *has(char kind, const void *at, size_t bytes) {
	for (struct object *o = objects; o; o = o->next)
		if (o->kind == kind && (char *)at >= (char *)o->at && (char *)at + bytes <= (char *)o->at + o->bytes) return o;
	return NULL;
}
static CUresult removed(char kind, const void *at, const char *function) {
	for (struct object **o = &objects; *o; o = &(*o)->next)
		if ((*o)->kind == kind && (*o)->at == at) {
			struct object *gone = *o;
			*o = gone->next;
			if (kind == 'd') used -= gone->bytes;
			free(gone->at);
			free(gone);
			live--;
			return 0;
		}
	problem("%s: %p is no '%c'", function, at, kind);
	return INVALID_HANDLE;
}
#define CONTEXT() do { ENTER(); if (current != (CUcontext)&context_object) { problem("%s: no context is current", __func__); return INVALID_CONTEXT; } } while (0)
#define IS(kind, at, bytes) do { if (!has(kind, at, bytes)) { problem("%s: %p is no '%c' of %zu bytes", __func__, (const void *)(at), kind, (size_t)(bytes)); return INVALID_VALUE; } } while (0)

CUresult CUDAAPI cuInit(unsigned int Flags) {
	ENTER();
	if (Flags) problem("cuInit: flags %u", Flags);
	if (STUB_CARDS == 0) return NO_DEVICE;
	started = 1;
	return 0;
}
CUresult CUDAAPI cuDriverGetVersion(int *driverVersion) { ENTER(); *driverVersion = STUB_VERSION; return 0; }
CUresult CUDAAPI cuDeviceGetCount(int *count) {
	ENTER();
	if (!started) problem("cuDeviceGetCount before cuInit");
	*count = STUB_CARDS;
	return 0;
}
CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) {
	ENTER();
	if (ordinal < 0 || ordinal >= STUB_CARDS) return INVALID_DEVICE;
	*device = DEVICE + ordinal;
	return 0;
}
#define DEV(dev) do { ENTER(); if (dev < DEVICE || dev >= DEVICE + STUB_CARDS) { problem("%s: device %d", __func__, dev); return INVALID_DEVICE; } } while (0)
CUresult CUDAAPI cuDeviceGetName(char *name, int len, CUdevice dev) { DEV(dev); snprintf(name, len, "Stub H100 %d", dev - DEVICE); return 0; }
CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice dev) { DEV(dev); *bytes = MEMORY; return 0; }
CUresult CUDAAPI cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev) {
	DEV(dev);
	switch ((int)attrib) {
	case 8: *pi = 49152; return 0;
	case 16: *pi = 132; return 0;
	case 75: *pi = 9; return 0;
	case 76: *pi = 0; return 0;
	}
	problem("cuDeviceGetAttribute: %d", (int)attrib);
	return INVALID_VALUE;
}
CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev) { DEV(dev); retained++; live++; *pctx = (CUcontext)&context_object; return 0; }
CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice dev) {
	DEV(dev);
	if (--retained < 0) problem("the context was released too often");
	live--;
	return 0;
}
CUresult CUDAAPI cuCtxSetCurrent(CUcontext ctx) {
	ENTER();
	if (ctx != (CUcontext)&context_object) problem("cuCtxSetCurrent(%p)", (void *)ctx);
	current = ctx;
	return 0;
}
CUresult CUDAAPI cuCtxSynchronize(void) { CONTEXT(); return 0; }
CUresult CUDAAPI cuMemGetInfo(size_t *free, size_t *total) { CONTEXT(); *total = MEMORY; *free = MEMORY - (100 << 20) - used; return 0; }
CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize) {
	CONTEXT();
	if (!bytesize) return INVALID_VALUE;
	if (bytesize > MEMORY - (100 << 20) - used) return OUT_OF_MEMORY;
	used += bytesize;
	*dptr = (CUdeviceptr)(uintptr_t)add('d', bytesize);
	return 0;
}
CUresult CUDAAPI cuMemFree(CUdeviceptr dptr) { CONTEXT(); return removed('d', (void *)(uintptr_t)dptr, __func__); }
CUresult CUDAAPI cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags) {
	CONTEXT();
	if (Flags != 1) problem("cuMemHostAlloc: flags %u", Flags);
	*pp = add('h', bytesize);
	return 0;
}
CUresult CUDAAPI cuMemFreeHost(void *p) { CONTEXT(); return removed('h', p, __func__); }

// A stream runs at once, or is captured: then it has a graph.
struct op { void (*run)(struct op *); uint64_t v[8]; struct op *next; };
struct CUgraph_st { struct op *first, **last; };
struct CUgraphExec_st { struct CUgraph_st graph; };
struct CUstream_st { struct CUgraph_st *capture; };
struct CUevent_st { int recorded, flags; };
struct CUmod_st { char *image; };
struct CUfunc_st { char name[64]; int shared; };

static void queue(CUstream s, struct op op) {
	if (!s->capture) { op.run(&op); return; }
	struct op *o = malloc(sizeof op);
	*o = op;
	o->next = NULL;
	*s->capture->last = o;
	s->capture->last = &o->next;
}
static int lastPriority;
int stub_priority(void) { return lastPriority; }
CUresult CUDAAPI cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority) {
	CONTEXT();
	*leastPriority = 0;
	*greatestPriority = -5;
	return 0;
}
CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority) {
	CONTEXT();
	if (flags != 1 || (priority != 0 && priority != -5)) problem("cuStreamCreateWithPriority: flags %u, priority %d", flags, priority);
	lastPriority = priority;
	*phStream = add('s', sizeof(struct CUstream_st));
	(*phStream)->capture = NULL;
	return 0;
}
CUresult CUDAAPI cuStreamDestroy(CUstream hStream) { CONTEXT(); return removed('s', hStream, __func__); }
CUresult CUDAAPI cuStreamSynchronize(CUstream hStream) {
	CONTEXT();
	IS('s', hStream, 1);
	return hStream->capture ? CAPTURE_WRONG : 0;
}
CUresult CUDAAPI cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
	CONTEXT();
	IS('s', hStream, 1);
	IS('e', hEvent, 1);
	if (Flags) problem("cuStreamWaitEvent: flags %u", Flags);
	return 0;
}
CUresult CUDAAPI cuEventCreate(CUevent *phEvent, unsigned int Flags) {
	CONTEXT();
	if (Flags != 2 && Flags != 0) problem("cuEventCreate: flags %u", Flags);
	*phEvent = add('e', sizeof(struct CUevent_st));
	(*phEvent)->recorded = 0;
	(*phEvent)->flags = Flags;
	return 0;
}
CUresult CUDAAPI cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd) {
	CONTEXT();
	IS('e', hStart, 1);
	IS('e', hEnd, 1);
	if (hStart->flags || hEnd->flags || !hStart->recorded || !hEnd->recorded) return INVALID_HANDLE;
	*pMilliseconds = hEnd->recorded - hStart->recorded + 0.5f;
	return 0;
}
CUresult CUDAAPI cuEventDestroy(CUevent hEvent) { CONTEXT(); return removed('e', hEvent, __func__); }
CUresult CUDAAPI cuEventRecord(CUevent hEvent, CUstream hStream) { CONTEXT(); IS('e', hEvent, 1); IS('s', hStream, 1); hEvent->recorded++; return 0; }
CUresult CUDAAPI cuEventSynchronize(CUevent hEvent) { CONTEXT(); IS('e', hEvent, 1); return 0; }
CUresult CUDAAPI cuEventQuery(CUevent hEvent) { CONTEXT(); IS('e', hEvent, 1); return hEvent->recorded == 1 ? NOT_READY : 0; } // a second record is done

static void copy(struct op *o) { memcpy((void *)o->v[0], (void *)o->v[1], o->v[2]); }
static void set(struct op *o) { memset((void *)o->v[0], (int)o->v[1], o->v[2]); }
static CUresult copied(CUstream s, uint64_t dst, uint64_t src, size_t n) { queue(s, (struct op){copy, {dst, src, n}}); return 0; }
CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream) {
	CONTEXT();
	IS('d', (void *)(uintptr_t)dstDevice, ByteCount);
	IS('h', srcHost, ByteCount);
	IS('s', hStream, 1);
	return copied(hStream, dstDevice, (uintptr_t)srcHost, ByteCount);
}
CUresult CUDAAPI cuMemcpyDtoHAsync(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
	CONTEXT();
	IS('h', dstHost, ByteCount);
	IS('d', (void *)(uintptr_t)srcDevice, ByteCount);
	IS('s', hStream, 1);
	return copied(hStream, (uintptr_t)dstHost, srcDevice, ByteCount);
}
CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
	CONTEXT();
	IS('d', (void *)(uintptr_t)dstDevice, ByteCount);
	IS('d', (void *)(uintptr_t)srcDevice, ByteCount);
	IS('s', hStream, 1);
	return copied(hStream, dstDevice, srcDevice, ByteCount);
}
CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
	CONTEXT();
	IS('d', (void *)(uintptr_t)dstDevice, N);
	IS('s', hStream, 1);
	queue(hStream, (struct op){set, {dstDevice, uc, N}});
	return 0;
}

// A module is what the stub of NVRTC makes: a word for its kind, then the source.
CUresult CUDAAPI cuModuleLoadData(CUmodule *module, const void *image) {
	CONTEXT();
	if (strncmp(image, "CUBIN sm_90\n", 12) && strncmp(image, "PTX compute_", 12)) return INVALID_IMAGE;
	*module = add('m', sizeof(struct CUmod_st));
	(*module)->image = strdup(image);
	return 0;
}
CUresult CUDAAPI cuModuleUnload(CUmodule hmod) {
	CONTEXT();
	IS('m', hmod, 1);
	free(hmod->image);
	return removed('m', hmod, __func__);
}
CUresult CUDAAPI cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name) {
	CONTEXT();
	IS('m', hmod, 1);
	if (!strstr(hmod->image, name)) return NOT_FOUND;
	static struct CUfunc_st functions[8];
	for (int i = 0; i < 8; i++)
		if (!functions[i].name[0] || !strcmp(functions[i].name, name)) {
			snprintf(functions[i].name, sizeof functions[i].name, "%s", name);
			*hfunc = &functions[i];
			return 0;
		}
	return NOT_FOUND;
}
CUresult CUDAAPI cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
	CONTEXT();
	if ((int)attrib != 8) problem("cuFuncSetAttribute: %d", (int)attrib);
	hfunc->shared = value;
	return 0;
}
// The only kernel: y[i] = a*x[i] + n + u + k, with its launch at the end of y.
static void probe(struct op *o) {
	float *y = (float *)o->v[0], *x = (float *)o->v[1], a;
	memcpy(&a, &o->v[5], 4);
	for (int i = 0; i < (int)o->v[2]; i++) y[i] = a * x[i] + (int)o->v[2] + (unsigned)o->v[3] + (float)o->v[4];
}
CUresult CUDAAPI cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX,
		unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra) {
	CONTEXT();
	IS('s', hStream, 1);
	if (gridDimX != 5 || gridDimY != 6 || gridDimZ != 7 || blockDimX != 32 || blockDimY != 2 || blockDimZ != 3 || extra)
		problem("cuLaunchKernel: grid %u %u %u, block %u %u %u, extra %p", gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, (void *)extra);
	if (sharedMemBytes > 49152 && (int)sharedMemBytes > f->shared) return INVALID_VALUE;
	struct op o = {probe, {0}};
	o.v[0] = *(uint64_t *)kernelParams[0];
	o.v[1] = *(uint64_t *)kernelParams[1];
	o.v[2] = *(int32_t *)kernelParams[2];
	o.v[3] = *(uint32_t *)kernelParams[3];
	o.v[4] = *(uint64_t *)kernelParams[4];
	memcpy(&o.v[5], kernelParams[5], 4);
	IS('d', (void *)o.v[0], 4 * o.v[2]);
	IS('d', (void *)o.v[1], 4 * o.v[2]);
	queue(hStream, o);
	return 0;
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream hStream, CUstreamCaptureMode mode) {
	CONTEXT();
	IS('s', hStream, 1);
	if ((int)mode != 2) problem("cuStreamBeginCapture: mode %d", (int)mode);
	if (hStream->capture) return CAPTURE_WRONG;
	hStream->capture = add('g', sizeof(struct CUgraph_st));
	hStream->capture->first = NULL;
	hStream->capture->last = &hStream->capture->first;
	return 0;
}
CUresult CUDAAPI cuStreamEndCapture(CUstream hStream, CUgraph *phGraph) {
	CONTEXT();
	IS('s', hStream, 1);
	if (!hStream->capture) return CAPTURE_WRONG;
	*phGraph = hStream->capture;
	hStream->capture = NULL;
	return 0;
}
CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags) {
	CONTEXT();
	IS('g', hGraph, 1);
	if (flags) problem("cuGraphInstantiateWithFlags: flags %llu", flags);
	*phGraphExec = add('x', sizeof(struct CUgraphExec_st));
	(*phGraphExec)->graph = *hGraph;
	return 0;
}
CUresult CUDAAPI cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream) {
	CONTEXT();
	IS('x', hGraphExec, 1);
	IS('s', hStream, 1);
	for (struct op *o = hGraphExec->graph.first; o; o = o->next) o->run(o);
	return 0;
}
CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec hGraphExec) {
	CONTEXT();
	IS('x', hGraphExec, 1);
	for (struct op *o = hGraphExec->graph.first, *next; o; o = next) { next = o->next; free(o); }
	return removed('x', hGraphExec, __func__);
}
CUresult CUDAAPI cuGraphDestroy(CUgraph hGraph) { CONTEXT(); return removed('g', hGraph, __func__); }
CUresult CUDAAPI cuGetErrorName(CUresult error, const char **pStr) {
	static char name[64];
	snprintf(name, sizeof name, (int)error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_%d", (int)error);
	*pStr = name;
	return 0;
}
