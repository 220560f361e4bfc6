package eval

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A file of predictions of images is CSV with a line for each of an image's best
// classes, best first:
//
//	image,rank,class,name,score
//	test_batch.bin/00000000,1,3,cat,0.91
//	test_batch.bin/00000000,2,5,dog,0.07
//
// Scores are written as the shortest decimals that read back to the same float32.
var imageHeader = []string{"image", "rank", "class", "name", "score"}

// ImagesWriter writes predictions of images. The file appears under its name,
// complete and durable, when Close returns nil, and not before.
type ImagesWriter struct {
	predictionFile
	names  []string
	topK   int
	sel    selector
	lines  *csv.Writer
	fields [5]string
}

// CreateImages begins a file with the topK best classes of each image; names are
// those of the classes. It replaces an existing file on Close; something else than
// a file of that name (a terminal, a pipe) is written to directly.
func CreateImages(path string, names []string, topK int) (*ImagesWriter, error) {
	if len(names) == 0 || topK <= 0 {
		panic(fmt.Sprintf("eval: CreateImages: %d classes, top %d", len(names), topK))
	}
	w := &ImagesWriter{names: names, topK: topK}
	if err := w.create(path); err != nil {
		return nil, err
	}
	w.lines = csv.NewWriter(w.out)
	w.err = w.lines.Write(imageHeader)
	return w, nil
}

// Write appends an image with the scores of all classes. A NaN is an error and
// nothing is written for the image; after an error of the file system all calls
// fail with it.
func (w *ImagesWriter) Write(id []byte, scores []float32) error {
	if len(scores) != len(w.names) {
		panic(fmt.Sprintf("eval: Write: %d scores for %d classes", len(scores), len(w.names)))
	}
	if w.err != nil {
		return w.err
	}
	keys, bad := w.sel.top(scores, w.topK)
	if bad >= 0 {
		return fmt.Errorf("image %q: score of class %d is NaN: the network has diverged; train with a lower learning rate", id, bad)
	}
	for i, k := range keys {
		c := keyClass(k)
		w.fields = [5]string{string(id), strconv.Itoa(i + 1), strconv.Itoa(c), w.names[c], strconv.FormatFloat(float64(keyScore(k)), 'g', -1, 32)}
		if w.err = w.lines.Write(w.fields[:]); w.err != nil {
			return w.err
		}
	}
	return nil
}

// Close makes the file durable and gives it its name. After an error of it or of
// Write nothing but the old file, if any, is left.
func (w *ImagesWriter) Close() error {
	w.lines.Flush()
	if w.err == nil {
		w.err = w.lines.Error()
	}
	return w.predictionFile.Close()
}

// EvaluateImages computes the metrics of the file of predictions in r, whose name
// stands for it in errors. They are those of the scores that it was written from,
// the top-5 error if the file has five classes an image. Images are ranked by
// score, whatever the order of the lines; an image of truth without a line counts
// as answered wrongly. An error is a [*SubmissionError] or one of the reader.
func EvaluateImages(r io.Reader, name string, classes int, truth Truth) (*SingleLabel, SubmissionReport, error) {
	in := imageReader{lines: csv.NewReader(r), name: name, classes: classes}
	in.lines.FieldsPerRecord, in.lines.ReuseRecord = -1, true
	answers := make([][]rankedKey, truth.Len())
	var report SubmissionReport
	unknown := map[string]bool{}
	if err := in.header(); err != nil {
		return nil, report, err
	}
	for {
		id, key, err := in.next()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, report, err
		}
		row, ok := truth.Find([]byte(id))
		if !ok {
			if len(unknown) == 0 {
				report.ExampleUnknown = id
			}
			unknown[id] = true
			continue
		}
		if slices.ContainsFunc(answers[row], func(k rankedKey) bool { return keyClass(k) == keyClass(key) }) {
			return nil, report, in.fail(2, "each class of an image once", strconv.Itoa(keyClass(key)))
		}
		answers[row] = append(answers[row], key)
	}
	report.Unknown = int64(len(unknown))
	s := NewSingleLabel(classes)
	for row, keys := range answers {
		if len(keys) == 0 {
			report.Missing++
		}
		slices.Sort(keys)
		labels := truth.Labels(row)
		if len(labels) != 1 {
			return nil, report, fmt.Errorf("row %d has labels %v where an image has one class; ingest the images again", row, labels)
		}
		s.addRanked(labels[0], keys)
	}
	return s, report, nil
}

// imageReader reads lines of a file of predictions.
type imageReader struct {
	lines   *csv.Reader
	name    string
	classes int
}

func (in *imageReader) header() error {
	line, err := in.read()
	if err == nil && len(line) > 0 && len(line[0]) > 3 && line[0][:3] == "\xef\xbb\xbf" {
		line[0] = line[0][3:] // spreadsheets put a byte order mark there
	}
	if err == io.EOF || err == nil && !slices.Equal(line, imageHeader) {
		return &SubmissionError{in.name, 1, 0, "the header image,rank,class,name,score of a file that sdnn predict made of images", strconv.Quote(strings.Join(line, ","))}
	}
	return err
}

// next returns an image's id and one of its classes with the score.
func (in *imageReader) next() (id string, key rankedKey, err error) {
	line, err := in.read()
	if err != nil {
		return "", 0, err
	}
	if len(line) != len(imageHeader) {
		return "", 0, in.fail(0, fmt.Sprintf("%d fields", len(imageHeader)), strconv.Itoa(len(line)))
	}
	class, err := strconv.ParseUint(line[2], 10, 31)
	if err != nil || int(class) >= in.classes {
		return "", 0, in.fail(2, fmt.Sprintf("a class from 0 to %d", in.classes-1), line[2])
	}
	score, err := strconv.ParseFloat(line[4], 32)
	if err != nil || score != score {
		return "", 0, in.fail(4, "a score", line[4])
	}
	return line[0], makeKey(float32(score), int(class)), nil
}

func (in *imageReader) read() ([]string, error) {
	line, err := in.lines.Read()
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, &SubmissionError{in.name, bad.Line, bad.Column, "a line of CSV", bad.Err.Error()}
	} else if err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", in.name, err)
	}
	return line, err
}

// fail says what is wrong with a field of the line just read.
func (in *imageReader) fail(field int, want, got string) error {
	line, column := in.lines.FieldPos(field)
	return &SubmissionError{in.name, line, column, want, strconv.Quote(got)}
}
