package yt8m

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// list is the kind of list that a Feature holds; the values are field numbers of
// its oneof.
type list int

const (
	noList    list = 0
	bytesList list = 1
	floatList list = 2
	int64List list = 3
)

func (l list) String() string {
	return [...]string{"no list", "a bytes list", "a float list", "an int64 list"}[l]
}

// A slot collects the values of one feature that the parser looks for.
type slot struct {
	name  string
	want  list
	found list
	here  bool      // a map entry with this key was there
	n     int       // values seen, stored or not
	bytes []byte    // last value of a bytes list, a view of the payload
	dst   []float32 // where the first values of a float list go
}

// A Parser turns payloads into records. It keeps scratch memory, so it is not
// safe for concurrent use.
type Parser struct {
	id, videoID, labels, rgb, audio slot

	rec      *Record
	seen     []uint32 // per class: generation of the label list that has it
	gen      uint32
	badLabel int64 // first label out of range of the present list
	badAt    int   // its position, -1 for none
}

// NewParser returns a parser of records whose labels are 0 .. classes-1.
func NewParser(classes int) *Parser {
	if classes <= 0 {
		panic(fmt.Sprintf("yt8m: %d classes", classes))
	}
	return &Parser{
		id:      slot{name: "id", want: bytesList},
		videoID: slot{name: "video_id", want: bytesList},
		labels:  slot{name: "labels", want: int64List},
		rgb:     slot{name: MeanRGB, want: floatList},
		audio:   slot{name: MeanAudio, want: floatList},
		seen:    make([]uint32, classes),
	}
}

// Parse reads payload into rec. rec.MeanRGB and rec.MeanAudio must have their
// full widths and are overwritten, even when an error is returned; rec.Labels is
// overwritten from its start and grows as needed; rec.ID becomes a view of
// payload. The error is a *RecordError for damaged content or a *KindError for a
// record of another kind.
func (p *Parser) Parse(payload []byte, rec *Record) error {
	if len(rec.MeanRGB) != RGBWidth || len(rec.MeanAudio) != AudioWidth {
		panic(fmt.Sprintf("yt8m: room for %d and %d values", len(rec.MeanRGB), len(rec.MeanAudio)))
	}
	p.rec = rec
	for _, s := range [...]*slot{&p.id, &p.videoID, &p.labels, &p.rgb, &p.audio} {
		s.here = false
		p.clear(s, noList)
	}
	p.rgb.dst, p.audio.dst = rec.MeanRGB, rec.MeanAudio

	for b := payload; len(b) > 0; {
		f, err := next(&b)
		if err != nil {
			return err
		}
		if f.is(1, protowire.BytesType) {
			if err := p.features(f.val); err != nil {
				return err
			}
		}
	}
	return p.finish(payload)
}

// features walks a Features message: map entries in field 1.
func (p *Parser) features(b []byte) error {
	for len(b) > 0 {
		f, err := next(&b)
		if err != nil {
			return err
		}
		if f.is(1, protowire.BytesType) {
			if err := p.entry(f.val); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry walks a map entry, key in field 1 and Feature in field 2. The key may
// come behind its value, so it is looked for first.
func (p *Parser) entry(b []byte) error {
	var key []byte
	for rest := b; len(rest) > 0; {
		f, err := next(&rest)
		if err != nil {
			return err
		}
		if f.is(1, protowire.BytesType) {
			key = f.val
		}
	}
	var s *slot
	switch string(key) {
	case "id":
		s = &p.id
	case "video_id":
		s = &p.videoID
	case "labels":
		s = &p.labels
	case MeanRGB:
		s = &p.rgb
	case MeanAudio:
		s = &p.audio
	default:
		return nil
	}
	s.here = true
	p.clear(s, noList)
	for len(b) > 0 {
		f, err := next(&b)
		if err != nil {
			return err
		}
		if f.is(2, protowire.BytesType) {
			if err := p.feature(s, f.val); err != nil {
				return err
			}
		}
	}
	return nil
}

// feature walks a Feature message: one of three lists.
func (p *Parser) feature(s *slot, b []byte) error {
	for len(b) > 0 {
		f, err := next(&b)
		if err != nil {
			return err
		}
		if f.typ != protowire.BytesType || f.num < 1 || f.num > 3 {
			continue
		}
		if kind := list(f.num); kind != s.found {
			p.clear(s, kind)
		}
		if s.found == s.want { // otherwise finish refuses it by its kind
			if err := p.values(s, f.val); err != nil {
				return err
			}
		}
	}
	return nil
}

// values walks a list message: values in field 1, packed or not.
func (p *Parser) values(s *slot, b []byte) error {
	for len(b) > 0 {
		f, err := next(&b)
		if err != nil {
			return err
		}
		if f.num != 1 {
			continue
		}
		switch {
		case s.want == bytesList && f.typ == protowire.BytesType:
			s.bytes = f.val
			s.n++
		case s.want == floatList && f.typ == protowire.BytesType:
			if len(f.val)%4 != 0 {
				return malformed("packed floats of 4 bytes each", fmt.Sprintf("%d bytes", len(f.val)))
			}
			s.floats(f.val)
		case s.want == floatList && f.typ == protowire.Fixed32Type:
			s.floats(f.val)
		case s.want == int64List && f.typ == protowire.BytesType:
			for v := f.val; len(v) > 0; {
				x, n := protowire.ConsumeVarint(v)
				if n < 0 {
					return malformed("packed varints", protowire.ParseError(n).Error())
				}
				v = v[n:]
				p.label(int64(x))
			}
		case s.want == int64List && f.typ == protowire.VarintType:
			x, _ := protowire.ConsumeVarint(f.val)
			p.label(int64(x))
		}
	}
	return nil
}

// clear empties s for a list of the given kind.
func (p *Parser) clear(s *slot, kind list) {
	s.found, s.n, s.bytes = kind, 0, nil
	if s == &p.labels {
		p.rec.Labels = p.rec.Labels[:0]
		p.badAt = -1
		if p.gen++; p.gen == 0 { // wrapped: old marks could look new
			clear(p.seen)
			p.gen = 1
		}
	}
}

// floats appends little-endian floats to the slot; those beyond its width are
// only counted.
func (s *slot) floats(b []byte) {
	if s.n < len(s.dst) {
		dst := s.dst[s.n:]
		src := b[:min(len(b), 4*len(dst))]
		if littleEndian {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), src)
		} else {
			for i := range len(src) / 4 {
				dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
			}
		}
	}
	s.n += len(b) / 4
}

// littleEndian tells that floats lie in memory as they do in a record, so that
// packed ones can be copied as bytes: four times as fast as one by one.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// label adds one label to the record, once.
func (p *Parser) label(x int64) {
	at := p.labels.n
	p.labels.n++
	if x < 0 || x >= int64(len(p.seen)) {
		if p.badAt < 0 {
			p.badLabel, p.badAt = x, at
		}
		return
	}
	if p.seen[x] != p.gen {
		p.seen[x] = p.gen
		p.rec.Labels = append(p.rec.Labels, int32(x))
	}
}

// finish checks what was collected.
func (p *Parser) finish(payload []byte) error {
	if !p.rgb.here || !p.audio.here {
		return describeOther(payload)
	}
	id := &p.id
	if !id.here {
		id = &p.videoID
	}
	if !id.here {
		return &RecordError{"id", "a feature id or video_id", "neither"}
	}
	if err := id.kindError(); err != nil {
		return err
	}
	if id.n != 1 || len(id.bytes) == 0 || len(id.bytes) > maxIDBytes {
		found := fmt.Sprintf("%d values", id.n)
		if id.n == 1 {
			found = fmt.Sprintf("%d bytes", len(id.bytes))
		}
		return &RecordError{id.name, fmt.Sprintf("one value of 1 to %d bytes", maxIDBytes), found}
	}
	p.rec.ID = id.bytes
	if p.labels.here && p.labels.found != noList {
		if err := p.labels.kindError(); err != nil {
			return err
		}
	}
	if p.badAt >= 0 {
		return &RecordError{"labels", fmt.Sprintf("classes 0 to %d", len(p.seen)-1),
			fmt.Sprintf("%d at position %d", p.badLabel, p.badAt)}
	}
	if err := p.rgb.floatError(); err != nil {
		return err
	}
	return p.audio.floatError()
}

func (s *slot) kindError() error {
	if s.found != s.want {
		return &RecordError{s.name, s.want.String(), s.found.String()}
	}
	return nil
}

func (s *slot) floatError() error {
	if err := s.kindError(); err != nil {
		return err
	}
	if s.n != len(s.dst) {
		return &RecordError{s.name, fmt.Sprintf("%d values", len(s.dst)), fmt.Sprintf("%d", s.n)}
	}
	if i := firstNotFinite(s.dst); i >= 0 {
		return &RecordError{s.name, "finite values", fmt.Sprintf("%v at position %d", s.dst[i], i)}
	}
	return nil
}

// firstNotFinite returns the position of the first NaN or infinity of v, or -1.
// Those have an exponent of all ones, and only those carry into the sign bit when
// one is added to the exponent; so four values need no branch.
func firstNotFinite(v []float32) int {
	const exponent, one, sign = 0x7f800000, 0x00800000, 0x80000000
	carry := func(x float32) uint32 { return math.Float32bits(x)&exponent + one }
	i := 0
	for ; i+4 <= len(v); i += 4 {
		q := v[i : i+4 : i+4]
		if (carry(q[0])|carry(q[1])|carry(q[2])|carry(q[3]))&sign != 0 {
			break
		}
	}
	for ; i < len(v); i++ {
		if carry(v[i])&sign != 0 {
			return i
		}
	}
	return -1
}

// A field is one field of a protobuf message. val is the content of a
// length-delimited field and the undecoded value of any other.
type field struct {
	num protowire.Number
	typ protowire.Type
	val []byte
}

func (f *field) is(num protowire.Number, typ protowire.Type) bool {
	return f.num == num && f.typ == typ
}

// next takes one field off the front of *b. Unknown fields, groups too, come out
// like any other, so that callers can ignore them.
func next(b *[]byte) (field, error) {
	num, typ, n := protowire.ConsumeTag(*b)
	if n < 0 {
		return field{}, malformed("a field tag", protowire.ParseError(n).Error())
	}
	rest := (*b)[n:]
	f := field{num: num, typ: typ}
	if typ == protowire.BytesType {
		f.val, n = protowire.ConsumeBytes(rest)
	} else if n = protowire.ConsumeFieldValue(num, typ, rest); n >= 0 {
		f.val = rest[:n]
	}
	if n < 0 {
		return field{}, malformed(fmt.Sprintf("a whole value of field %d", num), protowire.ParseError(n).Error())
	}
	*b = rest[n:]
	return f, nil
}

func malformed(expected, found string) error {
	return &RecordError{Field: "message", Expected: expected, Found: found}
}
