//go:build !linux || !(amd64 || arm64) || nocuda

package libraries

import (
	"runtime"

	"sdnn/nn/cuda/driver"
)

// errSystem is the answer to everything.
var errSystem = &SystemError{why()}

func why() string {
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		return "this program was built without CUDA (tag nocuda)"
	}
	return "CUDA cards are used on Linux only, on amd64 and arm64; this is " + runtime.GOOS + "/" + runtime.GOARCH
}

// Open fails: this program has no CUDA.
func Open(int) (driver.Card, error) { return nil, errSystem }

// Compiler is NVRTC; there is none here.
type Compiler struct{}

// OpenCompiler fails: this program has no CUDA.
func OpenCompiler() (*Compiler, error) { return nil, errSystem }

// Version is 0.
func (*Compiler) Version() int { return 0 }

// Compile fails.
func (*Compiler) Compile(_, _ int, _, _ string) ([]byte, string, error) { return nil, "", errSystem }

// Survey says that this program has no CUDA.
func Survey() Report { return Report{Missing: errSystem} }

// Present reports whether the machine seems to have an NVIDIA card.
func Present() bool { return false }
