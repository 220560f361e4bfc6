package features

import (
	"errors"
	"fmt"
)

// Splits writes several splits of one store, for data sets whose files hold more than one. They become part of the store in one
// commit: whatever happens, all are there or none. It is for one goroutine.
type Splits struct {
	writers []*Writer // the first holds the lock of the store
}

// NewSplits begins to write the named splits, each once, into the store in dir. Errors are those of NewWriter.
func NewSplits(dir string, names []string, s Schema, o WriterOptions) (*Splits, error) {
	first, err := NewWriter(dir, names[0], s, o)
	if err != nil {
		return nil, err
	}
	t := &Splits{writers: []*Writer{first}}
	for _, name := range names[1:] {
		if err := t.begin(name, o); err != nil {
			return nil, errors.Join(err, t.Abort())
		}
	}
	return t, nil
}

// begin adds a writer beside the first, which has settled what is there and what the schema is.
func (t *Splits) begin(name string, o WriterOptions) error {
	first := t.writers[0]
	for _, w := range t.writers {
		if w.split == name {
			panic("features: NewSplits with split " + name + " twice")
		}
	}
	if !splitPattern.MatchString(name) {
		return fmt.Errorf("split %q: a name has 1 to 64 lower-case letters, digits and underscores", name)
	}
	if first.old != nil {
		if info := first.old.Splits[name]; info != nil && !o.Overwrite {
			return &ExistsError{Dir: first.dir, Split: name, Rows: info.Rows}
		}
	}
	w := &Writer{dir: first.dir, split: name, schema: first.schema, old: first.old, fsys: first.fsys}
	shardBytes := o.ShardBytes
	if shardBytes == 0 {
		shardBytes = DefaultShardBytes
	}
	var err error
	if w.out, err = newShardSet(w.fsys, w.dir, name, w.schema, first.cur.limit, shardBytes); err != nil {
		return err
	}
	w.cur = <-w.out.free
	t.writers = append(t.writers, w)
	return nil
}

// Append adds rows to split i, by the order of the names. See Writer.Append.
func (t *Splits) Append(i int, r *Rows) error { return t.writers[i].Append(r) }

// Commit makes all splits part of the store, whole and durable, or returns an error and leaves the store as it was. See
// Writer.Commit.
func (t *Splits) Commit() ([]SplitInfo, error) { return commit(t.writers, t.Abort) }

// commit makes the splits of writers of one store, the first of which holds its lock, part of the store; abort gives all of
// them up. The infos are nil unless the commit holds.
func commit(writers []*Writer, abort func() error) ([]SplitInfo, error) {
	first := writers[0]
	if first.done {
		panic("features: Commit after Commit or Abort")
	}
	j := &journal{FormatVersion: FormatVersion, Manifest: first.old}
	infos := make([]SplitInfo, len(writers))
	for i, w := range writers {
		if err := w.seal(&infos[i], j); err != nil {
			return nil, errors.Join(err, abort())
		}
	}
	j.Remove = first.old.outdated(j.Manifest)
	if err := j.Manifest.validate(); err != nil { // more rows or shards than a split may have
		return nil, errors.Join(fmt.Errorf("%s: cannot commit: %w", first.dir, err), abort())
	}
	if err := j.begin(first.fsys, first.dir); err != nil {
		return nil, errors.Join(err, abort())
	}
	for _, w := range writers {
		w.done = true
	}
	if _, err := j.finish(first.fsys, first.dir); err != nil {
		return infos, errors.Join(&PendingError{Dir: first.dir, Err: err}, first.close())
	}
	return infos, first.close()
}

// seal ends the shards of w and enters them in info and j.
func (w *Writer) seal(info *SplitInfo, j *journal) error {
	if w.err == nil && !w.cur.empty() {
		w.err = w.flush()
	}
	if w.err == nil {
		info.Shards, w.err = w.out.finish()
	}
	if w.err != nil {
		return w.err
	}
	for i := range info.Shards {
		sh := &info.Shards[i]
		sh.File = shardName(w.split, i, len(info.Shards))
		info.Rows += sh.Rows
		j.Renames = append(j.Renames, rename{From: shardPartName(w.split, i), To: sh.File})
	}
	j.Manifest = j.Manifest.withSplit(w.schema, w.split, info)
	return nil
}

// Abort removes what was written and leaves the store as it was. After Commit it does nothing.
func (t *Splits) Abort() error {
	if t.writers[0].done {
		return nil
	}
	for _, w := range t.writers[1:] {
		w.done = true
		_, _ = w.out.finish() // its errors no longer matter
	}
	return t.writers[0].Abort() // removes all unfinished shards of the store
}
