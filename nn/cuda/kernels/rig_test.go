package kernels_test

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
)

// rig runs kernels on a fake card.
type rig struct {
	t      *testing.T
	card   *fakecard.Card
	set    *kernels.Set
	stream driver.Stream
	rng    *rand.Rand
	// shift moves every tensor that the rig makes by one element from where
	// 16-byte accesses are possible.
	shift bool
	free  []driver.Ptr
	sizes map[driver.Ptr]int
}

// cacheDir is shared by all tests: what is cached are sources, for the fake card.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kernels")
	if err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "cache")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// newRig skips the test, saying so, where kernels cannot be executed.
func newRig(t *testing.T) *rig {
	t.Helper()
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skip("the kernels were NOT executed: " + why)
	}
	r := &rig{t: t, card: fakecard.New(fakecard.Options{Report: t}), rng: rand.New(rand.NewPCG(1, 2)), sizes: map[driver.Ptr]int{}}
	var err error
	var card driver.Card = r.card
	if smallGrids {
		card = &small{Card: r.card, fixed: map[driver.Function]bool{}}
	}
	if r.set, err = kernels.Load(card, cacheDir); err != nil {
		t.Fatal(err)
	}
	r.stream, err = r.card.NewStream()
	r.check(err)
	t.Cleanup(func() {
		r.clean()
		r.check(r.set.Close())
		r.check(r.card.DestroyStream(r.stream))
		r.check(r.card.Close())
	})
	return r
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// clean frees all tensors; the guards around them are looked at.
func (r *rig) clean() {
	r.check(r.card.SyncStream(r.stream))
	for _, p := range r.free {
		r.check(r.card.Free(p))
	}
	r.free = nil
}

// both runs f with both types, on aligned and on unaligned tensors.
func (r *rig) both(f func(typ string)) {
	for _, typ := range []string{"f32", "bf16"} {
		for _, r.shift = range []bool{false, true} {
			f(typ)
			r.clean()
			if r.t.Failed() {
				r.t.Fatalf("(%s, shifted %v)", typ, r.shift)
			}
		}
	}
	r.shift = false
}

// alloc makes a tensor of n elements of size bytes, without content.
func (r *rig) alloc(n, size int) driver.Ptr {
	r.t.Helper()
	at := 0
	if r.shift {
		at = size
	}
	p, err := r.card.Alloc(n*size + at)
	r.check(err)
	r.free = append(r.free, p)
	p = p.Add(at)
	r.sizes[p] = n * size
	return p
}

// put copies a slice to the card.
func put[E any](r *rig, data []E) driver.Ptr {
	r.t.Helper()
	size := int(unsafe.Sizeof(data[0]))
	p := r.alloc(len(data), size)
	h, err := r.card.AllocHost(len(data) * size)
	r.check(err)
	copy(unsafe.Slice((*E)(h), len(data)), data)
	r.check(r.card.CopyToCard(p, h, len(data)*size, r.stream))
	r.check(r.card.SyncStream(r.stream))
	r.check(r.card.FreeHost(h))
	return p
}

// get copies a tensor back.
func get[E any](r *rig, p driver.Ptr) []E {
	r.t.Helper()
	var e E
	bytes := r.sizes[p]
	h, err := r.card.AllocHost(bytes)
	r.check(err)
	r.check(r.card.CopyFromCard(h, p, bytes, r.stream))
	r.check(r.card.SyncStream(r.stream))
	out := append([]E(nil), unsafe.Slice((*E)(h), bytes/int(unsafe.Sizeof(e)))...)
	r.check(r.card.FreeHost(h))
	return out
}

// run launches a kernel.
func (r *rig) run(name string, args ...driver.Arg) {
	r.t.Helper()
	r.check(r.set.Launch(r.stream, name, args...))
	r.check(r.card.SyncStream(r.stream))
}

func size(typ string) int {
	if typ == "bf16" {
		return 2
	}
	return 4
}

// make makes a tensor of a type without content.
func (r *rig) make(typ string, n int) driver.Ptr { return r.alloc(n, size(typ)) }

// of puts numbers as a type, which must hold them exactly.
func (r *rig) of(typ string, data []float32) driver.Ptr {
	r.t.Helper()
	if typ == "f32" {
		return put(r, data)
	}
	half := make([]uint16, len(data))
	for i, v := range data {
		half[i] = fakecard.BF16(v)
	}
	return put(r, half)
}

// read gets a tensor of a type as float32.
func (r *rig) read(typ string, p driver.Ptr) []float32 {
	r.t.Helper()
	if typ == "f32" {
		return get[float32](r, p)
	}
	half := get[uint16](r, p)
	out := make([]float32, len(half))
	for i, v := range half {
		out[i] = math.Float32frombits(uint32(v) << 16)
	}
	return out
}

// random returns n numbers that typ holds exactly, N(0, 1) without zeros.
func (r *rig) random(typ string, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = round(typ, float32(r.rng.NormFloat64()))
	}
	return out
}

// round is the value of typ nearest to v.
func round(typ string, v float32) float32 {
	if typ == "bf16" {
		return math.Float32frombits(uint32(fakecard.BF16(v)) << 16)
	}
	return v
}

// keys returns row keys.
func (r *rig) keys(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = r.rng.Uint64()
	}
	return out
}

// near compares with a relative tolerance, of the largest number's hundredth at least.
func (r *rig) near(what string, got []float32, want []float64, tolerance float64) {
	r.t.Helper()
	if len(got) != len(want) {
		r.t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	largest := 0.0
	for _, v := range want {
		if !math.IsInf(v, 0) {
			largest = max(largest, math.Abs(v))
		}
	}
	for i, v := range want {
		g := float64(got[i])
		if math.IsInf(v, 0) && g == v {
			continue
		}
		if d := math.Abs(g - v); !(d <= tolerance*max(math.Abs(v), largest/100)) {
			r.t.Errorf("%s, element %d of %d: %g, want %g", what, i, len(got), g, v)
			return
		}
	}
}

// tolerance is what rounding the result to typ, and some operations in float32, cost.
func tolerance(typ string) float64 {
	if typ == "bf16" {
		return 1.0 / 200
	}
	return 2e-6
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// P, I, U, L and F are short for the package's.
var (
	P = kernels.P
	I = kernels.I
	U = kernels.U
	L = kernels.L
	F = kernels.F
)

// smallGrids lets newRig's kernels run on grids of one block across, as very
// large ones do on fewer blocks than they have pieces.
var smallGrids bool

// small is a card that makes grids narrow.
type small struct {
	*fakecard.Card
	fixed map[driver.Function]bool // these have a block for each piece
}

func (s *small) Function(m driver.Module, name string) (driver.Function, error) {
	f, err := s.Card.Function(m, name)
	s.fixed[f] = strings.Contains(name, "finish") || strings.Contains(name, "coef") || strings.HasPrefix(name, "conv1d_backward_weight")
	return f, err
}

func (s *small) Launch(f driver.Function, grid, block driver.Dim, shared int, stream driver.Stream, args []driver.Arg) error {
	if !s.fixed[f] {
		grid.X = 1
	}
	return s.Card.Launch(f, grid, block, shared, stream, args)
}

// TestSmallGrids runs the other tests so.
func TestSmallGrids(t *testing.T) {
	smallGrids = true
	defer func() { smallGrids = false }()
	for name, f := range map[string]func(*testing.T){"flat": TestFlat, "bias": TestBias, "convert": TestConvert, "dropout": TestDropout, "noise": TestNoise,
		"copy": TestCopyRows, "pad": TestPadRows, "l2norm": TestL2Norm, "topk": TestTopK, "batchnorm": TestBatchNormBackward, "add": TestBatchNormAddStats, "pool": TestMaxPool2D,
		"pool1d": TestMaxPool1D, "conv1d": TestConv1D, "fused": TestConv1DFused, "loss": TestCrossEntropy, "moe": TestMixtureOfExperts, "theta": TestTheta,
		"optimizers": TestOptimizers} {
		t.Run(name, f)
	}
}
