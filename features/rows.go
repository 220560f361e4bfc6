package features

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// chunkOf returns the chunk of a row. It panics for a row that is not there.
func (p *Split) chunkOf(row int) int {
	if uint(row) >= uint(p.Rows()) {
		panic(fmt.Sprintf("features: row %d of %d", row, p.Rows()))
	}
	lo, hi := 0, len(p.chunks) // starts[lo] <= row < starts[hi]
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) >> 1); p.starts[mid] <= row {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// at returns the view of a row's chunk and the row's number in it.
func (p *Split) at(row int) (*chunkView, int) {
	c := p.chunkOf(row)
	v := p.chunks[c].view.Load()
	if v == nil {
		panic(fmt.Sprintf("features: row %d used before Check of its chunk, or after Store.Close", row))
	}
	return v, row - p.starts[c]
}

// Check verifies a chunk against its checksum, once: later calls cost one atomic load. The error is a *CorruptError.
func (p *Split) Check(chunk int) error { return p.chunks[chunk].check() }

// CheckRows verifies the chunks of rows.
func (p *Split) CheckRows(rows []int) error {
	for _, row := range rows {
		if err := p.chunks[p.chunkOf(row)].check(); err != nil {
			return err
		}
	}
	return nil
}

// CheckAll verifies all chunks, on all processors. The error is that of the first damaged chunk.
func (p *Split) CheckAll() error {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(p.chunks)) {
		workers.Go(func() {
			for c := int(next.Add(1)) - 1; c < len(p.chunks); c = int(next.Add(1)) - 1 {
				_ = p.chunks[c].check() // kept by the chunk
			}
		})
	}
	workers.Wait()
	for c := range p.chunks {
		if err := p.chunks[c].check(); err != nil {
			return err
		}
	}
	return nil
}

// ID returns the id of a row.
func (p *Split) ID(row int) []byte {
	v, i := p.at(row)
	return v.ids[v.idOffsets[i]:v.idOffsets[i+1]:v.idOffsets[i+1]]
}

// Labels returns the labels of a row, in the order in which they were ingested.
func (p *Split) Labels(row int) []int32 {
	v, i := p.at(row)
	return v.labels[v.labelOffsets[i]:v.labelOffsets[i+1]:v.labelOffsets[i+1]]
}

// Float returns a row of a Float32 column.
func (p *Split) Float(col, row int) []float32 {
	v, i := p.at(row)
	w := p.width(col, Float32)
	return v.float[col][i*w : (i+1)*w : (i+1)*w]
}

// Bytes returns a row of a Uint8 column.
func (p *Split) Bytes(col, row int) []byte {
	v, i := p.at(row)
	w := p.width(col, Uint8)
	return v.bytes[col][i*w : (i+1)*w : (i+1)*w]
}

func (p *Split) width(col int, kind Kind) int {
	if c := p.manifest.Columns[col]; c.Kind != kind {
		panic(fmt.Sprintf("features: column %q is %s, not %s", c.Name, c.Kind, kind))
	}
	return p.manifest.Columns[col].Width
}

// GatherFloat copies rows of a Float32 column: row rows[i] to dst[i*stride:i*stride+Width]. It checks chunks on first touch; the
// error is a *CorruptError.
func (p *Split) GatherFloat(col int, rows []int, dst []float32, stride int) error {
	w := p.width(col, Float32)
	checkGather(len(rows), len(dst), w, stride)
	return p.gather(rows, func(v *chunkView, i, at int) {
		copy(dst[i*stride:i*stride+w], v.float[col][at*w:])
	})
}

// GatherBytes is GatherFloat for a Uint8 column.
func (p *Split) GatherBytes(col int, rows []int, dst []byte, stride int) error {
	w := p.width(col, Uint8)
	checkGather(len(rows), len(dst), w, stride)
	return p.gather(rows, func(v *chunkView, i, at int) {
		copy(dst[i*stride:i*stride+w], v.bytes[col][at*w:])
	})
}

func checkGather(rows, dst, width, stride int) {
	if stride < width || rows > 0 && dst < (rows-1)*stride+width {
		panic(fmt.Sprintf("features: gather of %d rows of width %d with stride %d into %d elements", rows, width, stride, dst))
	}
}

// gather calls take for each row with the view of its chunk, the row's place in rows and its place in the chunk. A page that can no
// longer be read is an error of its chunk.
func (p *Split) gather(rows []int, take func(v *chunkView, i, at int)) (err error) {
	c := 0
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = p.chunks[c].shard.corrupt(p.chunks[c].batch+1, recovered(r))
		}
	}()
	for i, row := range rows {
		c = p.chunkOf(row)
		ch := &p.chunks[c]
		v := ch.view.Load()
		if v == nil {
			if err := ch.check(); err != nil {
				return err
			}
			v = ch.view.Load()
		}
		take(v, i, row-p.starts[c])
	}
	return nil
}

// willNeed asks the system to read a chunk ahead.
func (p *Split) willNeed(chunk int) {
	c := &p.chunks[chunk]
	b := c.shard.info.Blocks[c.batch+1]
	willNeed(c.shard.data, int(b.Offset), int(b.Offset+b.Bytes))
}
