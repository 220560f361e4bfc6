package eval

import "fmt"

// Truth holds the labels of videos by id. Its methods are those a store's split has
// or can be given with an index of its ids.
type Truth interface {
	Len() int
	// Find returns the row of the video with the given id. It must not keep id.
	Find(id []byte) (row int, ok bool)
	// Labels returns the labels of a row.
	Labels(row int) []int32
}

// SubmissionReport says how a submission file and the truth fit together.
type SubmissionReport struct {
	// Missing videos have labels but no line: they count as videos without
	// predictions, so that leaving out hard videos cannot raise a metric.
	Missing int64 `json:"missing_videos"`
	// Unknown videos have a line but no labels: they are left out.
	Unknown int64 `json:"unknown_videos"`
	// ExampleUnknown is the id of the first unknown one.
	ExampleUnknown string `json:"example_unknown,omitempty"`
}

// DuplicateError says that a video has two lines in a submission file, which leaves
// open which one counts.
type DuplicateError struct {
	File        string
	First, Line int
	ID          string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%s:%d: expected each video once, found %q again (first in line %d); remove one of the lines", e.File, e.Line, e.ID, e.First)
}

// EvaluateSubmission computes the metrics of a submission file from the topK best of
// each line (lines need not be sorted). They are those of the scores that it was
// written from, but for PERR where a video has more labels than its line has pairs.
// An error is a [*SubmissionError], a [*DuplicateError] or one of the reader.
func EvaluateSubmission(s *Submission, truth Truth, topK int) (MultiLabelResult, SubmissionReport, error) {
	m := NewMultiLabel(s.classes, topK, 1)
	w := m.workers[0]
	entries := make([]uint64, m.topK)
	lines := make([]int32, truth.Len()) // where a video was found, 0 for not yet
	var report SubmissionReport
	for s.Next() {
		row, ok := truth.Find(s.id)
		if !ok {
			if report.Unknown++; report.Unknown == 1 {
				report.ExampleUnknown = string(s.id)
			}
			continue
		}
		if lines[row] != 0 {
			return MultiLabelResult{}, report, &DuplicateError{s.name, int(lines[row]), s.line, string(s.id)}
		}
		lines[row] = int32(s.line)
		labels := truth.Labels(row)
		n := w.mark(labels, m.classes)
		m.count(w.measure(s.keys, n, entries), entries, labels)
	}
	if s.err != nil {
		return MultiLabelResult{}, report, s.err
	}
	for row, line := range lines {
		if line == 0 {
			report.Missing++
			labels := truth.Labels(row)
			m.count(w.measure(nil, w.mark(labels, m.classes), entries), entries, labels)
		}
	}
	return m.Result(), report, nil
}
