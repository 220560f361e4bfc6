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

// Survey says that this program has no CUDA.
func Survey() Report { return Report{Missing: errSystem} }

// Present reports whether the machine seems to have an NVIDIA card.
func Present() bool { return false }
