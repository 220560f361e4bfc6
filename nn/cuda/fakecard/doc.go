// Package fakecard is a driver.Card for tests: no GPU, but every rule of one.
//
// Kernels run: the CUDA C that NVRTC would get is compiled by the host's C++
// compiler with a small header (shim.h), a block's threads as fibers. Products
// and convolutions are simple loops in Go. Work is queued, and done as late as a
// card might do it: when the host waits for it.
//
// What a card would leave to luck is reported instead (Options.Report):
//
//   - two streams that touch the same bytes, one of them writing, without an
//     event between them; a copy's host memory changed before the copy is done
//   - kernels called with other kinds of arguments than declared, or with memory
//     that is not allocated, freed, or smaller than the kernel's declaration says
//   - writes outside an allocation, found by guards around each
//   - memory that is freed while work on it is queued, and what is left at Close
//
// New memory holds NaN in every type, host memory that a copy will write too.
//
// Extents are those that the kernels declare; what is behind a pointer without
// one is taken for one byte. Two kernels that conflict only there are not seen.
package fakecard
