package features

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
