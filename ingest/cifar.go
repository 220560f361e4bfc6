package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"sdnn/ingest/cifar"
)

// cifarSet describes CIFAR-10 or CIFAR-100.
func cifarSet(name string, format cifar.Format, kinds []imageKind) *imageSet {
	return &imageSet{name: name, classes: format.Classes, names: format.Names(), namesFile: format.NamesFile(),
		mean: cifarMean, std: cifarStd, ext: ".bin", kinds: kinds,
		check: func(_ *os.File, in inputFile) error { return checkCIFAR(in, format) },
		open: func(f *os.File, in inputFile) (imageSource, error) {
			return &cifarSource{path: in.path, format: format, records: cifar.NewReader(bufio.NewReaderSize(f, 256<<10), format)}, nil
		}}
}

// cifarSource reads a file of CIFAR-10 or CIFAR-100.
type cifarSource struct {
	path    string
	format  cifar.Format
	records *cifar.Reader
	rec     cifar.Record
}

// checkCIFAR reports a file that does not end with a record.
func checkCIFAR(in inputFile, format cifar.Format) error {
	err := format.CheckSize(in.size)
	if err == nil {
		return nil
	}
	bad := badCIFAR(in.path, err).(*BadDataError)
	for name, other := range map[string]cifar.Format{"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100} {
		if other != format && other.CheckSize(in.size) == nil {
			bad.scope = wholeInput
			bad.Hint = fmt.Sprintf("the file's size, %d bytes, is right for %s: ingest it as that", in.size, name)
		}
	}
	return bad
}

func (s *cifarSource) next(pixels []byte) (int32, error) {
	if err := s.records.Next(&s.rec); err != nil {
		return 0, badCIFAR(s.path, err)
	}
	copy(pixels, s.rec.Pixels[:])
	return s.rec.Class, nil
}

// badCIFAR makes a *BadDataError of a *cifar.Error and leaves other errors alone.
func badCIFAR(path string, err error) error {
	e, ok := errors.AsType[*cifar.Error](err)
	if !ok {
		return err
	}
	bad := &BadDataError{File: path, Offset: e.Offset, Record: e.Record, What: e.What, Expected: e.Expected, Found: e.Found,
		Err: err, scope: oneRecord}
	if e.Cut {
		bad.scope, bad.Hint = restOfFile, "the file is incomplete: fetch it again"
	}
	return bad
}

func (s *cifarSource) record() int64   { return s.records.Record() }
func (s *cifarSource) consumed() int64 { return (s.record() + 1) * int64(s.format.RecordBytes()) }
