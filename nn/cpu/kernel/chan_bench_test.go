package kernel

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// BenchmarkChan runs the channel kernels over a block that fits the
// second-level cache and over a value that fits none, as the first layers of
// VGG16 at batch 128 have. GB/s is that of the fastest round, which noise spoils
// least, and counts what has to cross memory; copy beside them is what the
// machine can do.
func BenchmarkChan(b *testing.B) {
	type data struct{ x, y, r, acc, coef []float32 }
	for _, k := range []struct {
		name  string
		bytes int // an element of x
		run   func(d *data, lo, hi int)
	}{
		{"copy", 8, func(d *data, lo, hi int) { copy(d.y[lo:hi], d.x[lo:hi]) }},
		{"ChanSum", 4, func(d *data, lo, hi int) { ChanSum(d.acc[:len(d.acc)/2], d.x[lo:hi]) }},
		{"statistics", 4, func(d *data, lo, hi int) {
			c := len(d.acc) / 2
			ChanSum(d.acc[:c], d.x[lo:hi])
			ChanMoments(d.acc, d.x[lo:hi], d.coef[:c])
		}},
		{"ChanAffineReLU", 8, func(d *data, lo, hi int) { ChanAffineReLU(d.y[lo:hi], d.x[lo:hi], d.coef[:len(d.acc)]) }},
		{"ChanGradSumsReLU", 8, func(d *data, lo, hi int) {
			ChanGradSumsReLU(d.acc, d.y[lo:hi], d.x[lo:hi], d.coef[:len(d.acc)*3/2])
		}},
		{"ChanGradReLU", 12, func(d *data, lo, hi int) { ChanGradReLU(d.y[lo:hi], d.y[lo:hi], d.x[lo:hi], d.coef) }},
		{"ChanGradReLUAdd", 16, func(d *data, lo, hi int) { ChanGradReLUAdd(d.y[lo:hi], d.y[lo:hi], d.x[lo:hi], d.r[lo:hi], d.coef) }},
		{"AffinePool", 5, func(d *data, lo, hi int) {
			AffinePool(d.y[lo/4:hi/4], d.x[lo:(lo+hi)/2], d.x[(lo+hi)/2:hi], d.coef[:len(d.acc)])
		}},
		{"AffinePoolGradSums", 5, func(d *data, lo, hi int) {
			AffinePoolGradSums(d.acc, d.y[lo/4:hi/4], d.x[lo:(lo+hi)/2], d.x[(lo+hi)/2:hi], d.coef[:len(d.acc)*3/2])
		}},
		{"AffinePoolGrad", 9, func(d *data, lo, hi int) {
			x0, x1 := d.x[lo:(lo+hi)/2], d.x[(lo+hi)/2:hi]
			AffinePoolGrad(x0, x1, d.y[lo/4:hi/4], x0, x1, d.coef)
		}},
	} {
		for _, c := range []int{16, 64, 512} {
			for _, l := range Levels[1:] {
				for _, elements := range []int{1 << 15, 1 << 23} {
					where := map[bool]string{true: "cache", false: "memory"}[elements == 1<<15]
					b.Run(fmt.Sprintf("%s/C=%d/%v/%s", k.name, c, l, where), func(b *testing.B) {
						usePath(b, l)
						d := &data{x: make([]float32, elements), y: make([]float32, elements), r: make([]float32, elements),
							acc: make([]float32, 2*c), coef: make([]float32, 5*c)}
						k.run(d, 0, elements) // touches the memory
						least := time.Duration(math.MaxInt64)
						for b.Loop() {
							start := time.Now()
							for range max(1, 1<<19/elements) {
								for lo := 0; lo < elements; lo += 1 << 15 {
									k.run(d, lo, lo+1<<15)
								}
							}
							least = min(least, time.Since(start))
						}
						b.ReportMetric(float64(k.bytes*max(1<<19, elements))/float64(least.Nanoseconds()), "GB/s")
					})
				}
			}
		}
	}
}
