package gorgonia

import (
	"sync"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	G "gorgonia.org/gorgonia"
)

// Sgemm is C = alpha op(A) op(B) + beta C, row-major, as BLAS has it: op(A) is
// [m,k], op(B) [k,n], C [m,n], and a leading dimension the distance of rows in
// memory before op. It must not depend on the number of threads.
type Sgemm func(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int)

var (
	sgemmMu sync.RWMutex
	sgemm   Sgemm = gonum.Implementation{}.Sgemm
)

// UseSgemm makes all sessions of this package, and all other users of the
// Gorgonia library in the program, multiply matrices by f; nil brings back Gonum's.
// Call it before the first step.
func UseSgemm(f Sgemm) {
	if f == nil {
		f = gonum.Implementation{}.Sgemm
	}
	sgemmMu.Lock()
	defer sgemmMu.Unlock()
	sgemm = f
	G.Use(blasWith{sgemm: f})
}

func currentSgemm() Sgemm {
	sgemmMu.RLock()
	defer sgemmMu.RUnlock()
	return sgemm
}

// blasWith is Gonum's BLAS with another Sgemm.
type blasWith struct {
	gonum.Implementation
	sgemm Sgemm
}

func (b blasWith) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, x []float32, ldb int, beta float32, c []float32, ldc int) {
	b.sgemm(tA, tB, m, n, k, alpha, a, lda, x, ldb, beta, c, ldc)
}
