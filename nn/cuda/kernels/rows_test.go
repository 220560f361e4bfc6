package kernels_test

import (
	"math"
	"slices"
	"testing"

	"sdnn/features"
	"sdnn/nn/cuda/driver"
)

func TestCopyRows(t *testing.T) {
	r := newRig(t)
	for _, types := range [][2]string{{"f32", "f32"}, {"f32", "bf16"}, {"bf16", "bf16"}, {"bf16", "f32"}} {
		for _, r.shift = range []bool{false, true} {
			for _, width := range []int{1, 3, 12, 33, 260} {
				for _, indexed := range []bool{false, true} {
					rows, source, xs, ys := 19, 30, width+4, width+8
					x := r.random("bf16", source*xs) // what both types hold
					index := make([]int32, rows)
					for i := range index {
						index[i] = int32(i)
						if indexed {
							index[i] = int32(r.rng.IntN(source))
						}
					}
					y := r.of(types[1], make([]float32, rows*ys))
					p := driver.Ptr(0)
					if indexed {
						p = put(r, index)
					}
					r.run("copy_rows_"+types[0]+"_"+types[1], P(y), P(r.of(types[0], x)), P(p), I(rows), I(width), I(ys), I(xs))
					for i, v := range r.read(types[1], y) {
						want := float32(0)
						if c := i % ys; c < width {
							want = x[int(index[i/ys])*xs+c]
						}
						if v != want {
							t.Fatalf("%v, width %d, element %d: %g, want %g", types, width, i, v, want)
						}
					}
				}
			}
			r.clean()
		}
	}
}

// norms returns the divisor of each row.
func norms(x []float32, width int) []float64 {
	var out []float64
	for from := 0; from < len(x); from += width {
		s := 0.0
		for _, v := range x[from : from+width] {
			s += float64(v) * float64(v)
		}
		out = append(out, max(math.Sqrt(s), 1e-12))
	}
	return out
}

func TestL2Norm(t *testing.T) {
	r := newRig(t)
	for _, types := range [][2]string{{"f32", "f32"}, {"f32", "bf16"}, {"bf16", "bf16"}} {
		for _, r.shift = range []bool{false, true} {
			for _, width := range []int{1, 31, 32, 33, 128, 1000} {
				rows := 11
				x := r.random(types[0], rows*width)
				clear(x[:width]) // a row of zeros stays one
				want := make([]float64, len(x))
				for i, n := range norms(x, width) {
					for j := i * width; j < (i+1)*width; j++ {
						want[j] = float64(x[j]) / n
					}
				}
				y := r.make(types[1], len(x))
				r.run("l2norm_forward_"+types[0]+"_"+types[1], P(y), P(r.of(types[0], x)), P(0), I(rows), I(width), I(width), I(width))
				r.near("l2norm", r.read(types[1], y), want, tolerance(types[1]))
			}
			r.clean()
		}
	}
	r.both(func(typ string) {
		for _, width := range []int{1, 33, 128} {
			rows := 9
			x, dy := r.random(typ, rows*width), r.random(typ, rows*width)
			want := make([]float64, len(x))
			for i, n := range norms(x, width) {
				along := 0.0
				for j := i * width; j < (i+1)*width; j++ {
					along += float64(x[j]) / n * float64(dy[j])
				}
				for j := i * width; j < (i+1)*width; j++ {
					want[j] = (float64(dy[j]) - float64(x[j])/n*along) / n
				}
			}
			dx := r.make(typ, len(x))
			r.run("l2norm_backward_"+typ, P(dx), P(r.of(typ, dy)), P(r.of(typ, x)), I(rows), I(width))
			if width > 1 { // else all is rounding
				r.near("l2norm backward", r.read(typ, dx), want, 4*tolerance(typ))
			}
		}
	})
}

// TestL2NormGather normalises rows of a table by index into padded rows.
func TestL2NormGather(t *testing.T) {
	r := newRig(t)
	const width, rows, stride = 12, 5, 16
	x, index := r.random("f32", 20*width), []int32{7, 0, 19, 7, 3}
	y := r.of("f32", make([]float32, rows*stride))
	r.run("l2norm_forward_f32_f32", P(y), P(put(r, x)), P(put(r, index)), I(rows), I(width), I(stride), I(width))
	want := make([]float64, rows*stride)
	n := norms(x, width)
	for i, from := range index {
		for j := range width {
			want[i*stride+j] = float64(x[int(from)*width+j]) / n[from]
		}
	}
	r.near("gathered", get[float32](r, y), want, 1e-6)
}

// TestAugment compares with features' augmentation to the bit.
func TestAugment(t *testing.T) {
	r := newRig(t)
	mean, std := []float64{125.3, 123, 113.9}, []float64{63, 62.1, 66.7}
	for _, a := range []features.Augment{{}, {Pad: 4, Flip: true}, {Pad: 4, Flip: true, Cutout: 16}, {Pad: 1, Cutout: 7}, {Flip: true}} {
		for _, side := range []int{9, 32} {
			g, err := features.NewAugmenter(side, mean, std, a, nil)
			r.check(err)
			r.augment(g, a, side)
			r.clean()
		}
	}
}

func (r *rig) augment(g *features.Augmenter, a features.Augment, side int) {
	const stored, rows = 6, 9
	width := g.Width()
	images := make([]byte, stored*width)
	for i := range images {
		images[i] = byte(r.rng.Uint32())
	}
	keys, index := r.keys(rows), make([]int32, rows)
	want, plain := make([]float32, rows*width), make([]float32, rows*width)
	for i := range index {
		index[i] = int32(r.rng.IntN(stored))
		img := images[int(index[i])*width:][:width]
		g.Image(want[i*width:][:width], img, keys[i])
		g.Normalise(plain[i*width:][:width], img)
	}
	table := put(r, byteTable(g, side))
	pi, px, pk := put(r, images), put(r, index), put(r, keys)
	flip := 0
	if a.Flip {
		flip = 1
	}
	for _, typ := range []string{"f32", "bf16"} {
		for _, pitch := range []int{3, 4, 8} {
			for _, varied := range []bool{true, false} {
				y, k, w := r.make(typ, rows*side*side*pitch), pk, want
				if !varied {
					k, w = 0, plain
				}
				r.run("augment_"+typ, P(y), P(pi), P(px), P(k), P(table), I(rows), I(side), I(pitch), I(a.Pad), I(flip), I(a.Cutout))
				for i, v := range r.read(typ, y) {
					x := float32(0)
					if i%pitch < 3 {
						x = round(typ, w[i/pitch*3+i%pitch])
					}
					if math.Float32bits(v) != math.Float32bits(x) && !(v == 0 && x == 0) {
						r.t.Fatalf("%+v, side %d, %s, pitch %d, varied %v, element %d: %g, want %g", a, side, typ, pitch, varied, i, v, x)
					}
				}
			}
		}
	}
}

// byteTable is the normalised value of each byte of each plane, as the
// augmenter itself says it.
func byteTable(g *features.Augmenter, side int) []float32 {
	table, pixels, out := make([]float32, 768), make([]byte, g.Width()), make([]float32, g.Width())
	for b := range 256 {
		for i := range pixels {
			pixels[i] = byte(b)
		}
		g.Normalise(out, pixels)
		for c := range 3 {
			table[c*256+b] = out[c]
		}
	}
	return table
}

func TestTopK(t *testing.T) {
	r := newRig(t)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct{ rows, outputs, stride, k int }{{3, 1, 1, 1}, {5, 31, 33, 20}, {2, 700, 704, 20}, {4, 10, 10, 12}, {1, 300, 300, 5}} {
		s := r.random("f32", c.rows*c.stride)
		for i := range s {
			s[i] = float32(int(s[i] * 8)) // many equal ones, and both zeros
		}
		if c.outputs > 20 {
			s[3], s[7], s[9], s[12] = nan, -inf, inf, float32(math.Copysign(float64(nan), -1))
		}
		value, column := r.make("f32", c.rows*c.k), r.alloc(c.rows*c.k, 4)
		r.run("topk_f32", P(value), P(column), P(put(r, s)), I(c.rows), I(c.outputs), I(c.stride), I(c.k))
		v, at := get[float32](r, value), get[int32](r, column)
		for row := range c.rows {
			want := best(s[row*c.stride:][:c.outputs])
			for i := range c.k {
				if i >= len(want) {
					if at[row*c.k+i] != -1 {
						t.Errorf("place %d of %d outputs is column %d, want -1", i, c.outputs, at[row*c.k+i])
					}
					continue
				}
				if g := at[row*c.k+i]; g != want[i] {
					t.Errorf("%+v, row %d, place %d: column %d, want %d", c, row, i, g, want[i])
				} else if x := s[row*c.stride+int(g)]; v[row*c.k+i] != x && x == x {
					t.Errorf("%+v, row %d, place %d: value %g, want %g", c, row, i, v[row*c.k+i], x)
				}
			}
		}
	}
}

// best lists the columns, the best first.
func best(s []float32) []int32 {
	list := make([]int32, len(s))
	for i := range list {
		list[i] = int32(i)
	}
	rank := func(v float32) float64 {
		if v != v {
			return 2 // above what is below
		}
		return math.Atan(float64(v))
	}
	slices.SortStableFunc(list, func(a, b int32) int {
		switch x, y := rank(s[a]), rank(s[b]); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return list
}

func TestPadRows(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, k := range [][3]int{{1, 3, 8}, {300, 3, 8}, {7, 5, 6}, {40, 8, 8}, {9, 17, 24}} {
			rows, width, stride := k[0], k[1], k[2]
			x, y := r.random("bf16", rows*width), r.make("bf16", rows*stride)
			r.run("pad_rows_"+typ+"_bf16", P(y), P(r.of(typ, x)), I(rows), I(width), I(stride))
			for i, v := range r.read("bf16", y) {
				want := float32(0)
				if i%stride < width {
					want = x[i/stride*width+i%stride]
				}
				if v != want {
					t.Fatalf("%v: element %d is %g, want %g", k, i, v, want)
				}
			}
		}
	})
}
