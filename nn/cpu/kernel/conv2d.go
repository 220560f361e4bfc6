package kernel

import (
	"fmt"
	"os"
)

// convEnvironment is the variable that forces a way to compute 3x3 convolutions.
const convEnvironment = "SDNN_CONV"

// fastConv is whether Conv3x3 is to be used, and convErr what was wrong with
// SDNN_CONV.
var fastConv, convErr = chooseConv(os.Getenv(convEnvironment))

// FastConv reports whether 3x3 convolutions are to use Conv3x3 where it
// applies. SDNN_CONV=direct says no, so that a net can be checked without the
// rounding of the fast algorithms; winograd and auto, the default, say yes.
func FastConv() bool { return fastConv }

// ConvErr reports why SDNN_CONV could not be obeyed, or nil.
func ConvErr() error { return convErr }

// UseFastConv sets what FastConv reports and returns what it did. It is for
// tests that compare the two ways; models compiled before keep theirs.
func UseFastConv(fast bool) (previous bool) {
	previous, fastConv = fastConv, fast
	return previous
}

// chooseConv reads the value of SDNN_CONV.
func chooseConv(value string) (fast bool, err error) {
	switch value {
	case "", "auto", "winograd":
		return true, nil
	case "direct":
		return false, nil
	}
	return true, fmt.Errorf("%s=%s: unknown way to convolve; use direct, winograd or auto, or unset %s", convEnvironment, value, convEnvironment)
}
