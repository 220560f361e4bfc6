package kernel

import (
	"fmt"
	"os"
	"strings"
)

// Level names a code path: the instruction set that the kernels use.
type Level int

// The code paths, from the one that runs anywhere to the fastest.
const (
	Portable Level = iota // plain Go, any architecture
	AVX2                  // AVX2 and FMA, 256-bit vectors
	AVX512                // AVX-512 F, BW, DQ and VL, 512-bit vectors
)

// Levels lists every code path, whether this machine has it or not.
var Levels = []Level{Portable, AVX2, AVX512}

// String returns the name that SDNN_CPU accepts.
func (l Level) String() string {
	switch l {
	case Portable:
		return "portable"
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	}
	return fmt.Sprintf("level(%d)", int(l))
}

// environment is the variable that forces a code path.
const environment = "SDNN_CPU"

// path is the code path in use and pathErr what was wrong with SDNN_CPU. They
// are set before main starts and by Use.
var path, pathErr = choose(os.Getenv(environment), best())

// Path reports the code path in use: the fastest that the machine has, unless
// SDNN_CPU asks for another.
func Path() Level { return path }

// PathErr reports why SDNN_CPU could not be obeyed, or nil. Kernels work all
// the same, on the fastest path; a command should print the error and stop.
func PathErr() error { return pathErr }

// Has reports whether this machine can run code path l.
func Has(l Level) bool { return l >= Portable && l <= best() }

// Use switches to code path l and returns the one used before. It fails when
// the machine lacks l. It is for tests and benchmarks that compare paths, and
// must not be called while a kernel runs.
func Use(l Level) (previous Level, err error) {
	if !Has(l) {
		return path, fmt.Errorf("kernel: this CPU cannot run the %v path, it lacks %s", l, strings.Join(missing(l), ", "))
	}
	previous, path = path, l
	return previous, nil
}

// Features lists the CPU features that matter to the kernels and that this
// machine has, in a fixed order, by the names that /proc/cpuinfo gives them.
// Features that no path in use needs (avx512_bf16) are listed too.
func Features() []string {
	var have []string
	for _, f := range features {
		if f.has {
			have = append(have, f.name)
		}
	}
	return have
}

// feature is a CPU feature and the lowest path that needs it.
type feature struct {
	name  string
	has   bool
	level Level // Portable: no path needs it
}

// missing lists the features that path l needs and the machine lacks.
func missing(l Level) []string {
	if len(features) == 0 {
		return []string{"the amd64 architecture"}
	}
	var names []string
	for _, f := range features {
		if f.level != Portable && f.level <= l && !f.has {
			names = append(names, f.name)
		}
	}
	return names
}

// best returns the fastest path that the machine has.
func best() Level {
	for l := AVX512; l > Portable; l-- {
		if len(missing(l)) == 0 {
			return l
		}
	}
	return Portable
}

// choose returns the path that value, the text of SDNN_CPU, asks for, on a
// machine whose fastest path is top; on an error it returns top.
func choose(value string, top Level) (Level, error) {
	if value == "" {
		return top, nil
	}
	for _, l := range Levels {
		if l.String() != value {
			continue
		}
		if l > top {
			return top, fmt.Errorf("%s=%s: this CPU lacks %s; unset %s or use %s=%v",
				environment, value, strings.Join(missing(l), ", "), environment, environment, top)
		}
		return l, nil
	}
	return top, fmt.Errorf("%s=%s: unknown code path; use portable, avx2 or avx512, or unset %s", environment, value, environment)
}
