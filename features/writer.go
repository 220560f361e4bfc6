package features

// WriterOptions has the choices of a Writer; the zero value is right for ingest.
type WriterOptions struct {
	Overwrite    bool  // replace an existing split
	RowsPerBatch int   // rows of a record batch; 0: DefaultRowsPerBatch
	ShardBytes   int64 // a new shard is begun when one reaches this size; 0: DefaultShardBytes
}

const (
	// DefaultRowsPerBatch keeps a batch of video features near 10 MB: small enough that writing overlaps parsing, that a first touch
	// verifies fast and that a shuffling window holds many batches; far from the 256 MiB at which Arrow readers refuse a batch.
	DefaultRowsPerBatch = 2048
	// DefaultShardBytes bounds the size of a file.
	DefaultShardBytes = 1 << 30
)

// Rows is a group of rows to be appended: n rows, n+1 offsets. Row i has the id IDs[IDOffsets[i]:IDOffsets[i+1]] and the labels
// Labels[LabelOffsets[i]:LabelOffsets[i+1]], each in 0..Classes-1. Offsets need not begin at 0.
type Rows struct {
	IDOffsets    []int32
	IDs          []byte
	LabelOffsets []int32
	Labels       []int32
	Float        [][]float32 // one slab a Float32 column, in the order of the schema, n*Width
	Bytes        [][]byte    // one slab a Uint8 column, in the order of the schema, n*Width
}

// Len returns the number of rows.
func (r *Rows) Len() int { return max(len(r.IDOffsets)-1, 0) }

// Writer writes one split. It is for one goroutine.
type Writer struct{}

// NewWriter begins to write split into the store in dir, which is made if need be. Errors: *ExistsError, *SchemaError, *BusyError,
// *CorruptError for a store that cannot be read, or one of the file system.
func NewWriter(dir, split string, s Schema, o WriterOptions) (*Writer, error) {
	panic("features: todo")
}

// Append adds rows, in order. They are copied; the writer does not keep r. Rows that break the rules of Rows panic. After an error
// only Abort is left.
func (w *Writer) Append(r *Rows) error { panic("features: todo") }

// Commit makes the split part of the store, whole and durable, or returns an error and leaves the store as it was. An error that
// is a *PendingError means that the commit holds but its last renames are left to whoever opens the store next.
func (w *Writer) Commit() (SplitInfo, error) { panic("features: todo") }

// Abort removes what was written and leaves the store as it was. After Commit it does nothing.
func (w *Writer) Abort() error { panic("features: todo") }
