package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unsafe"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// A tensor is state on the card: a parameter, its optimiser state, a buffer, a
// constant or, on request, a gradient.
type tensor struct {
	at     driver.Ptr
	n      int
	room   int         // elements, padding included
	shadow driver.Ptr  // bf16 copy of a parameter that products read; 0: none
	typ    driver.Type // BF16: a gradient
}

// hostBuffer is page-locked host memory.
type hostBuffer struct {
	data  unsafe.Pointer
	bytes int
}

func newHostBuffer(card driver.Card, bytes int) (*hostBuffer, error) {
	p, err := card.AllocHost(bytes)
	if err != nil {
		return nil, err
	}
	return &hostBuffer{p, bytes}, nil
}

func (b *hostBuffer) at(offset int) unsafe.Pointer { return unsafe.Add(b.data, offset) }

func (b *hostBuffer) free(card driver.Card) error {
	if b == nil || b.data == nil {
		return nil
	}
	p := b.data
	b.data = nil
	return card.FreeHost(p)
}

// stagingBytes is the most that each half of the staging buffer has.
const stagingBytes = 8 << 20

// staging moves state and kept data between the program's memory and the card,
// outside the step: while one half is copied by the card the other is filled.
type staging struct {
	half  [2]*hostBuffer
	done  [2]driver.Event
	piece int       // bytes of a half
	whole []float32 // a tensor being read
}

// stage returns the staging buffer with room for pieces of what is to move.
func (s *session) stage(bytes int) (*staging, error) {
	g := &s.staging
	if bytes = min(bytes, stagingBytes); bytes <= g.piece {
		return g, nil
	}
	g.piece = 0
	for i := range g.half {
		err := g.half[i].free(s.card)
		if err == nil {
			g.half[i], err = newHostBuffer(s.card, bytes)
		}
		if err == nil && g.done[i] == 0 {
			g.done[i], err = s.newEvent()
		}
		if err != nil {
			return nil, err
		}
	}
	g.piece = bytes
	return g, nil
}

func (g *staging) free(card driver.Card) error {
	return fail(g.half[0].free(card), g.half[1].free(card))
}

// upload copies bytes to the card; fill gives them piece by piece, each a
// multiple of unit. The copies are queued on the compute stream, behind the steps
// that read what they replace, and are over when upload returns.
func (s *session) upload(dst driver.Ptr, bytes, unit int, fill func(at int, piece []byte) error) error {
	g, err := s.stage(bytes)
	if err != nil {
		return err
	}
	used, whole := 0, g.piece/unit*unit
	for at := 0; at < bytes; at += whole {
		h, n := used%2, min(whole, bytes-at)
		if used >= 2 {
			if err := s.card.SyncEvent(g.done[h]); err != nil {
				return err
			}
		}
		if err := fill(at, hostSlice[byte](g.half[h].data, 0, n)); err != nil {
			return fail(err, s.card.SyncStream(s.compute))
		}
		if err := s.card.CopyToCard(dst.Add(at), g.half[h].data, n, s.compute); err != nil {
			return err
		}
		if err := s.card.Record(g.done[h], s.compute); err != nil {
			return err
		}
		used++
	}
	return s.card.SyncStream(s.compute)
}

// download copies bytes from the card to dst.
func (s *session) download(dst []byte, src driver.Ptr) error {
	g, err := s.stage(len(dst))
	if err != nil {
		return err
	}
	take := func(at int) error { // piece at has been queued
		h := at / g.piece % 2
		if err := s.card.SyncEvent(g.done[h]); err != nil {
			return err
		}
		copy(dst[at:], hostSlice[byte](g.half[h].data, 0, min(g.piece, len(dst)-at)))
		return nil
	}
	for at := 0; at < len(dst); at += g.piece {
		h := at / g.piece % 2
		if err := s.card.CopyFromCard(g.half[h].data, src.Add(at), min(g.piece, len(dst)-at), s.compute); err != nil {
			return err
		}
		if err := s.card.Record(g.done[h], s.compute); err != nil {
			return err
		}
		if at > 0 {
			if err := take(at - g.piece); err != nil {
				return err
			}
		}
	}
	if len(dst) == 0 {
		return nil
	}
	return take((len(dst) - 1) / g.piece * g.piece)
}

// asBytes views numbers as bytes.
func asBytes[T any](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
}

// floatsOf views bytes, which begin on a line of memory, as float32.
func floatsOf(b []byte) []float32 {
	if len(b) < 4 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// widen makes float32 of bf16, which may be the upper half of x.
func widen(x []float32, half []byte) {
	for i := range x {
		x[i] = math.Float32frombits(uint32(binary.NativeEndian.Uint16(half[2*i:])) << 16)
	}
}

// State implements nn.Session.
func (s *session) State() []nn.StateTensor { return s.state }

// gradientPrefix names the gradients of CompileOptions.KeepGradients.
const gradientPrefix = "grad/"

// ReadState implements nn.Session.
func (s *session) ReadState(name string, f func([]float32) error) error {
	if err := s.Sync(); err != nil {
		return err
	}
	t := s.tensors[name]
	if t == nil {
		return fmt.Errorf("cuda: %s has no state tensor %q", s.model.Name, name)
	}
	g := &s.staging
	if cap(g.whole) < t.n {
		g.whole = nil // before the larger one is made
		g.whole = make([]float32, t.n)
	}
	x := g.whole[:t.n]
	raw := asBytes(x)[(4-t.typ.Size())*t.n:] // bf16 comes to the upper half
	if err := s.download(raw, t.at); err != nil {
		return s.failed(err, "reading %s of %s", name, s.model.Name)
	}
	if t.typ == driver.BF16 {
		widen(x, raw)
	}
	return f(x)
}

// WriteState implements nn.Session.
func (s *session) WriteState(name string, data []float32) error {
	if err := s.Sync(); err != nil {
		return err
	}
	t := s.tensors[name]
	if t == nil || strings.HasPrefix(name, gradientPrefix) {
		return fmt.Errorf("cuda: %s has no state tensor %q", s.model.Name, name)
	}
	if t.n != len(data) {
		return fmt.Errorf("cuda: %s: %q has %d numbers, given %d", s.model.Name, name, t.n, len(data))
	}
	if err := s.write(t, data); err != nil {
		return s.failed(err, "writing %s of %s", name, s.model.Name)
	}
	return nil
}

// write sets a tensor and its shadow.
func (s *session) write(t *tensor, data []float32) error {
	raw := asBytes(data)
	if err := s.upload(t.at, len(raw), 1, func(at int, piece []byte) error {
		copy(piece, raw[at:])
		return nil
	}); err != nil || t.shadow == 0 {
		return err
	}
	if err := s.e.convert(s.compute, t.shadow, t.at, t.n); err != nil {
		return err
	}
	return s.card.SyncStream(s.compute)
}
