package cuda

import (
	"fmt"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// kept is data that the session took over: a column for each feature.
type kept struct {
	rows    int
	columns []driver.Ptr
	images  *nn.KeepImages
	table   driver.Ptr // of images: KeepImages.Value
}

// Keep implements nn.Keeper.
func (s *session) Keep(d nn.KeepData) (int, error) {
	if err := s.Sync(); err != nil {
		return 0, err
	}
	widths, need, err := s.keepSizes(d)
	if err != nil {
		return 0, err
	}
	free, err := s.card.MemoryFree()
	if err != nil {
		return 0, s.failed(err, "asking for the free memory")
	}
	if need+spare > free {
		return 0, nil
	}
	k := &kept{rows: d.Rows, images: d.Images}
	before := len(s.memory)
	err = s.fillKept(k, d, widths)
	if err != nil {
		for _, p := range s.memory[before:] {
			err = fail(err, s.card.Free(p))
		}
		s.memory = s.memory[:before]
		return 0, err
	}
	s.kept = append(s.kept, k)
	return len(s.kept), nil
}

// keepSizes returns the bytes of a row of each column, and of all.
func (s *session) keepSizes(d nn.KeepData) (widths []int, bytes int, err error) {
	if d.Rows < 1 || d.Rows > 1<<31-1 {
		return nil, 0, fmt.Errorf("cuda: data of %d rows to keep", d.Rows)
	}
	for _, v := range s.model.Features {
		w := 4 * v.Width()
		if i := d.Images; i != nil {
			if w = 3 * i.Side * i.Side; w != v.Width() || len(s.model.Features) != 1 {
				return nil, 0, fmt.Errorf("cuda: images of %d x %d to keep for %v", i.Side, i.Side, v)
			}
		}
		if w > stagingBytes {
			return nil, 0, fmt.Errorf("cuda: rows of %d bytes to keep", w)
		}
		widths = append(widths, w)
		bytes += align(w * d.Rows)
	}
	return widths, bytes, nil
}

// fillKept takes memory for k and copies the data to it. An error of reading
// the data is not one of the card.
func (s *session) fillKept(k *kept, d nn.KeepData, widths []int) error {
	for c, w := range widths {
		at, err := s.take(w * d.Rows)
		if err != nil {
			return s.failed(err, "taking memory for data to keep")
		}
		k.columns = append(k.columns, at)
		var reading error
		err = s.upload(at, w*d.Rows, w, func(at int, piece []byte) error {
			if d.Images != nil {
				reading = d.Images.Bytes(at/w, piece)
			} else {
				reading = d.Floats(c, at/w, floatsOf(piece))
			}
			return reading
		})
		if reading != nil {
			return reading
		}
		if err != nil {
			return s.failed(err, "copying data to keep to the card")
		}
	}
	if k.images == nil {
		return nil
	}
	var flat []float32
	for _, plane := range k.images.Value {
		flat = append(flat, plane[:]...)
	}
	var err error
	if k.table, err = s.put(asBytes(flat)); err != nil {
		return s.failed(err, "copying the values of pixels to the card")
	}
	return nil
}

// gather queues the gathering of a batch of kept data into the session's
// inputs, or where a program pads images first, to the padded image; a batch that
// was fed has arrived with its slot.
func (s *session) gather(p *program, f *frame, rows int) error {
	feed := &f.slot.feed
	f.direct = false
	if feed.Kept == 0 {
		return nil
	}
	k := s.kept[feed.Kept-1]
	b := &binder{s: s, rows: rows}
	var run []launch
	if i := k.images; i != nil {
		pad, flip, cutout := 0, 0, 0
		var keys any
		if feed.Vary {
			pad, cutout, keys = i.Pad, i.Cutout, fedKeys
			if i.Flip {
				flip = 1
			}
		}
		to, kernel, pitch := any(s.inputs[0]), "augment_f32", 3
		if v := p.low.direct; v != nil {
			f.direct = true
			to, kernel, pitch = s.placeOf(p, v), "augment_bf16", convChannels(3, driver.BF16)
		}
		run = b.call(kernel, to, k.columns[0], fedIndex, keys, k.table, rows, i.Side, pitch, pad, flip, cutout)
	} else {
		for c, v := range s.model.Features {
			w := v.Width()
			run = append(run, b.call("copy_rows_f32_f32", s.inputs[c], k.columns[c], fedIndex, rows, w, w, w)...)
		}
	}
	for _, r := range run {
		if err := r(f); err != nil {
			return err
		}
	}
	return nil
}
