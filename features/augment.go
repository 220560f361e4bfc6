package features

import (
	"fmt"
	"math/bits"
)

// Augment chooses how images are varied for training. The zero value does nothing.
type Augment struct {
	Pad    int  // crop: a window of the image's own size, anywhere in the image with Pad black pixels around
	Flip   bool // mirror left and right, with probability 1/2
	Cutout int  // blank a square of this side, after normalisation, centred anywhere in the image; an odd side counts as one less
}

// Parallel calls f(task, worker) for each task in 0..tasks-1, at the same time if it likes, and returns when all have returned.
type Parallel func(tasks int, f func(task, worker int))

// An Augmenter turns stored images into the input of an image network: crop, flip, normalise, cutout, in one pass from the
// stored bytes. Images are square and have three planes.
//
//	stored   uint8    R plane, G plane, B plane, each row by row
//	output   float32  rows of pixels, the three values of a pixel together (a batch is NHWC)
//	value    (x/255 - mean/255) / (std/255), of the plane's mean and deviation, every step rounded to float32
//
// The order is that of torchvision's transforms as the paper uses them, so that padding is black (0 before normalisation) and a cut
// out square has the mean colour (0 after it). What happens to an image depends on its key alone, by these numbers, with mix as in
// Shuffle and below(i, n) = floor(mix((key xor 0x6175676d656e7421) + i*gamma) * n / 2^64):
//
//	top  = below(0, 2*Pad+1), left = below(1, 2*Pad+1)    first row and column of the window in the padded image
//	flip = below(2, 2)
//	y    = below(3, side),    x    = below(4, side)       centre: rows y-Cutout/2 to y+Cutout/2-1 are blank, and columns alike
//
// Gather is for one goroutine at a time; Image may be called by many.
type Augmenter struct {
	side    int
	augment Augment
	tables  [3][256]float32 // normalised value of each byte of each plane
	run     Parallel

	job  imageJob
	task func(task, worker int) // of job
}

// imageJob is what the tasks of one Gather share.
type imageJob struct {
	split *Split
	col   int
	rows  []int
	keys  []uint64
	dst   []float32
	errs  []error // of each task
}

// imagesPerTask is how many images a task turns: 20 to 50 microseconds.
const imagesPerTask = 16

// NewAugmenter returns an Augmenter of images of side x side pixels with the given mean and deviation of each plane, in units of
// 0..255 (Manifest.PixelMean, PixelStd). run does the tasks of Gather; nil does them one by one.
func NewAugmenter(side int, mean, std []float64, a Augment, run Parallel) (*Augmenter, error) {
	switch {
	case len(mean) != 3 || len(std) != 3 || !(std[0] > 0 && std[1] > 0 && std[2] > 0):
		return nil, fmt.Errorf("images with pixel mean %v and deviation %v: three of each are needed, deviations above 0", mean, std)
	case side < 1 || a.Pad < 0 || a.Pad > side || a.Cutout < 0 || a.Cutout > 2*side:
		return nil, fmt.Errorf("images of %d x %d pixels: crop with %d pixels around, cutout of %d", side, side, a.Pad, a.Cutout)
	}
	g := &Augmenter{side: side, augment: a, run: run}
	for c := range g.tables {
		m, s := float32(mean[c]/255), float32(std[c]/255)
		for x := range g.tables[c] {
			g.tables[c][x] = (float32(x)/255 - m) / s
		}
	}
	if g.run == nil {
		g.run = func(tasks int, f func(task, worker int)) {
			for task := range tasks {
				f(task, 0)
			}
		}
	}
	g.task = func(task, _ int) { g.job.errs[task] = g.gather(task) }
	return g, nil
}

// Width returns the number of values of an image, stored or turned.
func (g *Augmenter) Width() int { return 3 * g.side * g.side }

// An imageDraw is what happens to one image.
type imageDraw struct {
	top, left int // of the window in the padded image
	flip      bool
	y, x      int // centre of the cutout
}

func (g *Augmenter) draw(key uint64) imageDraw {
	below := func(i uint64, n int) int {
		hi, _ := bits.Mul64(mix((key^0x6175676d656e7421)+i*gamma), uint64(n))
		return int(hi)
	}
	offsets := 2*g.augment.Pad + 1
	return imageDraw{top: below(0, offsets), left: below(1, offsets), flip: g.augment.Flip && below(2, 2) == 1,
		y: below(3, g.side), x: below(4, g.side)}
}

// Values returns the normalised value of each byte of each plane.
func (g *Augmenter) Values() [3][256]float32 { return g.tables }

// Image turns one stored image into dst, varied by key. Both have Width elements.
func (g *Augmenter) Image(dst []float32, pixels []byte, key uint64) {
	g.checkWidths(len(dst), len(pixels))
	d := g.draw(key)
	g.window(dst, pixels, d)
	g.cutout(dst, d.y, d.x)
}

// Normalise turns one stored image into dst as it is, for evaluation. Both have Width elements.
func (g *Augmenter) Normalise(dst []float32, pixels []byte) {
	g.checkWidths(len(dst), len(pixels))
	plane := g.side * g.side
	g.interleave(dst, pixels[:plane], pixels[plane:2*plane], pixels[2*plane:])
}

func (g *Augmenter) checkWidths(dst, pixels int) {
	if w := g.Width(); dst != w || pixels != w {
		panic(fmt.Sprintf("features: image of %d bytes to %d values; expected %d", pixels, dst, w))
	}
}

// window crops, flips and normalises.
func (g *Augmenter) window(dst []float32, pixels []byte, d imageDraw) {
	side, pad := g.side, g.augment.Pad
	plane, stride := side*side, 3*side
	// The columns of the window that lie in the image are from..to-1, and are those from first on there.
	first := max(0, d.left-pad)
	from := max(0, pad-d.left)
	to := min(side, side+pad-d.left)
	for y := range side {
		row := dst[y*stride : (y+1)*stride]
		at := y + d.top - pad
		if at < 0 || at >= side {
			g.black(row)
			continue
		}
		begin := at*side + first
		end := begin + to - from
		r, gr, b := pixels[begin:end], pixels[plane+begin:plane+end], pixels[2*plane+begin:2*plane+end]
		if d.flip {
			g.black(row[:3*(side-to)])
			g.interleaveFlipped(row[3*(side-to):3*(side-from)], r, gr, b)
			g.black(row[3*(side-from):])
		} else {
			g.black(row[:3*from])
			g.interleave(row[3*from:3*to], r, gr, b)
			g.black(row[3*to:])
		}
	}
}

// black fills dst with black pixels.
func (g *Augmenter) black(dst []float32) {
	r, gr, b := g.tables[0][0], g.tables[1][0], g.tables[2][0]
	for ; len(dst) >= 3; dst = dst[3:] {
		dst[0], dst[1], dst[2] = r, gr, b
	}
}

// interleave normalises a run of pixels of the three planes.
func (g *Augmenter) interleave(dst []float32, r, gr, b []byte) {
	tr, tg, tb := &g.tables[0], &g.tables[1], &g.tables[2]
	n := len(r)
	gr, b = gr[:n], b[:n]
	i := 0
	for ; i+4 <= n; i += 4 {
		p, q, s := r[i:i+4:i+4], gr[i:i+4:i+4], b[i:i+4:i+4]
		o := dst[3*i : 3*i+12 : 3*i+12]
		o[0], o[1], o[2] = tr[p[0]], tg[q[0]], tb[s[0]]
		o[3], o[4], o[5] = tr[p[1]], tg[q[1]], tb[s[1]]
		o[6], o[7], o[8] = tr[p[2]], tg[q[2]], tb[s[2]]
		o[9], o[10], o[11] = tr[p[3]], tg[q[3]], tb[s[3]]
	}
	for ; i < n; i++ {
		dst[3*i], dst[3*i+1], dst[3*i+2] = tr[r[i]], tg[gr[i]], tb[b[i]]
	}
}

// interleaveFlipped is interleave from the last pixel to the first.
func (g *Augmenter) interleaveFlipped(dst []float32, r, gr, b []byte) {
	tr, tg, tb := &g.tables[0], &g.tables[1], &g.tables[2]
	n := len(r)
	gr, b = gr[:n], b[:n]
	i := 0
	for ; i+4 <= n; i += 4 {
		j := n - 4 - i
		p, q, s := r[j:j+4:j+4], gr[j:j+4:j+4], b[j:j+4:j+4]
		o := dst[3*i : 3*i+12 : 3*i+12]
		o[0], o[1], o[2] = tr[p[3]], tg[q[3]], tb[s[3]]
		o[3], o[4], o[5] = tr[p[2]], tg[q[2]], tb[s[2]]
		o[6], o[7], o[8] = tr[p[1]], tg[q[1]], tb[s[1]]
		o[9], o[10], o[11] = tr[p[0]], tg[q[0]], tb[s[0]]
	}
	for ; i < n; i++ {
		j := n - 1 - i
		dst[3*i], dst[3*i+1], dst[3*i+2] = tr[r[j]], tg[gr[j]], tb[b[j]]
	}
}

// cutout blanks the square around (y, x).
func (g *Augmenter) cutout(dst []float32, y, x int) {
	half := g.augment.Cutout / 2
	from, to := max(0, x-half), min(g.side, x+half)
	for row := max(0, y-half); row < min(g.side, y+half); row++ {
		clear(dst[3*(row*g.side+from) : 3*(row*g.side+to)])
	}
}

// GatherImages turns rows of a Uint8 column of images: row rows[i] into dst[i*Width:(i+1)*Width], varied by keys[i], or as it is if
// keys is nil. What comes out does not depend on how g runs its tasks. It checks chunks on first touch; the error is a *CorruptError.
func (p *Split) GatherImages(col int, rows []int, keys []uint64, dst []float32, g *Augmenter) error {
	w := p.width(col, Uint8)
	if w != g.Width() || len(dst) < len(rows)*w || keys != nil && len(keys) != len(rows) {
		panic(fmt.Sprintf("features: gather of %d images of %d bytes with %d keys into %d values of images of %d",
			len(rows), w, len(keys), len(dst), g.Width()))
	}
	tasks := (len(rows) + imagesPerTask - 1) / imagesPerTask
	if cap(g.job.errs) < tasks {
		g.job.errs = make([]error, tasks)
	}
	g.job = imageJob{split: p, col: col, rows: rows, keys: keys, dst: dst, errs: g.job.errs[:tasks]}
	g.run(tasks, g.task)
	errs := g.job.errs
	g.job = imageJob{errs: errs}
	for _, err := range errs { // the first by position, whichever came first
		if err != nil {
			return err
		}
	}
	return nil
}

// gather does a task of the current job.
func (g *Augmenter) gather(task int) error {
	j := &g.job
	first := task * imagesPerTask
	rows := j.rows[first:min(first+imagesPerTask, len(j.rows))]
	w := g.Width()
	return j.split.gather(rows, func(v *chunkView, i, at int) {
		pixels := v.bytes[j.col][at*w : (at+1)*w]
		dst := j.dst[(first+i)*w : (first+i+1)*w]
		if j.keys == nil {
			g.Normalise(dst, pixels)
		} else {
			g.Image(dst, pixels, j.keys[first+i])
		}
	})
}
