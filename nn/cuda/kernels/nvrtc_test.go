package kernels

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"sdnn/nn/cuda/libraries"
)

// compiler returns the NVRTC of this machine, or skips the test.
func compiler(t *testing.T) *libraries.Compiler {
	t.Helper()
	c, err := libraries.OpenCompiler()
	if err != nil {
		t.Skipf("the sources were NOT compiled by NVRTC: %v", err)
	}
	return c
}

// capabilities are those that the sources are compiled for: the oldest that a
// card may have, those of the usual cards, and one that no NVRTC knows yet.
var capabilities = []int{70, 75, 80, 86, 89, 90, 990}

// TestNVRTC compiles every source with NVIDIA's own compiler, which needs no
// card, and looks at the machine code: nothing to warn of, the kernels and
// parameters that are declared, blocks of our size that fit the card, nothing
// spilled, 16-byte accesses where whole tensors are moved.
func TestNVRTC(t *testing.T) {
	c := compiler(t)
	for _, capability := range capabilities {
		if testing.Short() && capability < 90 {
			continue
		}
		t.Run(fmt.Sprintf("sm_%d", capability), func(t *testing.T) {
			t.Parallel()
			all := map[string]*code{}
			var mu sync.Mutex
			t.Run("sources", func(t *testing.T) {
				for _, src := range Sources() {
					t.Run(src.Name, func(t *testing.T) {
						t.Parallel()
						found := checkCompiled(t, c, capability, src)
						mu.Lock()
						defer mu.Unlock()
						maps.Copy(all, found)
					})
				}
			})
			if multiprocessors[capability].warps > 0 {
				t.Logf("NVRTC %d.%d\n%s", c.Version()/1000, c.Version()%1000/10, resources(all, capability))
			}
		})
	}
}

// checkCompiled compiles a source and returns the kernels of the machine code,
// if it is machine code.
func checkCompiled(t *testing.T, c *libraries.Compiler, capability int, src Source) map[string]*code {
	b, log, err := c.Compile(capability/10, capability%10, src.Name, src.Text)
	if unfit, ok := errors.AsType[*libraries.UnfitError](err); ok && capability < 75 {
		t.Skip(unfit)
	}
	if err != nil || log != "" {
		t.Fatalf("%v\n%s", err, log)
	}
	if capability == 990 { // PTX, which the driver reads up to the 0
		if text := string(b); !strings.Contains(text, ".target sm_") || strings.IndexByte(text, 0) != len(b)-1 {
			t.Fatalf("not PTX: %.200q", text)
		}
		checkPTX(t, src, b)
		return nil
	}
	found, err := cubin(b)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Parse(src.Text)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(found) {
		t.Errorf("%d kernels in the machine code, %d declared", len(found), len(list))
	}
	for _, s := range list {
		if k := found[s.Name]; k == nil {
			t.Errorf("%s is not in the machine code", s.Name)
		} else {
			checkCode(t, s, k, capability)
		}
	}
	return found
}

// spilled are the bytes of local memory that a thread may have. Of noise they
// belong to sincos, whose path for large angles is not taken; else to a few
// numbers of the loop over tiles, which is outside of the one over rows.
var spilled = map[string]int{"noise": 64, "": 16}

// checkCode compares the machine code with the declaration and with how the
// kernel is launched.
func checkCode(t *testing.T, s *Signature, k *code, capability int) {
	params, bytes := s.layout()
	if !slices.Equal(k.params, params) || k.bytes != bytes || bytes > 4096 {
		t.Errorf("%s has its parameters at %v, %d bytes, and is declared to have them at %v, %d bytes", s.Name, k.params, k.bytes, params, bytes)
	}
	if k.threads != Threads || k.registers == 0 || k.registers*Threads > 65536 {
		t.Errorf("%s is for blocks of %d threads of %d registers; it is launched with %d", s.Name, k.threads, k.registers, Threads)
	}
	if k.shared > 48<<10 {
		t.Errorf("%s has %d bytes of shared memory, more than there are without asking", s.Name, k.shared)
	}
	most := max(spilled[base(s.Name)], spilled[""])
	if capability < 75 { // Volta's cards are old, and their compiler too
		most = max(most, 32)
	}
	if k.stack > most {
		t.Errorf("%s keeps %d bytes a thread in local memory", s.Name, k.stack)
	}
	if loads, stores, ok := moved(s); ok {
		l, st := k.count(opLoadGlobal, wide128), k.count(opStoreGlobal, wide128)
		if strings.HasPrefix(s.Name, "conv1d_relu_maxpool_") && strings.Contains(s.Name, "backward") {
			l += k.count(opLoadGlobal, wide64) // four bf16
		}
		if l < loads || st < stores {
			t.Errorf("%s has %d 16-byte loads and %d stores for %d tensors read and %d written", s.Name, l, st, loads, stores)
		}
	}
}

// resources is a table of kernels, those with the lowest occupancy first.
func resources(all map[string]*code, capability int) string {
	list := slices.SortedFunc(maps.Values(all), func(a, b *code) int {
		return cmp.Or(cmp.Compare(a.occupancy(capability), b.occupancy(capability)), cmp.Compare(a.name, b.name))
	})
	var text strings.Builder
	fmt.Fprintf(&text, "| kernel | registers | shared | local | occupancy |\n|---|---|---|---|---|\n")
	for _, k := range list {
		fmt.Fprintf(&text, "| %s | %d | %d | %d | %d %% |\n", k.name, k.registers, k.shared, k.stack, k.occupancy(capability))
	}
	return text.String()
}

// TestNVRTCErrors: what is wrong with a source reaches the person who must mend
// it, with the line of our file.
func TestNVRTCErrors(t *testing.T) {
	c := compiler(t)
	src := Sources()[0]
	line := strings.Count(read(src.Name), "\n") + 1
	for _, capability := range []int{90, 990} {
		for text, says := range map[string]string{
			"KERNEL broken_f32(float *y) { y[0] = nothing; }":       fmt.Sprintf(`%s(%d): error: identifier "nothing" is undefined`, src.Name, line),
			"#error told\nKERNEL empty_f32(float *y) { y[0] = 1; }": fmt.Sprintf(`%s(%d): catastrophic error: #error directive: told`, src.Name, line),
		} {
			code, log, err := c.Compile(capability/10, capability%10, src.Name, src.Text+text+"\n")
			wrapped := &CompileError{src.Name, log, err}
			if code != nil || err == nil || !strings.HasPrefix(err.Error(), "nvrtcCompileProgram("+src.Name+", ") ||
				!strings.HasSuffix(err.Error(), "NVRTC_ERROR_COMPILATION (6)") || !strings.Contains(wrapped.Error(), says) {
				t.Errorf("%s: %d bytes of code, %v", text, len(code), wrapped)
			}
		}
		code, log, err := c.Compile(capability/10, capability%10, src.Name, src.Text+"KERNEL warned_f32(float *y) { int unused; y[0] = 1; }\n")
		if want := fmt.Sprintf(`%s(%d): warning #177-D: variable "unused" was declared but never referenced`, src.Name, line); len(code) == 0 || err != nil || !strings.Contains(log, want) {
			t.Errorf("a warning: %d bytes of code, %v, %s", len(code), err, log)
		}
	}
	// ptxas' word, after NVRTC's own.
	_, log, err := c.Compile(9, 0, "big.cu", `extern "C" __global__ void f(int *y) { __shared__ int big[60000]; big[threadIdx.x] = *y; __syncthreads(); *y = big[threadIdx.x ^ 1]; }`)
	if err == nil || !strings.Contains(log, "uses too much shared data") {
		t.Errorf("too much shared memory: %v, %q", err, log)
	}
	if _, _, err := c.Compile(3, 5, "old.cu", "void f() {}"); err == nil || !strings.Contains(err.Error(), "compute capability 3.5: install the libraries of an older CUDA") {
		t.Errorf("for a card of 2012: %v", err)
	}
}
