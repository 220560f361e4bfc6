package kernel

import "unsafe"

// stream is memory that will be read soon: rows of width values of x, the
// first at index start. The micro-kernel asks for it while it computes.
type stream struct {
	x                  Matrix
	start, width, rows int
	other              [2]int // see microCall.aheadOther
}

// maxStreams is the number of streams at most: the operands and Epilogue.Beside; of Strassen's
// products a sum of two quarters of A and a packed block of B, or the four quarters of what is beside C.
const maxStreams = 2 + maxBeside

// fetch asks for the part of s that falls to count rows of all, from row i on.
func (s *stream) fetch(i, count, all int) {
	from, to := s.rows*i/all, s.rows*(i+count)/all
	if from == to {
		return
	}
	at := address(s.x.Data) + uintptr(4*(s.start+from*s.x.Stride))
	fetchLines(at, to-from, ceilDiv(int(at%cacheLine)+4*s.width, cacheLine), 4*s.x.Stride)
}

// append appends the stream to list, and for an operand that is a sum of two the
// stream of the second.
func (s stream) append(list []stream) []stream {
	list = append(list, s)
	if s.x.other != nil {
		s.x.Data = s.x.other
		list = append(list, s)
	}
	return list
}

const cacheLine = 64

// lines estimates the cache lines of a stream.
func (s *stream) lines() int { return s.rows * (4*s.width/cacheLine + 1) }

// ahead appends to list what is read after panel p of A, rows from row i on: it
// is panel g of count that were packed together.
func (j *gemmJob) ahead(list []stream, t *block, i, rows, g, count, p int) []stream {
	if t.ending && len(j.epilogue.Beside) > 0 {
		return j.aheadEnd(list, t, i+rows*(count-g), rows)
	}
	if t.ending || t.i1-t.i0 > fewRows || j.packed != nil {
		if j.packed != nil {
			list = append(list, j.aheadPacked(t, p+1, rows))
		} else {
			list = j.aheadA(t, i, rows, g, count).append(list)
		}
	}
	if t.ending {
		return list // B of all seven products is read again for each panel
	}
	if j.strassen {
		return append(list, j.aheadStrassenB(t, i, rows))
	}
	list = append(list, j.aheadB(t, i, rows))
	if t.final {
		for _, x := range j.epilogue.Beside {
			list = append(list, stream{x: x, start: i*x.Stride + t.j0, width: t.j1 - t.j0, rows: rows})
		}
	}
	return list
}

// aheadA is the part of the panels of A after those packed together that falls
// to panel g of them. An address past A's end does no harm.
func (j *gemmJob) aheadA(t *block, i, rows, g, count int) stream {
	next := i + rows*(count-g)
	if t.a.Patches != nil {
		return t.a.Patches.ahead(t.a.Data, next, rows, t.k0, t.depth)
	}
	if t.a.Trans {
		k := t.depth * g / count
		return stream{x: t.a, start: (t.k0+k)*t.a.Stride + next, width: rows * j.isa.group, rows: ceilDiv(t.depth, count)}
	}
	return stream{x: t.a, start: next*t.a.Stride + t.k0, width: t.depth, rows: rows}
}

// aheadB is the part of the next block of B that falls to a panel of A, rows
// from row i on. After a tile's last block it is the first of the tile
// that the worker is likely to come to next.
func (j *gemmJob) aheadB(t *block, i, rows int) stream {
	k0, j0, j1 := t.k0+j.block, t.j0, t.j1
	if t.final {
		next := t.task + j.pool.Threads()
		if k0 = t.begin; next >= j.grid.tasks() {
			next = t.task // in cache
		}
		_, _, j0, j1 = j.grid.tile(next)
	}
	depth := min(j.block, t.end-k0)
	from, to, all := i-t.i0, i+rows-t.i0, t.i1-t.i0 // of the tile's rows
	at, end, width := depth*from/all, depth*to/all, j1-j0
	if j.b.Patches != nil {
		return j.b.Patches.ahead(j.b.Data, k0+at, end-at, j0, j1-j0)
	}
	if j.b.Trans {
		at, end, width = (j1-j0)*from/all, (j1-j0)*to/all, depth
		return stream{x: j.b, start: (j0+at)*j.b.Stride + k0, width: width, rows: end - at}
	}
	return stream{x: j.b, start: (k0+at)*j.b.Stride + j0, width: width, rows: end - at}
}

// aheadEnd is a part of what the matrices beside C, of one stride, have at the rows of the quarters from row
// next on, in Strassen's last block: those of the next panel, a seventh for each product.
func (j *gemmJob) aheadEnd(list []stream, t *block, next, rows int) []stream {
	beside := j.epilogue.Beside
	first := beside[0]
	part := stream{x: first, width: t.j1 - t.j0}
	for i := range beside[1:] {
		part.other[i] = int(address(beside[1+i].Data) - address(first.Data))
	}
	from, to := rows*t.product/len(strassen), rows*(t.product+1)/len(strassen)
	for q := range 4 {
		part.start, part.rows = (q/2*j.m+next+from)*first.Stride+q%2*j.n+t.j0, to-from
		list = append(list, part)
	}
	return list
}

// address returns where the values lie.
func address(x []float32) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(x))) }

// micro multiplies a panel of A by the panels of B. Each stream is fetched
// during a part of them in proportion to its length.
func (j *gemmJob) micro(call *microCall, rows int, streams []stream) {
	total := 0
	for i := range streams {
		total += streams[i].lines()
	}
	panels, last, b, c, bias := call.panels, call.last, call.b, call.c, call.bias
	done, seen := 0, 0
	for i := range streams {
		seen += streams[i].lines()
		end := panels
		if i < len(streams)-1 {
			end = (panels*seen + total/2) / max(total, 1)
		}
		if end <= done {
			continue
		}
		call.b = (*float32)(unsafe.Add(unsafe.Pointer(b), done*call.bPanel))
		call.c = after(c, done*j.isa.nr)
		if bias != nil {
			call.bias = after(bias, done*j.isa.nr)
		}
		call.panels, call.last = end-done, j.isa.nr
		if end == panels {
			call.last = last
		}
		call.fetch(&streams[i])
		j.isa.micro(rows, j.a.Trans, call)
		done = end
	}
	call.panels, call.last, call.b, call.c, call.bias = panels, last, b, c, bias
}

// fetch makes the micro-kernel walk over s.
func (call *microCall) fetch(s *stream) {
	at := address(s.x.Data) + uintptr(4*s.start)
	call.ahead = at &^ (cacheLine - 1)
	call.aheadLines = max(1, ceilDiv(int(at%cacheLine)+4*s.width, cacheLine))
	call.aheadJump = 4*s.x.Stride - call.aheadLines*cacheLine
	call.aheadOther = s.other
}
