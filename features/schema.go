package features

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// FormatVersion is the version of the store format that this package writes and reads.
const FormatVersion = 1

// Kind is the element type of a feature column.
type Kind string

const (
	// Float32 is stored as fixed_size_list<float32>[Width].
	Float32 Kind = "float32"
	// Uint8 is stored as fixed_size_binary[Width]: an image's planes R, G, B, each row by row.
	Uint8 Kind = "uint8"
)

// Column describes one feature column. Width counts elements of a row.
type Column struct {
	Name  string `json:"name"`
	Kind  Kind   `json:"kind"`
	Width int    `json:"width"`
}

// Schema is what all splits of a store have in common.
type Schema struct {
	Dataset    string   // "yt8m", "cifar10", ...
	Classes    int      // labels are 0 .. Classes-1
	ClassNames []string // empty, or one name a class
	Columns    []Column // at least one
	PixelMean  []float64
	PixelStd   []float64 // of images, per plane, in units of 0..255; empty otherwise
}

// Manifest is the content of manifest.json. A Manifest got from a Store is shared: do not change it.
type Manifest struct {
	FormatVersion int                   `json:"format_version"`
	Dataset       string                `json:"dataset"`
	Classes       int                   `json:"classes"`
	ClassNames    []string              `json:"class_names,omitempty"`
	Columns       []Column              `json:"columns"`
	PixelMean     []float64             `json:"pixel_mean,omitempty"`
	PixelStd      []float64             `json:"pixel_std,omitempty"`
	Splits        map[string]*SplitInfo `json:"splits"`
}

// SplitInfo lists the shards of a split in the order of their rows.
type SplitInfo struct {
	Rows   int64       `json:"rows"`
	Shards []ShardInfo `json:"shards"`
}

// ShardInfo describes one Arrow file. CRC32C is that of the whole file.
type ShardInfo struct {
	File   string      `json:"file"`
	Rows   int64       `json:"rows"`
	Bytes  int64       `json:"bytes"`
	CRC32C Checksum    `json:"crc32c"`
	Blocks []BlockInfo `json:"blocks"`
}

// BlockInfo describes a run of bytes of a shard. The blocks tile the file: header, one a record batch, footer; the first and the
// last have no rows.
type BlockInfo struct {
	Offset int64    `json:"offset"`
	Bytes  int64    `json:"bytes"`
	Rows   int64    `json:"rows"`
	CRC32C Checksum `json:"crc32c"`
}

// Checksum is a CRC-32 with the Castagnoli polynomial; in JSON a string of eight lower-case hexadecimal digits.
type Checksum uint32

// Schema returns what all splits have in common.
func (m *Manifest) Schema() Schema {
	return Schema{Dataset: m.Dataset, Classes: m.Classes, ClassNames: m.ClassNames, Columns: m.Columns,
		PixelMean: m.PixelMean, PixelStd: m.PixelStd}
}

// The columns that every store has beside its features.
const (
	idColumn    = "id"
	labelColumn = "labels"
)

// validate reports what makes s no schema of a store.
func (s Schema) validate() error {
	switch {
	case s.Dataset == "":
		return fmt.Errorf("no dataset")
	case s.Classes < 1 || s.Classes > math.MaxInt32:
		return fmt.Errorf("%d classes", s.Classes)
	case len(s.ClassNames) != 0 && len(s.ClassNames) != s.Classes:
		return fmt.Errorf("%d class names for %d classes", len(s.ClassNames), s.Classes)
	case len(s.Columns) == 0:
		return fmt.Errorf("no feature columns")
	case len(s.PixelMean) != len(s.PixelStd):
		return fmt.Errorf("%d pixel means and %d deviations", len(s.PixelMean), len(s.PixelStd))
	}
	seen := []string{idColumn, labelColumn}
	for _, c := range s.Columns {
		switch {
		case c.Name == "" || slices.Contains(seen, c.Name):
			return fmt.Errorf("column name %q is empty or taken", c.Name)
		case c.Kind != Float32 && c.Kind != Uint8:
			return fmt.Errorf("column %q has kind %q", c.Name, c.Kind)
		case c.Width < 1 || c.Width > maxWidth:
			return fmt.Errorf("column %q has width %d", c.Name, c.Width)
		}
		seen = append(seen, c.Name)
	}
	return nil
}

// rowBytes is the size of the features of a row.
func (s Schema) rowBytes() int {
	n := 0
	for _, c := range s.Columns {
		if c.Kind == Float32 {
			n += 4 * c.Width
		} else {
			n += c.Width
		}
	}
	return n
}

// merge returns the schema of a store in dir with schema s when a split with schema t is added. What t leaves out (class names,
// pixel statistics) s keeps, and the other way round; what contradicts is a *SchemaError.
func (s Schema) merge(dir string, t Schema) (Schema, error) {
	differ := func(field string, want, got any) error {
		return &SchemaError{Dir: dir, Field: field, Want: fmt.Sprint(want), Got: fmt.Sprint(got)}
	}
	switch {
	case s.Dataset != t.Dataset:
		return s, differ("dataset", s.Dataset, t.Dataset)
	case s.Classes != t.Classes:
		return s, differ("classes", s.Classes, t.Classes)
	case !slices.Equal(s.Columns, t.Columns):
		return s, differ("columns", describe(s.Columns), describe(t.Columns))
	}
	if len(t.ClassNames) > 0 {
		for i, name := range s.ClassNames {
			if name != t.ClassNames[i] {
				return s, differ(fmt.Sprintf("class %d named", i), name, t.ClassNames[i])
			}
		}
		s.ClassNames = t.ClassNames
	}
	if len(t.PixelMean) > 0 {
		if len(s.PixelMean) > 0 && (!slices.Equal(s.PixelMean, t.PixelMean) || !slices.Equal(s.PixelStd, t.PixelStd)) {
			return s, differ("pixel mean and std", []any{s.PixelMean, s.PixelStd}, []any{t.PixelMean, t.PixelStd})
		}
		s.PixelMean, s.PixelStd = t.PixelMean, t.PixelStd
	}
	return s, nil
}

func describe(columns []Column) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = fmt.Sprintf("%s %s[%d]", c.Name, c.Kind, c.Width)
	}
	return strings.Join(parts, ", ")
}

// clone returns a copy that shares nothing with s.
func (s Schema) clone() Schema {
	s.ClassNames, s.Columns = slices.Clone(s.ClassNames), slices.Clone(s.Columns)
	s.PixelMean, s.PixelStd = slices.Clone(s.PixelMean), slices.Clone(s.PixelStd)
	return s
}
