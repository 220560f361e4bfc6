//go:build linux && (amd64 || arm64) && !nocuda

package libraries

// The functions that are used, by library. A tag has the name that the header's
// macros give a function; the prototypes are in testdata/stub, which a compiler
// checks against the headers.

type cudaAPI struct {
	cuInit                      uintptr
	cuDriverGetVersion          uintptr
	cuDeviceGetCount            uintptr
	cuDeviceGet                 uintptr
	cuDeviceGetName             uintptr
	cuDeviceTotalMem            uintptr `c:"cuDeviceTotalMem_v2"`
	cuDeviceGetAttribute        uintptr
	cuDevicePrimaryCtxRetain    uintptr
	cuDevicePrimaryCtxRelease   uintptr `c:"cuDevicePrimaryCtxRelease_v2"`
	cuCtxSetCurrent             uintptr
	cuCtxSynchronize            uintptr
	cuMemGetInfo                uintptr `c:"cuMemGetInfo_v2"`
	cuMemAlloc                  uintptr `c:"cuMemAlloc_v2"`
	cuMemFree                   uintptr `c:"cuMemFree_v2"`
	cuMemHostAlloc              uintptr
	cuMemFreeHost               uintptr
	cuStreamCreateWithPriority  uintptr
	cuCtxGetStreamPriorityRange uintptr
	cuStreamDestroy             uintptr `c:"cuStreamDestroy_v2"`
	cuStreamSynchronize         uintptr
	cuStreamWaitEvent           uintptr
	cuEventCreate               uintptr
	cuEventDestroy              uintptr `c:"cuEventDestroy_v2"`
	cuEventRecord               uintptr
	cuEventSynchronize          uintptr
	cuEventElapsedTime          uintptr
	cuEventQuery                uintptr
	cuMemcpyHtoDAsync           uintptr `c:"cuMemcpyHtoDAsync_v2"`
	cuMemcpyDtoHAsync           uintptr `c:"cuMemcpyDtoHAsync_v2"`
	cuMemcpyDtoDAsync           uintptr `c:"cuMemcpyDtoDAsync_v2"`
	cuMemsetD8Async             uintptr
	cuModuleLoadData            uintptr
	cuModuleUnload              uintptr
	cuModuleGetFunction         uintptr
	cuFuncSetAttribute          uintptr
	cuLaunchKernel              uintptr
	cuStreamBeginCapture        uintptr `c:"cuStreamBeginCapture_v2"`
	cuStreamEndCapture          uintptr
	cuGraphInstantiateWithFlags uintptr
	cuGraphLaunch               uintptr
	cuGraphExecDestroy          uintptr
	cuGraphDestroy              uintptr
	cuGetErrorName              uintptr
}

type cublasLtAPI struct {
	cublasLtGetVersion                   uintptr
	cublasLtGetStatusName                uintptr
	cublasLtCreate                       uintptr
	cublasLtDestroy                      uintptr
	cublasLtMatmulDescCreate             uintptr
	cublasLtMatmulDescDestroy            uintptr
	cublasLtMatmulDescSetAttribute       uintptr
	cublasLtMatrixLayoutCreate           uintptr
	cublasLtMatrixLayoutDestroy          uintptr
	cublasLtMatmulPreferenceCreate       uintptr
	cublasLtMatmulPreferenceDestroy      uintptr
	cublasLtMatmulPreferenceSetAttribute uintptr
	cublasLtMatmulAlgoGetHeuristic       uintptr
	cublasLtMatmul                       uintptr
}

type cudnnAPI struct {
	cudnnGetVersion               uintptr
	cudnnGetCudartVersion         uintptr
	cudnnGetErrorString           uintptr
	cudnnGetLastErrorString       uintptr
	cudnnCreate                   uintptr
	cudnnDestroy                  uintptr
	cudnnSetStream                uintptr
	cudnnBackendCreateDescriptor  uintptr
	cudnnBackendDestroyDescriptor uintptr
	cudnnBackendSetAttribute      uintptr
	cudnnBackendGetAttribute      uintptr
	cudnnBackendFinalize          uintptr
	cudnnBackendExecute           uintptr
}

type nvrtcAPI struct {
	nvrtcVersion              uintptr
	nvrtcGetErrorString       uintptr
	nvrtcGetNumSupportedArchs uintptr
	nvrtcGetSupportedArchs    uintptr
	nvrtcCreateProgram        uintptr
	nvrtcDestroyProgram       uintptr
	nvrtcCompileProgram       uintptr
	nvrtcGetCUBINSize         uintptr
	nvrtcGetCUBIN             uintptr
	nvrtcGetPTXSize           uintptr
	nvrtcGetPTX               uintptr
	nvrtcGetProgramLogSize    uintptr
	nvrtcGetProgramLog        uintptr
}
