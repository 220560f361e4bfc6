package cpu_test

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"testing"
	"unsafe"

	"sdnn/cnn"
	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/nn/cpu/kernel"
)

// stepNet is a net of one family, small, with the ops of the large one.
type stepNet struct {
	name  string
	tail  int // rows of the last batch of an epoch
	build func() *nn.Model
	o     nn.CompileOptions
}

// stepNets are the nets whose steps are compared bit by bit.
func stepNets() []stepNet {
	adam := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam(), Seed: 7}
	sgd := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(5e-4), Seed: 7}
	video := func(kind string, o nn.CompileOptions) stepNet {
		return stepNet{kind, 33, func() *nn.Model { return videoNet(kind, 70, 45, 37) }, o}
	}
	image := func(name string, batch, tail, size int, build func(cnn.Spec) *nn.Model) stepNet {
		s := cnn.Spec{Net: name, Batch: batch, Outputs: 7, Size: size, Channels: 3, Dropout: 0.3}
		return stepNet{name, tail, func() *nn.Model { return build(s) }, sgd}
	}
	nets := []stepNet{
		video("logistic", adam), video("mlp", adam), video("mlp", sgd), video("conv1d", adam), video("conv1d", sgd), video("moe", adam),
		// 1088 tiles of 4 x 4 pixels: threads work on chunks of their own in the second convolution, which
		// the tail of 5 images does not fill; they share those of the third and fourth, 2 x 2 pixels are
		// for the fifth. The first, of 3 channels, is a product of patches in several parts (GemmDeep).
		image("vgg", 17, 5, 32, func(s cnn.Spec) *nn.Model { return cnn.VGG(s, []int{16, 16, 0, 32, 0, 20, 0, 32, 0, 48, 0}, 20) }),
		// Strides of 2 by Winograd (16 to 32 channels) and by products (to 20), sums in parts in the
		// shortcuts, residual sums in the passes of a normalisation.
		image("wrn", 17, 6, 16, func(s cnn.Spec) *nn.Model { return cnn.WRN(s, 2, []int{16, 16, 32, 20}) }),
		// 4096 windows of stride 2.
		image("wrn wide", 16, 3, 32, func(s cnn.Spec) *nn.Model { return cnn.WRN(s, 1, []int{16, 16, 32}) }),
		{"odd maps", 9, func() *nn.Model { return normNet("two readers of the relu", 21, 9, 7, 20) }, sgd},
	}
	if kernel.BF16Err() == nil {
		o := sgd
		o.Precision = nn.BF16
		n := video("mlp", o)
		n.name, n.build = "mlp in bf16", func() *nn.Model { return videoNet("mlp", 70, 85, 97) }
		nets = append(nets, n)
	}
	return nets
}

// bits are what a step leaves, by the name of the tensor.
type bits struct {
	names []string
	sums  map[string]uint64
}

var bitsSeed = maphash.MakeSeed()

func (b *bits) add(name string, x []float32) {
	if b.sums == nil {
		b.sums = map[string]uint64{}
	}
	b.names = append(b.names, name)
	b.sums[name] = maphash.Bytes(bitsSeed, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
}

// differ returns the first tensor that is another in c, "" if there is none.
func (b *bits) differ(c *bits) string {
	if len(b.names) != len(c.names) {
		return fmt.Sprintf("%d tensors where there were %d", len(b.names), len(c.names))
	}
	for _, name := range b.names {
		if b.sums[name] != c.sums[name] {
			return name
		}
	}
	return ""
}

// stepper runs steps of a net and takes their bits.
type stepper struct {
	t      *testing.T
	s      nn.Session
	m      *nn.Model
	last   nn.StepResult
	poison bool // fill the memory with NaN before every step and evaluation
}

func newStepper(t *testing.T, n stepNet, e *cpu.Engine) *stepper {
	t.Helper()
	r := &stepper{t: t, m: n.build()}
	o := n.o
	o.OnStep = func(s nn.StepResult) { r.last = s }
	var err error
	if r.s, err = e.Compile(r.m, o); err != nil {
		t.Fatal(err)
	}
	return r
}

// step trains on a batch of some rows, evaluates it twice, the second time
// with what the first has kept, and returns all that came of it.
func (r *stepper) step(i, rows int) *bits {
	r.t.Helper()
	f := r.s.Feed(i % 2)
	fill(f, i, rows, r.m.Outputs())
	for _, x := range f.Features {
		for behind := len(x) / r.m.Batch * rows; behind < len(x); behind++ {
			x[behind] = float32(math.NaN()) // not part of the batch
		}
	}
	if r.poison {
		cpu.Poison(r.s)
	}
	if err := r.s.TrainStep(i%2, nn.StepParams{LR: 0.01, Step: int64(i + 1)}); err != nil {
		r.t.Fatal(err)
	}
	b := &bits{}
	if math.IsNaN(r.last.Loss) {
		r.t.Fatalf("the loss of step %d, of %d rows, is NaN", i, rows)
	}
	b.add("loss", []float32{float32(r.last.Loss)})
	b.add("theta", r.last.Theta)
	for _, st := range r.s.State() {
		_ = r.s.ReadState(st.Name, func(d []float32) error { b.add(st.Name, d); return nil })
	}
	if r.poison {
		cpu.Poison(r.s)
	}
	for _, when := range []string{"", " again"} {
		scores, _, err := r.s.Forward(i % 2)
		if err != nil {
			r.t.Fatal(err)
		}
		b.add("scores"+when, scores)
		b.add("penultimate"+when, r.s.Penultimate())
	}
	return b
}

// startFrom gives the session the state of another.
func (r *stepper) startFrom(other *stepper) {
	for _, st := range other.s.State() {
		_ = other.s.ReadState(st.Name, func(d []float32) error { return r.s.WriteState(st.Name, d) })
	}
}

// Whole batches, the tail of an epoch, whole batches again: every step leaves
// the same bits on any number of threads and with vectors of either width; and
// the tail those that it leaves in a session that has never seen a whole batch
// and whose memory holds NaN: no step reads what an earlier one has left.
func TestStepsGiveTheSameBits(t *testing.T) {
	for _, n := range stepNets() {
		t.Run(fmt.Sprintf("%s/%s", n.name, n.o.Optimizer.Kind), func(t *testing.T) {
			want := map[bool][]*bits{} // by whether the path is the portable one, whose roundings are others
			for _, level := range []kernel.Level{kernel.AVX512, kernel.AVX2, kernel.Portable} {
				if !kernel.Has(level) {
					t.Logf("NOT CHECKED: this CPU has no %v", level)
					continue
				}
				if n.o.Precision == nn.BF16 && level != kernel.AVX512 {
					continue
				}
				before, _ := kernel.Use(level)
				for threads := 1; threads <= 3; threads++ {
					got := steps(t, n, threads)
					first := want[level == kernel.Portable]
					if first == nil {
						want[level == kernel.Portable] = got
						continue
					}
					for i := range got {
						if name := first[i].differ(got[i]); name != "" {
							t.Errorf("%v, %d threads: after step %d %s is another than with the first path on one thread", level, threads, i, name)
							break
						}
					}
				}
				_, _ = kernel.Use(before)
			}
		})
	}
}

// steps runs the steps of TestStepsGiveTheSameBits on a number of threads. The
// fresh session has two: what a step reads does not depend on their number.
func steps(t *testing.T, n stepNet, threads int) (all []*bits) {
	t.Helper()
	e := engine(t, threads)
	used := newStepper(t, n, e)
	defer used.s.Close()
	whole := used.m.Batch
	for i, rows := range []int{whole, n.tail, whole} {
		if rows != n.tail || threads != 2 {
			all = append(all, used.step(i, rows))
			continue
		}
		fresh := newStepper(t, n, e)
		fresh.poison = true
		fresh.startFrom(used)
		all = append(all, used.step(i, rows))
		if name := all[i].differ(fresh.step(i, rows)); name != "" {
			t.Errorf("%v: a batch of %d rows after one of %d leaves another %s than in a fresh session", kernel.Path(), rows, whole, name)
		}
		fresh.s.Close()
	}
	return all
}

// An evaluation's scores do not depend on the batch that a session is made for.
func TestEvaluationIsTheSameForAnyBatch(t *testing.T) {
	for _, n := range stepNets() {
		var want []float32
		for _, batch := range []int{n.build().Batch, n.tail} {
			s, err := engine(t, 2).Compile(n.build().WithBatch(batch), nn.CompileOptions{Precision: n.o.Precision})
			if err != nil {
				t.Fatal(err)
			}
			x := s.Feed(0)
			for i := range x.Features {
				nn.FillNormal(x.Features[i], 7) // begins with the same numbers, however long
			}
			x.Rows = n.tail
			scores, _, err := s.Forward(0)
			if err != nil {
				t.Fatal(err)
			}
			got := append(slices.Clone(scores), s.Penultimate()...)
			if want == nil {
				want = got
			} else if !sameBits(got, want) {
				t.Errorf("%s: a session for batches of %d scores %d rows otherwise than one for larger batches", n.name, batch, n.tail)
			}
			s.Close()
		}
	}
}
