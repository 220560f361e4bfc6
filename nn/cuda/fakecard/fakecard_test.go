package fakecard_test

import (
	"testing"
	"unsafe"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
)

func TestRelu(t *testing.T) {
	c := fakecard.New(fakecard.Options{Report: t})
	set, err := kernels.Load(c, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, _ := c.NewStream()
	h, _ := c.AllocHost(400)
	x := unsafe.Slice((*float32)(h), 100)
	for i := range x {
		x[i] = float32(i) - 50
	}
	d, _ := c.Alloc(400)
	e, _ := c.Alloc(400)
	if err := c.CopyToCard(d, h, 400, s); err != nil {
		t.Fatal(err)
	}
	if err := set.Launch(s, "relu_forward_f32", kernels.P(e), kernels.P(d), kernels.L(100)); err != nil {
		t.Fatal(err)
	}
	h2, _ := c.AllocHost(400)
	c.CopyFromCard(h2, e, 400, s)
	c.SyncStream(s)
	for i, v := range unsafe.Slice((*float32)(h2), 100) {
		if v != max(x[i], 0) {
			t.Fatal(i, v)
		}
	}
	set.Close()
	c.Free(d)
	c.Free(e)
	c.FreeHost(h)
	c.FreeHost(h2)
	c.DestroyStream(s)
	c.Close()
}

var _ driver.Card = (*fakecard.Card)(nil)
