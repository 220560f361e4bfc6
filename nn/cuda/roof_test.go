package cuda

import (
	"math"
	"testing"
	"time"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

// timedCard is a null card on which everything takes a millisecond.
type timedCard struct{ *nullCard }

func (timedCard) NewTimedEvent() (driver.Event, error) { return 1, nil }
func (timedCard) Elapsed(_, _ driver.Event) (time.Duration, error) {
	return time.Millisecond, nil
}

func profiled(t *testing.T, card driver.Card, p nn.Precision) *session {
	t.Helper()
	e, err := New(card, Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, o := bigModel(t, "logistic", 4, 20)
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: o, Precision: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fail(s.Close(), e.Close(), card.Close()); err != nil {
			t.Error(err)
		}
	})
	return s.(*session)
}

// The figures are the work that was queued over the card's time for it.
func TestRoof(t *testing.T) {
	card := timedCard{newNullCard(80 << 30)}
	s := profiled(t, card, nn.TF32)
	card.plans = nil
	r := s.Roof()
	if r.Path != "null" || len(r.Bandwidth) != 4 || r.Flops != 2*4096*4096*4096*1e3 || r.BF16Flops != 2*8192*8192*8192*1e3 {
		t.Errorf("%+v", r)
	}
	for i, b := range r.Bandwidth {
		// A gigabyte's worth of launches, or once over the set, in a millisecond.
		want := max(b.Set, (1<<30)/4) * 1e3
		if i > 0 && b.Set <= r.Bandwidth[i-1].Set || b.Rate > 4*want || b.Rate < 0.9*want {
			t.Errorf("bandwidth %+v, want about %g", b, want)
		}
	}
	if last := r.Bandwidth[3]; last.Set != 1<<30 || math.Abs(last.Rate/(1<<30*1e3)-1) > 0.01 {
		t.Errorf("memory's bandwidth is %+v", last)
	}
	for i, want := range []driver.MatmulSpec{
		{M: 4096, N: 4096, K: 4096, Math: driver.MathTF32},
		{M: 8192, N: 8192, K: 8192, AB: driver.BF16, D: driver.BF16, Math: driver.MathTF32},
	} {
		if len(card.plans) != 2 || card.plans[i] != want {
			t.Fatalf("the products are %+v", card.plans)
		}
	}
}

// On a card that is nearly full less is measured, on a full one nothing.
func TestRoofOfAFullCard(t *testing.T) {
	card := timedCard{newNullCard(1 << 30)}
	s := profiled(t, card, nn.F32)
	for free, sets := range map[int]int{spare + 200<<20: 3, spare + 40<<20: 2, spare + 9<<20: 1, spare: 0, 0: 0} {
		card.memory = free
		r := s.Roof()
		if len(r.Bandwidth) != sets || (r.Flops > 0) != (sets > 0) || (r.Path != "") != (sets > 0) {
			t.Errorf("with %d bytes free: %+v", free, r)
		}
	}
	s.err = &Error{"a test", errFull}
	if r := s.Roof(); r.Path != "" {
		t.Errorf("after an error: %+v", r)
	}
	s.err = nil
}

var errFull = &driver.Error{Call: "cuMemAlloc", Code: codeOutOfMemory, Text: "CUDA_ERROR_OUT_OF_MEMORY"}

// The measurement's launches are right: the fake card checks arguments, places
// and what is left. A step after it is what it was.
func TestRoofOnFakeCard(t *testing.T) {
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skipf("NOT CHECKED: kernels cannot run here: %v", why)
	}
	s := profiled(t, fakecard.New(fakecard.Options{Report: t}), nn.BF16)
	plan := roofPlan{sets: []int{64 << 10, 256 << 10, 1 << 20}, side: map[bool]int{false: 64, true: 128}, time: time.Microsecond}
	r, err := s.roof(plan)
	if err != nil {
		t.Fatal(err)
	}
	if r.Path != "fake card" || !(r.Flops > 0) || !(r.BF16Flops > 0) || len(r.Bandwidth) != 3 {
		t.Errorf("%+v", r)
	}
	for i, b := range r.Bandwidth {
		if b.Set != float64(plan.sets[i]) || !(b.Rate > 0) || i > 0 && b.Rate > r.Bandwidth[i-1].Rate {
			t.Errorf("bandwidth %+v", r.Bandwidth)
		}
	}
	s.card.(*fakecard.Card).Fail("Launch", 3, errFull)
	if r, err := s.roof(plan); err != errFull || s.err != nil {
		t.Errorf("a failed launch: %+v, %v", r, err)
	}
}
