// Stand-ins for NVIDIA's libraries, for tests on machines without a card: the
// same symbols, on the memory of the host, with checks of what they are given.
// With REAL_HEADERS they are compiled against NVIDIA's headers, which makes the
// compiler check every prototype and size.
#ifndef STUB_H
#define STUB_H

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Violated contracts, the first of them.
static char problem_text[512];
static int live; // objects that were made and not destroyed
static char fail_name[64];
static int fail_code, fail_after;
static struct { const char *name; int n; } call_counts[128];

static inline void problem(const char *format, ...) {
	if (problem_text[0]) return;
	va_list list;
	va_start(list, format);
	vsnprintf(problem_text, sizeof problem_text, format, list);
	va_end(list);
}

// Control, called by the tests.
void stub_fail(const char *function, int code, int after) {
	snprintf(fail_name, sizeof fail_name, "%s", function);
	fail_code = code;
	fail_after = after;
}
const char *stub_problem(void) { return problem_text; }
int stub_live(void) { return live; }
void stub_forget(int n) { live -= n; }
void stub_reset(void) {
	problem_text[0] = fail_name[0] = 0;
	memset(call_counts, 0, sizeof call_counts);
}
int stub_calls(const char *function) {
	for (int i = 0; i < 128 && call_counts[i].name; i++)
		if (!strcmp(call_counts[i].name, function)) return call_counts[i].n;
	return 0;
}

// called counts a call, and returns the code that it is to fail with.
static inline int called(const char *function) {
	for (int i = 0; i < 128; i++) {
		if (!call_counts[i].name) call_counts[i].name = function;
		if (!strcmp(call_counts[i].name, function)) {
			call_counts[i].n++;
			break;
		}
	}
	if (strcmp(fail_name, function) || fail_after-- > 0) return 0;
	fail_name[0] = 0;
	return fail_code;
}
#define ENTER() do { int code_ = called(__func__); if (code_) return code_; } while (0)

static inline float from_bf16(uint16_t v) {
	uint32_t bits = (uint32_t)v << 16;
	float f;
	memcpy(&f, &bits, 4);
	return f;
}
static inline uint16_t to_bf16(float f) { // round to nearest even
	uint32_t bits;
	memcpy(&bits, &f, 4);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#endif
