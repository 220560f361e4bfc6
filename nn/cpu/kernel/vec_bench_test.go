package kernel

import (
	"fmt"
	"testing"
)

// vecBenchmarks are the kernels at the sizes they have in a training step.
// bytes an element is what has to cross memory: read, and read and written.
var vecBenchmarks = []struct {
	name  string
	n     int
	bytes int
	run   func(b *benchData)
}{
	{"Copy/L1", 4096, 8, func(d *benchData) { copy(d.s[0], d.s[1]) }},
	{"Copy/memory", 8 << 20, 8, func(d *benchData) { copy(d.s[0], d.s[1]) }},
	{"Exp", 4096, 8, func(d *benchData) { Exp(d.s[0], d.s[1]) }},
	{"Log", 4096, 8, func(d *benchData) { Log(d.s[0], d.s[1]) }},
	{"Sigmoid", 4096, 8, func(d *benchData) { Sigmoid(d.s[0], d.s[1]) }},
	{"CELogits", 3962, 8, func(d *benchData) { d.sum += CELogits(d.s[0], d.s[1], nil, 1) }},
	{"CELogits/weighted", 3962, 12, func(d *benchData) { d.sum += CELogits(d.s[0], d.s[1], d.s[2], 1) }},
	{"CELogitsLoss", 3962, 4, func(d *benchData) { d.sum += CELogitsLoss(d.s[1], nil) }},
	{"CEProbs", 3962, 8, func(d *benchData) { d.sum += CEProbs(d.s[0], d.s[1], nil, 1) }},
	{"Adam/L1", 1024, 28, func(d *benchData) { testAdam.Apply(d.s[0], d.s[1], d.s[2], d.s[3], 0) }},
	{"Adam/memory", 8 << 20, 28, func(d *benchData) { testAdam.Apply(d.s[0], d.s[1], d.s[2], d.s[3], 0) }},
	{"SGD/memory", 8 << 20, 20, func(d *benchData) { testSGD.Apply(d.s[0], d.s[1], d.s[2], 0) }},
	{"ReLU", 4096, 8, func(d *benchData) { ReLU(d.s[0], d.s[1]) }},
	{"ReLUGrad", 4096, 12, func(d *benchData) { ReLUGrad(d.s[0], d.s[1], d.s[2]) }},
	{"AddBiasReLU", 4096, 8, func(d *benchData) { AddBiasReLU(d.s[0], d.s[1]) }},
	{"Add", 4096, 12, func(d *benchData) { Add(d.s[0], d.s[1], d.s[2]) }},
	{"Axpy", 4096, 12, func(d *benchData) { Axpy(d.s[0], d.s[1], 1e-9) }},
	{"Dot", 4096, 8, func(d *benchData) { d.sum += Dot(d.s[0], d.s[1]) }},
	{"MaxAbs", 4096, 4, func(d *benchData) { MaxAbs(d.s[0]) }},
	{"GreaterIndices/few", 4096, 4, func(d *benchData) { GreaterIndices(d.s[0], 0.995, d.idx) }},
	{"GreaterIndices/half", 4096, 4, func(d *benchData) { GreaterIndices(d.s[0], 0, d.idx) }},
	{"ColSums/1024x3962", 1024 * 3962, 4, func(d *benchData) { ColSums(d.s[1][:3962], d.s[2][:3962], d.s[0], 1024, 3962) }},
	{"Dropout", 2048, 8, func(d *benchData) { Dropout(d.s[0], d.s[1], 12345, 1<<30, 1.25) }},
	{"L2Norm", 1152, 8, func(d *benchData) { L2Norm(d.s[0], d.s[1]) }},
	{"L2NormGrad", 1152, 12, func(d *benchData) { L2NormGrad(d.s[0], d.s[1], d.s[2]) }},
	{"ConvPool/row", 1152 / 2 * 64, 4, func(d *benchData) { ConvPool(d.s[0], d.s[1][:1152], d.s[2][:192], d.s[3][:64]) }},
	{"ConvPoolGrad/row", 1152 / 2 * 64, 4, func(d *benchData) {
		ConvPoolGrad(d.s[4][:192], d.s[3][64:128], d.s[0], d.s[1][:1152], d.s[2][:192], d.s[3][:64])
	}},
	{"ConvPool/memory", 256 * 1152 / 2 * 64, 4, func(d *benchData) {
		for y := d.s[0]; len(y) > 0; y = y[36864:] {
			ConvPool(y[:36864], d.s[1][:1152], d.s[2][:192], d.s[3][:64])
		}
	}},
	{"ConvPoolGrad/memory", 256 * 1152 / 2 * 64, 4, func(d *benchData) {
		for y := d.s[0]; len(y) > 0; y = y[36864:] {
			ConvPoolGrad(d.s[4][:192], d.s[3][64:128], y[:36864], d.s[1][:1152], d.s[2][:192], d.s[3][:64])
		}
	}},
}

type benchData struct {
	s   [5][]float32
	idx []int32
	sum float64
}

func BenchmarkVec(b *testing.B) {
	for _, c := range vecBenchmarks {
		d := &benchData{idx: make([]int32, c.n)}
		for _, l := range Levels {
			b.Run(fmt.Sprintf("%s/%v", c.name, l), func(b *testing.B) {
				usePath(b, l)
				if d.s[0] == nil {
					for i := range d.s {
						d.s[i] = random(make([]float32, c.n), uint64(i), 1)
					}
					absolute32(d.s[2])
				}
				b.SetBytes(int64(c.bytes * c.n))
				b.ReportAllocs()
				for b.Loop() {
					c.run(d)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(c.n), "ns/element")
			})
		}
	}
}

// absolute32 makes the elements of s positive, as weights and second moments are.
func absolute32(s []float32) {
	for i, v := range s {
		s[i] = max(v, -v)
	}
}
