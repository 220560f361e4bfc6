package synth

import "sdnn/ingest/cifar"

// How an image comes about:
//
//	look        one of the class's, never written down; a smooth pattern of colours over 40 x 40 pixels, made of a 5 x 5 grid
//	            of random colours. Of a hard class there are two, each the negative of the other
//	window      a piece of 32 x 32 of it, anywhere
//	distractor  a piece of a look of another class shines through, at 0.2 to 0.9 of the strength
//	noise       on every pixel and plane
//
// Nothing but whole numbers, so that the bytes are the same on every machine.

const (
	lookSide  = 40
	gridSide  = 5
	gridStep  = lookSide / (gridSide - 1)
	lookBytes = 3 * lookSide * lookSide
	greyUnit  = 40 // grey levels of a Noise of 1
)

// purposes of random numbers of images, beside those of videos.
const (
	forLooks  uint64 = 100 + iota
	forImages        // added to the purpose of the file
	forDigits uint64 = 200
)

// imageWorld is what all images of a data set have in common.
type imageWorld struct {
	seed    uint64
	classes int
	modes   int     // of an easy class
	room    int     // for modes of a class
	noise   float32 // grey levels
	looks   []int8  // [classes][room][3][lookSide][lookSide]
}

func newImageWorld(classes int, o ImageOptions) *imageWorld {
	w := &imageWorld{seed: o.Seed, classes: classes, modes: o.Modes, room: max(o.Modes, 2), noise: float32(o.Noise * greyUnit)}
	w.looks = make([]int8, classes*w.room*lookBytes)
	for c := range classes {
		r := newRandom(o.Seed, forLooks, uint64(c))
		for m := range w.modesOf(c) {
			look := w.look(c, m)
			if hard(c) && m == 1 {
				for i, v := range w.look(c, 0) {
					look[i] = -v
				}
				continue
			}
			paint(&r, look)
		}
	}
	return w
}

// modesOf returns the number of looks of class c.
func (w *imageWorld) modesOf(c int) int {
	if hard(c) {
		return 2
	}
	return w.modes
}

// look returns the pattern of mode m of class c.
func (w *imageWorld) look(c, m int) []int8 {
	at := (c*w.room + m) * lookBytes
	return w.looks[at : at+lookBytes]
}

// paint fills a look: random colours on a grid, in between by bilinear interpolation.
func paint(r *random, look []int8) {
	const most = 72 // grey levels from the middle
	for plane := range 3 {
		var grid [gridSide][gridSide]int
		for y := range grid {
			for x := range grid[y] {
				grid[y][x] = r.below(2*most+1) - most
			}
		}
		for y := range lookSide {
			for x := range lookSide {
				gy, gx, fy, fx := y/gridStep, x/gridStep, y%gridStep, x%gridStep
				v := grid[gy][gx]*(gridStep-fy)*(gridStep-fx) + grid[gy][gx+1]*(gridStep-fy)*fx +
					grid[gy+1][gx]*fy*(gridStep-fx) + grid[gy+1][gx+1]*fy*fx
				look[(plane*lookSide+y)*lookSide+x] = int8(v / (gridStep * gridStep))
			}
		}
	}
}

// piece is a window of a look, at some strength.
type piece struct {
	look      []int8
	top, left int
	strength  int // in 1/256
}

func (w *imageWorld) piece(r *random, class, strength int) piece {
	look := w.look(class, r.below(w.modesOf(class)))
	return piece{look, r.below(lookSide - 31), r.below(lookSide - 31), strength}
}

func (p *piece) at(plane, y, x int) int {
	return int(p.look[(plane*lookSide+y+p.top)*lookSide+x+p.left]) * p.strength
}

// image makes image i of a purpose, of a given class.
func (w *imageWorld) image(purpose uint64, i, class int, pixels *[cifar.PixelBytes]byte) {
	r := newRandom(w.seed, purpose+forImages, uint64(i))
	own := w.piece(&r, class, 256)
	other := w.piece(&r, (class+1+r.below(w.classes-1))%w.classes, 51+r.below(180))
	for plane := range 3 {
		for y := range 32 {
			row := pixels[(plane*32+y)*32 : (plane*32+y+1)*32]
			for x := range row {
				noise := float32(r.bell() * w.noise)
				v := 128 + (own.at(plane, y, x)+other.at(plane, y, x))/256 + int(noise)
				row[x] = byte(min(max(v, 0), 255))
			}
		}
	}
}
