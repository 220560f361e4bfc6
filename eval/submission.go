package eval

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// A submission file is what the YouTube-8M challenge took:
//
//	VideoId,LabelConfidencePairs
//	id,label score label score ...
//
// One line a video with up to 20 pairs, best first. Scores are written as the
// shortest decimals that read back to the same float32, so that evaluating the file
// gives the same metrics as evaluating the scores.
const submissionHeader = "VideoId,LabelConfidencePairs"

// SubmissionWriter writes a submission file. The file appears under its name,
// complete and durable, when Close returns nil, and not before.
type SubmissionWriter struct {
	predictionFile
	classes, topK int
	sel           selector
	line          []byte
}

// CreateSubmission begins a submission file with the topK best of the given number
// of classes a video. It replaces an existing file on Close; something else than a
// file of that name (a terminal, a pipe) is written to directly.
func CreateSubmission(path string, classes, topK int) (*SubmissionWriter, error) {
	if classes <= 0 || topK <= 0 {
		panic(fmt.Sprintf("eval: CreateSubmission: %d classes, top %d", classes, topK))
	}
	w := &SubmissionWriter{classes: classes, topK: topK}
	if err := w.create(path); err != nil {
		return nil, err
	}
	w.out.WriteString(submissionHeader + "\n") // errors come with Flush
	return w, nil
}

// Write appends a video with the given class scores. An id that the format cannot
// hold and a NaN score are errors and nothing is written for the video; after an
// error of the file system all calls fail with it.
func (w *SubmissionWriter) Write(id []byte, scores []float32) error {
	if len(scores) != w.classes {
		panic(fmt.Sprintf("eval: Write: %d scores for %d classes", len(scores), w.classes))
	}
	if w.err != nil {
		return w.err
	}
	if len(id) == 0 || bytes.ContainsAny(id, ",\"\r\n") {
		return fmt.Errorf("%s: video id %q cannot be written: a submission file has no place for an empty id, commas, quotes or line ends", w.path, id)
	}
	keys, bad := w.sel.top(scores, w.topK)
	if bad >= 0 {
		return fmt.Errorf("video %q: score of class %d is NaN: the network has diverged; train with a lower learning rate", id, bad)
	}
	line := append(append(w.line[:0], id...), ',')
	for i, k := range keys {
		if i > 0 {
			line = append(line, ' ')
		}
		line = strconv.AppendInt(line, int64(keyClass(k)), 10)
		line = append(line, ' ')
		line = strconv.AppendFloat(line, float64(keyScore(k)), 'g', -1, 32)
	}
	w.line = append(line, '\n')
	_, w.err = w.out.Write(w.line)
	return w.err
}

// SubmissionError says where a submission file is not one.
type SubmissionError struct {
	File   string
	Line   int // from 1
	Column int // from 1, in bytes; 0 for the line as a whole
	Want   string
	Got    string
}

func (e *SubmissionError) Error() string {
	where := fmt.Sprintf("%s:%d", e.File, e.Line)
	if e.Column > 0 {
		where += fmt.Sprintf(":%d", e.Column)
	}
	return fmt.Sprintf("%s: expected %s, found %s", where, e.Want, e.Got)
}

// maxLine bounds a line: a pair takes at most some 30 bytes.
const maxLine = 1 << 20

// Submission reads a submission file line by line.
type Submission struct {
	name    string
	classes int
	in      *bufio.Scanner
	line    int
	id      []byte
	keys    []rankedKey
	seen    marks
	err     error
}

// NewSubmission reads the submission file in r; name stands for it in errors. Labels
// must be below classes.
func NewSubmission(r io.Reader, name string, classes int) *Submission {
	s := &Submission{name: name, classes: classes, in: bufio.NewScanner(r)}
	s.in.Buffer(make([]byte, 0, 1<<16), maxLine)
	return s
}

// Next reads the next video and says whether there is one. At the end of the file or
// after an error, which Err tells apart, it says false.
func (s *Submission) Next() bool {
	if s.line == 0 && !s.header() {
		return false
	}
	for s.err == nil && s.scan() {
		line := bytes.TrimRight(s.in.Bytes(), " \r")
		if len(line) > 0 {
			return s.parse(line)
		}
	}
	return false
}

// Err returns the error that ended the reading: a [*SubmissionError] or one of the
// reader; nil at the end of the file.
func (s *Submission) Err() error { return s.err }

func (s *Submission) fail(column int, want, got string) bool {
	const longest = 40
	if len(got) > longest {
		got = got[:longest] + "..."
	}
	s.err = &SubmissionError{s.name, s.line, column, want, strconv.Quote(got)}
	return false
}

func (s *Submission) scan() bool {
	s.line++
	if s.in.Scan() {
		return true
	}
	switch err := s.in.Err(); {
	case err == bufio.ErrTooLong:
		s.fail(0, fmt.Sprintf("a line of at most %d bytes", maxLine), "a longer one")
	case err != nil:
		s.err = fmt.Errorf("%s:%d: %w", s.name, s.line, err)
	}
	return false
}

func (s *Submission) header() bool {
	if !s.scan() {
		if s.err == nil {
			s.fail(0, "the header "+submissionHeader, "")
		}
		return false
	}
	line := bytes.TrimPrefix(s.in.Bytes(), []byte("\xef\xbb\xbf")) // spreadsheets put a byte order mark there
	if got := string(bytes.TrimRight(line, " \r")); got != submissionHeader {
		return s.fail(0, "the header "+submissionHeader, got)
	}
	return true
}

// parse splits a line into s.id and s.keys, which it ranks.
func (s *Submission) parse(line []byte) bool {
	comma := bytes.IndexByte(line, ',')
	if comma <= 0 {
		return s.fail(1, "a video id and a comma", string(line))
	}
	s.id = append(s.id[:0], line[:comma]...)
	s.keys = s.keys[:0]
	s.seen.clear(s.classes)
	for at := comma + 1; at < len(line); {
		label, next := field(line, at)
		class, err := strconv.ParseUint(string(label), 10, 31)
		if err != nil || int(class) >= s.classes {
			return s.fail(at+1, fmt.Sprintf("a label from 0 to %d", s.classes-1), string(label))
		}
		if !s.seen.put(int32(class)) {
			return s.fail(at+1, "each label once", string(label))
		}
		at = next
		number, next := field(line, min(at, len(line)))
		score, err := strconv.ParseFloat(string(number), 32)
		if err != nil || score != score {
			return s.fail(at+1, "a score", string(number))
		}
		s.keys = append(s.keys, makeKey(float32(score), int(class)))
		at = next
	}
	slices.Sort(s.keys)
	return true
}

// field returns the bytes from at to the next space and where the field after begins.
func field(line []byte, at int) (f []byte, next int) {
	if n := bytes.IndexByte(line[at:], ' '); n >= 0 {
		return line[at : at+n], at + n + 1
	}
	return line[at:], len(line)
}
