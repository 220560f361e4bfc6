//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// includeVariable names folders with cuda.h, cublasLt.h, cudnn.h and nvrtc.h,
// separated as in PATH: those of a CUDA toolkit, or of NVIDIA's wheels.
const includeVariable = "SDNN_CUDA_INCLUDE"

// TestHeaders has a compiler check constants, prototypes and sizes against
// NVIDIA's headers, where there are any.
func TestHeaders(t *testing.T) {
	folders := filepath.SplitList(os.Getenv(includeVariable))
	if len(folders) == 0 {
		t.Skipf("%s does not name NVIDIA's headers", includeVariable)
	}
	cc := compiler(t)
	flags := []string{"-DREAL_HEADERS", "-Werror=incompatible-pointer-types", "-Werror=int-conversion", "-c", "-fPIC", "-o", os.DevNull}
	for _, f := range folders {
		flags = append(flags, "-I"+f)
	}
	for _, source := range []string{"cuda.c", "cublaslt.c", "cudnn.c", "nvrtc.c"} {
		if out, err := exec.Command(cc, append(flags, "testdata/stub/"+source)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
	}
	check := exec.Command(cc, append(flags, "-x", "c", "-")...)
	check.Stdin = strings.NewReader(assertions(t))
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("constants: %v\n%s", err, out)
	}
}

// assertions is a C program that compiles if the constants are those of the headers.
func assertions(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "constants.go", nil, parser.ParseComments)
	must(t, err)
	b := &strings.Builder{}
	b.WriteString("#include <cuda.h>\n#include <cublasLt.h>\n#include <cudnn.h>\n#include <nvrtc.h>\n")
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		value, literal := spec.Values[0].(*ast.BasicLit)
		name := strings.TrimSpace(spec.Comment.Text())
		if !literal || name == "" || strings.ContainsAny(name, " .") {
			t.Errorf("constants.go: %s needs a number, and its C name as its comment", spec.Names[0].Name)
			return false
		}
		b.WriteString("_Static_assert((int)" + name + " == " + value.Value + ", \"" + name + "\");\n")
		n++
		return false
	})
	if n < 100 {
		t.Errorf("only %d constants were found", n)
	}
	return b.String()
}

// TestConstantsHaveNames keeps the file in the form that TestHeaders reads.
func TestConstantsHaveNames(t *testing.T) { assertions(t) }
