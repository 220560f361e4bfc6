package features

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sdnn/internal/disk"
)

// Report is the result of Verify.
type Report struct {
	Files  int             // files read
	Bytes  int64           // bytes read
	Rows   int64           // rows in undamaged record batches
	Damage []*CorruptError // every damaged block
	Unread []error         // why files could not be read; nothing is known of them
}

// Verify reads every byte of the store in dir against its checksum. It goes on after damage and files that it may not read: the report
// lists every damaged block and unread file, and the error is then the first of them, of damage if there is any. progress, if not nil, is called as bytes are read.
func Verify(dir string, progress func(done, total int64)) (*Report, error) {
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	v := &verifier{dir: dir, progress: progress, buf: make([]byte, 1<<20)}
	v.report.Files, v.report.Bytes = 1, int64(len(s.doc))
	v.total = v.report.Bytes
	m := s.Manifest()
	for _, name := range m.SplitNames() {
		for i := range m.Splits[name].Shards {
			v.total += m.Splits[name].Shards[i].Bytes
		}
	}
	for _, name := range m.SplitNames() {
		for i := range m.Splits[name].Shards {
			info := &m.Splits[name].Shards[i]
			if err := v.shard(info, m); err != nil {
				v.report.Unread = append(v.report.Unread, fmt.Errorf("%s: cannot be read, so that nothing is known of it: %w; "+
					"check who may read it, and that its disk is there", filepath.Join(dir, info.File), disk.Cause(err)))
			}
		}
	}
	if s.changed() {
		return &v.report, &ChangedError{Dir: dir}
	}
	if len(v.report.Damage) > 0 {
		return &v.report, v.report.Damage[0]
	}
	if len(v.report.Unread) > 0 {
		return &v.report, v.report.Unread[0]
	}
	return &v.report, nil
}

type verifier struct {
	dir         string
	progress    func(done, total int64)
	total, done int64
	buf         []byte
	report      Report
}

// shard verifies a shard. It reads instead of mapping, so that a failing disk is an error with a place.
func (v *verifier) shard(info *ShardInfo, m *Manifest) error {
	path := filepath.Join(v.dir, info.File)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		v.damage(&CorruptError{File: path, Bytes: info.Bytes, Want: fmt.Sprintf("a file of %d bytes", info.Bytes), Got: "no file", Err: err})
		return nil
	} else if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	v.report.Files++
	whole := true
	if err := (&shard{path: path, info: info}).checkSize(f); err != nil {
		ce := (*CorruptError)(nil)
		if !errors.As(err, &ce) {
			return err
		}
		v.damage(ce)
		whole = false
	}
	good := make([]bool, len(info.Blocks))
	for i := range info.Blocks {
		good[i] = v.block(f, path, &info.Blocks[i])
		whole = whole && good[i]
	}
	if whole {
		return v.structure(info, m)
	}
	for i, b := range info.Blocks {
		if good[i] {
			v.report.Rows += b.Rows
		}
	}
	return nil
}

// block verifies the checksum of a block.
func (v *verifier) block(f *os.File, path string, b *BlockInfo) bool {
	var sum Checksum
	for at := int64(0); at < b.Bytes; {
		n, err := f.ReadAt(v.buf[:min(int64(len(v.buf)), b.Bytes-at)], b.Offset+at)
		sum = update(sum, v.buf[:n])
		at += int64(n)
		v.done += int64(n)
		v.report.Bytes += int64(n)
		if v.progress != nil {
			v.progress(v.done, v.total)
		}
		if err != nil && at < b.Bytes {
			got := err.Error()
			if errors.Is(err, io.EOF) {
				got = "the end of the file"
			}
			v.damage(&CorruptError{File: path, Offset: b.Offset + at, Bytes: b.Bytes - at, Want: fmt.Sprintf("%d bytes more", b.Bytes-at),
				Got: got, Err: err})
			return false
		}
	}
	if sum != b.CRC32C {
		v.damage(sumError(path, b, sum))
		return false
	}
	return true
}

// structure looks into the record batches of a shard with the right checksums: a forged manifest can have them too.
func (v *verifier) structure(info *ShardInfo, m *Manifest) error {
	s, err := openShard(v.dir, info, m)
	for b := 1; b < len(info.Blocks)-1 && err == nil; b++ {
		if _, err = s.load(b - 1); err == nil {
			v.report.Rows += info.Blocks[b].Rows
		}
	}
	if s != nil {
		err = errors.Join(err, s.close())
	}
	if ce := (*CorruptError)(nil); errors.As(err, &ce) {
		v.damage(ce)
		return nil
	}
	return err
}

func (v *verifier) damage(e *CorruptError) { v.report.Damage = append(v.report.Damage, e) }
