package kernel

import "math"

// normFloor is the least norm that L2Norm divides by.
const normFloor = 1e-12

// L2Norm sets dst = x/max(|x|, 1e-12) for one row x (the Euclidean norm).
func L2Norm(dst, x []float32) {
	sameLength("L2Norm", len(dst), len(x))
	vec().scale(dst, x, float32(1/max(math.Sqrt(Dot(x, x)), normFloor)))
}

// L2NormGrad sets dx to the gradient of L2Norm at x for the output's gradient
// dy: (dy - y (y·dy))/|x|, or dy/1e-12 where the norm is below 1e-12.
func L2NormGrad(dx, dy, x []float32) {
	sameLength("L2NormGrad", len(dx), len(dy), len(x))
	norm := math.Sqrt(Dot(x, x))
	if norm < normFloor {
		vec().scale(dx, dy, float32(1/normFloor))
		return
	}
	across := -Dot(x, dy) / (norm * norm * norm)
	vec().axpby(dx, dy, x, float32(1/norm), float32(across))
}
