package features

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
)

// Names of the files of a store.
const (
	manifestName = "manifest.json"
	journalName  = "journal.json"
	lockName     = "writer.lock"
	partSuffix   = ".part" // of a file that is being written
)

var (
	splitPattern = regexp.MustCompile(`^[a-z0-9_]{1,64}$`) // lower case: some file systems do not tell case apart
	shardPattern = regexp.MustCompile(`^[a-z0-9_]{1,64}-[0-9]{5}-of-[0-9]{5}\.arrow$`)
	partPattern  = regexp.MustCompile(`^([a-z0-9_]{1,64}-[0-9]{5}\.arrow|manifest\.json|journal\.json)\.part$`)
)

func shardName(split string, i, n int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.arrow", split, i, n)
}

// shardPartName is the name of a shard while it is written: how many there will be is not known yet.
func shardPartName(split string, i int) string {
	return fmt.Sprintf("%s-%05d.arrow%s", split, i, partSuffix)
}

// Limits that keep a lying manifest from doing harm, far above any use.
const (
	maxManifestBytes = 256 << 20
	maxWidth         = 1 << 24
	maxShards        = 100_000 // five digits
)

// seal makes a document of a JSON object whose first line holds the checksum of all the rest:
//
//	{
//	  "KEY": "0123abcd",
//	  ...
//
// The checksum is the CRC32C of the file with the eight digits replaced by zeros, so every byte of the file is covered.
func seal(key string, v any) ([]byte, error) {
	body, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return nil, err
	}
	head := sealHead(key, 0)
	doc := append(append(head, body[len("{\n"):]...), '\n')
	copy(doc, sealHead(key, checksum(doc)))
	return doc, nil
}

func sealHead(key string, sum Checksum) []byte {
	return fmt.Appendf(nil, "{\n \"%s\": \"%v\",\n", key, sum)
}

// unseal verifies a document made by seal and returns a *CorruptError if a byte of it was changed.
func unseal(key, path string, doc []byte) error {
	bare := sealHead(key, 0)
	damaged := func(want, got string) error {
		return &CorruptError{File: path, Bytes: int64(len(doc)), Want: want, Got: got, Hint: manifestHint}
	}
	if len(doc) < len(bare) {
		return damaged(fmt.Sprintf("at least %d bytes", len(bare)), fmt.Sprintf("%d", len(doc)))
	}
	sum := checksum(bare)
	rest := doc[len(bare):]
	sum = combine(sum, checksum(rest), int64(len(rest)))
	if want := sealHead(key, sum); !bytes.Equal(doc[:len(want)], want) {
		return damaged(fmt.Sprintf("a first line with crc32c %v", sum), fmt.Sprintf("%q", doc[:len(want)]))
	}
	return nil
}

const manifestHint = "it was edited or damaged: restore it from a copy, or delete the folder and ingest the raw files again"

// encodeManifest returns the bytes of manifest.json.
func encodeManifest(m *Manifest) ([]byte, error) { return seal("manifest_crc32c", m) }

// decodeManifest verifies and decodes the bytes of manifest.json. The error is a *CorruptError or a *VersionError.
func decodeManifest(path string, doc []byte) (*Manifest, error) {
	sealErr := unseal("manifest_crc32c", path, doc)
	var v struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(doc, &v); err == nil && v.FormatVersion > 0 && v.FormatVersion != FormatVersion {
		return nil, &VersionError{File: path, Version: v.FormatVersion, Damaged: sealErr != nil}
	}
	if sealErr != nil {
		return nil, sealErr
	}
	m := new(Manifest)
	if err := json.Unmarshal(doc, m); err != nil {
		offset := int64(0)
		if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
			offset = se.Offset
		} else if te := (*json.UnmarshalTypeError)(nil); errors.As(err, &te) {
			offset = te.Offset
		}
		return nil, &CorruptError{File: path, Offset: offset, Want: "a manifest", Got: err.Error(), Hint: manifestHint, Err: err}
	}
	if err := m.validate(); err != nil {
		return nil, &CorruptError{File: path, Bytes: int64(len(doc)), Want: "a manifest that agrees with itself", Got: err.Error(),
			Hint: manifestHint, Err: err}
	}
	return m, nil
}

// readManifest reads the manifest of the store in dir. The error is a *MissingError if there is none, or another program's, and no
// shard either; with shards and no manifest it is a *LostError.
func readManifest(dir string) (m *Manifest, doc []byte, err error) {
	path := filepath.Join(dir, manifestName)
	doc, err = readSmall(path)
	if err == nil {
		m, err = decodeManifest(path, doc)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if lost := findLost(dir); lost != nil {
			return nil, nil, lost
		}
		return nil, nil, &MissingError{Dir: dir, Err: fs.ErrNotExist}
	}
	if errors.Is(err, ErrBadData) && errors.As(checkClaim(dir), new(*ForeignError)) {
		return nil, nil, &MissingError{Dir: dir, Err: errForeignManifest}
	}
	return m, doc, err
}

// findLost returns an error if dir has shards that no manifest speaks of, else nil.
func findLost(dir string) error {
	entries, _ := os.ReadDir(dir)
	var shards []string
	for _, e := range entries {
		if shardPattern.MatchString(e.Name()) {
			shards = append(shards, e.Name())
		}
	}
	// In this order: shards get their names while there is a journal, and it goes after the manifest has come.
	if len(shards) == 0 || fileExists(filepath.Join(dir, journalName)) || fileExists(filepath.Join(dir, manifestName)) {
		return nil
	}
	return &LostError{Dir: dir, Shards: shards}
}

// readSmall reads a manifest or journal, and refuses a file that is far too large to be one.
func readSmall(path string) ([]byte, error) {
	f, err := openToRead(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	doc, err := io.ReadAll(io.LimitReader(f, maxManifestBytes+1))
	if err != nil {
		return nil, err
	}
	if len(doc) > maxManifestBytes {
		return nil, &CorruptError{File: path, Offset: maxManifestBytes, Want: "the end of the file", Got: "more", Hint: manifestHint}
	}
	return doc, nil
}

// validate reports the first thing in m that cannot be true of a store that this package wrote.
func (m *Manifest) validate() error {
	if m.FormatVersion != FormatVersion {
		return fmt.Errorf("format_version %d", m.FormatVersion)
	}
	if err := m.Schema().validate(); err != nil {
		return err
	}
	for _, name := range m.SplitNames() {
		info := m.Splits[name]
		if !splitPattern.MatchString(name) {
			return fmt.Errorf("split name %q", name)
		}
		if info == nil {
			return fmt.Errorf("split %q is null", name)
		}
		if err := info.validate(name); err != nil {
			return err
		}
	}
	return nil
}

func (info *SplitInfo) validate(name string) error {
	n := len(info.Shards)
	if n < 1 || n > maxShards {
		return fmt.Errorf("split %q has %d shards", name, n)
	}
	var rows int64
	for i := range info.Shards {
		sh := &info.Shards[i]
		if want := shardName(name, i, n); sh.File != want {
			return fmt.Errorf("shard %d of split %q is the file %q, not %q", i, name, sh.File, want)
		}
		if err := sh.validate(); err != nil {
			return fmt.Errorf("%s: %w", sh.File, err)
		}
		rows += sh.Rows
		if rows > math.MaxInt32 {
			return fmt.Errorf("split %q has more than %d rows", name, math.MaxInt32)
		}
	}
	if rows != info.Rows {
		return fmt.Errorf("split %q has %d rows, its shards have %d", name, info.Rows, rows)
	}
	return nil
}

func (sh *ShardInfo) validate() error {
	if len(sh.Blocks) < 2 {
		return fmt.Errorf("%d blocks, at least 2 needed", len(sh.Blocks))
	}
	var offset, rows int64
	var sum Checksum
	for i, b := range sh.Blocks {
		batch := i > 0 && i < len(sh.Blocks)-1
		switch {
		case b.Offset != offset:
			return fmt.Errorf("block %d begins at %d, the block before it ends at %d", i, b.Offset, offset)
		case b.Bytes < 1 || b.Bytes > math.MaxInt64-offset:
			return fmt.Errorf("block %d has %d bytes", i, b.Bytes)
		case b.Rows < 0 || b.Rows > math.MaxInt32 || batch != (b.Rows > 0):
			return fmt.Errorf("block %d of %d has %d rows", i, len(sh.Blocks), b.Rows)
		}
		sum = combine(sum, b.CRC32C, b.Bytes)
		offset += b.Bytes
		rows += b.Rows
	}
	switch {
	case sh.Bytes != offset:
		return fmt.Errorf("%d bytes, its blocks have %d", sh.Bytes, offset)
	case sh.Rows != rows || rows > math.MaxInt32:
		return fmt.Errorf("%d rows, its blocks have %d", sh.Rows, rows)
	case sh.CRC32C != sum:
		return fmt.Errorf("crc32c %v, its blocks combine to %v", sh.CRC32C, sum)
	}
	return nil
}

// SplitNames returns the names of the splits, sorted.
func (m *Manifest) SplitNames() []string {
	names := make([]string, 0, len(m.Splits))
	for name := range m.Splits {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// withSplit returns a manifest like m, which may be nil, with schema s and the split name.
func (m *Manifest) withSplit(s Schema, name string, info *SplitInfo) *Manifest {
	next := &Manifest{FormatVersion: FormatVersion, Dataset: s.Dataset, Classes: s.Classes, ClassNames: s.ClassNames,
		Columns: s.Columns, PixelMean: s.PixelMean, PixelStd: s.PixelStd, Splits: map[string]*SplitInfo{}}
	if m != nil {
		for k, v := range m.Splits {
			next.Splits[k] = v
		}
	}
	next.Splits[name] = info
	return next
}

// files returns the names of all shards.
func (m *Manifest) files() []string {
	var names []string
	if m != nil {
		for _, split := range m.SplitNames() {
			for _, sh := range m.Splits[split].Shards {
				names = append(names, sh.File)
			}
		}
	}
	return names
}

// outdated returns the shards of m, which may be nil, that next lacks.
func (m *Manifest) outdated(next *Manifest) []string {
	keep := next.files()
	return slices.DeleteFunc(m.files(), func(name string) bool { return slices.Contains(keep, name) })
}
