package ingest

import (
	"errors"
	"io"
	"os"
	"strings"

	"sdnn/ingest/tfrecord"
	"sdnn/ingest/yt8m"
)

// maxVideoRecord bounds the payload of a record. Video level takes 5 KB, and the
// longest frame-level records, which must be read to be refused, about 0.5 MB.
const maxVideoRecord = 4 << 20

// A scope is how much of the input a BadDataError makes unusable.
type scope int

const (
	wholeInput scope = iota // the input is of the wrong kind
	restOfFile              // the records behind cannot be found
	oneRecord
)

// A videoReader reads the records of one video-level file after the other.
type videoReader struct {
	framing tfrecord.Reader
	parser  *yt8m.Parser
	file    *os.File
	path    string
}

func newVideoReader(classes int) *videoReader {
	return &videoReader{
		framing: tfrecord.Reader{MaxRecord: maxVideoRecord},
		parser:  yt8m.NewParser(classes),
	}
}

// open begins a file. close must be called before the next one.
func (v *videoReader) open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	v.file, v.path = f, path
	v.framing.Reset(f, path)
	return nil
}

func (v *videoReader) close() { v.file.Close() } // it was only read

// next reads one record into rec, see yt8m.Parser.Parse; rec.ID is valid until
// the next call. The error is io.EOF at the end, a *BadDataError for damage, or
// one of the file system. After damage of scope oneRecord next can go on.
func (v *videoReader) next(rec *yt8m.Record) error {
	payload, err := v.framing.Next()
	var c *tfrecord.CorruptError
	switch {
	case err == nil:
	case errors.As(err, &c):
		return v.framingError(c)
	default:
		return err
	}
	err = v.parser.Parse(payload, rec)
	var r *yt8m.RecordError
	var k *yt8m.KindError
	switch {
	case errors.As(err, &r):
		bad := &BadDataError{File: v.path, Offset: v.framing.Offset(), Record: v.framing.Record(),
			What: r.Field, Expected: r.Expected, Found: r.Found, Err: err, scope: oneRecord}
		if strings.HasPrefix(r.Expected, "classes ") { // a sound record of other classes
			bad.Hint = "check --classes or --vocabulary, or leave such records out with --skip-bad"
		}
		return bad
	case errors.As(err, &k):
		return &BadDataError{File: v.path, Offset: v.framing.Offset(), Record: v.framing.Record(),
			What: "kind of record", Expected: "a YouTube-8M video-level record", Found: k.Found,
			Hint: "use the video-level files (those with " + yt8m.MeanRGB + " and " + yt8m.MeanAudio + ")",
			Err:  err, scope: wholeInput}
	}
	return err
}

func (v *videoReader) framingError(c *tfrecord.CorruptError) error {
	bad := &BadDataError{File: v.path, Offset: c.Offset, Record: c.Record,
		What: c.Problem.String(), Expected: c.Expected, Found: c.Found, Err: c, scope: restOfFile}
	switch {
	case c.Recoverable():
		bad.scope = oneRecord
	case c.Record == 0 && c.Problem == tfrecord.BadLengthCRC:
		bad.Hint = "the file is damaged or no TFRecord file"
	case c.Problem == tfrecord.Truncated:
		bad.Hint = "the file is incomplete: fetch it again"
	}
	return bad
}

// each calls f with every record of a file that a SkipBad ingest keeps, in order.
// f returns false to stop.
func (v *videoReader) each(path string, rec *yt8m.Record, f func(record int64) bool) error {
	if err := v.open(path); err != nil {
		return err
	}
	defer v.close()
	for {
		err := v.next(rec)
		var bad *BadDataError
		switch {
		case err == nil:
			if !f(v.framing.Record()) {
				return nil
			}
		case err == io.EOF:
			return nil
		case errors.As(err, &bad) && bad.scope == oneRecord:
		case errors.As(err, &bad) && bad.scope == restOfFile:
			return nil
		default:
			return err
		}
	}
}
