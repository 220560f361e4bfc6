package ingest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sdnn/ingest/matfile"
)

// svhnSet describes the cropped digits (format 2) of SVHN: files with two variables, X uint8 32 x 32 x 3 x N and y N x 1, in any
// order. The label 10 means the digit 0. Source: ufldl.stanford.edu/housenumbers.
func svhnSet() *imageSet {
	return &imageSet{name: "svhn", classes: 10, names: strings.Split("0123456789", ""), mean: svhnMean, std: svhnStd, ext: ".mat",
		kinds: []imageKind{{"train_32x32.mat", "train", 0}, {"extra_32x32.mat", "train", 1}, {"test_32x32.mat", "test", 0}},
		check: checkSVHN,
		open:  func(f *os.File, in inputFile) (imageSource, error) { return openSVHN(f, in) }}
}

// svhnSource streams the images of a file. The labels, which may come behind them, are read first.
type svhnSource struct {
	path   string
	cut    *BadDataError // the file is cut short
	pixels *matfile.Data
	labels []float32 // of every image
	place  int64     // offset of the variable with the labels
	at     int64     // number of the next image
	raw    [imageBytes]byte
}

// checkSVHN reports a file that is cut short, or whose variables are not those of SVHN.
func checkSVHN(f *os.File, in inputFile) error {
	s, err := openSVHN(f, in)
	if err == nil && s.cut != nil {
		return s.cut
	}
	return err
}

// openSVHN reads the labels, and goes to the first image.
func openSVHN(f *os.File, in inputFile) (*svhnSource, error) {
	s := &svhnSource{path: in.path}
	m, err := matfile.Open(f, in.size)
	if err != nil {
		return nil, s.whole(err)
	}
	if m.Cut != nil {
		s.cut = s.bad(m.Cut, restOfFile)
	}
	x, err := s.variable(m, "X")
	if err != nil {
		return nil, err
	}
	y, err := s.variable(m, "y")
	if err != nil {
		return nil, err
	}
	if d := x.Dims; x.Class != matfile.ClassUint8 || len(d) < 3 || len(d) > 4 || !slices.Equal(d[:3], []int{32, 32, 3}) {
		return nil, s.unfit(x, "X uint8 32x32x3xN")
	}
	n := x.Len() / imageBytes
	if len(y.Dims) != 2 || y.Len() != n || y.Dims[0] != 1 && y.Dims[1] != 1 {
		return nil, s.unfit(y, fmt.Sprintf("y %dx1: a label for each image of X", n))
	}
	s.place = y.Offset
	if err := s.readLabels(m, y); err != nil {
		return nil, err
	}
	if s.pixels, err = m.Data(x); err != nil {
		return nil, s.whole(err)
	}
	if s.pixels.Type != matfile.Uint8 {
		return nil, s.unfit(x, "X stored as bytes")
	}
	return s, nil
}

// variable finds a variable by its name.
func (s *svhnSource) variable(m *matfile.File, name string) (*matfile.Variable, error) {
	var have []string
	for _, v := range m.Variables {
		if v.Name == name {
			return v, nil
		}
		have = append(have, v.String())
	}
	if s.cut != nil { // it may have been in the part that is missing
		s.cut.scope = wholeInput
		return nil, s.cut
	}
	found := "none"
	if len(have) > 0 {
		found = strings.Join(have[:min(len(have), 5)], ", ")
	}
	return nil, &BadDataError{File: s.path, Offset: -1, Record: -1, What: "variables", Expected: "X and y", Found: found,
		Hint: "use the files with cropped digits (format 2): train_32x32.mat, extra_32x32.mat, test_32x32.mat"}
}

// bad makes a *BadDataError of one of the format's.
func (s *svhnSource) bad(e *matfile.Error, scope scope) *BadDataError {
	bad := &BadDataError{File: s.path, Offset: e.Offset, Record: -1, What: e.What, Expected: e.Expected, Found: e.Found,
		Hint: e.Hint, Err: e, scope: scope}
	if s.pixels != nil { // the image that is being read
		bad.Record = s.at
	}
	switch {
	case e.Cut:
		bad.Hint = "the file is incomplete: fetch it again"
	case e.Hint == "":
		bad.Hint = "the file is damaged: fetch it again"
	}
	return bad
}

// whole makes damage to anything but images an error of the whole file, and leaves other errors alone.
func (s *svhnSource) whole(err error) error {
	if e, ok := errors.AsType[*matfile.Error](err); ok {
		return s.bad(e, wholeInput)
	}
	return err
}

// fault is whole for damage among the images: those before the end of a file are good, but in compressed data that were altered
// the first wrong byte may be far before the place where it shows.
func (s *svhnSource) fault(err error) error {
	if e, ok := errors.AsType[*matfile.Error](err); ok && e.Cut {
		return s.bad(e, restOfFile)
	}
	return s.whole(err)
}

func (s *svhnSource) unfit(v *matfile.Variable, expected string) error {
	return &BadDataError{File: s.path, Offset: v.Offset, Record: -1, What: "variable " + v.Name, Expected: expected, Found: v.String()}
}

// readLabels reads all labels as they are.
func (s *svhnSource) readLabels(m *matfile.File, y *matfile.Variable) error {
	data, err := m.Data(y)
	if err != nil {
		return s.whole(err)
	}
	var part [1024]float64
	for left := y.Len(); left > 0; { // grows with what is there, not with what the file says
		p := part[:min(left, int64(len(part)))]
		if err := data.ReadFloats(p); err != nil {
			return s.whole(err)
		}
		for _, label := range p {
			s.labels = append(s.labels, float32(label))
		}
		left -= int64(len(p))
	}
	return s.whole(data.Finish())
}

func (s *svhnSource) next(pixels []byte) (int32, error) {
	if s.at == int64(len(s.labels)) {
		switch err := s.pixels.Finish(); {
		case err != nil:
			return 0, s.fault(err)
		case s.cut != nil: // behind the images
			return 0, s.cut
		}
		return 0, io.EOF
	}
	if err := s.pixels.Read(s.raw[:]); err != nil {
		return 0, s.fault(err)
	}
	label := s.labels[s.at]
	s.at++
	if digit := int32(label); float32(digit) == label && digit >= 1 && digit <= 10 {
		planesFromColumns(pixels, &s.raw)
		return digit % 10, nil
	}
	return 0, &BadDataError{File: s.path, Offset: s.place, Record: s.record(), What: "label in variable y",
		Expected: "1 to 10 (10 means the digit 0)", Found: fmt.Sprint(label), scope: oneRecord}
}

// planesFromColumns turns an image whose planes are stored column by column into one that has them row by row.
func planesFromColumns(dst []byte, src *[imageBytes]byte) {
	const side, plane = 32, 32 * 32
	for p := 0; p < imageBytes; p += plane {
		to := dst[p : p+plane : p+plane]
		for column := range side {
			from := src[p+column*side : p+column*side+side]
			for row, v := range from {
				to[row*side+column] = v
			}
		}
	}
}

func (s *svhnSource) record() int64   { return s.at - 1 }
func (s *svhnSource) consumed() int64 { return s.pixels.Offset() }
