package kernel

import (
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"sdnn/nn/cpu/pool"
)

// winoCase is a convolution with random operands.
type winoCase struct {
	kind              ConvKind
	batch, h, w, c, o int // h and w of x
	rows              int
	stride            int
	x, dy, weight     []float32
	bias              []float32
	resize            func(*Conv3x3) // cuts the work in another way, or nil
	shift             int            // floats by which the workspace is moved off a cache line
}

func (k *winoCase) String() string {
	return fmt.Sprintf("%s rows %d of %d, %dx%d, %d to %d, stride %d", kindNames[k.kind], k.rows, k.batch, k.h, k.w, k.c, k.o, k.stride)
}

// y returns the height and width of y.
func (k *winoCase) y() (h, w int) { return ceilDiv(k.h, k.stride), ceilDiv(k.w, k.stride) }

// plan plans the convolution.
func (k *winoCase) plan() *Conv3x3 {
	if k.stride == 1 {
		return NewConv3x3(k.kind, k.batch, k.h, k.w, k.c, k.o)
	}
	h, w := k.y()
	alg := stride2
	if k.kind == ConvData {
		alg = stride2Data
	}
	return newConv3x3(k.kind, alg, k.batch, plane{k.h, k.w}, plane{h, w}, k.c, k.o) // even where it does not pay
}

var kindNames = [...]string{"forward", "data", "weights"}

func newWinoCase(kind ConvKind, batch, rows, h, w, c, o int, r *rand.Rand) *winoCase {
	return newStridedCase(kind, 1, batch, rows, h, w, c, o, r)
}

func newStridedCase(kind ConvKind, stride, batch, rows, h, w, c, o int, r *rand.Rand) *winoCase {
	values := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * scale)
		}
		return x
	}
	k := &winoCase{kind: kind, batch: batch, rows: rows, h: h, w: w, c: c, o: o, stride: stride}
	yh, yw := k.y()
	k.x, k.dy = values(rows*h*w*c, 1), values(rows*yh*yw*o, 1)
	k.weight = values(9*c*o, 1/math.Sqrt(9*float64(c)))
	if r.IntN(2) == 0 {
		k.bias = values(o, 1)
	}
	return k
}

// run computes the convolution on p with a workspace full of NaN; what lies
// behind the output must stay.
func (k *winoCase) run(t testing.TB, p *pool.Pool) []float32 {
	t.Helper()
	conv := k.plan()
	if conv == nil {
		t.Fatalf("%v: refused", k)
	}
	if k.resize != nil {
		k.resize(conv)
		conv.planWorkspace()
	}
	nan := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(math.NaN())
		}
		return x
	}
	a := ConvArgs{Rows: k.rows, X: k.x, W: k.weight, Work: make([]float32, conv.Workspace()+k.shift)[k.shift:]}
	copy(a.Work, nan(min(len(a.Work), 1<<20)))
	yh, yw := k.y()
	size := k.rows * yh * yw * k.o
	switch k.kind {
	case ConvForward:
		a.Bias = k.bias
	case ConvData:
		a.X, size = k.dy, k.rows*k.h*k.w*k.c
	case ConvWeights:
		a.DY, a.W, size = k.dy, nil, 9*k.c*k.o
	}
	out := nan(size + 100)
	a.Out = out
	conv.Run(p, a)
	for i, v := range out[size:] {
		if v == v {
			t.Fatalf("%v: wrote %d values behind the output", k, i+1)
		}
	}
	return out[:size]
}

// want computes the convolution in float64 from its definition.
func (k *winoCase) want() []float64 {
	var out []float64
	yh, yw := k.y()
	switch k.kind {
	case ConvForward:
		out = make([]float64, k.rows*yh*yw*k.o)
	case ConvData:
		out = make([]float64, k.rows*k.h*k.w*k.c)
	case ConvWeights:
		out = make([]float64, 9*k.c*k.o)
	}
	for n := range k.rows {
		for i := range yh {
			for j := range yw {
				for t := range 9 {
					y, x := k.stride*i+t/3-1, k.stride*j+t%3-1
					if y < 0 || y >= k.h || x < 0 || x >= k.w {
						continue
					}
					k.tap(out, ((n*k.h+y)*k.w+x)*k.c, ((n*yh+i)*yw+j)*k.o, t)
				}
				if k.kind == ConvForward && k.bias != nil {
					for o, b := range k.bias {
						out[((n*yh+i)*yw+j)*k.o+o] += float64(b)
					}
				}
			}
		}
	}
	return out
}

// tap adds the products of the pixel of x at xs with the pixel of y at ys.
func (k *winoCase) tap(out []float64, xs, ys, t int) {
	for o := range k.o {
		w := (9*o + t) * k.c
		sum := 0.0
		for c := range k.c {
			switch k.kind {
			case ConvForward:
				sum += float64(k.x[xs+c]) * float64(k.weight[w+c])
			case ConvData:
				out[xs+c] += float64(k.dy[ys+o]) * float64(k.weight[w+c])
			case ConvWeights:
				out[w+c] += float64(k.dy[ys+o]) * float64(k.x[xs+c])
			}
		}
		if k.kind == ConvForward {
			out[ys+o] += sum
		}
	}
}

// l2Error is the norm of the difference relative to the norm of want.
func l2Error(got []float32, want []float64) float64 {
	var d, n float64
	for i, w := range want {
		e := float64(got[i]) - w
		d += e * e
		n += w * w
	}
	return math.Sqrt(d / n)
}

// sameFloats reports whether two results are equal in every bit.
func sameFloats(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// randomWino returns a case of small size; one in four has more channels than
// a block of the product.
func randomWino(r *rand.Rand) *winoCase {
	batch := 1 + r.IntN(4)
	h, w := 2+r.IntN(10), 2+r.IntN(10)
	c, o := 16*(1+r.IntN(4)), 16*(1+r.IntN(7))
	switch r.IntN(8) {
	case 0, 1:
		h, w, batch = 2, 2, 1+r.IntN(30)
	case 2:
		c, h, w = gemmKC+16, 2+r.IntN(2), 2+r.IntN(4)
	case 3:
		o, h, w = gemmKC+16, 2+r.IntN(2), 2+r.IntN(4)
	}
	k := newStridedCase(ConvKind(r.IntN(3)), 1+r.IntN(2), batch, 1+r.IntN(batch), h, w, c, o, r)
	// Every way to cut the work.
	k.resize = func(v *Conv3x3) {
		v.chunk = 1 + r.IntN(v.tilesOf(batch)+1)
		v.group = min(v.n, 32*(1+r.IntN(4)))
		v.segments = r.IntN(4)
		if v.kind == ConvWeights && v.segments > 0 {
			v.group = v.n
		}
	}
	if r.IntN(2) == 0 {
		k.resize = nil
	}
	return k
}

func TestConv3x3AgainstFloat64(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	eachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 24 {
			k := randomWino(r)
			if e := l2Error(k.run(t, p), k.want()); !(e < 4e-6) {
				t.Errorf("%v: l2 error %.2g", k, e)
			}
		}
	})
}

// The bits depend on neither the number of threads nor, among the vector
// paths, on the path; those of y and dx not on how the work is cut either.
func TestConv3x3Bits(t *testing.T) {
	pools := []*pool.Pool{pool.New(1), pool.New(2), pool.New(3), pool.New(winoWorkers + 1)}
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		k := randomWino(r)
		if k.resize != nil && k.kind == ConvWeights {
			k.resize = nil
		}
		var results [][]float32
		for _, l := range Levels {
			t.Run(l.String(), func(t *testing.T) {
				usePath(t, l)
				results = append(results, k.run(t, pools[0]))
				for _, p := range pools[1:] {
					if !sameFloats(k.run(t, p), results[len(results)-1]) {
						t.Errorf("%v: %d threads end in other bits than one", k, p.Threads())
					}
				}
			})
		}
		if len(results) == 3 && !sameFloats(results[AVX2], results[AVX512]) {
			t.Errorf("%v: AVX2 and AVX-512 end in other bits", k)
		}
	}
	for _, p := range pools {
		p.Close()
	}
}

// TestConv3x3AtRealSizes checks a sample of the results for layers of VGG16.
// The engine promises an l2 error of at most 1.5e-5; this is what it reaches.
func TestConv3x3AtRealSizes(t *testing.T) {
	const bound = 3e-6
	p := pool.New(2)
	defer p.Close()
	for _, c := range []struct{ size, batch, c, o, stride int }{
		{32, 16, 64, 64, 1}, {8, 8, 128, 256, 1}, {4, 8, 256, 512, 1}, {2, 32, 512, 512, 1}, {32, 8, 128, 256, 2}, {16, 8, 256, 512, 2},
	} {
		r := rand.New(rand.NewPCG(5, 6))
		k := newStridedCase(ConvForward, c.stride, c.batch, c.batch, c.size, c.size, c.c, c.o, r)
		for kind := range kindNames {
			k.kind = ConvKind(kind)
			got := k.run(t, p)
			var sample []float32
			var want []float64
			for range 60 {
				i := r.IntN(len(got))
				sample = append(sample, got[i])
				want = append(want, k.wantAt(i))
			}
			e := l2Error(sample, want)
			if !(e < bound) {
				t.Errorf("%v: l2 error %.2g", k, e)
			}
			t.Logf("%v: l2 error %.2g", k, e)
		}
	}
}

// wantAt computes one value of the result in float64 from its definition.
func (k *winoCase) wantAt(i int) (sum float64) {
	dot := func(x, y []float32, n, xStep, yStep int) {
		for j := range n {
			sum += float64(x[j*xStep]) * float64(y[j*yStep])
		}
	}
	yh, yw := k.y()
	// each calls f for the taps and the pixels of x that a pixel of y reads.
	each := func(pixel int, f func(t, x int)) {
		i, j := pixel/yw%yh, pixel%yw
		for t := range 9 {
			yy, xx := k.stride*i+t/3-1, k.stride*j+t%3-1
			if yy >= 0 && yy < k.h && xx >= 0 && xx < k.w {
				f(t, (pixel/yw/yh*k.h+yy)*k.w+xx)
			}
		}
	}
	switch k.kind {
	case ConvForward:
		o := i % k.o
		each(i/k.o, func(t, x int) { dot(k.x[x*k.c:], k.weight[(9*o+t)*k.c:], k.c, 1, 1) })
		if k.bias != nil {
			sum += float64(k.bias[o])
		}
	case ConvData:
		c, image := i%k.c, i/k.c/k.h/k.w
		for pixel := image * yh * yw; pixel < (image+1)*yh*yw; pixel++ {
			each(pixel, func(t, x int) {
				if x == i/k.c {
					dot(k.dy[pixel*k.o:], k.weight[t*k.c+c:], k.o, 1, 9*k.c)
				}
			})
		}
	case ConvWeights:
		o, tap, c := i/(9*k.c), i/k.c%9, i%k.c
		for pixel := range k.rows * yh * yw {
			each(pixel, func(t, x int) {
				if t == tap {
					dot(k.dy[pixel*k.o+o:], k.x[x*k.c+c:], 1, 1, 1)
				}
			})
		}
	}
	return sum
}

func TestConv3x3Refuses(t *testing.T) {
	for _, s := range [][4]int{{1, 5, 16, 16}, {5, 1, 16, 16}, {4, 4, 3, 16}, {4, 4, 16, 24}, {4, 4, 0, 16}} {
		if NewConv3x3(ConvForward, 1, s[0], s[1], s[2], s[3]) != nil {
			t.Errorf("took %v", s)
		}
	}
}

func TestChooseConv(t *testing.T) {
	for value, want := range map[string]bool{"": true, "auto": true, "winograd": true, "direct": false} {
		if fast, err := chooseConv(value); fast != want || err != nil {
			t.Errorf("%q: %v, %v", value, fast, err)
		}
	}
	if _, err := chooseConv("fft"); err == nil {
		t.Error("fft was taken")
	}
}

// Calls after the first allocate nothing.
func TestConv3x3AllocatesNothing(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	for kind := range kindNames {
		for _, size := range [][2]int{{32, 17}, {4, 40}} {
			k := newWinoCase(ConvKind(kind), size[1], size[1], size[0], size[0], 16, 32, rand.New(rand.NewPCG(1, 1)))
			conv := NewConv3x3(k.kind, k.batch, k.h, k.w, k.c, k.o)
			a := ConvArgs{Rows: k.rows, X: k.x, DY: k.dy, W: k.weight, Work: make([]float32, conv.Workspace()),
				Out: make([]float32, max(len(k.x), len(k.dy), len(k.weight)))}
			if k.kind == ConvData {
				a.X = k.dy
			}
			if n := testing.AllocsPerRun(5, func() { conv.Run(p, a) }); n > 0 {
				t.Errorf("%v: a call allocates %g times", k, n)
			}
		}
	}
}

var recordWino = flag.Bool("record-wino", false, "write testdata/wino_checksums.txt from the path in use")

// TestConv3x3Checksums compares with checksums recorded once: a machine with
// AVX2 alone proves that it ends in the bits of one with AVX-512.
func TestConv3x3Checksums(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	const file = "testdata/wino_checksums.txt"
	sums := func() string {
		var text strings.Builder
		for i, s := range [][5]int{{17, 32, 32, 16, 48}, {3, 9, 6, 32, 16}, {5, 8, 8, 64, 96}, {2, 4, 4, gemmKC + 16, 64}, {30, 2, 2, 80, 32},
			{17, 32, 32, 16, 48}, {3, 17, 14, 64, 80}} {
			stride := 1 + i/5
			for kind := range kindNames {
				batch, h, w, c, o := s[0], s[1], s[2], s[3], s[4]
				k := &winoCase{kind: ConvKind(kind), batch: batch, rows: batch, h: h, w: w, c: c, o: o, stride: stride}
				k.x = random(make([]float32, batch*h*w*c), 1, 1)
				k.dy = random(make([]float32, batch*h*w*o), 2, 1)
				k.weight = random(make([]float32, 9*c*o), 3, 0.1)
				k.bias = random(make([]float32, o), 4, 1)
				hash := fnv.New64a()
				_ = binary.Write(hash, binary.LittleEndian, k.run(t, p))
				fmt.Fprintf(&text, "%s %v stride %d %016x\n", kindNames[kind], s, stride, hash.Sum64())
			}
		}
		return text.String()
	}
	if *recordWino {
		if err := os.WriteFile(file, []byte(sums()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	eachPath(t, func(t *testing.T) {
		if Path() == Portable {
			t.Skip("the portable path need not round as fused multiply-add does")
		}
		if got := sums(); got != string(want) {
			t.Errorf("checksums\n%swant\n%s", got, want)
		}
	})
}
