package kernel

import "fmt"

// Patches describes a matrix that is not stored: the windows of images that a
// convolution reads. The matrix has a row for each window, image after image
// and row after row, and in it the window's values:
//
//	row     (image, oy, ox)
//	column  (ky, kx, channel)
//	value   image[Y + oy Step + ky][X + ox Step + kx][channel], 0 outside of the image
//
// As an operand of Gemm it is gathered while it is packed, a few rows at a
// time: a convolution needs no memory for it (implicit GEMM).
type Patches struct {
	H, W, C int // of an image [H,W,C]
	OH, OW  int // windows down and across
	KH, KW  int // rows and columns of a window
	Step    int // pixels from one window to the next
	Y, X    int // the first window's first pixel; negative by the padding
}

// run is the number of values of a window's row: they lie together in the image.
func (p *Patches) run() int { return p.KW * p.C }

// columns is the number of columns of the matrix.
func (p *Patches) columns() int { return p.KH * p.run() }

// check panics unless data holds the images of so many windows.
func (p *Patches) check(name string, data []float32, rows, cols int) {
	images := ceilDiv(rows, p.OH*p.OW)
	if cols != p.columns() || len(data) < images*p.H*p.W*p.C {
		panic(fmt.Sprintf("kernel: Gemm operand %s: %d windows of %d values do not fit %+v and %d values of images", name, rows, cols, *p, len(data)))
	}
}

// matrix returns the operand: the images themselves where a window is a pixel
// and every pixel has one.
func (p *Patches) matrix(images []float32) Matrix {
	if p.KH == 1 && p.KW == 1 && p.Step == 1 && p.Y == 0 && p.X == 0 && p.OH == p.H && p.OW == p.W {
		return Matrix{Data: images, Stride: p.C}
	}
	return Matrix{Data: images, Patches: p}
}

// patchPlace is the place of a window: of a row of the matrix.
type patchPlace struct{ image, y, x int }

// at returns the place of row i of the matrix.
func (p *Patches) at(i int) patchPlace {
	return patchPlace{i / (p.OH * p.OW), i / p.OW % p.OH, i % p.OW}
}

// first returns the index of a window's first value; it may lie outside of the image.
func (p *Patches) first(w patchPlace) int {
	return ((w.image*p.H+w.y*p.Step+p.Y)*p.W + w.x*p.Step + p.X) * p.C
}

// pack writes columns [k0, k0+depth) of rows [i, i+rows) to dst, ld values from
// one row to the next. The rest of a row's ld values may be overwritten.
func (p *Patches) pack(isa *gemmISA, dst []float32, ld int, data []float32, i, rows, k0, depth int) {
	run := p.run()
	for w := p.at(i); rows > 0; {
		n := min(rows, p.OW-w.x) // windows beside one another
		for k := k0; k < k0+depth; {
			ky := k / run
			lo, hi := k-ky*run, min(run, k0+depth-ky*run)
			p.packRun(isa, dst[k-k0:], ld, ld-(k-k0), data, w, n, ky, lo, hi)
			k += hi - lo
		}
		if rows -= n; rows > 0 {
			dst = dst[n*ld:]
		}
		if w.x, w.y = 0, w.y+1; w.y == p.OH {
			w.image, w.y = w.image+1, 0
		}
	}
}

// packRun writes values [lo, hi) of row ky of n windows beside one another,
// the first at w. Of each row of dst it may overwrite room values.
func (p *Patches) packRun(isa *gemmISA, dst []float32, ld, room int, data []float32, w patchPlace, n, ky, lo, hi int) {
	width := hi - lo
	y := w.y*p.Step + p.Y + ky
	if y < 0 || y >= p.H {
		for r := range n {
			clear(dst[r*ld:][:width])
		}
		return
	}
	// Window r reads values [at + r step, + width) of the image's row.
	row := data[(w.image*p.H+y)*p.W*p.C:][:p.W*p.C]
	step, at := p.Step*p.C, (w.x*p.Step+p.X)*p.C+lo
	from, until := 0, n // the windows that lie inside
	if at < 0 {
		from = min(n, ceilDiv(-at, step))
	}
	if free := len(row) - width - at; free < 0 {
		until = from
	} else {
		until = max(from, min(n, free/step+1))
	}
	for r := range from {
		edge(dst[r*ld:][:width], row, at+r*step)
	}
	if from < until {
		copyRows(isa, dst[from*ld:], ld, room, row[at+from*step:], step, until-from, width)
	}
	for r := until; r < n; r++ {
		edge(dst[r*ld:][:width], row, at+r*step)
	}
}

// edge sets dst to values of row from index at on, 0 where there are none.
func edge(dst, row []float32, at int) {
	clear(dst)
	if lo, hi := max(0, -at), min(len(dst), len(row)-at); lo < hi {
		copy(dst[lo:hi], row[at+lo:])
	}
}

// copyRows copies rows of width values, ld apart in dst and step in src. It
// uses vectors where room, the values of a row of dst that may be overwritten,
// allows for whole ones.
func copyRows(isa *gemmISA, dst []float32, ld, room int, src []float32, step, rows, width int) {
	panels := ceilDiv(width, isa.nr)
	if panels*isa.nr <= room {
		isa.packRows(dst, isa.nr, ld, src, step, rows, isa.nr, panels, width-(panels-1)*isa.nr)
		return
	}
	for r := range rows {
		copy(dst[r*ld:][:width], src[r*step:])
	}
}

// patchRows is the number of windows that are gathered before they are packed
// as rows of B.
const patchRows = 8

// packPatches packs columns [j0, j1) of B, as packB does, by way of temp.
func (j *gemmJob) packPatches(dst, temp []float32, k0, depth, j0, j1 int) {
	isa, nr := j.isa, j.isa.nr
	panels := ceilDiv(j1-j0, nr)
	ld := panels * nr
	for k := 0; k < depth; k += patchRows {
		n := min(patchRows, depth-k)
		j.b.Patches.pack(isa, temp, ld, j.b.Data, k0+k, n, j0, j1-j0)
		isa.packRows(dst[k*nr:], nr*isa.kc, nr, temp, ld, n, nr, panels, nr)
	}
}

// ahead is the memory that n windows from row i on, columns [k0, k0+depth), are
// gathered from, as if they were beside one another.
func (p *Patches) ahead(data []float32, i, n, k0, depth int) stream {
	ky := k0 / p.run()
	return stream{
		x:     Matrix{Data: data, Stride: p.W * p.C},
		start: p.first(p.at(i)) + ky*p.W*p.C,
		width: n * p.Step * p.C,
		rows:  ceilDiv(k0+depth, p.run()) - ky,
	}
}
