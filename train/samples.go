package train

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"sdnn/features"
	"sdnn/nn/cpu/kernel"
	"sdnn/subclass"
)

// samples are the rows of the training split in the space to cluster in, by
// their number in the split. failed says what went wrong in Row, which cannot.
type samples interface {
	subclass.Samples
	failed() error
	close()
}

// samples returns the rows in the space of --cluster-space. For the
// penultimate features of a net it runs the stage-1 network over every row that
// will be looked at.
func (t *trainer) samples(ctx context.Context, neglected []subclass.Positives) (samples, error) {
	in, err := newInputs(&t.cfg, t.split, features.Augment{}, t.pairs)
	if err != nil {
		return nil, err
	}
	if t.cfg.ClusterSpace == SpacePenultimate && t.cfg.Split == SplitKMeans && t.cfg.Subclasses > 1 {
		return t.penultimate(ctx, in, neglected)
	}
	if t.cfg.Images() {
		return &imageSamples{in: in}, nil
	}
	s := &inputSamples{inputs: in}
	for _, c := range t.cfg.Columns {
		s.width += c.Width
	}
	return s, nil
}

// inputSamples are the features as the network reads them: every column
// L2-normalised apart, then concatenated. Nothing is held in memory, so that a
// class may be larger than it.
type inputSamples struct {
	*inputs
	width int
}

func (s *inputSamples) Len() int      { return s.split.Rows() }
func (s *inputSamples) Dim() int      { return s.width }
func (s *inputSamples) failed() error { return nil }
func (s *inputSamples) close()        {}

func (s *inputSamples) Row(i int, buf []float32) []float32 {
	to := buf
	for _, col := range s.cols {
		x := s.split.Float(col, i)
		kernel.L2Norm(to[:len(x)], x)
		to = to[len(x):]
	}
	return buf
}

// imageSamples are the normalised pixels of images, pairs included.
type imageSamples struct {
	in    *inputs
	mixed sync.Pool // of *[]byte: an image
}

func (s *imageSamples) Len() int {
	if s.in.pairs != nil {
		return s.in.pairs.first + len(s.in.pairs.list)
	}
	return s.in.split.Rows()
}
func (s *imageSamples) Dim() int      { return s.in.augmenter.Width() }
func (s *imageSamples) failed() error { return nil }
func (s *imageSamples) close()        {}

func (s *imageSamples) Row(i int, buf []float32) []float32 {
	col := s.in.cols[0]
	if !s.in.pairs.has(i) {
		s.in.augmenter.Normalise(buf, s.in.split.Bytes(col, i))
		return buf
	}
	mixed, ok := s.mixed.Get().(*[]byte)
	if !ok {
		b := make([]byte, s.Dim())
		mixed = &b
	}
	p := s.in.pairs.at(i)
	s.in.pairs.rule.Mix(*mixed, s.in.split.Bytes(col, int(p.Row)), s.in.split.Bytes(col, int(p.Partner)))
	s.in.augmenter.Normalise(buf, *mixed)
	s.mixed.Put(mixed)
	return buf
}

// memoryBudget is how many bytes of penultimate features stay in memory; more
// go to a file in the run's folder. conv1d's take 147 kB a video.
var memoryBudget = 1 << 30

// penultimate computes the penultimate features of the neglected classes'
// positives, in evaluation.
func (t *trainer) penultimate(ctx context.Context, in *inputs, neglected []subclass.Positives) (samples, error) {
	var rows []int32
	for _, p := range neglected {
		rows = append(rows, p.Rows...)
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	s := &rowSamples{rows: rows}
	if len(rows) > 0 {
		s.all = int(rows[len(rows)-1]) + 1
	}
	session := t.run.session
	feed := feeder{inputs: in, session: session}
	batch := make([]int, 0, t.run.batch)
	for from := 0; from < len(rows); from += len(batch) {
		if err := ctx.Err(); err != nil {
			s.close()
			return nil, err
		}
		batch = batch[:0]
		for _, r := range rows[from:min(from+t.run.batch, len(rows))] {
			batch = append(batch, int(r))
		}
		// What the stage's session keeps is the split, without pairs.
		if feed.kept = 0; batch[len(batch)-1] < t.split.Rows() {
			feed.kept = t.run.feed.kept
		}
		err := feed.fill(0, batch)
		if err == nil {
			_, _, err = session.Forward(0)
		}
		if err == nil {
			err = s.add(session.Penultimate(), len(batch), t.o.Dir)
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// rowSamples hold some of the split's rows, in memory or in a file.
type rowSamples struct {
	rows  []int32 // ascending
	all   int
	width int

	data []float32
	file *os.File
	once sync.Once
	err  error
}

func (s *rowSamples) add(x []float32, n int, dir string) error {
	if s.width == 0 {
		s.width = len(x) / n
		if 4*s.width*len(s.rows) > memoryBudget {
			f, err := os.Create(filepath.Join(dir, scratchFile))
			if err != nil {
				return err
			}
			s.file = f
		}
	}
	if !kernel.AllFinite(x) {
		return errors.New("stage 1 ended in penultimate features that are not finite; train with a smaller --lr")
	}
	if s.file == nil {
		s.data = append(s.data, x...)
		return nil
	}
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	_, err := s.file.Write(b)
	return err
}

func (s *rowSamples) Len() int { return s.all }
func (s *rowSamples) Dim() int { return s.width }

func (s *rowSamples) Row(i int, buf []float32) []float32 {
	at, ok := slices.BinarySearch(s.rows, int32(i))
	if !ok {
		panic("train: a row was asked for that no neglected class has")
	}
	if s.file == nil {
		return s.data[at*s.width : (at+1)*s.width]
	}
	b := make([]byte, 4*s.width)
	if _, err := s.file.ReadAt(b, int64(at)*int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
		s.once.Do(func() { s.err = err })
		clear(buf)
		return buf
	}
	for j := range buf {
		buf[j] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*j:]))
	}
	return buf
}

func (s *rowSamples) failed() error { return s.err }

func (s *rowSamples) close() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}

// openStageOne compiles the stage-1 network for stage 2 of a resumed run.
func (t *trainer) openStageOne() error {
	pos := t.pos
	t.pos.Stage = 1
	err := t.openStage()
	t.pos = pos
	return err
}
