package fakecard_test

import (
	"fmt"
	"testing"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

func TestCaptureReplay(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	x, y, p := b.host(4, 1), b.host(4, 0), must(b.Alloc(16))
	b.ok(b.BeginCapture(b.s))
	b.ok(b.CopyToCard(p, ptr(x), 16, b.s))
	b.ok(b.Zero(p, 4, b.s))
	b.ok(b.CopyFromCard(ptr(y), p, 16, b.s))
	g := must(b.EndCapture(b.s))
	b.ok(b.SyncStream(b.s))
	if fmt.Sprint(y) != "[0 0 0 0]" {
		t.Errorf("capturing ran the work: %v", y)
	}
	for i := range 3 {
		x[1] = float32(i) // read at the launch, not at the capture
		b.ok(b.LaunchGraph(g, b.u))
		b.ok(b.SyncStream(b.u))
		if fmt.Sprint(y) != fmt.Sprintf("[0 %d 1 1]", i) {
			t.Errorf("replay %d gives %v", i, y)
		}
	}
	b.expect()
	b.ok(b.LaunchGraph(g, b.u))
	b.ok(b.Zero(p, 4, b.s))
	b.expect("race on mem1[0:4]")
	b.ok(b.SyncStream(b.u))
	b.ok(b.SyncStream(b.s))
	b.ok(b.LaunchGraph(g, b.u))
	x[2] = 9
	b.ok(b.SyncStream(b.u))
	b.expect("was changed by the host")
	b.ok(b.Free(p))
	_ = b.LaunchGraph(g, b.u)
	b.expect("mem1, which is freed")
	b.ok(b.DestroyGraph(g))
	_ = b.LaunchGraph(g, b.u)
	b.expect("graph 1 does not exist")
}

// TestCaptureFork: a second stream joins the capture by an event, and the first
// waits for it in the end.
func TestCaptureFork(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	p, e, f := must(b.Alloc(16)), must(b.NewEvent()), must(b.NewEvent())
	fork := func(join bool) (driver.Graph, error) {
		b.ok(b.BeginCapture(b.s))
		b.ok(b.Zero(p, 8, b.s))
		b.ok(b.Record(e, b.s))
		b.ok(b.Wait(b.u, e))
		b.ok(b.Zero(p, 8, b.u))
		b.ok(b.Zero(p.Add(8), 8, b.s)) // beside it
		b.ok(b.Record(f, b.u))
		if join {
			b.ok(b.Wait(b.s, f))
			b.ok(b.Zero(p, 16, b.s))
		}
		return b.EndCapture(b.s)
	}
	g := must(fork(true))
	for range 3 {
		b.ok(b.LaunchGraph(g, b.s))
	}
	b.ok(b.Zero(p, 16, b.s)) // the stream goes on after the graph's last branch
	b.ok(b.SyncStream(b.s))
	b.ok(b.Zero(p, 16, b.u))
	b.expect()
	_ = b.SyncEvent(e)
	b.expect("event1 is being captured")
	if _, err := fork(false); err == nil {
		t.Error("a capture whose branch nobody waits for ends well")
	}
	b.expect("does not wait for the work of stream2")
	// A branch that races with the origin is found at the launch.
	b.ok(b.BeginCapture(b.s))
	b.ok(b.Record(e, b.s))
	b.ok(b.Wait(b.u, e))
	b.ok(b.Zero(p, 8, b.u))
	b.ok(b.Record(f, b.u))
	b.ok(b.Zero(p, 8, b.s))
	b.ok(b.Wait(b.s, f))
	g = must(b.EndCapture(b.s))
	b.ok(b.SyncStream(b.u))
	b.ok(b.LaunchGraph(g, b.s))
	b.expect("race on mem1[0:8]")
}

func TestCaptureForbids(t *testing.T) {
	b := newBed(t, fakecard.Options{})
	e := must(b.NewEvent())
	b.ok(b.Record(e, b.u))
	b.ok(b.BeginCapture(b.s))
	_ = b.SyncStream(b.s)
	b.expect("stream1 is being captured")
	_ = b.Wait(b.s, e)
	b.expect("event1 was recorded outside")
	_ = b.BeginCapture(b.s)
	b.expect("stream1 is being captured")
	must(b.EndCapture(b.s))
	_, _ = b.EndCapture(b.s)
	b.expect("no capture began on stream1")
}
