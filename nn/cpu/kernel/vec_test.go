package kernel

import (
	"bufio"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"

	"sdnn/nn"
)

// eachPath runs f on every code path that this machine has, and names the
// others.
func eachPath(t *testing.T, f func(t *testing.T)) {
	for _, l := range Levels {
		t.Run(l.String(), func(t *testing.T) {
			usePath(t, l)
			f(t)
		})
	}
}

func usePath(t testing.TB, l Level) {
	if !Has(l) {
		t.Skipf("NOT CHECKED: this CPU has no %v", l)
	}
	previous, err := Use(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Use(previous) })
}

// canary is written around every slice that a kernel gets, and must stay.
const canary = 1e30

// guarded returns a slice of n elements that starts at any of 16 offsets of a
// block, and a function that reports whether its surroundings are whole.
func guarded(n, offset int) (s []float32, whole func() bool) {
	const zone = 24
	buf := make([]float32, zone+offset%16+n+zone)
	for i := range buf {
		buf[i] = canary
	}
	lo := zone + offset%16
	return buf[lo : lo+n], func() bool {
		for i, v := range buf {
			if v != canary && (i < lo || i >= lo+n) {
				return false
			}
		}
		return true
	}
}

// random fills s with numbers of U(-bound, bound).
func random(s []float32, key uint64, bound float64) []float32 {
	nn.FillUniform(s, key, bound)
	return s
}

// lengths are those that every kernel is tried with.
func lengths() []int {
	var ns []int
	for n := range 201 {
		ns = append(ns, n)
	}
	return append(ns, 255, 256, 257, 1023, 1024, 1025, 1152, 3962, piece+1, 2*piece+17)
}

// elementwise describes a kernel that maps up to three slices to one or more,
// written over the first ones where inPlace says so.
type elementwise struct {
	name    string
	in, out int
	inPlace bool // the first outputs hold input as well: in counts them
	run     func(out, in [][]float32)
	naive   func(out, in []float64)
	bound   float64 // of the inputs, uniform
	tol     float64 // relative, and absolute against the largest input
}

var testAdam = AdamStep{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Rate: 1e-3, GradScale: 0.5, WeightDecay: 1e-2}
var testSGD = SGDStep{Rate: 0.1, Momentum: 0.9, GradScale: 0.5, WeightDecay: 5e-4}

var elementwiseKernels = []elementwise{
	{"ReLU", 1, 1, false, func(o, i [][]float32) { ReLU(o[0], i[0]) },
		func(o, i []float64) { o[0] = max(i[0], 0) }, 1, 0},
	{"ReLUGrad", 2, 1, false, func(o, i [][]float32) { ReLUGrad(o[0], i[0], i[1]) },
		func(o, i []float64) {
			if i[1] > 0 {
				o[0] = i[0]
			}
		}, 1, 0},
	{"SigmoidGrad", 2, 1, false, func(o, i [][]float32) { SigmoidGrad(o[0], i[0], i[1]) },
		func(o, i []float64) { o[0] = i[0] * i[1] * (1 - i[1]) }, 1, 3e-7},
	{"Add", 2, 1, false, func(o, i [][]float32) { Add(o[0], i[0], i[1]) },
		func(o, i []float64) { o[0] = i[0] + i[1] }, 1, 1e-7},
	{"Accumulate", 2, 1, true, func(o, i [][]float32) { Accumulate(o[0], i[0]) },
		func(o, i []float64) { o[0] = i[0] + i[1] }, 1, 1e-7},
	{"Scale", 1, 1, false, func(o, i [][]float32) { Scale(o[0], i[0], 0.75) },
		func(o, i []float64) { o[0] = 0.75 * i[0] }, 1, 1e-7},
	{"Axpy", 2, 1, true, func(o, i [][]float32) { Axpy(o[0], i[0], -1.5) },
		func(o, i []float64) { o[0] = i[0] - 1.5*i[1] }, 1, 2e-7},
	{"Axpby", 2, 1, false, func(o, i [][]float32) { vec().axpby(o[0], i[0], i[1], 2.5, -0.3) },
		func(o, i []float64) { o[0] = 2.5*i[0] - float64(float32(0.3))*i[1] }, 1, 4e-7},
	{"AddBiasReLU", 2, 1, true, func(o, i [][]float32) { AddBiasReLU(o[0], i[0]) },
		func(o, i []float64) { o[0] = max(i[0]+i[1], 0) }, 1, 1e-7},
	{"add4", 5, 1, true, func(o, i [][]float32) { vec().add4(o[0], i[0], i[1], i[2], i[3]) },
		func(o, i []float64) { o[0] = i[0] + i[1] + i[2] + i[3] + i[4] }, 1, 5e-7},
	{"Adam", 4, 3, true, func(o, i [][]float32) {
		for j, v := range o[2] {
			o[2][j] = v * v // second moments are not negative
		}
		testAdam.Apply(o[0], o[1], o[2], i[0], 0)
	}, func(o, i []float64) {
		a := testAdam
		g := a.GradScale*i[3] + a.WeightDecay*i[0]
		o[1] = a.Beta1*i[1] + (1-a.Beta1)*g
		o[2] = a.Beta2*i[2]*i[2] + (1-a.Beta2)*g*g
		o[0] = i[0] - a.Rate*o[1]/(math.Sqrt(o[2])+a.Epsilon)
	}, 1, 4e-7},
	{"SGD", 3, 2, true, func(o, i [][]float32) { testSGD.Apply(o[0], o[1], i[0], 0) },
		func(o, i []float64) {
			s := testSGD
			g := s.GradScale*i[2] + s.WeightDecay*i[0]
			o[1] = s.Momentum*i[1] + g
			o[0] = i[0] - s.Rate*(g+s.Momentum*o[1])
		}, 1, 4e-7},
	{"Exp", 1, 1, false, func(o, i [][]float32) { Exp(o[0], i[0]) },
		func(o, i []float64) { o[0] = math.Exp(i[0]) }, 80, 2e-7},
	{"Log", 1, 1, false, func(o, i [][]float32) { Log(o[0], i[0]) },
		func(o, i []float64) { o[0] = math.Log(i[0]) }, 100, 2e-7},
	{"Sigmoid", 1, 1, false, func(o, i [][]float32) { Sigmoid(o[0], i[0]) },
		func(o, i []float64) { o[0] = 1 / (1 + math.Exp(-i[0])) }, 80, 4e-7},
	{"Dropout", 1, 1, false, func(o, i [][]float32) {
		Dropout(o[0], i[0], 0xFEDCBA9876543210, nn.KeepThreshold(0.3), 1/0.7)
	}, nil, 1, 1e-6},
}

// run applies the kernel to fresh slices of n elements and returns its inputs
// (before) and outputs.
func (e *elementwise) apply(t *testing.T, n int) (in, out [][]float32) {
	var wholes []func() bool
	slices := func(count, from int) (s [][]float32) {
		for i := range count {
			v, whole := guarded(n, 5*(from+i)+n)
			s, wholes = append(s, v), append(wholes, whole)
		}
		return s
	}
	args := slices(e.in, 1)
	for i, s := range args {
		random(s, uint64(1000*n+i), e.bound)
		in = append(in, append([]float32(nil), s...))
	}
	if e.inPlace {
		out, args = args[:e.out], args[e.out:]
	} else {
		out = slices(e.out, 7)
	}
	e.run(out, args)
	for _, whole := range wholes {
		if !whole() {
			t.Fatalf("%s: n = %d: wrote outside its slices", e.name, n)
		}
	}
	return in, out
}

func TestElementwise(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, e := range elementwiseKernels {
			if e.naive == nil {
				continue
			}
			for _, n := range lengths() {
				in, out := e.apply(t, n)
				e.check(t, in, out)
			}
		}
	})
}

func (e *elementwise) check(t *testing.T, in, out [][]float32) {
	t.Helper()
	x, want := make([]float64, e.in), make([]float64, e.out)
	for i := range out[0] {
		clear(want)
		for j := range x {
			x[j] = float64(in[j][i])
		}
		e.naive(want, x)
		for j, w := range want {
			got := float64(out[j][i])
			if math.IsNaN(w) && math.IsNaN(got) {
				continue
			}
			if !(math.Abs(got-w) <= e.tol*max(math.Abs(w), min(1, e.bound))) {
				t.Fatalf("%s: n = %d: out[%d][%d] = %g, want %g for %v", e.name, len(out[0]), j, i, got, w, x)
			}
		}
	}
}

// Kernels work in place: the output may be the input.
func TestInPlace(t *testing.T) {
	eachPath(t, func(t *testing.T) {
		for _, f := range []func(dst, x []float32){Exp, Log, Sigmoid, ReLU, L2Norm,
			func(dst, x []float32) { Scale(dst, x, 3) },
			func(dst, x []float32) { Dropout(dst, x, 99, 1<<31, 2) },
			func(dst, x []float32) { L2NormGrad(dst, x, random(make([]float32, len(x)), 5, 1)) },
		} {
			for _, n := range []int{1, 16, 37, 300} {
				x := random(make([]float32, n), 3, 2)
				want := make([]float32, n)
				f(want, x)
				f(x, x)
				if i := firstDifference(x, want); i >= 0 {
					t.Fatalf("n = %d: element %d differs in place", n, i)
				}
			}
		}
	})
}

// firstDifference returns where the bits of a and b differ, -1 if nowhere.
func firstDifference(a, b []float32) int {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}

var updateVec = flag.Bool("update-vec", false, "write testdata/vec_sums.txt anew")

const sumsFile = "testdata/vec_sums.txt"

// The assembly paths end in the same bits, those that testdata records: it is
// how a kernel written on one kind of machine is checked on another. The
// portable path is not among them: it has no fused multiply-add.
func TestRecordedBits(t *testing.T) {
	sums := map[string]string{}
	if f, err := os.Open(sumsFile); err == nil {
		for s := bufio.NewScanner(f); s.Scan(); {
			sum, name, _ := strings.Cut(s.Text(), " ")
			sums[name] = sum
		}
		f.Close()
	}
	var lines strings.Builder
	for _, l := range []Level{AVX2, AVX512} {
		t.Run(l.String(), func(t *testing.T) {
			usePath(t, l)
			lines.Reset()
			for _, c := range bitCases(t) {
				sum := fmt.Sprintf("%08x", c.sum)
				fmt.Fprintf(&lines, "%s %s\n", sum, c.name)
				if sums[c.name] != sum && !*updateVec {
					t.Errorf("%s: bits have sum %s, recorded is %s", c.name, sum, sums[c.name])
				}
			}
		})
	}
	if *updateVec {
		if err := os.WriteFile(sumsFile, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// bitCase is a kernel and the checksum of its results over all lengths.
type bitCase struct {
	name string
	sum  uint32
}

func bitCases(t *testing.T) (cases []bitCase) {
	for _, e := range elementwiseKernels {
		c := bitCase{name: e.name}
		for _, n := range lengths() {
			_, out := e.apply(t, n)
			for _, o := range out {
				c.add(o...)
			}
		}
		cases = append(cases, c)
	}
	for _, r := range reductions {
		c := bitCase{name: r.name}
		for _, n := range lengths() {
			x, y := make([]float32, n), make([]float32, n)
			v := r.run(random(x, uint64(n), r.bound), random(y, uint64(n)+1, r.bound))
			c.add(math.Float32frombits(uint32(math.Float64bits(v)>>32)), math.Float32frombits(uint32(math.Float64bits(v))))
			c.add(x...)
			c.add(y...)
		}
		cases = append(cases, c)
	}
	c := bitCase{name: "ConvPool"}
	for _, s := range convShapes {
		v := newConvCase(s.length, s.filters)
		if s.filters%lanes != 0 {
			continue
		}
		ConvPool(v.y, v.x, v.taps, v.bias)
		ConvPoolGrad(v.dtaps, v.dbias, v.dy, v.x, v.taps, v.bias)
		c.add(v.y...)
		c.add(v.dtaps...)
		c.add(v.dbias...)
	}
	return append(cases, c)
}

// add continues the checksum; the sign of a NaN does not count.
func (c *bitCase) add(v ...float32) {
	var b [4]byte
	for _, f := range v {
		u := math.Float32bits(f)
		if f != f {
			u = 0x7FC00000
		}
		b[0], b[1], b[2], b[3] = byte(u), byte(u>>8), byte(u>>16), byte(u>>24)
		c.sum = crc32.Update(c.sum, crc32.IEEETable, b[:])
	}
}

// Slices of different length are the caller's mistake and are told so.
func TestUnequalLengthsPanic(t *testing.T) {
	a, b := make([]float32, 3), make([]float32, 4)
	for name, f := range map[string]func(){
		"Exp": func() { Exp(a, b) }, "Add": func() { Add(a, a, b) }, "Scale": func() { Scale(a, b, 1) },
		"Axpy": func() { Axpy(a, b, 1) }, "Dot": func() { Dot(a, b) }, "Dropout": func() { Dropout(a, b, 0, 0, 1) },
		"CELogits": func() { CELogits(a, a, b, 1) }, "CEProbsLoss": func() { CEProbsLoss(a, b) },
		"Adam": func() { testAdam.Apply(a, a, a, b, 0) }, "SGD": func() { testSGD.Apply(a, b, a, 0) },
		"ConvPool": func() { ConvPool(a, b, a, a) }, "ColSums": func() { ColSums(a, a, b, 2, 3) },
		"GreaterIndices": func() { GreaterIndices(b, 0, make([]int32, 3)) },
		"AddBias":        func() { AddBias(b, a) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
