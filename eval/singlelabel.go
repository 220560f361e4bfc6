package eval

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// SingleLabel accumulates the metrics of data with one label a row. Of equal scores
// the lower class ranks first. Its methods must not be called concurrently.
type SingleLabel struct {
	classes   int
	images    int64
	inTop5    int64
	confusion []int64 // images of class t answered by class p, at t*classes+p
	silent    []int64 // images of class t without an answer
}

// NewSingleLabel returns an accumulator for the given number of classes. It panics if
// there are none.
func NewSingleLabel(classes int) *SingleLabel {
	if classes <= 0 {
		panic(fmt.Sprintf("eval: NewSingleLabel: %d classes", classes))
	}
	return &SingleLabel{classes: classes, confusion: make([]int64, classes*classes), silent: make([]int64, classes)}
}

// topFive is the rank that the label must reach for the top-5 error.
const topFive = 5

// Add counts a batch: scores is rows x classes, row major, with a label each. A NaN
// gives a [*ScoreError] and nothing of the batch is counted. Add allocates nothing and
// panics if the lengths do not fit or a label is out of range.
func (s *SingleLabel) Add(scores []float32, labels []int32) error {
	c := s.classes
	if len(scores) != len(labels)*c {
		panic(fmt.Sprintf("eval: SingleLabel.Add: %d scores for %d labels x %d classes", len(scores), len(labels), c))
	}
	for i, v := range scores {
		if v != v {
			return &ScoreError{Row: i / c, Class: i % c}
		}
	}
	for r, label := range labels {
		row := scores[r*c : (r+1)*c]
		own := row[label]
		best, rank := 0, 0 // rank counts the classes before the label
		for k, v := range row {
			if v > row[best] {
				best = k
			}
			if v > own || v == own && k < int(label) {
				rank++
			}
		}
		s.images++
		s.confusion[int(label)*c+best]++
		if rank < topFive {
			s.inTop5++
		}
	}
	return nil
}

// addRanked counts an image whose best classes are keys, best first; without keys
// it has no answer.
func (s *SingleLabel) addRanked(label int32, keys []rankedKey) {
	s.images++
	if len(keys) == 0 {
		s.silent[label]++
		return
	}
	s.confusion[int(label)*s.classes+keyClass(keys[0])]++
	for _, k := range keys[:min(topFive, len(keys))] {
		if keyClass(k) == int(label) {
			s.inTop5++
		}
	}
}

// ClassError is one class's part of the error rate.
type ClassError struct {
	Class     int     `json:"class"`
	Name      string  `json:"name,omitempty"` // empty unless the caller fills it in
	Images    int64   `json:"images"`
	ErrorRate float64 `json:"error_rate"` // 0 without images
}

// SingleLabelResult holds the metrics, all in [0, 1]; the JSON keys are those of
// `sdnn eval`.
type SingleLabelResult struct {
	Images        int64        `json:"images"`
	ErrorRate     float64      `json:"error_rate"`
	Top5ErrorRate float64      `json:"top5_error_rate"`
	PerClass      []ClassError `json:"per_class,omitempty"`
}

// Result computes the metrics of what was added so far; all are 0 without images.
func (s *SingleLabel) Result() SingleLabelResult {
	res := SingleLabelResult{Images: s.images, PerClass: make([]ClassError, s.classes)}
	var right int64
	for c := range s.classes {
		row := s.confusion[c*s.classes : (c+1)*s.classes]
		e := ClassError{Class: c, Images: s.silent[c]}
		for _, n := range row {
			e.Images += n
		}
		e.ErrorRate = missed(row[c], e.Images)
		res.PerClass[c] = e
		right += row[c]
	}
	res.ErrorRate = missed(right, s.images)
	res.Top5ErrorRate = missed(s.inTop5, s.images)
	return res
}

// missed is the share of all that is not among right.
func missed(right, all int64) float64 {
	if all == 0 {
		return 0
	}
	return float64(all-right) / float64(all)
}

// confusionCorner is the first cell of the CSV of a confusion matrix.
const confusionCorner = "true \\ predicted"

// StartsConfusion says whether start, the first bytes of a file (100 are enough),
// are those of a confusion matrix as WriteConfusion writes it.
func StartsConfusion(start []byte) bool {
	return bytes.HasPrefix(start, []byte(confusionCorner+","))
}

// WriteConfusion writes the confusion matrix as CSV: a header with the classes'
// names, then a line a true class with the number of its images answered by each
// class. names has a name for every class or is nil for their numbers.
func (s *SingleLabel) WriteConfusion(w io.Writer, names []string) error {
	if names == nil {
		for c := range s.classes {
			names = append(names, strconv.Itoa(c))
		}
	}
	if len(names) != s.classes {
		panic(fmt.Sprintf("eval: WriteConfusion: %d names for %d classes", len(names), s.classes))
	}
	out := csv.NewWriter(w)
	out.Write(append([]string{confusionCorner}, names...)) // errors come with Error
	line := make([]string, 1+s.classes)
	for t, name := range names {
		line[0] = name
		for p, n := range s.confusion[t*s.classes : (t+1)*s.classes] {
			line[1+p] = strconv.FormatInt(n, 10)
		}
		out.Write(line)
	}
	out.Flush()
	return out.Error()
}

// SaveConfusion writes the confusion matrix to a file as WriteConfusion does. The
// file appears when it is complete; after an error an older one is as it was.
func (s *SingleLabel) SaveConfusion(path string, names []string) error {
	var f predictionFile
	if err := f.create(path); err != nil {
		return err
	}
	f.err = s.WriteConfusion(f.out, names)
	return f.Close()
}
