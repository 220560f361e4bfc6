package kernel

import "unsafe"

// The transform of the weights, W to U. Of a wide layer U is larger than the
// caches that a thread can count on, 59 MB for 640 channels, and its stores, which
// go to 36 places in turn, would each wait for the line that they overwrite. There
// a panel of U is made in a stage that the second-level cache holds, and then
// written past the caches, line by line:
//
//	W --G w Gᵀ--> stage [P][depth][nr] --stream--> U [P][panel][C][nr]

// winoStreamFrom is the size of U in floats from which it is written past the caches.
const winoStreamFrom = 2 << 20

// streams reports whether U is written past the caches.
func (v *Conv3x3) streams() bool {
	return v.isa.stream != nil && v.kind != ConvWeights && v.us.size*v.groups() >= winoStreamFrom
}

// stageLayout is that of the stage, a panel of winoDepth channels of the input.
func (v *Conv3x3) stageLayout() winoLayout {
	return panelLayout(v.alg.taps, winoDepth, v.gemm.nr, v.gemm.nr, v.isa.lanes)
}

// tempSize is the number of floats that transformWeights needs.
func (v *Conv3x3) tempSize() int {
	size := 0
	if v.kind != ConvData {
		size = 10 * winoDepth * v.gemm.nr
	}
	if v.streams() {
		size += v.stageLayout().size
	}
	return size
}

// transformWeights writes U of channels [k0, k1) of the input and a group of
// channels of the output to u, the group's.
func (v *Conv3x3) transformWeights(worker, g, k0, k1 int, u, temp []float32) {
	n0, n1 := v.channels(g)
	nr := v.gemm.nr
	to := &v.us
	var stage []float32
	if v.streams() {
		layout := v.stageLayout()
		to, stage, temp = &layout, temp[:layout.size], temp[layout.size:]
	} else if v.kind == ConvData {
		v.turnedWeights(worker, n0, n1, k0, k1, to, u[k0*nr:])
		return
	}
	for n := n0; n < n1; n += nr {
		panel := u[(n-n0)*v.k+k0*nr:]
		points := panel
		if stage != nil {
			points = stage
		}
		if v.kind == ConvData {
			v.turnedWeights(worker, n, min(n+nr, n1), k0, k1, to, points)
		} else {
			v.transposedWeights(worker, n, min(n+nr, n1), k0, k1, to, points, temp)
		}
		if stage != nil {
			v.writeStage(panel, stage, to, (k1-k0)*nr)
		}
	}
}

// turnedWeights transforms W [k,3,3,n] turned by 180 degrees, channels [n0, n1)
// and [k0, k1), the first of them at the start of points.
func (v *Conv3x3) turnedWeights(worker, n0, n1, k0, k1 int, to *winoLayout, points []float32) {
	c := &v.workers[worker].call
	c.biases, c.columns = nil, 7
	c.image, c.pixel, c.ahead = v.weights, -4*v.n, 2*4*9*v.n
	c.setPoints(to, n1-n0, v.isa.lanes)
	for k := k0; k < k1; k++ {
		for y := range 3 {
			c.rowAt[y] = (9*k+8-3*y)*v.n + n0
		}
		c.point = points[(k-k0)*v.gemm.nr:]
		v.isa.weights[v.alg.id](c)
	}
}

// transposedWeights transforms W [n,3,3,k], a panel of channels [n0, n1) and
// [k0, k1), to points. The taps of the panel are transposed first.
func (v *Conv3x3) transposedWeights(worker, n0, n1, k0, k1 int, to *winoLayout, points, temp []float32) {
	c := &v.workers[worker].call
	nr, depth := v.gemm.nr, k1-k0
	tap := depth * nr
	for t := range 9 {
		src, ld := v.weights[(9*n0+t)*v.k+k0:], 9*v.k
		if n0+nr > n1 { // fewer rows than packTransposed reads
			rest := temp[9*tap:]
			for r := range n1 - n0 {
				copy(rest[r*depth:(r+1)*depth], src[r*ld:])
			}
			src, ld = rest, depth
		}
		v.gemm.packTransposed(temp[t*tap:], src, ld, depth)
	}
	c.biases, c.columns = nil, 7
	c.image, c.pixel, c.ahead = temp, 4*tap, 0
	c.setPoints(to, tap, v.isa.lanes)
	c.step = [2]int{4 * v.isa.lanes, 4 * v.isa.lanes}
	for y := range 3 {
		c.rowAt[y] = 3 * y * tap
	}
	c.point = points
	v.isa.weights[v.alg.id](c)
}

// writeStage writes the first n floats of each point of the stage to a panel of U.
func (v *Conv3x3) writeStage(panel, stage []float32, from *winoLayout, n int) {
	taps := v.alg.taps
	for p := range taps * taps {
		to, src := panel[v.us.at(p, taps):][:n], stage[from.at(p, taps):][:n]
		if uintptr(unsafe.Pointer(unsafe.SliceData(to)))%cacheLine == 0 && n%lanes == 0 {
			v.isa.stream(to, src)
		} else {
			copy(to, src)
		}
	}
}
