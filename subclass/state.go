package subclass

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// Saved states are little-endian and framed alike:
//
//	+-------+---------+-----------------+----------------------------+
//	| magic | version |      body       | CRC-32C of all before it   |
//	| 4     | 4       |                 | 4                          |
//	+-------+---------+-----------------+----------------------------+
const stateVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encoder appends little-endian values to b.
type encoder struct{ b []byte }

func newEncoder(magic string) *encoder {
	e := &encoder{b: []byte(magic)}
	e.u32(stateVersion)
	return e
}

func (e *encoder) u32(v uint32)  { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64)  { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) f64(v float64) { e.u64(math.Float64bits(v)) }

// finish appends the checksum and returns the state.
func (e *encoder) finish() []byte {
	e.u32(crc32.Checksum(e.b, castagnoli))
	return e.b
}

// decoder reads what encoder wrote. After the first failure every read gives 0 and
// err tells why.
type decoder struct {
	b   []byte
	err error
}

func newDecoder(state []byte, magic, what string) *decoder {
	d := &decoder{}
	const frame = 12
	if len(state) < frame || string(state[:4]) != magic {
		d.err = badState("%s: no such state in %d bytes", what, len(state))
		return d
	}
	if v := binary.LittleEndian.Uint32(state[4:]); v != stateVersion {
		d.err = badState("%s: state version %d, this program reads version %d", what, v, stateVersion)
		return d
	}
	body, sum := state[:len(state)-4], binary.LittleEndian.Uint32(state[len(state)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		d.err = badState("%s: checksum %08x, expected %08x", what, got, sum)
		return d
	}
	d.b = body[8:]
	return d
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && (n < 0 || n > len(d.b)) {
		d.err = badState("state ends %d bytes early", n-len(d.b))
	}
	if d.err != nil {
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) f64() float64 { return math.Float64frombits(d.u64()) }

// count reads a number of elements of at least size bytes each, which must fit in
// what is left: a damaged count cannot make the caller allocate without bound.
func (d *decoder) count(size int) int {
	n := d.u64()
	if d.err == nil && n > uint64(len(d.b)/size) {
		d.err = badState("state announces %d elements, has room for %d", n, len(d.b)/size)
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

// finish says whether everything was read.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = badState("state has %d bytes too many", len(d.b))
	}
	return d.err
}

const partitionMagic = "SDPT"

// MarshalBinary returns everything p holds, so that stage 3 resumes with the same
// subclasses. The body is: classes u64; cells u64, each class u64, clusters u64,
// inertia f64, rows u64, row numbers u32, clusters u8; skipped u64, each class,
// positives, needed u64.
func (p *Partition) MarshalBinary() ([]byte, error) {
	e := newEncoder(partitionMagic)
	e.u64(uint64(p.m.Classes()))
	e.u64(uint64(len(p.cells)))
	for i := range p.cells {
		c := &p.cells[i]
		e.u64(uint64(c.Class))
		e.u64(uint64(c.Clusters))
		e.f64(c.Inertia)
		e.u64(uint64(len(c.Rows)))
		for _, r := range c.Rows {
			e.u32(uint32(r))
		}
		e.b = append(e.b, c.Cluster...)
	}
	e.u64(uint64(len(p.skipped)))
	for _, s := range p.skipped {
		e.u64(uint64(s.Class))
		e.u64(uint64(s.Positives))
		e.u64(uint64(s.Needed))
	}
	return e.finish(), nil
}

// ReadPartition is the inverse of MarshalBinary for the given number of classes. A
// damaged state is an ErrBadState.
func ReadPartition(state []byte, classes int) (*Partition, error) {
	d := newDecoder(state, partitionMagic, "partition")
	if n := d.u64(); d.err == nil && n != uint64(classes) {
		return nil, badState("partition of %d classes, expected %d", n, classes)
	}
	cells := make([]Cell, d.count(32))
	for i := range cells {
		c := &cells[i]
		c.Class, c.Clusters, c.Inertia = int(d.u64()), int(d.u64()), d.f64()
		c.Rows = make([]int32, d.count(5))
		for r := range c.Rows {
			c.Rows[r] = int32(d.u32())
		}
		c.Cluster = append([]uint8(nil), d.take(len(c.Rows))...)
	}
	skipped := make([]Skipped, d.count(24))
	for i := range skipped {
		skipped[i] = Skipped{int(d.u64()), int(d.u64()), int(d.u64())}
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	return NewPartition(classes, cells, skipped)
}
