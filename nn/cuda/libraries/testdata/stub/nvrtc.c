#include "stub.h"
#ifdef REAL_HEADERS
#include <nvrtc.h>
#else
typedef int nvrtcResult;
typedef struct _nvrtcProgram *nvrtcProgram;
#endif

struct _nvrtcProgram { char *source, log[128], arch[32]; int compiled; };

const char *nvrtcGetErrorString(nvrtcResult result) { return (int)result == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
nvrtcResult nvrtcVersion(int *major, int *minor) { ENTER(); *major = 12; *minor = 6; return 0; }
nvrtcResult nvrtcGetNumSupportedArchs(int *numArchs) { ENTER(); *numArchs = 3; return 0; }
nvrtcResult nvrtcGetSupportedArchs(int *supportedArchs) { ENTER(); memcpy(supportedArchs, (int[]){75, 80, 90}, 12); return 0; }
nvrtcResult nvrtcCreateProgram(nvrtcProgram *prog, const char *src, const char *name, int numHeaders, const char *const *headers, const char *const *includeNames) {
	ENTER();
	if (numHeaders || headers || includeNames) problem("nvrtcCreateProgram: headers");
	if (strcmp(name, "probe.cu")) problem("nvrtcCreateProgram: name %s", name);
	*prog = calloc(1, sizeof **prog);
	(*prog)->source = strdup(src);
	live++;
	return 0;
}
nvrtcResult nvrtcDestroyProgram(nvrtcProgram *prog) {
	ENTER();
	free((*prog)->source);
	free(*prog);
	*prog = NULL;
	live--;
	return 0;
}
nvrtcResult nvrtcCompileProgram(nvrtcProgram prog, int numOptions, const char *const *options) {
	ENTER();
	const char *flag = "--gpu-architecture=";
	if (numOptions != 2 || strncmp(options[0], flag, strlen(flag)) || strcmp(options[1], "--std=c++17")) problem("nvrtcCompileProgram: %d options", numOptions);
	snprintf(prog->arch, sizeof prog->arch, "%s", options[0] + strlen(flag));
	snprintf(prog->log, sizeof prog->log, "probe.cu(1): warning: a stub compiled this\n");
	prog->compiled = !strstr(prog->source, "syntax error");
	if (!prog->compiled) snprintf(prog->log, sizeof prog->log, "probe.cu(1): error: expected a declaration\n");
	return prog->compiled ? 0 : 6;
}
static nvrtcResult sized(nvrtcProgram prog, const char *kind, size_t *n, char *out) {
	char text[4096];
	if (!prog->compiled) return 4;
	snprintf(text, sizeof text, "%s %s\n%s", kind, prog->arch, prog->source);
	if (n) *n = strlen(text) + 1;
	if (out) strcpy(out, text);
	return 0;
}
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram prog, size_t *cubinSizeRet) { ENTER(); return sized(prog, "CUBIN", cubinSizeRet, NULL); }
nvrtcResult nvrtcGetCUBIN(nvrtcProgram prog, char *cubin) { ENTER(); return sized(prog, "CUBIN", NULL, cubin); }
nvrtcResult nvrtcGetPTXSize(nvrtcProgram prog, size_t *ptxSizeRet) { ENTER(); return sized(prog, "PTX", ptxSizeRet, NULL); }
nvrtcResult nvrtcGetPTX(nvrtcProgram prog, char *ptx) { ENTER(); return sized(prog, "PTX", NULL, ptx); }
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram prog, size_t *logSizeRet) { ENTER(); *logSizeRet = strlen(prog->log) + 1; return 0; }
nvrtcResult nvrtcGetProgramLog(nvrtcProgram prog, char *log) { ENTER(); strcpy(log, prog->log); return 0; }
