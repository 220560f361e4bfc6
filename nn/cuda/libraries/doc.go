// Package libraries is the real card of the cuda engine: driver.Card on top of
// NVIDIA's driver and libraries, which it finds and loads when the program runs.
// Nothing of CUDA is needed to build it, and no C compiler.
//
//	libcuda.so.1            the driver: memory, streams, events, kernels, graphs
//	libcublasLt.so.13, .12  matrix products
//	libcudnn.so.9           convolutions, through its graph API
//	libnvrtc.so.13, .12     CUDA C to machine code
//
// Open finds them (find.go says where), Survey lists what there is. All
// libraries must be of one major version of CUDA, which the driver must support:
// a driver of CUDA 13 runs libraries of 13 and of 12.
//
// # How C is called
//
// Through purego: dlopen, dlsym, and calls with integer and pointer arguments,
// of which cublasLtMatmul with 16 has most. Every call makes the card's context
// current on the thread it runs on, since goroutines change threads. Memory that
// C writes to is on Go's heap, which does not move, and is kept alive during the
// call (go:uintptrescapes). C keeps no pointer to Go's memory.
//
// # Rules for the caller
//
// Operands and workspaces of products and convolutions are aligned to 16 bytes,
// which Run checks: the kernels are chosen for it. A bias has the type of the
// result (cuBLASLt knows no other), and the weight gradient of a convolution
// has the type of its operands. Plans, and the kernels of a captured graph, are
// best run once before the capture: libraries load their code lazily.
//
// Convolutions and products give the same bits every time when run on the same
// model of card with the same versions of the libraries: kernels are chosen by
// heuristics, never by timing, and cuDNN's engines that say they are not
// deterministic are left out unless the caller allows them.
//
// # Why cuDNN's graph API
//
// NVIDIA recommends it over the legacy convolutions, which are kept for
// compatibility and need cuBLASLt besides; PyTorch runs all convolutions through
// it, and the kernels for Hopper in bf16 and NHWC are engines of it. It also says
// of each engine whether it is deterministic, uses tensor cores or rounds its
// inputs, which is what tells f32 from tf32 here; the legacy API has a math type
// and a list of algorithms in its place.
//
// # Checked against
//
// Every prototype, constant and structure was checked against NVIDIA's headers
// of CUDA 12.6 (cuda.h 12060, cublasLt.h and cublas_api.h 12.6, nvrtc.h 12.6) and
// cuDNN 9.6.0 (cudnn_graph.h) by a compiler: TestHeaders does it again with the
// headers of any version (SDNN_CUDA_INCLUDE names their folders). The values
// were also compared with bindings generated from the headers of CUDA 11.4 to
// 13.0, where they are the same; the symbols used all exist in CUDA 12.0.
package libraries
