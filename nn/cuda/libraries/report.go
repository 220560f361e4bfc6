package libraries

import "sdnn/nn/cuda/driver"

// Report is what Survey found on this machine.
type Report struct {
	Cards     []driver.Info // without MemoryBusyByOther
	Driver    int           // CUDA version the driver supports, 13000 for 13.0; 0 without a driver
	Libraries []Library
	Missing   error // what stops Open; nil if nothing does
}

// Library is a loaded library.
type Library struct {
	Name    string // "cublasLt", "cudnn", "nvrtc"
	Version string // "9.6.0"
	Path    string // the file; "" if not known
}
