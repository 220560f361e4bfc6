package kernel

//go:generate go run -C gen . -file wino -out ../wino_amd64.s -stubs ../wino_stubs_amd64.go -pkg kernel

import (
	"math"
	"unsafe"
)

// Fast 3x3 convolutions of stride 1 and padding 1.
//
// The output is cut in tiles of m x m pixels. A window of the input, a tile's
// worth with its border, is transformed to P points, at which the convolution
// is a product by channels alone; the products are transformed back:
//
//	x [N,H,W,C] --Bᵀ d B--> V [P][tile][C] \
//	                                        M[p] = V[p] U[p] --Aᵀ M A--> y [N,H,W,O]
//	W [O,3,3,C] --G w Gᵀ--> U [P][C][O]    /
//
// The gradient of the data is the same convolution of dy by the weights turned
// by 180 degrees with C and O exchanged; that of the weights, with sums over
// the tiles,
//
//	dy [N,H,W,O] --A dy Aᵀ--> D [P][tile][O], dU[p] = D[p]ᵀ V[p] --Gᵀ dU G--> dW
//
// The algorithms, written in one dimension (the second dimension is the same);
// those for stride 2 are in wino_stride2.go:
//
// Winograd's F(4x4,3x3), 36 products for 16 pixels where direct convolution
// has 144 (Lavin and Gray, arXiv 1509.09308, with other points: 0, ±a, ±b, ∞,
// a = 3/4, b = 3/2, whose error is a quarter of that of 0, ±1, ±2, ∞):
//
//	     ⎡ a²b²    0  -a²-b²    0    1  0 ⎤       ⎡ f₀             ⎤ f₀ = 1/(a²b²)
//	     ⎢   0  -ab²   -b²      a    1  0 ⎥       ⎢ fa   a fa a²fa ⎥ fa = 1/(2a²(a²-b²))
//	Bᵀ = ⎢   0   ab²   -b²     -a    1  0 ⎥   G = ⎢ fa  -a fa a²fa ⎥ fb = 1/(2b²(b²-a²))
//	     ⎢   0  -a²b   -a²      b    1  0 ⎥       ⎢ fb   b fb b²fb ⎥
//	     ⎢   0   a²b   -a²     -b    1  0 ⎥       ⎢ fb  -b fb b²fb ⎥
//	     ⎣   0  a²b²     0  -a²-b²   0  1 ⎦       ⎣  0    0    1   ⎦
//
//	     ⎡ 1  1   1   1   1   0 ⎤
//	Aᵀ = ⎢ 0  a  -a   b  -b   0 ⎥
//	     ⎢ 0  a²  a²  b²  b²  0 ⎥
//	     ⎣ 0  a³ -a³  b³ -b³  1 ⎦
//
// and for maps of 2x2 pixels, where the convolution of a row is a product with
// the Toeplitz matrix (w1 w2; w0 w1), three products for four:
//
//	Bᵀ d = (d0+d1, d1, d0)   G w = (w1, w2-w1, w0-w1)   Aᵀ m = (m0+m1, m0+m2)
//
// The transforms are kernels for one tile and all channels, the products those
// of Gemm with their blocks of gemmKC, so that AVX2 and AVX-512 end in the
// same bits. V and D are written straight into the form that the micro-kernels
// read (winoLayout); nothing is packed.

// winoAlgorithm is what the algorithms differ in. All but window and border, which
// are those of the input transform, are in rows of one dimension.
type winoAlgorithm struct {
	id     int // index in winoISA
	tile   int // rows of a tile of the output
	points int
	taps   int // points of the weights: where fewer, the first of them belongs to several points
	step   int // rows of the input from one tile to the next
	window int // rows of the input that a tile reads
	border int // of them before the tile

	// local is the number of tiles from which every thread works on chunks of its
	// own: fewer, and the weights would be read too often. localChunk is such a
	// chunk, near what keeps its points in the second-level cache; weightsChunk
	// the same for ConvWeights, where it is the length of the sums.
	local, localChunk, weightsChunk int
}

var (
	winograd4 = &winoAlgorithm{id: 0, tile: 4, points: 6, taps: 6, step: 4, window: 6, border: 1,
		local: 1024, localChunk: 42, weightsChunk: 48} // 42 is a multiple of the rows of all micro-tiles
	toeplitz2 = &winoAlgorithm{id: 1, tile: 2, points: 3, taps: 3, step: 2, window: 2, border: 0, local: math.MaxInt}
)

// tap returns the point of the weights that belongs to point p.
func (a *winoAlgorithm) tap(p int) int {
	shared := a.points - a.taps
	return max(p/a.points-shared, 0)*a.taps + max(p%a.points-shared, 0)
}

// firstOfTap reports whether p is the first point to which its weights belong.
func (a *winoAlgorithm) firstOfTap(p int) bool {
	y, x, shared := p/a.points, p%a.points, a.points-a.taps
	return (y == 0 || y > shared) && (x == 0 || x > shared)
}

// winoISA is what one code path brings to the convolutions: the transforms of
// a tile by algorithm. Those to points read pixels (or taps) and write points,
// those from points the reverse.
type winoISA struct {
	lanes   int // channels that a transform moves at a time
	input   [winoAlgorithms]func(*winoCall)
	grad    [winoAlgorithms]func(*winoCall)
	weights [winoAlgorithms]func(*winoCall)
	output  [winoAlgorithms]func(*winoCall)
	sum     [winoAlgorithms]func(*winoCall) // output with ConvTail
	pool    [winoAlgorithms]func(*winoCall) // output with ConvTail and max-pool
	dw      [winoAlgorithms]func(*winoCall)
	micro   func(rows int, call *microCall) // gemmISA.micro for A packed by rows
	sums    winoSums                        // the products of the gradient of the weights
	stream  func(dst, src []float32)        // copies whole cache lines past the caches; nil where U is not written so
}

// winoSums is how a code path multiplies D, which is packed by columns. The
// micro-tiles of a panel have rows[0], rows[1], ... rows, width in all: the more,
// the fewer instructions a product takes.
type winoSums struct {
	width int // channels of dy in a panel of D: one or two vectors, a divisor of 16
	rows  []int
	micro func(rows int, call *microCall)
	// ahead: what a micro-tile fetches is its part of dU for the next one, not
	// of the next panel of D.
	ahead bool
}

// winoAlgorithms is the number of algorithms, and winoRows of the most rows of
// pixels and of points in one dimension that one has.
const winoAlgorithms, winoRows = 4, 9

// winoPad is added to the distance of points, so that the points of a tile do
// not share the sets of a cache.
const winoPad = 80

// winoAbsent marks a row of pixels that does not exist: zeros are read, what
// is written is lost.
const winoAbsent = math.MinInt

// winoCall are the arguments of a transform. The assembly knows the order and
// size of the first part (gen/wino.go), in bytes and addresses; bind computes
// the addresses from the second part.
type winoCall struct {
	rows    [winoRows]uintptr // of the window's or tile's pixels, at its first column
	pixel   int               // bytes from one column to the next
	columns int               // bit x: column x exists
	vectors int               // of channels
	points  uintptr           // first point
	yStep   int               // bytes to the points of the next row
	xStep   [winoRows]int     // bytes from a row's first point to each
	step    [2]int            // bytes from a vector of points to the next, taken in turn
	tmp     *[winoRows * winoRows * lanes]float32
	bias    uintptr // added to the output by channel, or 0
	ahead   int     // bytes from a pixel to the one to be fetched for a later tile

	// What is done with the output on its way, see ConvTail; 0 where it is not.
	scale, shift   uintptr
	floor          float32
	residual, sums [4]uintptr // rows

	below uintptr // the pixels to be fetched for a tile of the next row of tiles, in the order of memory

	image   []float32     // holds the pixels
	rowAt   [winoRows]int // index of each row, or winoAbsent
	absent  []float32     // taken for a row that does not exist: all its columns and channels
	point   []float32     // starts with the first point
	biases  []float32
	tail    winoTail
	between [winoRows * winoRows * lanes]float32
}

// The assembly counts on the layout.
var _ = [1]struct{}{}[unsafe.Offsetof(winoCall{}.ahead)-216]
var _ = [1]struct{}{}[unsafe.Offsetof(winoCall{}.sums)-280]
var _ = [1]struct{}{}[unsafe.Offsetof(winoCall{}.below)-312]

// bind computes the addresses.
func (c *winoCall) bind() {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(c.image)))
	for y, at := range &c.rowAt {
		c.rows[y] = base + uintptr(4*at)
		if at == winoAbsent {
			c.rows[y] = uintptr(unsafe.Pointer(unsafe.SliceData(c.absent)))
		}
	}
	c.points = uintptr(unsafe.Pointer(unsafe.SliceData(c.point)))
	c.bias = uintptr(unsafe.Pointer(unsafe.SliceData(c.biases)))
	c.tmp = &c.between
}

// setPoints says where the points lie: value (p, channel 0) at l.at(p).
func (c *winoCall) setPoints(l *winoLayout, channels, lanes int) {
	c.yStep = 4 * l.yStep
	for x := range c.xStep {
		c.xStep[x] = 4 * l.xStep[x]
	}
	c.step = [2]int{4 * l.step[0], 4 * l.step[1]}
	c.vectors = channels / lanes
}

// plane is the size of an image.
type plane struct{ h, w int }

// setWindow points the call to the pixels of rows [y0, y0+n) and columns
// [x0, x0+n) of an image of ch channels at index at, for channel first on.
func (c *winoCall) setWindow(at int, im plane, ch, first, y0, x0, n int) {
	lo, hi := max(0, -x0), min(n, im.w-x0)
	c.columns = 1<<hi - 1<<lo
	for i := range n {
		if y := y0 + i; y >= 0 && y < im.h {
			c.rowAt[i] = at + (y*im.w+x0)*ch + first
		} else {
			c.rowAt[i] = winoAbsent
		}
	}
}

// winoLayout says where the values (point, tile, channel) of V, D, M or U lie,
// in floats; the tile's or row's own offset comes on top. Point (y, x) is at
// y*yStep + xStep[x]; vectors of channels follow by step[0] and step[1] in turn.
type winoLayout struct {
	yStep int
	xStep [winoRows]int
	step  [2]int
	row   int // from one tile to the next
	block int // from gemmKC channels to the next, where there are several blocks
	size  int
}

// at returns the offset of point p of q x q.
func (l *winoLayout) at(p, q int) int { return p/q*l.yStep + l.xStep[p%q] }

// linear sets the offsets of points that are size apart.
func (l *winoLayout) linear(q, size int) {
	size += winoPad // both multiples of a line
	l.yStep = q * size
	for x := range q {
		l.xStep[x] = x * size
	}
	l.size = q * q * size
}

// rowLayout is V as panels of A packed by rows: tile t, channel k of a block at
// t*gemmKC + k. Several points share a row where channels are few.
func rowLayout(q, tiles, channels, lanes int) winoLayout {
	l := winoLayout{step: [2]int{lanes, lanes}, row: gemmKC}
	share := q
	for share > 1 && (share*channels > gemmKC || q%share != 0) {
		share--
	}
	group := tiles*gemmKC + winoPad
	l.yStep = q / share * group
	for x := range q {
		l.xStep[x] = x/share*group + x%share*channels
	}
	l.block = q * q / share * group
	l.size = ceilDiv(channels, gemmKC) * l.block
	return l
}

// panelLayout is packed panels of the given width: value (k, j) of a panel at
// k*width + j, depth rows k.
func panelLayout(q, depth, width, channels, lanes int) winoLayout {
	l := winoLayout{row: width}
	panel := depth * width
	if width == lanes {
		l.step = [2]int{panel, panel}
	} else { // two vectors to a panel
		l.step = [2]int{lanes, panel - lanes}
	}
	l.linear(q, ceilDiv(channels, width)*panel)
	return l
}

// matrixLayout is matrices of rows x channels.
func matrixLayout(q, rows, channels, lanes int) winoLayout {
	l := winoLayout{step: [2]int{lanes, lanes}, row: channels}
	l.linear(q, rows*channels)
	return l
}
