package features

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// A commit replaces several files as one. Its steps, each safe to be the last one before the power goes:
//
//	1. shards are written as SPLIT-NNNNN.arrow.part and made durable  (store: old)
//	2. journal.json, the new manifest and a list of renames and removals, is made durable, then named   <- commit point
//	3. the shards get their names, manifest.json is replaced, outdated shards are removed                 (store: new, by the journal)
//	4. journal.json is removed                                        (store: new)
//
// Whoever gets the writers' lock and finds a journal goes through 3 and 4, which may be repeated; then it removes what is left
// under temporary names.

// journal is the content of journal.json.
type journal struct {
	FormatVersion int       `json:"format_version"`
	Renames       []rename  `json:"renames"`
	Remove        []string  `json:"remove"`
	Manifest      *Manifest `json:"manifest"`
}

type rename struct {
	From string `json:"from"`
	To   string `json:"to"`
}

const journalKey = "journal_crc32c"

const journalHint = "if no copy is at hand, delete journal.json and the *.part files: the store is then as it was before the last ingest, " +
	"unless sdnn inspect --verify finds damage"

// readJournal reads the journal of the store in dir, nil if there is none. The error is a *CorruptError, a *VersionError or one of
// the file system.
func readJournal(dir string) (*journal, error) {
	path := filepath.Join(dir, journalName)
	doc, err := readSmall(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return decodeJournal(path, doc)
}

func decodeJournal(path string, doc []byte) (*journal, error) {
	if err := unseal(journalKey, path, doc); err != nil {
		err.(*CorruptError).Hint = journalHint
		return nil, err
	}
	j := new(journal)
	err := json.Unmarshal(doc, j)
	if err == nil && j.FormatVersion != FormatVersion {
		return nil, &VersionError{File: path, Version: j.FormatVersion}
	}
	if err == nil {
		err = j.validate()
	}
	if err != nil {
		return nil, &CorruptError{File: path, Bytes: int64(len(doc)), Want: "a journal", Got: err.Error(), Hint: journalHint, Err: err}
	}
	return j, nil
}

// validate makes sure that carrying out the journal touches nothing but shards.
func (j *journal) validate() error {
	if j.Manifest == nil {
		return errors.New("no manifest")
	}
	if err := j.Manifest.validate(); err != nil {
		return err
	}
	files := j.Manifest.files()
	for _, r := range j.Renames {
		if !partPattern.MatchString(r.From) || !slices.Contains(files, r.To) {
			return fmt.Errorf("rename of %q to %q", r.From, r.To)
		}
	}
	for _, name := range j.Remove {
		if !shardPattern.MatchString(name) || slices.Contains(files, name) {
			return fmt.Errorf("removal of %q", name)
		}
	}
	return nil
}

// begin makes the journal durable: afterwards the store is the new one.
func (j *journal) begin(fsys fileSystem, dir string) error {
	doc, err := seal(journalKey, j)
	if err != nil {
		return err
	}
	if err := fsys.SyncDir(dir); err != nil { // the shards' names, before the journal that speaks of them
		return writeError(dir, 0, err)
	}
	return writeFile(fsys, filepath.Join(dir, journalName), doc)
}

// finish carries out the journal. switched says that manifest.json and all shards are in place, whatever err is.
func (j *journal) finish(fsys fileSystem, dir string) (switched bool, err error) {
	if err := fsys.SyncDir(dir); err != nil { // nothing may be moved before the journal is durable
		return false, err
	}
	for _, r := range j.Renames {
		from, to := filepath.Join(dir, r.From), filepath.Join(dir, r.To)
		if !fileExists(from) {
			if !fileExists(to) {
				return false, &CorruptError{File: from, Want: "the shard that journal.json speaks of", Got: "no file", Err: os.ErrNotExist}
			}
			continue // moved already, before an interruption
		}
		if err := fsys.Rename(from, to); err != nil {
			return false, err
		}
	}
	doc, err := encodeManifest(j.Manifest)
	if err != nil {
		return false, err
	}
	if err := writeFile(fsys, filepath.Join(dir, manifestName), doc); err != nil {
		return false, err
	}
	for _, name := range j.Remove {
		if err := ignoreMissing(fsys.Remove(filepath.Join(dir, name))); err != nil {
			return true, err
		}
	}
	if err := fsys.SyncDir(dir); err != nil { // all that, before the journal goes
		return true, err
	}
	return true, ignoreMissing(fsys.Remove(filepath.Join(dir, journalName)))
}

// recoverStore finishes or clears what a dead writer left in dir. The caller holds the lock.
func recoverStore(fsys fileSystem, dir string) (switched bool, err error) {
	j, err := readJournal(dir)
	if err != nil {
		return false, err
	}
	if j != nil {
		if switched, err = j.finish(fsys, dir); err != nil {
			return switched, err
		}
	}
	for _, path := range leftovers(dir) {
		if err := ignoreMissing(fsys.Remove(path)); err != nil {
			return true, err
		}
	}
	return true, nil
}
