package kernel

import "math"

// ReLU sets dst = max(x, 0); NaN stays NaN.
func ReLU(dst, x []float32) { apply1("ReLU", vec().relu, dst, x) }

// ReLUGrad sets dx = dy where the output y > 0, else 0.
func ReLUGrad(dx, dy, y []float32) { apply2("ReLUGrad", vec().reluGrad, dx, dy, y) }

// SigmoidGrad sets dx = dy y (1-y) for the output y.
func SigmoidGrad(dx, dy, y []float32) { apply2("SigmoidGrad", vec().sigmoidGrad, dx, dy, y) }

// Add sets dst = x + y.
func Add(dst, x, y []float32) { apply2("Add", vec().sum2, dst, x, y) }

// Accumulate sets dst += x.
func Accumulate(dst, x []float32) { apply1("Accumulate", vec().add, dst, x) }

// Scale sets dst = a x.
func Scale(dst, x []float32, a float32) {
	sameLength("Scale", len(dst), len(x))
	for len(dst) > piece {
		vec().scale(dst[:piece], x[:piece], a)
		dst, x = dst[piece:], x[piece:]
	}
	vec().scale(dst, x, a)
}

// Axpy sets y += a x.
func Axpy(y, x []float32, a float32) {
	sameLength("Axpy", len(y), len(x))
	for len(y) > piece {
		vec().axpy(y[:piece], x[:piece], a)
		y, x = y[piece:], x[piece:]
	}
	vec().axpy(y, x, a)
}

// AddBias adds bias to each of the rows [rows, len(bias)] of dst, in place.
func AddBias(dst, bias []float32) {
	for ; len(dst) > 0; dst = dst[len(bias):] {
		row := dst[:len(bias)]
		vec().add(row, bias)
	}
}

// AddBiasReLU sets each of the rows [rows, len(bias)] of dst to
// max(row+bias, 0), in place.
func AddBiasReLU(dst, bias []float32) {
	for ; len(dst) > 0; dst = dst[len(bias):] {
		row := dst[:len(bias)]
		vec().sumReLU(row, row, bias)
	}
}

func reluPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] = max(v, 0)
	}
}

func addPortable(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

func reluGradPortable(dx, dy, y []float32) {
	for i, v := range y {
		if v > 0 {
			dx[i] = dy[i]
		} else {
			dx[i] = 0
		}
	}
}

func sigmoidGradPortable(dx, dy, y []float32) {
	for i, v := range y {
		dx[i] = dy[i] * (v * (1 - v))
	}
}

func sum2Portable(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

func sumReLUPortable(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = max(v+y[i], 0)
	}
}

func scalePortable(dst, x []float32, a float32) {
	for i, v := range x {
		dst[i] = a * v
	}
}

func axpyPortable(y, x []float32, a float32) {
	for i, v := range x {
		y[i] += a * v
	}
}

func axpbyPortable(dst, x, y []float32, a, b float32) {
	for i, v := range x {
		dst[i] = a*v + b*y[i]
	}
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
