package features

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// writeSplits writes rows 0..n-1 of train, by salt, and 0..n/2 of validate, by salt+1, in turns.
func writeSplits(dir string, salt, n int, o WriterOptions) ([]SplitInfo, error) {
	w, err := NewSplits(dir, []string{"train", "validate"}, testSchema, o)
	if err != nil {
		return nil, err
	}
	for from := 0; from < n; from += 7 {
		err := w.Append(0, testRows(salt, from, min(from+7, n)))
		if err == nil && from < n/2 {
			err = w.Append(1, testRows(salt+1, from, min(from+7, n/2)))
		}
		if err != nil {
			return nil, errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

func readSplits(dir string, salt, n int) error {
	return errors.Join(readStore(dir, "train", salt, n), readStore(dir, "validate", salt+1, n/2))
}

func TestSplits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	infos, err := writeSplits(dir, 1, 60, small)
	if err != nil || len(infos) != 2 || infos[0].Rows != 60 || infos[1].Rows != 30 || len(infos[0].Shards) < 2 {
		t.Fatalf("%+v, %v", infos, err)
	}
	if err := readSplits(dir, 1, 60); err != nil {
		t.Fatal(err)
	}
	base := files(t, dir)
	if _, err := NewSplits(dir, []string{"test", "validate"}, testSchema, small); !errors.As(err, new(*ExistsError)) || !strings.Contains(err.Error(), "validate") {
		t.Errorf("a split that is there: %v", err)
	}
	if _, err := NewSplits(dir, []string{"test", "a-b"}, testSchema, small); err == nil {
		t.Error("a bad name was accepted")
	}
	o := small
	o.Overwrite = true
	w, err := NewSplits(dir, []string{"validate", "test"}, testSchema, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Append(1, testRows(5, 0, 25)), w.Append(0, testRows(5, 0, 25)), w.Abort(), w.Abort()); err != nil {
		t.Error(err)
	}
	if !equalFiles(base, files(t, dir)) {
		t.Errorf("the store was changed: %v", keys(files(t, dir)))
	}
	if _, err := writeSplits(dir, 3, 25, o); err != nil {
		t.Fatal(err)
	}
	if err := readSplits(dir, 3, 25); err != nil {
		t.Error(err)
	}
	if _, err := Verify(dir, nil); err != nil {
		t.Error(err)
	}
}

// lockedFS lets the goroutines of several splits take the steps of one faultFS in turn.
type lockedFS struct {
	mu sync.Mutex
	fs *faultFS
}

func (l *lockedFS) Create(path string) (storeFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.fs.Create(path)
	return &lockedFile{f, l}, err
}

func (l *lockedFS) Rename(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.Rename(from, to)
}

func (l *lockedFS) Remove(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.Remove(path)
}

func (l *lockedFS) SyncDir(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fs.SyncDir(dir)
}

type lockedFile struct {
	storeFile
	l *lockedFS
}

func (f *lockedFile) Write(p []byte) (int, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.storeFile.Write(p)
}

func (f *lockedFile) Sync() error {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.storeFile.Sync()
}

// Several splits enter a store together: at whatever step a writer dies, both are old or both are new.
func TestSplitsKillAtEveryStep(t *testing.T) {
	dir := t.TempDir()
	if _, err := writeSplits(dir, 1, 40, small); err != nil {
		t.Fatal(err)
	}
	base := files(t, dir)
	old, renewed := 0, 0
	for at := 0; ; at++ {
		restore(t, dir, base)
		ffs := &faultFS{at: at, kill: true}
		o := small
		o.Overwrite, o.fsys = true, &lockedFS{fs: ffs}
		_, err := writeSplits(dir, 3, 30, o)
		if !ffs.dead {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil {
			t.Fatalf("step %d, %s: the writer did not notice its death", at, ffs.log[at])
		}
		errOld, errNew := readSplits(dir, 1, 40), readSplits(dir, 3, 30)
		switch {
		case errOld == nil:
			old++
		case errNew == nil:
			renewed++
		default:
			t.Fatalf("step %d, %s: not the old store: %v; not the new: %v", at, ffs.log[at], errOld, errNew)
		}
		for name := range files(t, dir) {
			if !shardPattern.MatchString(name) && name != manifestName {
				t.Fatalf("step %d, %s: %s is left", at, ffs.log[at], name)
			}
		}
	}
	if old == 0 || renewed == 0 {
		t.Errorf("%d times the old store, %d times the new", old, renewed)
	}
}

func TestSplitsFullDiskAtEveryStep(t *testing.T) {
	dir := t.TempDir()
	if _, err := writeSplits(dir, 1, 40, small); err != nil {
		t.Fatal(err)
	}
	base := files(t, dir)
	for at := 1; ; at++ {
		restore(t, dir, base)
		ffs := &faultFS{at: at}
		o := small
		o.Overwrite, o.fsys = true, &lockedFS{fs: ffs}
		_, err := writeSplits(dir, 3, 30, o)
		if at >= ffs.steps {
			break
		}
		switch {
		case err == nil || !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("step %d, %s: %v", at, ffs.log[at], err)
		case errors.As(err, new(*PendingError)):
			if err := readSplits(dir, 3, 30); err != nil {
				t.Fatalf("step %d, %s: %v", at, ffs.log[at], err)
			}
		case !equalFiles(base, files(t, dir)):
			t.Fatalf("step %d, %s: the store was changed: %v", at, ffs.log[at], slices.Sorted(slices.Values(keys(files(t, dir)))))
		}
	}
}
