package subclass

import (
	"math/rand/v2"
	"testing"
)

func randomVector(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func TestDots(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 3, 4, 7, 8, 9, 100, 1023} {
		x := randomVector(r, n)
		vectors := make([][]float32, 7)
		for i := range vectors {
			vectors[i] = randomVector(r, n)
		}
		for count := range vectors {
			out := make([]float32, count)
			goDots(out, x, vectors[:count])
			for i, got := range out {
				want, size := 0.0, 0.0
				for k := range x {
					p := float64(x[k]) * float64(vectors[i][k])
					want, size = want+p, size+max(p, -p)
				}
				if d := float64(got) - want; d > 1e-6*size+1e-30 || -d > 1e-6*size+1e-30 {
					t.Errorf("n=%d: %v, want %v", n, got, want)
				}
				if alone := dot1(x, vectors[i]); alone != got {
					t.Errorf("n=%d: %v among %d, %v alone", n, got, count, alone)
				}
			}
		}
	}
}

func BenchmarkDots(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	x := randomVector(r, 3072)
	var vectors [][]float32
	for range 10 {
		vectors = append(vectors, randomVector(r, len(x)))
	}
	out := make([]float32, len(vectors))
	for b.Loop() {
		goDots(out, x, vectors)
	}
	b.ReportMetric(float64(b.N)*10*3072/b.Elapsed().Seconds()/1e9, "GMAC/s")
}
