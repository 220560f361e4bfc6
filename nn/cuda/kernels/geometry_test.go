package kernels

import (
	"math/rand/v2"
	"strings"
	"testing"

	"sdnn/nn/cuda/driver"
)

// TestGeometry: every kernel, with sizes from 1 to large, gets a grid that a
// card has and that is not beyond what there is to do.
func TestGeometry(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for name, s := range declared() {
		for range 200 {
			args := make([]driver.Arg, len(s.Params))
			for i, p := range s.Params {
				args[i] = driver.Arg{Kind: p.Kind, Bits: uint64(1 + rng.IntN(1<<rng.IntN(11)))}
				if p.Name == "slices" {
					args[i].Bits = uint64(1 + rng.IntN(512))
				}
			}
			grid, block := s.Geometry(args)
			if grid.X < 1 || grid.X > most || grid.Y < 1 || grid.Y > most || grid.Z != 1 || block != (driver.Dim{X: Threads, Y: 1, Z: 1}) {
				t.Fatalf("%s with %v: grid %v, block %v", name, args, grid, block)
			}
		}
	}
}

// TestGeometryOfReductions: what a reduction writes is as many slices as its
// grid has, whatever the type.
func TestGeometryOfReductions(t *testing.T) {
	for name, s := range declared() {
		i := s.index("slices")
		if i < 0 || strings.Contains(name, "finish") {
			continue
		}
		args := make([]driver.Arg, len(s.Params))
		for j, p := range s.Params {
			args[j] = driver.Arg{Kind: p.Kind, Bits: 8}
		}
		args[i].Bits = 13
		if grid, _ := s.Geometry(args); grid.Y != 13 {
			t.Errorf("%s has %d slices, not 13", name, grid.Y)
		}
	}
}

func TestSlices(t *testing.T) {
	for _, c := range []struct{ rows, channels, want int }{{1, 1, 1}, {8, 4096, 1}, {128 * 32 * 32, 64, 264}, {128 * 1024, 160, 106}, {512, 512, 8}, {1024, 3864, 5}} {
		if n := Slices(c.rows, c.channels); n != c.want {
			t.Errorf("Slices(%d, %d) = %d, want %d", c.rows, c.channels, n, c.want)
		}
	}
}

func TestBytes(t *testing.T) {
	s, _ := Lookup("batchnorm_apply_relu_maxpool_bf16")
	args := []driver.Arg{P(1), P(1), P(1), I(2), I(5), I(4), I(8)}
	if got, want := s.Bytes(args), float64(2*2*2*2*8+2*2*5*4*8+4*16); got != want {
		t.Errorf("moves %g bytes, want %g", got, want)
	}
	s, _ = Lookup("copy_rows_f32_bf16")
	args = []driver.Arg{P(1), P(1), P(0), I(3), I(5), I(8), I(6)}
	if got, want := s.Bytes(args), float64(2*(2*8+5)+4*15); got != want {
		t.Errorf("copying moves %g bytes, want %g", got, want)
	}
	if got := OptimizerBytes([]OptimizerTensor{{State: [2]driver.Ptr{1, 1}, Shadow: 1, Elements: 10}}); got != 300 {
		t.Errorf("Adam moves %g bytes, want 300", got)
	}
}

func TestParseErrors(t *testing.T) {
	for _, source := range []string{
		"KERNEL f(float y)\n", // fine: all kinds are ours
	} {
		if _, err := Parse(source); err != nil {
			t.Errorf("%q: %v", source, err)
		}
	}
	for _, source := range []string{
		"KERNEL f(long n)\n", "KERNEL f(struct x *y)\n", "KERNEL f(double y)\n", "KERNEL f(const int n)\n", "KERNEL f(float **y)\n", "KERNEL f()\n",
		"//@ z[n]\nKERNEL f(float *y, int n)\n", "//@ y[m]\nKERNEL f(float *y, int n)\n", "//@ y[n%2]\nKERNEL f(float *y, int n)\n", "//@ y[n+]\nKERNEL f(float *y, int n)\n",
		"//@ n[n]\nKERNEL f(float *y, int n)\n",
	} {
		if list, err := Parse(source); err == nil {
			t.Errorf("%q is taken for %+v", source, list[0])
		}
	}
	list, err := Parse("extern \"C\" __global__ void __launch_bounds__(256) f(unsigned short *y, const unsigned long long *k)\n")
	if err != nil || len(list) != 1 || list[0].Params[0].Size != 2 || !list[0].Params[1].Const {
		t.Errorf("a plain declaration: %+v, %v", list, err)
	}
}
