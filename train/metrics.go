package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// metricsLine is a line of metrics.jsonl. ExamplesPerS is the only value that
// depends on when the line was written.
type metricsLine struct {
	Stage        int         `json:"stage"`
	Epoch        int         `json:"epoch"` // from 1
	Step         int64       `json:"step"`
	Loss         float64     `json:"loss"` // mean since the last line; of the whole epoch in a line with validate or end
	LR           float64     `json:"lr"`
	ExamplesPerS float64     `json:"examples_per_s"`
	End          bool        `json:"end_of_epoch,omitempty"`
	Validate     *Validation `json:"validate,omitempty"`
	Adjust       *Adjustment `json:"logit_adjust,omitempty"` // of the last line of a run that has one
}

// metricsFile is metrics.jsonl under construction.
type metricsFile struct {
	f     *os.File // nil: not made yet
	lines int64
}

// openMetrics opens the file, checks the lines that the checkpoint knows and
// cuts the others. Lines that are too few or not as they were written are a
// *CorruptError; a file of no lines is made.
func openMetrics(path string, lines int64) (*metricsFile, error) {
	mode := os.O_RDWR
	if lines == 0 {
		mode |= os.O_CREATE
	}
	f, err := os.OpenFile(path, mode, 0o666)
	if err != nil {
		return nil, err
	}
	end, err := checkLines(f, lines)
	if bad := (*lineError)(nil); errors.As(err, &bad) {
		err = &CorruptError{path, err}
	}
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &metricsFile{f, lines}, nil
}

// resumeMetrics opens the file at the position of the checkpoint. Nothing follows
// from the file, so one that is missing is begun anew.
func (t *trainer) resumeMetrics() error {
	path := filepath.Join(t.o.Dir, metricsName)
	var err error
	t.metrics, err = openMetrics(path, t.pos.MetricsLines)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lost := fmt.Sprintf("%s is missing, with the %s that it had at the last checkpoint", path, plural(int(t.pos.MetricsLines), "line", "lines"))
	if t.pos.Done {
		t.o.Reporter.Warning(lost + ": the log of this run is gone; its checkpoints are whole")
		return nil
	}
	t.o.Reporter.Warning(lost + ": it is begun anew, and the run goes on")
	// The checkpoint first: one that counts lines which the new file has not
	// would be refused by the next resume, if this process were killed.
	t.metrics = &metricsFile{}
	if err := t.save(t.run.session); err != nil {
		return err
	}
	t.metrics, err = openMetrics(path, 0)
	return err
}

// lineError says that a line is not what add wrote.
type lineError struct {
	line int64 // from 1
	what string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }

// checkLines checks the first n lines and returns the offset behind them. The
// file has no checksum, as its timings differ between runs that agree; but a
// line that reads back to other bytes than its own is not what was written.
func checkLines(r io.Reader, n int64) (int64, error) {
	b := bufio.NewReader(r)
	var at int64
	for i := range n {
		text, err := b.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return 0, &lineError{i + 1, fmt.Sprintf("the file ends, of the %d lines that it had at the last checkpoint", n)}
		} else if err != nil {
			return 0, err
		}
		at += int64(len(text))
		var l metricsLine
		if err := json.Unmarshal(text, &l); err != nil {
			return 0, &lineError{i + 1, err.Error()}
		}
		if again, err := json.Marshal(l); err != nil || !bytes.Equal(again, text[:len(text)-1]) {
			return 0, &lineError{i + 1, fmt.Sprintf("it is %q, which is not what was written (for instance %q)", text[:len(text)-1], again)}
		}
	}
	return at, nil
}

func (m *metricsFile) add(l metricsLine) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = m.f.Write(append(text, '\n'))
	m.lines++
	return err
}

func (m *metricsFile) sync() error {
	if m.f == nil {
		return nil
	}
	return m.f.Sync()
}

func (m *metricsFile) close() error { return m.f.Close() }
