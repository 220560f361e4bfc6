package features

import (
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A loader must give what the order says, from any position, with any number of slots.
func TestLoader(t *testing.T) {
	for name, s := range subsets(t) {
		h := NewShuffle(s, 50, 1)
		whole := rowsOf(h.Epoch(1))
		for _, slots := range []int{1, 2, 3} {
			for _, from := range []int{0, len(whole) / 3, len(whole)} {
				const batch = 32
				bufs := make([][]float32, slots)
				for i := range bufs {
					bufs[i] = make([]float32, batch*5)
				}
				l := NewLoader(h.Epoch(1), batch, from, slots, func(slot int, rows []int) error {
					return s.Split().GatherFloat(0, rows, bufs[slot], 5)
				})
				var got []int
				for {
					slot, rows, err := l.Next()
					if errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					for i, row := range rows {
						if v := bufs[slot][i*5+1]; v != rowFloat(1, row, 1) {
							t.Fatalf("%s: row %d: %v", name, row, v)
						}
					}
					got = append(got, rows...)
					l.Release(slot)
				}
				if !slices.Equal(got, whole[from:]) {
					t.Errorf("%s, %d slots, from %d: %d rows, want %d", name, slots, from, len(got), len(whole)-from)
				}
				if _, _, err := l.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("after the end: %v", err)
				}
				l.Close()
				l.Close()
			}
		}
	}
}

func TestLoaderError(t *testing.T) {
	s := subsets(t)["all"]
	bad := errors.New("bad row")
	n := 0
	l := NewLoader(Sequential(s), 10, 0, 2, func(int, []int) error {
		if n++; n == 3 {
			return bad
		}
		return nil
	})
	defer l.Close()
	for i := range 5 {
		slot, rows, err := l.Next()
		if i < 2 {
			if err != nil || rows[0] != i*10 {
				t.Errorf("batch %d: rows %v, %v", i, rows, err)
			}
			l.Release(slot)
		} else if !errors.Is(err, bad) {
			t.Errorf("batch %d: %v", i, err)
		}
	}
}

// Close must end the goroutine whatever it waits for, and whatever the caller holds.
func TestLoaderClose(t *testing.T) {
	s := subsets(t)["all"]
	before := runtime.NumGoroutine()
	for taken := range 5 {
		l := NewLoader(NewShuffle(s, 50, 1).Epoch(0), 10, 0, 3, func(int, []int) error { return nil })
		for range min(taken, 3) {
			if _, _, err := l.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if taken == 4 { // a caller that waits in vain: it holds all slots
			go func() {
				time.Sleep(time.Millisecond)
				l.Close()
			}()
			if _, _, err := l.Next(); err == nil {
				t.Error("Next gave a batch though all slots were taken")
			}
		}
		l.Close()
	}
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i == 1000 {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLoaderAllocatesNothing(t *testing.T) {
	s := subsets(t)["rest"]
	h := NewShuffle(s, 50, 1)
	buf := make([]float32, 2*5)
	l := NewLoader(h.Epoch(0), 1, 0, 2, func(slot int, rows []int) error {
		return s.Split().GatherFloat(0, rows, buf[slot*5:], 5)
	})
	defer l.Close()
	n := testing.AllocsPerRun(s.Rows()/2, func() {
		slot, _, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		l.Release(slot)
	})
	if n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func TestLoaderDoubleReleasePanics(t *testing.T) {
	s := subsets(t)["one"]
	l := NewLoader(Sequential(s), 1, 0, 1, func(int, []int) error { return nil })
	defer l.Close()
	slot, _, err := l.Next()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if s, _ := recover().(string); !strings.Contains(s, "released twice") {
			t.Errorf("recovered %q", s)
		}
	}()
	l.Release(slot)
	l.Release(slot)
}
