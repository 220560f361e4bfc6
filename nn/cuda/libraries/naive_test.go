//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"sdnn/nn/cuda/driver"
)

// Products and convolutions by definition, in float64, to compare any card with.

// noise are numbers in [-1, 1), the same for the same seed.
func noise(n int, seed uint32) []float32 {
	v := make([]float32, n)
	for i := range v {
		seed = seed*1664525 + 1013904223
		v[i] = float32(int32(seed)) / (1 << 31)
	}
	return v
}

// toBF16 rounds to nearest, ties to even.
func toBF16(v []float32) []uint16 {
	out := make([]uint16, len(v))
	for i, f := range v {
		bits := math.Float32bits(f)
		out[i] = uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
	return out
}

func fromBF16(v []uint16) []float32 {
	out := make([]float32, len(v))
	for i, b := range v {
		out[i] = math.Float32frombits(uint32(b) << 16)
	}
	return out
}

// rounded is v as memory of type t holds it.
func rounded(v []float32, t driver.Type) []float32 {
	if t == driver.BF16 {
		return fromBF16(toBF16(v))
	}
	return v
}

func uploadAs(t testing.TB, c driver.Card, s driver.Stream, v []float32, kind driver.Type) driver.Ptr {
	if kind == driver.BF16 {
		return upload(t, c, s, toBF16(v))
	}
	return upload(t, c, s, v)
}

func downloadAs(t testing.TB, c driver.Card, s driver.Stream, p driver.Ptr, n int, kind driver.Type) []float32 {
	if kind == driver.BF16 {
		return fromBF16(download[uint16](t, c, s, p, n))
	}
	return download[float32](t, c, s, p, n)
}

// workspace is memory for a plan; the stubs look for the mark at its end.
func workspace(t testing.TB, c driver.Card, s driver.Stream, size int) driver.Ptr {
	if size == 0 {
		return 0
	}
	return upload(t, c, s, bytes.Repeat([]byte{'w'}, size))
}

// near compares results whose sums have k terms in [-1, 1]. The bounds tell
// float32 from TF32, and both from bf16.
func near(t *testing.T, what string, got []float32, want []float64, k int, from, to driver.Type, how driver.Math) {
	t.Helper()
	relative := 2e-5
	switch {
	case to == driver.BF16:
		relative = 4e-3
	case from == driver.BF16:
		relative = 1e-4
	case how == driver.MathTF32:
		relative = 1e-3
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= relative*(math.Abs(want[i])+math.Sqrt(float64(k)))) {
			t.Errorf("%s: element %d is %g, want %g", what, i, got[i], want[i])
			return
		}
	}
}

// naiveMatmul is MatmulSpec by definition.
func naiveMatmul(spec driver.MatmulSpec, a, b, bias, before []float32) []float64 {
	d := make([]float64, spec.M*spec.N)
	for i := range spec.M {
		for j := range spec.N {
			sum := 0.0
			for k := range spec.K {
				x, y := i*spec.K+k, k*spec.N+j
				if spec.TransA {
					x = k*spec.M + i
				}
				if spec.TransB {
					y = j*spec.K + k
				}
				sum += float64(a[x]) * float64(b[y])
			}
			if spec.Accumulate {
				sum += float64(before[i*spec.N+j])
			}
			if spec.Epilogue != driver.EpilogueNone {
				sum += float64(bias[j])
			}
			if spec.Epilogue == driver.EpilogueBiasReLU {
				sum = max(0, sum)
			}
			d[i*spec.N+j] = sum
		}
	}
	return d
}

// matmulSpecs are all kinds of products of one shape.
func matmulSpecs(m, n, k int) []driver.MatmulSpec {
	var all []driver.MatmulSpec
	for _, types := range []struct {
		ab, d driver.Type
		math  driver.Math
	}{{driver.F32, driver.F32, driver.MathF32}, {driver.F32, driver.F32, driver.MathTF32}, {driver.BF16, driver.BF16, driver.MathF32}, {driver.BF16, driver.F32, driver.MathF32}} {
		for bits := range 4 {
			for _, epilogue := range []driver.Epilogue{driver.EpilogueNone, driver.EpilogueBias, driver.EpilogueBiasReLU} {
				all = append(all, driver.MatmulSpec{M: m, N: n, K: k, TransA: bits&1 != 0, TransB: bits&2 != 0,
					AB: types.ab, D: types.d, Math: types.math, Epilogue: epilogue, Bias: types.d, Accumulate: epilogue == driver.EpilogueNone && bits == 1})
			}
		}
	}
	return all
}

// checkMatmul runs a product on a card, twice, with different operands.
func checkMatmul(t *testing.T, c driver.Card, s driver.Stream, spec driver.MatmulSpec) {
	t.Helper()
	what := fmt.Sprintf("%+v", spec)
	const limit = 32 << 20
	m, err := c.PlanMatmul(spec, limit)
	must(t, err)
	ws := workspace(t, c, s, m.Workspace())
	for run := range uint32(2) {
		a := rounded(noise(spec.M*spec.K, 1+run), spec.AB)
		b := rounded(noise(spec.K*spec.N, 3+run), spec.AB)
		bias := rounded(noise(spec.N, 5+run), spec.Bias)
		before := rounded(noise(spec.M*spec.N, 7+run), spec.D)
		da, db, dbias, d := uploadAs(t, c, s, a, spec.AB), uploadAs(t, c, s, b, spec.AB), uploadAs(t, c, s, bias, spec.Bias), uploadAs(t, c, s, before, spec.D)
		must(t, m.Run(d, da, db, dbias, ws, s))
		near(t, what, downloadAs(t, c, s, d, spec.M*spec.N, spec.D), naiveMatmul(spec, a, b, bias, before), spec.K, spec.AB, spec.D, spec.Math)
		for _, p := range []driver.Ptr{da, db, dbias, d} {
			must(t, c.Free(p))
		}
	}
	if ws != 0 {
		must(t, c.Free(ws))
	}
	must(t, m.Close())
}

// naiveConv is ConvSpec by definition: the result of its direction.
func naiveConv(spec driver.ConvSpec, x, w, y []float32) []float64 {
	oh, ow := spec.OutHeight(), spec.OutWidth()
	dx, dw, out := make([]float64, len(x)), make([]float64, len(w)), make([]float64, len(y))
	for n := range spec.N {
		for i := range oh {
			for j := range ow {
				for o := range spec.O {
					iy := ((n*oh+i)*ow+j)*spec.O + o
					for r := range spec.K {
						for q := range spec.K {
							h, v := i*spec.Stride+r-spec.Pad, j*spec.Stride+q-spec.Pad
							if h < 0 || v < 0 || h >= spec.H || v >= spec.W {
								continue
							}
							for c := range spec.C {
								ix, iw := ((n*spec.H+h)*spec.W+v)*spec.C+c, ((o*spec.K+r)*spec.K+q)*spec.C+c
								out[iy] += float64(x[ix]) * float64(w[iw])
								dx[ix] += float64(y[iy]) * float64(w[iw])
								dw[iw] += float64(y[iy]) * float64(x[ix])
							}
						}
					}
				}
			}
		}
	}
	return [...][]float64{driver.Forward: out, driver.BackwardData: dx, driver.BackwardWeight: dw}[spec.Direction]
}

// checkConv runs a convolution on a card, twice on different operands, and
// twice on the same: the bits must be the same.
func checkConv(t *testing.T, c driver.Card, s driver.Stream, spec driver.ConvSpec) {
	t.Helper()
	what := fmt.Sprintf("%+v", spec)
	v, err := c.PlanConv(spec)
	must(t, err)
	ws := workspace(t, c, s, v.Workspace())
	for run := range uint32(2) {
		x := rounded(noise(spec.N*spec.H*spec.W*spec.C, 1+run), spec.Type)
		w := rounded(noise(spec.O*spec.K*spec.K*spec.C, 3+run), spec.Type)
		y := rounded(noise(spec.N*spec.OutHeight()*spec.OutWidth()*spec.O, 5+run), spec.Type)
		dx, dw, dy := uploadAs(t, c, s, x, spec.Type), uploadAs(t, c, s, w, spec.Type), uploadAs(t, c, s, y, spec.Type)
		operands, size, terms := [3]driver.Ptr{dy, dx, dw}, len(y), spec.K*spec.K*spec.C
		switch spec.Direction {
		case driver.BackwardData:
			operands, size, terms = [3]driver.Ptr{dx, dy, dw}, len(x), spec.K*spec.K*spec.O
		case driver.BackwardWeight:
			operands, size, terms = [3]driver.Ptr{dw, dy, dx}, len(w), spec.N*spec.OutHeight()*spec.OutWidth()
		}
		must(t, v.Run(operands[0], operands[1], operands[2], ws, s))
		got := downloadAs(t, c, s, operands[0], size, spec.Type)
		near(t, what, got, naiveConv(spec, x, w, y), terms, spec.Type, spec.Type, spec.Math)
		must(t, v.Run(operands[0], operands[1], operands[2], ws, s))
		for i, again := range downloadAs(t, c, s, operands[0], size, spec.Type) {
			if math.Float32bits(again) != math.Float32bits(got[i]) && spec.Deterministic {
				t.Errorf("%s: element %d is %g, and %g the second time", what, i, got[i], again)
				break
			}
		}
		for _, p := range operands {
			must(t, c.Free(p))
		}
	}
	if ws != 0 {
		must(t, c.Free(ws))
	}
	must(t, v.Close())
}

// convSpecs are the three directions of a convolution, in each precision.
func convSpecs(n, h, w, c, o, k, stride, pad int) []driver.ConvSpec {
	var all []driver.ConvSpec
	for _, dir := range []driver.Direction{driver.Forward, driver.BackwardData, driver.BackwardWeight} {
		for _, as := range []driver.ConvSpec{{Type: driver.F32}, {Type: driver.F32, Math: driver.MathTF32}, {Type: driver.BF16}} {
			as.Direction, as.N, as.H, as.W, as.C, as.O, as.K, as.Stride, as.Pad = dir, n, h, w, c, o, k, stride, pad
			as.Deterministic, as.WorkspaceLimit = true, 256<<20
			all = append(all, as)
		}
	}
	return all
}
