package features

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// faultFS fails at step number at (from 0). A killed one does nothing ever after, as if the process were gone, and a write that is
// killed has written half. Flushes are counted but not done, to be fast.
type faultFS struct {
	at    int
	kill  bool
	err   error // of the step; ENOSPC if nil
	steps int
	dead  bool
	log   []string
}

func (f *faultFS) step(what, path string) error {
	f.log = append(f.log, what+" "+filepath.Base(path))
	hit := f.steps == f.at
	f.steps++
	if hit && f.kill {
		f.dead = true
	}
	if f.dead {
		return errors.New("killed")
	}
	if hit {
		err := f.err
		if err == nil {
			err = syscall.ENOSPC
		}
		return &fs.PathError{Op: what, Path: path, Err: err}
	}
	return nil
}

func (f *faultFS) Create(path string) (storeFile, error) {
	if err := f.step("create", path); err != nil {
		return nil, err
	}
	file, err := osFS{}.Create(path)
	return &faultFile{f, path, file}, err
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.step("rename", to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (f *faultFS) Remove(path string) error {
	if err := f.step("remove", path); err != nil {
		return err
	}
	return os.Remove(path)
}

func (f *faultFS) SyncDir(dir string) error { return f.step("syncdir", "") }

type faultFile struct {
	fs   *faultFS
	path string
	storeFile
}

func (f *faultFile) Write(p []byte) (int, error) {
	wasDead := f.fs.dead
	if err := f.fs.step("write", f.path); err != nil {
		n := 0
		if !wasDead {
			n, _ = f.storeFile.Write(p[:len(p)/2])
		}
		return n, err
	}
	return f.storeFile.Write(p)
}

func (f *faultFile) Sync() error { return f.fs.step("sync", f.path) }

// Whatever the step at which a writer dies, the store is the old one or the new one, whole; so it is when a recovery dies too; and
// nothing is left lying about.
func TestKillAtEveryStep(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 60, small)
	mustWrite(t, dir, "validate", 2, 15, small)
	base := files(t, dir)
	for _, n := range []int{60, 25} { // as many shards as before, fewer
		old, renewed := 0, 0
		for at := 0; ; at++ {
			restore(t, dir, base)
			ffs := &faultFS{at: at, kill: true}
			o := small
			o.Overwrite, o.fsys = true, ffs
			_, err := writeSplit(dir, "train", 3, n, o)
			if !ffs.dead {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if err == nil {
				t.Fatalf("step %d, %s: the writer did not notice its death", at, ffs.log[at])
			}
			if again := at / 3 % 8; fileExists(filepath.Join(dir, journalName)) {
				_, _ = recoverStore(&faultFS{at: again, kill: true}, dir)
			}
			errOld, errNew := readStore(dir, "train", 1, 60), readStore(dir, "train", 3, n)
			switch pending := errors.As(err, new(*PendingError)); {
			case errOld == nil && pending, errNew == nil && !pending && ffs.log[at] != "rename journal.json":
				t.Fatalf("step %d, %s: the writer says %v", at, ffs.log[at], err)
			case errOld == nil:
				old++
			case errNew == nil:
				renewed++
			default:
				t.Fatalf("step %d, %s: not the old store: %v; not the new: %v", at, ffs.log[at], errOld, errNew)
			}
			if err := readStore(dir, "validate", 2, 15); err != nil {
				t.Fatalf("step %d: the other split: %v", at, err)
			}
			if _, err := Verify(dir, nil); err != nil {
				t.Fatalf("step %d: %v", at, err)
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
}

// The order of flushes that makes the above hold for a power cut too.
func TestCommitFlushesInOrder(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 60, small)
	ffs := &faultFS{at: -1}
	o := small
	o.Overwrite, o.fsys = true, ffs
	mustWrite(t, dir, "train", 2, 55, o)
	pos := func(what string) int {
		i := slices.Index(ffs.log, what)
		if i < 0 {
			t.Fatalf("no %q in %q", what, ffs.log)
		}
		return i
	}
	commit := pos("rename journal.json")
	dirSyncs := func(from, to int) int {
		n := 0
		for _, s := range ffs.log[from:to] {
			if strings.HasPrefix(s, "syncdir") {
				n++
			}
		}
		return n
	}
	firstMove, manifest, end := pos("rename train-00000-of-00002.arrow"), pos("rename manifest.json"), pos("remove journal.json")
	switch {
	case !strings.HasPrefix(ffs.log[0], "syncdir"):
		t.Error("no flush of the folder before the first new file")
	case pos("sync train-00000.arrow.part") > commit || pos("sync train-00001.arrow.part") > commit || pos("sync journal.json.part") > commit:
		t.Error("the commit comes before its files are durable")
	case dirSyncs(pos("sync train-00001.arrow.part"), commit) < 1:
		t.Error("the commit comes before the names of the shards are durable")
	case firstMove < commit || dirSyncs(commit, firstMove) < 1:
		t.Error("files are moved before the commit is durable")
	case manifest < firstMove || pos("sync manifest.json.part") > manifest:
		t.Error("the manifest comes before its shards or before it is durable")
	case end < manifest || dirSyncs(manifest, end) < 1:
		t.Error("the journal goes before its work is durable")
	}
}

// A full disk at any step is an error that says where, and the store is as it was or, once the commit holds, as it should be.
func TestFullDiskAtEveryStep(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 60, small)
	base := files(t, dir)
	for at := 1; ; at++ {
		restore(t, dir, base)
		ffs := &faultFS{at: at}
		o := small
		o.Overwrite, o.fsys = true, ffs
		_, err := writeSplit(dir, "train", 3, 25, o)
		if at >= ffs.steps {
			break
		}
		what := ffs.log[at]
		if err == nil {
			t.Fatalf("step %d, %s: no error", at, what)
		}
		if errors.As(err, new(*PendingError)) {
			if err := readStore(dir, "train", 3, 25); err != nil {
				t.Fatalf("step %d, %s: %v", at, what, err)
			}
			continue
		}
		if !equalFiles(base, files(t, dir)) {
			t.Fatalf("step %d, %s: the store was changed: %v", at, what, keys(files(t, dir)))
		}
		if we := (*WriteError)(nil); !errors.As(err, &we) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
			t.Fatalf("step %d, %s: %v", at, what, err)
		}
	}
}

func TestUnwritableFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"file", "file/store"} {
		_, err := NewWriter(filepath.Join(dir, filepath.FromSlash(sub)), "train", testSchema, WriterOptions{})
		if we := (*WriteError)(nil); !errors.As(err, &we) {
			t.Errorf("%s: %v", sub, err)
		}
	}
	store := filepath.Join(dir, "store")
	_, err := NewWriter(store, "train", testSchema, WriterOptions{fsys: &faultFS{at: 1, err: syscall.EACCES}})
	if err == nil || !strings.Contains(err.Error(), "train-00000.arrow.part") || !strings.Contains(err.Error(), "who may write") {
		t.Errorf("no permission: %v", err)
	}
	if have := keys(files(t, dir)); !slices.Equal(have, []string{"file"}) {
		t.Errorf("left: %v", have)
	}
}

func TestTwoWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	w, err := NewWriter(dir, "train", testSchema, small)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewWriter(dir, "validate", testSchema, small)
	if be := (*BusyError)(nil); !errors.As(err, &be) {
		t.Errorf("a second writer: %v", err)
	}
	if _, err := Open(dir); !errors.As(err, new(*MissingError)) {
		t.Errorf("a store of which nothing is committed: %v", err)
	}
	if err := errors.Join(w.Append(testRows(1, 0, 25)), w.Abort(), w.Abort()); err != nil {
		t.Error(err)
	}
	if fileExists(dir) {
		t.Error("an aborted writer left the folder that it made")
	}
	mustWrite(t, dir, "train", 1, 25, small)
	w, err = NewWriter(dir, "validate", testSchema, small)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(testRows(2, 0, 25)); err != nil {
		t.Error(err)
	}
	if err := readStore(dir, "train", 1, 25); err != nil {
		t.Errorf("reading while a writer is at work: %v", err)
	}
	if _, err := w.Commit(); err != nil {
		t.Errorf("a reader disturbed the writer: %v", err)
	}
	if err := readStore(dir, "validate", 2, 25); err != nil {
		t.Error(err)
	}
}

func TestStoreRewrittenBetweenOpenAndSplit(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 25, small)
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	o := small
	o.Overwrite = true
	mustWrite(t, dir, "train", 2, 25, o) // same sizes: only the manifest tells
	if _, err := s.Split("train"); !errors.As(err, new(*ChangedError)) {
		t.Errorf("got %v", err)
	}
}

func TestBadRowsAreRefused(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(dir, "train", testSchema, small)
	if err != nil {
		t.Fatal(err)
	}
	r := testRows(1, 0, 1)
	r.IDs = make([]byte, MaxIDBytes+1)
	r.IDOffsets = []int32{0, int32(len(r.IDs))}
	if err := w.Append(r); err == nil || !strings.Contains(err.Error(), "65537 bytes") {
		t.Errorf("a long id: %v", err)
	}
	if _, err := w.Commit(); err == nil {
		t.Error("committed after an error")
	}
	if have := files(t, dir); len(have) != 0 {
		t.Errorf("left: %v", keys(have))
	}
	for _, split := range []string{"", "a-b", "../x", "Train"} {
		if _, err := NewWriter(dir, split, testSchema, small); err == nil {
			t.Errorf("split %q accepted", split)
		}
	}
}

const childDir = "FEATURES_TEST_STORE"

// A child that overwrites the split over and over is killed at 15 moments; the store must be one of the versions it wrote.
func TestKill9(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		o := small
		o.Overwrite = true
		for salt := 1; ; salt = 3 - salt {
			if _, err := writeSplit(dir, "train", salt, 60+salt, o); err != nil {
				fmt.Println("failed:", err)
				os.Exit(1)
			}
			fmt.Println("ready")
		}
	}
	dir := t.TempDir()
	for i := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Errorf("child %d: %s", i, line)
		}
		time.Sleep(time.Duration(i*1400) * time.Microsecond) // anywhere in a write: what is asserted holds at any moment
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err1, err2 := readStore(dir, "train", 1, 61), readStore(dir, "train", 2, 62); err1 != nil && err2 != nil {
			t.Fatalf("kill %d: neither %v nor %v", i, err1, err2)
		}
	}
}
