package kernel

import (
	"testing"

	"sdnn/nn/cpu/pool"
)

// The products that the fast convolutions leave, counted by hand.
func TestConvWork(t *testing.T) {
	for _, c := range []struct {
		kind          ConvKind
		h, w, in, out int
		images        int
		want          float64
	}{
		{ConvForward, 8, 8, 16, 32, 3, 3 * 4 * 36 * 2 * 16 * 32},     // four tiles of 4x4, 36 products for 16 pixels
		{ConvData, 5, 9, 16, 32, 1, 2 * 3 * 36 * 2 * 16 * 32},        // tiles at the edges count in full
		{ConvWeights, 4, 4, 32, 48, 2, 2 * 36 * 2 * 32 * 48},         // the gradient of the weights sums as many
		{ConvForward, 2, 2, 16, 16, 4, 4 * 9 * 2 * 16 * 16},          // 9 products for the 16 of a map of 2x2
		{ConvForward, 32, 32, 64, 64, 4, 4 * 64 * 36 * 2 * 64 * 64},  // a quarter of the direct algorithm's
		{ConvForward, 32, 32, 64, 64, 1, 2 * 1024 * 9 * 64 * 64 / 4}, // the same, from those
	} {
		v := NewConv3x3(c.kind, 4, c.h, c.w, c.in, c.out)
		if got := v.Work(c.images); got != c.want {
			t.Errorf("kind %d, %d images of %dx%d, %d to %d channels: %g operations, want %g", c.kind, c.images, c.h, c.w, c.in, c.out, got, c.want)
		}
	}
}

// Peaks are positive on every path, and bf16 has none where it cannot run.
func TestPeakOnEveryPath(t *testing.T) {
	p := pool.New(2)
	defer p.Close()
	for _, l := range Levels {
		if !Has(l) {
			t.Logf("not run here: %v", l)
			continue
		}
		before, err := Use(l)
		if err != nil {
			t.Fatal(err)
		}
		f32, bf16 := Peak(p), PeakBF16(p)
		if f32 <= 0 || (bf16 > 0) != (BF16Err() == nil) {
			t.Errorf("%v: peak %g, in bf16 %g, with bf16 refused by %v", l, f32, bf16, BF16Err())
		}
		if _, err := Use(before); err != nil {
			t.Fatal(err)
		}
	}
}
