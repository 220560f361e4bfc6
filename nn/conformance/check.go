package conformance

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"sdnn/nn"
)

// tolerance bounds |got-want| by rel*|want| + scale*max|want| + abs, where the
// maximum is over the tensor: sums that cancel have the rounding of their terms.
type tolerance struct{ rel, scale, abs float64 }

var (
	valueTolerance = tolerance{rel: 1e-5, scale: 2e-6, abs: 1e-7}
	gradTolerance  = tolerance{rel: 1e-5, scale: 5e-6, abs: 1e-9}
	lossTolerance  = tolerance{rel: 1e-5, abs: 1e-6}
)

// check compares a tensor with what it should be and reports the worst
// elements with their positions.
func check(t testing.TB, what string, shape nn.Shape, got []float32, want []float64, tol tolerance) {
	t.Helper()
	top := 0.0
	for _, w := range want {
		top = math.Max(top, math.Abs(w))
	}
	checkBound(t, what, shape, got, want, func(i int) float64 {
		return tol.rel*math.Abs(want[i]) + tol.scale*top + tol.abs
	})
}

// checkBound is check with a bound of the error for each element.
func checkBound(t testing.TB, what string, shape nn.Shape, got []float32, want []float64, bound func(i int) float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d elements, want %d (%v)", what, len(got), len(want), shape)
		return
	}
	bad, worst, excess := 0, 0, -1.0
	var first []string
	for i := range want {
		g := float64(got[i])
		if g == want[i] { // infinities too
			continue
		}
		b := bound(i)
		d := math.Abs(g - want[i])
		if d <= b {
			continue
		}
		if bad++; len(first) < 3 {
			first = append(first, element(shape, i, g, want[i], b))
		}
		if math.IsNaN(d) || d/b > excess {
			worst = i
			if excess = d / b; math.IsNaN(d) {
				excess = math.Inf(1)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%s %v: %d of %d elements differ; first:\n\t%s\nworst:\n\t%s", what, []int(shape), bad, len(want),
			strings.Join(first, "\n\t"), element(shape, worst, float64(got[worst]), want[worst], bound(worst)))
	}
}

func element(shape nn.Shape, i int, got, want, bound float64) string {
	return fmt.Sprintf("at %v: got %.9g, want %.9g, off by %.3g where %.3g is allowed",
		position(shape, i), got, want, math.Abs(got-want), bound)
}

// position is the index in each dimension of flat element i.
func position(shape nn.Shape, i int) []int {
	at := make([]int, len(shape))
	for d := len(shape) - 1; d > 0; d-- {
		at[d] = i % shape[d]
		i /= shape[d]
	}
	at[0] = i
	return at
}

// checkLoss compares a loss.
func checkLoss(t testing.TB, what string, got, want float64) {
	t.Helper()
	if b := lossTolerance.rel*math.Abs(want) + lossTolerance.abs; !(math.Abs(got-want) <= b) {
		t.Errorf("%s: got %.9g, want %.9g, off by %.3g where %.3g is allowed", what, got, want, math.Abs(got-want), b)
	}
}

// checkBits compares two tensors bit by bit.
func checkBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d elements, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("%s: element %d is %.9g (%08x), want the same bits as %.9g (%08x)", what, i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
			return
		}
	}
}
