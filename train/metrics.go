package train

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
}

// metricsFile is metrics.jsonl under construction.
type metricsFile struct {
	f     *os.File
	lines int64
}

// openMetrics opens the file and cuts it to the lines that the checkpoint knows.
func openMetrics(path string, lines int64) (*metricsFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	end, err := endOfLine(f, lines)
	if errors.Is(err, io.EOF) {
		err = &CorruptError{path, fmt.Errorf("it has fewer than the %d lines that it had at the last checkpoint", lines)}
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

// endOfLine returns the offset behind the first n lines.
func endOfLine(r io.Reader, n int64) (int64, error) {
	b := bufio.NewReader(r)
	var at int64
	for n > 0 {
		part, err := b.ReadSlice('\n')
		at += int64(len(part))
		switch {
		case err == nil:
			n--
		case !errors.Is(err, bufio.ErrBufferFull):
			return 0, err
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

func (m *metricsFile) sync() error { return m.f.Sync() }

func (m *metricsFile) close() error { return m.f.Close() }
