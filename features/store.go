package features

// Store is an open store.
type Store struct{}

// Open reads and verifies the manifest of the store in dir, finishing or clearing what a writer that died left behind. Errors:
// *MissingError, *CorruptError, *VersionError, or one of the file system.
func Open(dir string) (*Store, error) { panic("features: todo") }

// Close unmaps all splits: no view of them may be used any more, and no Loader may run.
func (s *Store) Close() error { panic("features: todo") }

// Manifest returns what is in the store. It is shared: do not change it.
func (s *Store) Manifest() *Manifest { panic("features: todo") }

// Split maps the shards of a split and verifies their headers and footers; a second call returns the same Split. Errors:
// *SplitError, which lists the splits there are, *CorruptError, *ChangedError.
func (s *Store) Split(name string) (*Split, error) { panic("features: todo") }

// Report is the result of Verify.
type Report struct {
	Files  int             // shards read, and the manifest
	Bytes  int64           // bytes read
	Rows   int64           // rows in undamaged blocks
	Damage []*CorruptError // every damaged block
}

// Verify reads every byte of the store in dir against its checksum. It goes on after damage: the report lists every damaged block,
// and the error is then the first of them. progress, if not nil, is called as bytes are read.
func Verify(dir string, progress func(done, total int64)) (*Report, error) { panic("features: todo") }

// Split is a mapped split. All methods are safe for concurrent use.
//
// ID, Labels, Float and Bytes return views into the mapping: read only, valid until Store.Close. They panic for a row in a chunk
// that was not checked: call Check, CheckRows or CheckAll first, or use a Gather method, which does.
type Split struct{}

// Name returns the name of the split.
func (p *Split) Name() string { panic("features: todo") }

// Manifest returns the manifest of the store.
func (p *Split) Manifest() *Manifest { panic("features: todo") }

// Rows returns the number of rows.
func (p *Split) Rows() int { panic("features: todo") }

// Chunks returns the number of rows of each record batch, in order.
func (p *Split) Chunks() []int { panic("features: todo") }

// Column returns the index of a column for Float, Bytes and the Gather methods; the error lists the columns there are.
func (p *Split) Column(name string) (int, error) { panic("features: todo") }

// Check verifies a chunk against its checksum, once: later calls cost one atomic load. The error is a *CorruptError.
func (p *Split) Check(chunk int) error { panic("features: todo") }

// CheckRows verifies the chunks of rows.
func (p *Split) CheckRows(rows []int) error { panic("features: todo") }

// CheckAll verifies all chunks.
func (p *Split) CheckAll() error { panic("features: todo") }

// ID returns the id of a row.
func (p *Split) ID(row int) []byte { panic("features: todo") }

// Labels returns the labels of a row, as ingested.
func (p *Split) Labels(row int) []int32 { panic("features: todo") }

// Float returns a row of a Float32 column.
func (p *Split) Float(col, row int) []float32 { panic("features: todo") }

// Bytes returns a row of a Uint8 column.
func (p *Split) Bytes(col, row int) []byte { panic("features: todo") }

// GatherFloat copies rows of a Float32 column: row rows[i] to dst[i*stride:i*stride+Width]. It checks chunks on first touch.
func (p *Split) GatherFloat(col int, rows []int, dst []float32, stride int) error {
	panic("features: todo")
}

// GatherBytes is GatherFloat for a Uint8 column.
func (p *Split) GatherBytes(col int, rows []int, dst []byte, stride int) error {
	panic("features: todo")
}
