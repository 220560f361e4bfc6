package kernels

import (
	"strings"

	"sdnn/nn/cuda/driver"
)

// Threads is the size of every kernel's block.
const Threads = 256

// launch is what a geometry is computed from: a kernel and its arguments.
type launch struct {
	s    *Signature
	args []driver.Arg
}

// i returns the value of an integer argument by the parameter's name.
func (l launch) i(name string) int {
	i := l.s.index(name)
	if i < 0 {
		panic("kernels: " + l.s.Name + " has no parameter " + name)
	}
	return Int(l.args[i])
}

// vector is the number of elements of 16 bytes of the kernel's type.
func (l launch) vector() int {
	if strings.Contains(l.s.Name, "bf16") {
		return 8
	}
	return 4
}

// most is the most blocks in a dimension of a grid that all kernels can have;
// they go on from there by steps of the grid.
const most = 65535

func clamp(n int) int { return max(1, min(n, most)) }

func over(n, d int) int { return (n + d - 1) / d }

// line is a grid of n blocks.
func line(n int) driver.Dim { return driver.Dim{X: clamp(n), Y: 1, Z: 1} }

// tile returns the threads of a block that lie along the channels (walk in
// common.cuh), most at most, and the tiles of a row.
func tile(channels, vector, most int) (tx, tiles int) {
	vectors := channels / vector
	for tx = most; tx > 4 && vectors%tx != 0; {
		tx /= 2
	}
	for tx > 1 && tx/2 >= vectors {
		tx /= 2
	}
	return tx, over(vectors, tx)
}

// The geometries. A walk is over rows x channels: a thread takes up to eight
// rows, fewer where there would be too few blocks to fill a large card.
func (l launch) walk(rows, channels, vector int) driver.Dim {
	if channels%vector != 0 {
		vector = 1
	}
	tx, tiles := tile(channels, vector, 32)
	ty := Threads / tx
	per := 8
	for per > 1 && tiles*over(rows, ty*per) < 1024 {
		per /= 2
	}
	return driver.Dim{X: clamp(tiles), Y: clamp(over(rows, ty*per)), Z: 1}
}

// tileChannels is TILE of common.cuh.
const tileChannels = 32

// Counters is the number of counters that the kernels which finish what they sum
// need, 0 before and after each.
const Counters = most

// reduce is a sum over rows: tiles x slices.
func (l launch) reduce(channels, vector int) driver.Dim {
	if channels%vector != 0 {
		vector = 1
	}
	_, tiles := tile(channels, vector, tileChannels/vector)
	if tiles > most {
		panic("kernels: too many channels to sum")
	}
	return driver.Dim{X: tiles, Y: l.i("slices"), Z: 1}
}

// Geometry returns the grid and block of a launch. The arguments must fit the
// signature.
func (s *Signature) Geometry(args []driver.Arg) (grid, block driver.Dim) {
	f := geometries[base(s.Name)]
	if f == nil {
		panic("kernels: no geometry for " + s.Name)
	}
	return f(launch{s, args}), driver.Dim{X: Threads, Y: 1, Z: 1}
}

func flat(l launch) driver.Dim { return line(over(l.i("n"), Threads*l.vector())) }

func ofChannels(l launch) driver.Dim { return l.walk(l.i("rows"), l.i("channels"), l.vector()) }

func ofPositions(l launch) driver.Dim {
	return l.walk(l.i("rows")*l.i("positions"), l.i("channels"), l.vector())
}

func ofWidth(l launch) driver.Dim { return l.walk(l.i("rows"), l.i("width"), l.vector()) }

func ofWindows(l launch) driver.Dim {
	return l.walk(l.i("rows")*(l.i("height")/2)*(l.i("width")/2), l.i("channels"), l.vector())
}

func ofCells(l launch) driver.Dim {
	return l.walk(l.i("rows")*((l.i("height")+1)/2)*((l.i("width")+1)/2), l.i("channels"), l.vector())
}

func ofPairs(l launch) driver.Dim {
	return l.walk(l.i("rows")*over(l.i("length"), 2), l.i("filters"), l.vector())
}

func sumChannels(l launch) driver.Dim { return l.reduce(l.i("channels"), l.vector()) }

func blockARow(l launch) driver.Dim { return line(l.i("rows")) }

func warpARow(l launch) driver.Dim { return line(over(l.i("rows"), Threads/32)) }

func threadEach(sizes ...string) func(l launch) driver.Dim {
	return func(l launch) driver.Dim {
		n := 1
		for _, s := range sizes {
			n *= l.i(s)
		}
		return line(over(n, Threads))
	}
}

// geometries by the kernels' names without types.
var geometries = map[string]func(l launch) driver.Dim{
	"relu_forward": flat, "relu_backward": flat, "relu_dropout_backward": flat, "sigmoid_forward": flat, "sigmoid_backward": flat,
	"add": flat, "convert": flat,
	"bias": ofChannels, "bias_relu": ofChannels, "dropout": ofWidth,
	"noise":          func(l launch) driver.Dim { return line(over(l.i("rows")*over(l.i("width"), 2), Threads)) },
	"copy_rows":      func(l launch) driver.Dim { return l.walk(l.i("rows"), l.i("width"), 4) },
	"pad_rows":       func(l launch) driver.Dim { return l.walk(l.i("rows"), l.i("y_stride"), 8) },
	"l2norm_forward": warpARow, "l2norm_backward": warpARow,
	"augment": threadEach("rows", "side", "side"), "topk": blockARow,

	"column_sum": sumChannels, "relu_backward_sum": sumChannels,
	"batchnorm_stats": sumChannels, "batchnorm_add_stats": sumChannels, "batchnorm_coef": threadEach("channels"),
	"batchnorm_apply": ofChannels, "batchnorm_apply_relu": ofChannels, "batchnorm_apply_relu_dropout": ofPositions,
	"batchnorm_apply_relu_maxpool": ofWindows, "batchnorm_apply_relu_avgpool": ofChannels,
	"batchnorm_backward_reduce": sumChannels, "batchnorm_backward_reduce_relu": sumChannels,
	"batchnorm_backward_reduce_relu_dropout": sumChannels, "batchnorm_backward_reduce_relu_maxpool": sumChannels,
	"batchnorm_backward_apply": ofChannels, "batchnorm_backward_apply_relu": ofChannels, "batchnorm_backward_apply_relu_add": ofChannels,
	"batchnorm_backward_apply_relu_dropout": ofPositions, "batchnorm_backward_apply_relu_maxpool": ofCells,

	"maxpool2d_forward": ofWindows, "maxpool2d_backward": ofCells, "avgpool_forward": ofChannels, "avgpool_backward": ofPositions,
	"maxpool1d_forward": ofPairs, "maxpool1d_backward": ofPairs,

	"conv1d_forward": threadEach("rows", "length", "filters"), "conv1d_backward_data": threadEach("rows", "length"),
	"conv1d_backward_weight":               func(l launch) driver.Dim { return driver.Dim{X: clamp(l.i("filters")), Y: l.i("slices"), Z: 1} },
	"conv1d_backward_finish":               func(l launch) driver.Dim { return line(over((l.i("taps")+1)*l.i("filters"), 16)) },
	"conv1d_relu_maxpool_forward":          ofPairs,
	"conv1d_relu_maxpool_backward":         func(l launch) driver.Dim { return l.reduce(l.i("filters"), 4) },
	"conv1d_relu_maxpool_dropout_forward":  ofPairs,
	"conv1d_relu_maxpool_dropout_backward": func(l launch) driver.Dim { return l.reduce(l.i("filters"), 4) },
	"subclass_ce_logits":                   blockARow,
	"subclass_ce_probabilities":            blockARow,
	"moe_forward":                          threadEach("rows", "outputs"),
	"moe_backward":                         threadEach("rows", "outputs"),
	"theta_errors":                         blockARow,
	"theta_norms":                          func(l launch) driver.Dim { return line(min(l.i("classes")*l.i("chunks"), 1056)) },
	"theta_finish":                         threadEach("classes"),
	"sgd":                                  func(l launch) driver.Dim { return line(l.i("count")) },
	"adam":                                 func(l launch) driver.Dim { return line(l.i("count")) },
	"sgd_theta":                            func(l launch) driver.Dim { return line(l.i("count")) },
	"adam_theta":                           func(l launch) driver.Dim { return line(l.i("count")) },
}

// Slices is the number of slices that a sum over rows x channels is made in: the
// more the sooner a large card is busy, but the block that is the last adds them
// all up. It depends on the sizes alone, so that every card adds in one order.
func Slices(rows, channels int) int {
	tiles := over(channels, tileChannels)
	n := min(rows*channels/(2048*tiles), over(528, tiles), over(rows, 8))
	return max(1, n)
}

// thetaColumns is THETA_COLUMNS of theta.cu.
const thetaColumns = 2048

// ThetaChunks is the number of chunks of theta_norms: width columns.
func ThetaChunks(width int) int { return over(width, thetaColumns) }
