package yt8m

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Columns of the published vocabulary.csv. Only Index and Name must be there,
// in any place.
const (
	indexColumn = "Index"
	countColumn = "TrainVideoCount"
	graphColumn = "KnowledgeGraphId"
	nameColumn  = "Name"
)

// A VocabularyError says what is wrong with a vocabulary file, and where.
type VocabularyError struct {
	File     string
	Line     int // from 1
	Expected string
	Found    string
}

// Error implements error.
func (e *VocabularyError) Error() string {
	return fmt.Sprintf("%s: line %d: expected %s, found %s", e.File, e.Line, e.Expected, e.Found)
}

// ReadVocabulary reads class names from a CSV file as YouTube-8M publishes it. A
// row names the class of its Index column, whatever the order of the rows; the
// indices must be 0 .. n-1, each once. A class without a name, as 56 real ones
// are, goes by its KnowledgeGraphId, or by its index. file is the name for
// messages; errors are *VocabularyError or those of r.
func ReadVocabulary(r io.Reader, file string) ([]string, error) {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	bad := func(line int, expected, found string) error {
		return &VocabularyError{File: file, Line: line, Expected: expected, Found: found}
	}
	head, err := c.Read()
	if err == io.EOF {
		return nil, bad(1, "a header with the columns Index and Name", "an empty file")
	} else if err != nil {
		return nil, csvError(file, err)
	}
	head[0] = strings.TrimPrefix(head[0], "\ufeff") // as spreadsheet programs write it
	index, name, graph := slices.Index(head, indexColumn), slices.Index(head, nameColumn), slices.Index(head, graphColumn)
	if index < 0 || name < 0 {
		return nil, bad(1, "a header with the columns Index and Name", fmt.Sprintf("%.60q", strings.Join(head, ",")))
	}
	const maxClasses = 1 << 20
	var names []string
	var lines []int // line of each class, 0 where none was seen
	rows := 0
	for {
		row, err := c.Read()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, csvError(file, err)
		}
		line, _ := c.FieldPos(0)
		k, err := strconv.Atoi(strings.TrimSpace(row[index]))
		if err != nil || k < 0 || k >= maxClasses {
			return nil, bad(line, fmt.Sprintf("an index from 0 to %d", maxClasses-1), fmt.Sprintf("%.60q", row[index]))
		}
		for k >= len(names) {
			names, lines = append(names, ""), append(lines, 0)
		}
		if lines[k] != 0 {
			return nil, bad(line, "every index once", fmt.Sprintf("%d again, first on line %d", k, lines[k]))
		}
		lines[k] = line
		names[k] = className(row, k, name, graph)
		rows++
	}
	if k := slices.Index(lines, 0); k >= 0 {
		return nil, bad(lines[len(lines)-1], fmt.Sprintf("all indices from 0 to %d", len(names)-1), fmt.Sprintf("no row for %d", k))
	}
	if rows == 0 {
		return nil, bad(1, "a row for each class", "none")
	}
	return names, nil
}

// className picks the name of class k from its row, as a copy.
func className(row []string, k, name, graph int) string {
	s := strings.TrimSpace(row[name])
	if s == "" && graph >= 0 {
		s = strings.TrimSpace(row[graph])
	}
	if s == "" {
		return strconv.Itoa(k)
	}
	return strings.Clone(s)
}

func csvError(file string, err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return &VocabularyError{File: file, Line: p.Line, Expected: "comma-separated values", Found: p.Err.Error()}
	}
	return fmt.Errorf("%s: %w", file, err)
}

// A VocabularyRow is one class of a vocabulary file.
type VocabularyRow struct {
	Index       int
	TrainVideos int64
	GraphID     string
	Name        string
	Description string
}

// WriteVocabulary writes rows with the columns of the published vocabulary.csv.
func WriteVocabulary(w io.Writer, rows []VocabularyRow) error {
	c := csv.NewWriter(w)
	c.Write([]string{indexColumn, countColumn, graphColumn, nameColumn, "WikiUrl",
		"Vertical1", "Vertical2", "Vertical3", "WikiDescription"})
	for _, r := range rows {
		c.Write([]string{strconv.Itoa(r.Index), strconv.FormatInt(r.TrainVideos, 10), r.GraphID, r.Name, "",
			"(Unknown)", "", "", r.Description})
	}
	c.Flush()
	return c.Error()
}
