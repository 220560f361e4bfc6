package kernel

import (
	"fmt"
	"math"
	"unsafe"

	"sdnn/nn/cpu/pool"
)

// Conv3x3 computes 3x3 convolutions of padding 1 of one shape, or one of their
// two gradients, by the fast algorithms of wino.go. It keeps what
// it needs from call to call, so that calls do not allocate; one call may be in
// progress at a time.
type Conv3x3 struct {
	alg         *winoAlgorithm
	kind        ConvKind
	batch       int
	in, out     plane // what is read, and written; for ConvWeights x and dy
	k, n        int   // channels that are read and written; for ConvWeights those of x and dy
	down, right int   // tiles of an image
	chunk       int   // tiles that are transformed together
	group       int   // most channels of the output (ConvWeights: of dy) that are multiplied together
	fit         int   // group for the threads at hand
	workspace   int   // floats
	segments    int   // 0: threads share a chunk; else each thread has its own, and ConvWeights this many partial sums

	// The call in progress.
	pool           *pool.Pool
	gemm           *gemmISA
	isa            *winoISA
	rows, tiles    int // of the batch
	src, src2, dst []float32
	weights, bias  []float32
	tail           ConvTail
	vs, us, ms, ds winoLayout
	v, u, d, local []float32 // parts of the workspace
	first, last    int       // tiles of the shared chunk
	kept           keptWeights
	keptNow        bool      // u is what the last call left
	absent         []float32 // zeros
	workers        []winoWorker
	runWeights     func(task, worker int)
	runChunk       func(task, worker int)
	runTransform   func(task, worker int)
	runGroup       func(task, worker int)
	runReduce      func(task, worker int)
}

// ConvKind says which of the three products of a convolution is meant.
type ConvKind int

// The products of a convolution.
const (
	ConvForward ConvKind = iota // y from x and W
	ConvData                    // dx from dy and W
	ConvWeights                 // dW from dy and x
)

// winoWorker is what a worker needs for itself.
type winoWorker struct {
	call  winoCall
	micro microCall
	lost  []float32 // what is written outside of an image
	_     [128]byte
}

const (
	// winoSegments is the number of partial sums of ConvWeights: twice as many
	// where dU has no more than winoSmallSum values.
	winoSegments, winoSmallSum = 4, 1 << 18
	// winoSharedChunk is about the number of tiles of a chunk that threads share.
	winoSharedChunk = 128
	// winoWorkers is the number of workers whose memory the workspace holds, at
	// most; but for the first two, it is no more than winoLocal floats.
	winoWorkers, winoLocal = 8, 12 << 20
	// winoGroup is the most channels of the output that are multiplied together,
	// so that the weights of a point stay in the second-level cache. A group is
	// a multiple of winoLeastGroup, and costs winoGroupCost channels more than it has.
	winoGroup, winoLeastGroup, winoGroupCost = 160, 32, 16
	// winoDepth is the number of channels whose weights a task transforms, and
	// winoTileBlock the number of tiles of a task of a shared chunk.
	winoDepth, winoTileBlock = 64, 4
	// winoWalk is the most lines that a micro-kernel fetches at a time.
	winoWalk = 2
	// winoAheadChannels is how far ahead pixels are fetched, in tiles times
	// channels: the time that memory takes.
	winoAheadChannels = 128
)

// NewConv3x3 plans a convolution of x [batch,h,w,c] to y [batch,h,w,o]. It
// returns nil where the fast algorithms do not apply: for channels that are no
// multiples of 16 and maps of one row or column.
func NewConv3x3(kind ConvKind, batch, h, w, c, o int) *Conv3x3 {
	if batch < 1 || c < 1 || o < 1 || c%16 != 0 || o%16 != 0 || h < 2 || w < 2 {
		return nil
	}
	alg := winograd4
	if h == 2 && w == 2 {
		alg = toeplitz2
	}
	return newConv3x3(kind, alg, batch, plane{h, w}, plane{h, w}, c, o)
}

// newConv3x3 plans a convolution of x [batch,x.h,x.w,c] to y [batch,y.h,y.w,o].
func newConv3x3(kind ConvKind, alg *winoAlgorithm, batch int, x, y plane, c, o int) *Conv3x3 {
	v := &Conv3x3{kind: kind, alg: alg, batch: batch, in: x, out: y, k: c, n: o}
	if kind == ConvData {
		v.in, v.out, v.k, v.n = y, x, o, c
	}
	v.down, v.right = ceilDiv(v.out.h, v.alg.tile), ceilDiv(v.out.w, v.alg.tile)
	v.planSizes()
	v.planWorkspace()
	v.absent = make([]float32, winoRows*max(c, o))
	v.runWeights, v.runChunk, v.runTransform = v.weightsTask, v.chunkTask, v.transformTask
	v.runGroup, v.runReduce = v.groupTask, v.reduceTask
	if kind == ConvWeights {
		v.runChunk, v.runTransform, v.runGroup = v.segmentTask, v.transformBothTask, v.weightGroupTask
	}
	return v
}

// planSizes chooses chunks and groups by the shape alone.
func (v *Conv3x3) planSizes() {
	tiles := v.tilesOf(v.batch)
	v.group = min(v.n, winoGroup)
	if tiles < v.alg.local {
		v.chunk = ceilDiv(tiles, max(1, (tiles+winoSharedChunk/2)/winoSharedChunk))
		return
	}
	v.chunk, v.segments = v.alg.localChunk, winoSegments
	if v.kind == ConvWeights {
		v.chunk, v.group = v.alg.weightsChunk, v.n
		if 36*v.k*v.n <= winoSmallSum {
			v.segments *= 2
		}
	}
}

// fitGroups cuts the channels of the output in groups that keep all threads
// busy to the end: 320 channels for two threads are two groups of 160, not
// three of 128, 128 and 64. It changes no bit: a group is a part of the output.
func (v *Conv3x3) fitGroups(threads int) {
	v.fit = v.group
	if v.segments > 0 {
		threads = 1 // each takes all groups of a chunk of its own
		if v.kind == ConvWeights {
			return
		}
	}
	best := math.MaxInt
	for groups := ceilDiv(v.n, v.group); ; groups++ {
		fit := min(v.n, roundUp(ceilDiv(v.n, groups), winoLeastGroup), v.group)
		if cost := ceilDiv(ceilDiv(v.n, fit), threads) * (fit + winoGroupCost); cost < best {
			v.fit, best = fit, cost
		}
		if fit <= winoLeastGroup {
			return
		}
	}
}

// eachFit calls f for every code path and cut in groups that a number of
// threads may bring.
func (v *Conv3x3) eachFit(f func()) {
	for level, isa := range winoPaths {
		if isa == nil {
			continue
		}
		for threads := 1; threads <= ceilDiv(v.n, winoLeastGroup); threads++ {
			v.fitGroups(threads)
			v.layOut(Level(level))
			f()
		}
	}
}

// tilesOf returns the number of tiles of some images.
func (v *Conv3x3) tilesOf(images int) int { return images * v.down * v.right }

// keepsWeights reports whether all of U is kept in the workspace: where it is
// read more than once. Otherwise a group's U lives in the worker's memory.
func (v *Conv3x3) keepsWeights() bool {
	return v.segments > 0 || v.chunk < v.tilesOf(v.batch)
}

// groups returns the number of groups of channels of the output.
func (v *Conv3x3) groups() int { return ceilDiv(v.n, v.fit) }

// layOut sets the layouts for a code path.
func (v *Conv3x3) layOut(level Level) {
	v.gemm, v.isa = gemmPaths[level], winoPaths[level]
	q, nr, lanes := v.alg.points, v.gemm.nr, v.isa.lanes
	if v.kind == ConvWeights {
		v.vs = panelLayout(q, v.chunk, nr, v.k, lanes)
		v.ds = panelLayout(q, v.chunk, v.isa.sums.width, v.n, lanes)
		v.us = matrixLayout(v.alg.taps, v.fit, v.k, lanes)
		return
	}
	v.vs = rowLayout(q, v.chunk, v.k, lanes)
	v.us = panelLayout(v.alg.taps, v.k, nr, v.fit, lanes)
	v.ms = matrixLayout(q, v.chunk, v.fit, lanes)
}

// Workspace returns the number of floats of workspace that Run needs, on any
// code path.
func (v *Conv3x3) Workspace() int { return v.workspace }

// planWorkspace computes Workspace, for any number of threads.
func (v *Conv3x3) planWorkspace() {
	v.workspace = 0
	v.eachFit(func() {
		v.workspace = max(v.workspace, v.sharedU()+v.sharedPoints()+v.places()*v.workerSize())
	})
}

// sharedU returns the floats of U, or of the partial sums of dU, that the
// workspace keeps.
func (v *Conv3x3) sharedU() int {
	if !v.keepsWeights() {
		return 0
	}
	return v.us.size * v.groups() * max(1, v.partials())
}

// sharedPoints returns the floats of V and D of a shared chunk.
func (v *Conv3x3) sharedPoints() int {
	if v.segments > 0 {
		return 0
	}
	return v.vs.size + v.ds.size
}

// partials returns the number of partial sums of dU.
func (v *Conv3x3) partials() int {
	if v.kind == ConvWeights {
		return v.segments
	}
	return 0
}

// ConvArgs are the operands of a convolution.
type ConvArgs struct {
	Rows int       // images, at most batch
	X    []float32 // x, or dy for ConvData: [Rows,h,w,channels]
	DY   []float32 // ConvWeights: dy
	W    []float32 // [O,3,3,C]; not for ConvWeights
	Bias []float32 // [O], ConvForward only, or nil
	Out  []float32 // y, dx, or dW, overwritten
	Tail ConvTail  // ConvForward only: what becomes of y on its way to Out
	Kept []float32 // ConvForward only: KeptWeights() floats for W transformed, left alone between calls; or nil
	Same bool      // W is what it was at the last call, and Kept what that left
	Work []float32 // Workspace() floats, overwritten

	Accumulate bool // DirectConv only, and not of kind ConvWeights: add to Out
}

// Run computes the convolution. It panics when an operand is too short.
func (v *Conv3x3) Run(p *pool.Pool, a ConvArgs) {
	v.check(a)
	v.fitGroups(p.Threads())
	v.layOut(path)
	v.pool, v.rows, v.tiles = p, a.Rows, v.tilesOf(a.Rows)
	v.src, v.src2, v.dst, v.weights, v.bias, v.tail = a.X, a.DY, a.Out, a.W, a.Bias, a.Tail
	if len(v.workers) < p.Threads() {
		v.workers = make([]winoWorker, p.Threads())
		for i := range v.workers {
			v.workers[i].lost = make([]float32, v.alg.tile*v.n)
		}
	}
	v.u, v.v, v.d = nil, nil, nil
	u, points := v.sharedU(), v.sharedPoints()
	switch {
	case a.Kept != nil:
		v.useKept(&a)
	case u > 0:
		v.u = a.Work[:u]
	}
	if points > 0 {
		v.v, v.d = a.Work[u:][:v.vs.size], a.Work[u+v.vs.size:][:v.ds.size]
	}
	v.local = a.Work[u+points:]
	if v.kind == ConvWeights {
		v.runBackwardWeights()
	} else {
		v.runForward()
	}
	v.src, v.src2, v.dst, v.weights, v.bias, v.u, v.v, v.d, v.local = nil, nil, nil, nil, nil, nil, nil, nil, nil
	v.tail, v.keptNow = ConvTail{}, false
}

// check panics on operands that do not fit.
func (v *Conv3x3) check(a ConvArgs) {
	in, out := a.Rows*v.in.h*v.in.w, a.Rows*v.out.h*v.out.w
	need := func(name string, x []float32, n int) {
		if len(x) < n {
			panic(fmt.Sprintf("kernel: Conv3x3: %s has %d values, needs %d", name, len(x), n))
		}
	}
	if a.Rows < 1 || a.Rows > v.batch {
		panic(fmt.Sprintf("kernel: Conv3x3 of %d images, planned for 1 to %d", a.Rows, v.batch))
	}
	need("X", a.X, in*v.k)
	need("Work", a.Work, v.workspace)
	if v.kind == ConvWeights {
		need("DY", a.DY, out*v.n)
		need("Out", a.Out, 9*v.k*v.n)
		return
	}
	need("W", a.W, 9*v.k*v.n)
	a.Tail.check(v, out*v.n, need)
	if a.Tail.Pool {
		out = a.Rows * (v.out.h / 2) * (v.out.w / 2)
	}
	need("Out", a.Out, out*v.n)
	if a.Bias != nil {
		need("Bias", a.Bias, v.n)
	}
}

// runForward does the convolution in one of two ways: with segments, threads
// take chunks of tiles from input to output; else they share the work of a
// chunk, tiles of its input and then groups of its output channels.
func (v *Conv3x3) runForward() {
	if v.segments > 0 {
		if !v.keptNow {
			v.pool.Run(v.groups()*ceilDiv(v.k, winoDepth), v.runWeights)
		}
		v.pool.Run(ceilDiv(v.tiles, v.chunk), v.runChunk)
		return
	}
	for v.first = 0; v.first < v.tiles; v.first += v.chunk {
		v.last = min(v.first+v.chunk, v.tiles)
		v.pool.Run(ceilDiv(v.last-v.first, winoTileBlock), v.runTransform)
		v.pool.Run(v.groups(), v.runGroup)
	}
}

// weightsTask transforms the weights of a group for some channels.
func (v *Conv3x3) weightsTask(task, worker int) {
	g, k0 := task%v.groups(), task/v.groups()*winoDepth
	v.transformWeights(worker, g, k0, min(k0+winoDepth, v.k), v.u[g*v.us.size:][:v.us.size], v.own(worker))
}

// chunkTask convolves a chunk of tiles.
func (v *Conv3x3) chunkTask(task, worker int) {
	first := task * v.chunk
	last := min(first+v.chunk, v.tiles)
	buf := v.own(worker)
	points, m := buf[:v.vs.size], buf[v.vs.size:]
	v.transformInput(worker, first, last, points)
	for g := range v.groups() {
		v.multiply(worker, last-first, g, points, v.u[g*v.us.size:], m)
		v.transformOutput(worker, first, last, g, m)
	}
}

// transformTask transforms a block of tiles of the shared chunk.
func (v *Conv3x3) transformTask(task, worker int) {
	first := v.first + task*winoTileBlock
	v.transformInput(worker, first, min(first+winoTileBlock, v.last), v.v[(first-v.first)*v.vs.row:])
}

// groupTask does a group of output channels of the shared chunk.
func (v *Conv3x3) groupTask(g, worker int) {
	buf := v.own(worker)
	m, temp, u := buf[:v.ms.size], buf[v.ms.size:][:v.tempSize()], buf[v.ms.size+v.tempSize():]
	if v.u != nil {
		u = v.u[g*v.us.size:][:v.us.size]
	}
	if v.first == 0 && !v.keptNow {
		for k0 := 0; k0 < v.k; k0 += winoDepth {
			v.transformWeights(worker, g, k0, min(k0+winoDepth, v.k), u, temp)
		}
	}
	v.multiply(worker, v.last-v.first, g, v.v, u, m)
	v.transformOutput(worker, v.first, v.last, g, m)
}

// workerSize returns the number of floats of a worker's own memory.
func (v *Conv3x3) workerSize() int {
	n := 0
	if v.segments > 0 {
		n = max(v.vs.size+v.ms.size+v.ds.size, v.tempSize())
	} else {
		n = v.ms.size + v.tempSize()
		if !v.keepsWeights() {
			n += v.us.size
		}
	}
	return roundUp(n, lanes)
}

// places is the number of workers whose memory the workspace holds.
func (v *Conv3x3) places() int { return max(2, min(winoWorkers, winoLocal/v.workerSize())) }

// own returns the worker's own memory, workerSize floats: a part of the
// workspace, which lies in large pages, or what the pool has.
func (v *Conv3x3) own(worker int) []float32 {
	n := v.workerSize()
	if worker < v.places() {
		return v.local[worker*n:][:n]
	}
	raw := v.pool.Scratch(worker, 4*n)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), n)
}

// channels returns the channels [n0, n1) of a group of the output.
func (v *Conv3x3) channels(g int) (n0, n1 int) {
	return g * v.fit, min((g+1)*v.fit, v.n)
}

// tileAt is the place of a tile: the image and the row and column of tiles.
type tileAt struct{ image, y, x int }

// next goes on to the next tile.
func (v *Conv3x3) next(t *tileAt) {
	if t.x++; t.x < v.right {
		return
	}
	t.x = 0
	if t.y++; t.y == v.down {
		t.y = 0
		t.image++
	}
}

// side is one side of a convolution as a walk over the tiles sees it: images
// of some channels, and the rows and columns from one tile to the next.
type side struct {
	plane
	channels, step int
}

func (v *Conv3x3) inSide() side  { return side{v.in, v.k, v.alg.step} }
func (v *Conv3x3) outSide() side { return side{v.out, v.n, v.alg.tile} }

// image returns the index of an image's first value.
func (s *side) image(t tileAt) int { return t.image * s.h * s.w * s.channels }

// pixel returns the index of a tile's first pixel in the batch.
func (s *side) pixel(t tileAt) int {
	return (t.image*s.h+t.y*s.step)*s.w + t.x*s.step
}

// below returns the index of the first pixel that is fetched for the tile under
// t. Taken tile by tile, the pixels of a row of tiles are one stretch of memory;
// a share of it belongs to each. Where t reads the last rows of its image they
// are those of the next. A tile also reads the first rows of those below, so
// that the stretch runs some tiles ahead.
func (s *side) below(t tileAt, right int) int {
	row := s.step * s.w
	return (t.image*s.h+(t.y+1)*s.step)*s.w + (t.x+ceilDiv(right, 4)+1)*row/right
}

// fetchBelow sets what c fetches for the tile under t, of channels from k0 on.
func (v *Conv3x3) fetchBelow(c *winoCall, s side, t tileAt, k0 int) {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(c.image)))
	c.below = base + uintptr(4*(s.channels*s.below(t, v.right)+s.step*s.step*k0))
}

// eachTile calls f for tiles [first, last) after it has set c's ahead.
func (v *Conv3x3) eachTile(c *winoCall, s side, first, last int, f func(i int, t tileAt)) {
	per := v.down * v.right
	t := tileAt{first / per, first % per / v.right, first % v.right}
	later := t
	for range ceilDiv(winoAheadChannels, s.channels) {
		v.next(&later)
	}
	for i := range last - first {
		c.ahead = 4 * s.channels * (s.pixel(later) - s.pixel(t))
		f(i, t)
		v.next(&t)
		v.next(&later)
	}
}
