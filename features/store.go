package features

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sdnn/internal/disk"
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	dir      string
	manifest *Manifest
	doc      []byte // manifest.json as it was read

	mu     sync.Mutex
	splits map[string]*Split
	closed bool
}

// busyWait is how long Open waits for another process to end a commit, which takes a few disk flushes.
const busyWait = 10 * time.Second

// Open reads and verifies the manifest of the store in dir, finishing or clearing what a writer that died left behind. Errors:
// *MissingError, *LostError, *CorruptError, *VersionError, *BusyError, or one of the file system.
func Open(dir string) (*Store, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, &MissingError{Dir: dir, Err: errNotFolder}
	}
	if err := settle(dir, time.Now().Add(busyWait)); err != nil {
		return nil, err
	}
	m, doc, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, manifest: m, doc: doc, splits: map[string]*Split{}}, nil
}

// settle brings a store in dir to rest: afterwards manifest.json speaks the truth, unless a writer commits meanwhile.
func settle(dir string, deadline time.Time) error {
	if errors.As(checkClaim(dir), new(*ForeignError)) {
		return nil // whatever there looks like a dead writer's is not: there is no store
	}
	for {
		committing := fileExists(filepath.Join(dir, journalName))
		if !committing && len(leftovers(dir)) == 0 {
			return nil
		}
		unlock, err := lockStore(dir)
		switch {
		case err == nil:
			switched, err := recoverStore(osFS{}, dir)
			if err != nil && !switched {
				return errors.Join(err, unlock())
			}
			return unlock()
		case !committing:
			return nil // a writer before its commit, or a folder that cannot be written to: the old store is whole
		case !errors.Is(err, disk.ErrLocked):
			return &PendingError{Dir: dir, Err: err}
		case time.Now().After(deadline):
			return &BusyError{Dir: dir}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Close unmaps all splits: no view of them may be used any more, and no Loader may run. It may be called more than once.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for name, p := range s.splits {
		errs = append(errs, p.close())
		delete(s.splits, name)
	}
	return errors.Join(errs...)
}

// Dir returns the folder of the store, as given to Open.
func (s *Store) Dir() string { return s.dir }

// Manifest returns what is in the store. It is shared: do not change it.
func (s *Store) Manifest() *Manifest { return s.manifest }

// Split maps the shards of a split and verifies their headers and footers; a second call returns the same Split. Errors:
// *SplitError, which lists the splits there are, *CorruptError, *ChangedError.
func (s *Store) Split(name string) (*Split, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		panic("features: Split of a closed Store")
	}
	if p := s.splits[name]; p != nil {
		return p, nil
	}
	if s.manifest.Splits[name] == nil {
		return nil, &SplitError{Dir: s.dir, Split: name, Have: s.manifest.SplitNames()}
	}
	p, err := openSplit(s.dir, name, s.manifest)
	if s.changed() { // whatever was mapped may be of two stores, and an error may say so only by accident
		if p != nil {
			_ = p.close()
		}
		return nil, &ChangedError{Dir: s.dir}
	}
	if err != nil {
		return nil, err
	}
	s.splits[name] = p
	return p, nil
}

// changed reports whether a writer has replaced or is replacing what Open read. A commit moves shards only while its journal is
// there, and ends by replacing the manifest, so if neither is seen after mapping, the maps are of one store. (Its remains may stay
// when outdated shards cannot be removed: then its manifest is the one that was read.)
func (s *Store) changed() bool {
	if j, err := readJournal(s.dir); err != nil {
		return true
	} else if j != nil {
		doc, err := encodeManifest(j.Manifest)
		if err != nil || !bytes.Equal(doc, s.doc) {
			return true
		}
	}
	doc, err := readSmall(filepath.Join(s.dir, manifestName))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) // a lost manifest does no harm to what is mapped
	}
	return !bytes.Equal(doc, s.doc)
}

// Split is a mapped split. All methods are safe for concurrent use.
//
// ID, Labels, Float and Bytes return views into the mapping: read only, valid until Store.Close. They panic for a row in a chunk
// that was not checked: call Check, CheckRows or CheckAll first, or use a Gather method, which does.
type Split struct {
	name     string
	manifest *Manifest
	shards   []*shard
	chunks   []chunk
	starts   []int // first row of each chunk, then the number of rows
}

func openSplit(dir, name string, m *Manifest) (*Split, error) {
	var shards []*shard
	for i := range m.Splits[name].Shards {
		sh, err := openShard(dir, &m.Splits[name].Shards[i], m)
		if err != nil {
			for _, sh := range shards {
				err = errors.Join(err, sh.close())
			}
			return nil, err
		}
		shards = append(shards, sh)
	}
	return newSplit(name, m, shards), nil
}

func newSplit(name string, m *Manifest, shards []*shard) *Split {
	p := &Split{name: name, manifest: m, shards: shards, starts: []int{0}}
	for _, sh := range shards {
		for _, b := range sh.info.Blocks[1 : len(sh.info.Blocks)-1] {
			p.starts = append(p.starts, p.Rows()+int(b.Rows))
		}
	}
	p.chunks = make([]chunk, len(p.starts)-1)
	c := 0
	for _, sh := range shards {
		for b := range len(sh.info.Blocks) - 2 {
			p.chunks[c].shard, p.chunks[c].batch = sh, b
			c++
		}
	}
	return p
}

func (p *Split) close() error {
	var errs []error
	for i := range p.chunks {
		p.chunks[i].view.Store(nil) // a view used too late panics instead of faulting
	}
	for _, sh := range p.shards {
		errs = append(errs, sh.close())
	}
	return errors.Join(errs...)
}

// Name returns the name of the split.
func (p *Split) Name() string { return p.name }

// Manifest returns the manifest of the store. It is shared: do not change it.
func (p *Split) Manifest() *Manifest { return p.manifest }

// Rows returns the number of rows.
func (p *Split) Rows() int { return p.starts[len(p.starts)-1] }

// Chunks returns the number of rows of each record batch, in order.
func (p *Split) Chunks() []int {
	rows := make([]int, len(p.chunks))
	for c := range rows {
		rows[c] = p.starts[c+1] - p.starts[c]
	}
	return rows
}

// Column returns the index of a column for Float, Bytes and the Gather methods; the error lists the columns there are.
func (p *Split) Column(name string) (int, error) {
	i := slices.IndexFunc(p.manifest.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return 0, &ColumnError{Column: name, Have: describe(p.manifest.Columns)}
	}
	return i, nil
}
