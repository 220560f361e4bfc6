package kernels_test

import (
	"math"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// oddSizes are around the widths of vectors, warps and blocks.
var oddSizes = []int{1, 7, 31, 33, 256, 1000}

func TestFlat(t *testing.T) {
	r := newRig(t)
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, k := range []struct {
		name   string
		inputs int
		of     func(a, b float64) float64
		extra  []driver.Arg
	}{
		{"relu_forward", 1, func(a, _ float64) float64 { return max(a, 0) }, nil},
		{"sigmoid_forward", 1, func(a, _ float64) float64 { return sigmoid(a) }, nil},
		{"relu_backward", 2, func(dy, y float64) float64 { return gate(dy, y > 0) }, nil},
		{"relu_dropout_backward", 2, func(dy, y float64) float64 { return gate(1.25*dy, y > 0) }, []driver.Arg{F(1.25)}},
		{"sigmoid_backward", 2, func(dy, y float64) float64 { return dy * y * (1 - y) }, nil},
		{"add", 2, func(a, b float64) float64 { return a + b }, nil},
	} {
		r.both(func(typ string) {
			for _, n := range oddSizes {
				a, b := r.random(typ, n), r.random(typ, n)
				want := make([]float64, n)
				for i := range want {
					want[i] = k.of(float64(a[i]), float64(b[i]))
				}
				y, pa := r.make(typ, n), r.of(typ, a)
				args := []driver.Arg{P(y), P(pa)}
				if k.inputs == 2 {
					args = append(args, P(r.of(typ, b)))
				}
				args = append(append(args, L(uint64(n))), k.extra...)
				r.run(k.name+"_"+typ, args...)
				r.near(k.name, r.read(typ, y), want, tolerance(typ))
				args[0] = P(pa) // in place
				r.run(k.name+"_"+typ, args...)
				r.near(k.name+" in place", r.read(typ, pa), want, tolerance(typ))
			}
		})
	}
}

func gate(v float64, pass bool) float64 {
	if pass {
		return v
	}
	return 0
}

func TestBias(t *testing.T) {
	r := newRig(t)
	for _, relu := range []bool{false, true} {
		r.both(func(typ string) {
			for _, c := range []int{1, 3, 8, 20, 33, 160} {
				rows := 37
				x, bias := r.random(typ, rows*c), r.random("f32", c)
				want := make([]float64, rows*c)
				for i := range want {
					want[i] = float64(x[i]) + float64(bias[i%c])
					if relu {
						want[i] = max(want[i], 0)
					}
				}
				y, kernel := r.make(typ, rows*c), "bias_"
				if relu {
					kernel = "bias_relu_"
				}
				r.run(kernel+typ, P(y), P(r.of(typ, x)), P(put(r, bias)), I(rows), I(c))
				r.near(kernel, r.read(typ, y), want, tolerance(typ))
			}
		})
	}
}

func TestConvert(t *testing.T) {
	r := newRig(t)
	special := []float32{0, float32(math.Copysign(0, -1)), 1, 1 + 1.0/256, 1 + 3.0/256, 1 + 1.0/256 + 1e-6, -1 - 1.0/256, 3.4e38, math.MaxFloat32,
		1e-45, 1e-40, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	for _, r.shift = range []bool{false, true} {
		for _, n := range oddSizes {
			x := append(append([]float32(nil), special...), r.random("f32", n)...)
			y, z := r.make("bf16", len(x)), r.make("f32", len(x))
			r.run("convert_f32_bf16", P(y), P(put(r, x)), L(uint64(len(x))))
			r.run("convert_bf16_f32", P(z), P(y), L(uint64(len(x))))
			back := get[float32](r, z)
			for i, v := range x {
				want := nearestBF16(v)
				if got := back[i]; got != want && !(got != got && want != want) {
					t.Errorf("bf16 of %g is %g, want %g", v, got, want)
				}
			}
		}
		r.clean()
	}
}

// nearestBF16 compares the two neighbours.
func nearestBF16(v float32) float32 {
	if v != v || math.IsInf(float64(v), 0) {
		return v
	}
	u := math.Float32bits(v)
	low := math.Float32frombits(u &^ 0xffff)
	next := u&^0xffff + 0x10000
	high := float64(math.Float32frombits(next))
	if math.IsInf(high, 0) { // as if the exponent went on
		high = math.Copysign(math.Ldexp(1, 128), high)
	}
	dl, dh := math.Abs(float64(v)-float64(low)), math.Abs(high-float64(v))
	if dh < dl || dh == dl && next>>16&1 == 0 {
		return math.Float32frombits(next)
	}
	return low
}

func TestDropout(t *testing.T) {
	r := newRig(t)
	const rate, stream = 0.3, 5
	r.both(func(typ string) {
		for _, width := range []int{1, 31, 33, 64, 1000} {
			rows := 5
			x, keys := r.random(typ, rows*width), r.keys(rows)
			scale := float32(1 / (1 - rate))
			want := make([]float32, len(x))
			for i := range x {
				key := nn.StreamKey(keys[i/width], stream)
				if nn.Hash32(key, uint32(i%width)) >= nn.KeepThreshold(rate) {
					want[i] = round(typ, x[i]*scale)
				}
			}
			y := r.make(typ, len(x))
			r.run("dropout_"+typ, P(y), P(r.of(typ, x)), P(put(r, keys)), I(rows), I(width), U(stream), U(nn.KeepThreshold(rate)), F(scale))
			for i, v := range r.read(typ, y) {
				if v != want[i] {
					t.Fatalf("%s, width %d, element %d: %g, want %g exactly", typ, width, i, v, want[i])
				}
			}
		}
	})
}

func TestNoise(t *testing.T) {
	r := newRig(t)
	const std, stream = 0.25, 3
	r.both(func(typ string) {
		for _, width := range []int{1, 2, 31, 300} {
			rows := 4
			x, keys := r.random(typ, rows*width), r.keys(rows)
			want, normal := make([]float64, len(x)), make([]float32, width)
			for row := range rows {
				nn.FillNormal(normal, nn.StreamKey(keys[row], stream))
				for j, z := range normal {
					want[row*width+j] = float64(x[row*width+j]) + std*float64(z)
				}
			}
			y := r.make(typ, len(x))
			r.run("noise_"+typ, P(y), P(r.of(typ, x)), P(put(r, keys)), I(rows), I(width), U(stream), F(std))
			r.near("noise", r.read(typ, y), want, tolerance(typ))
		}
	})
}
