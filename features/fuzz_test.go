package features

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzManifest: whatever the bytes, with the right checksum or a wrong one, decoding a manifest is an error marked as bad data, or
// a manifest that survives being written and read again.
func FuzzManifest(f *testing.F) {
	dir := f.TempDir()
	mustWrite(f, dir, "train", 1, 25, small)
	mustWrite(f, dir, "validate", 2, 0, small)
	doc, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add(bytes.Replace(doc, []byte(`"format_version": 1`), []byte(`"format_version": 2`), 1))
	f.Add(doc[:200])
	f.Add(bytes.Replace(doc, []byte(`"rows": 10`), []byte(`"rows": 9223372036854775807`), 1))
	f.Add([]byte("{\n \"manifest_crc32c\": \"00000000\",\n \"format_version\": 1, \"splits\": {\"train\": null}}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for range 2 {
			m, err := decodeManifest(manifestName, doc)
			switch {
			case err != nil && !errors.Is(err, ErrBadData):
				t.Fatalf("not marked as bad data: %v", err)
			case err == nil:
				again, err := encodeManifest(m)
				if err != nil {
					t.Fatal(err)
				}
				m2, err := decodeManifest(manifestName, again)
				if err != nil {
					t.Fatal(err)
				}
				if a, b := mustJSON(t, m), mustJSON(t, m2); !bytes.Equal(a, b) {
					t.Fatalf("%s\nbecame\n%s", a, b)
				}
			}
			if len(doc) < len(sealHead("manifest_crc32c", 0)) {
				return
			}
			doc = reseal("manifest_crc32c", doc) // and now with the right checksum
		}
	})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzShard writes patches into a shard and makes all checksums agree, so that the damage reaches the Arrow library. Each patch is two
// bytes of position, measured from the begin of the file, and two bytes of data. Opening and reading every row must be an error marked
// as bad data or go well.
func FuzzShard(f *testing.F) {
	dir := f.TempDir()
	info := mustWrite(f, dir, "train", 1, 12, WriterOptions{RowsPerBatch: 10})
	sh := info.Shards[0]
	good, err := os.ReadFile(filepath.Join(dir, sh.File))
	if err != nil {
		f.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	for _, b := range sh.Blocks { // the metadata at the begin of each block, and the footer's end
		f.Add([]byte{byte(b.Offset >> 8), byte(b.Offset) + 4, 0xff, 0xff})
		f.Add([]byte{byte(b.Offset >> 8), byte(b.Offset) + 16, 0xff, 0x7f})
	}
	f.Add([]byte{byte((sh.Bytes - 10) >> 8), byte(sh.Bytes - 10), 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, patches []byte) {
		data := bytes.Clone(good)
		for ; len(patches) >= 4; patches = patches[4:] {
			at := (int(patches[0])<<8 | int(patches[1])) % (len(data) - 1)
			data[at], data[at+1] = patches[2], patches[3]
		}
		readForged(t, doc, data)
	})
}

// TestForgedMetadata tries extreme values at every place of a shard at which the Arrow library may take a length or a reference.
func TestForgedMetadata(t *testing.T) {
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 12, WriterOptions{RowsPerBatch: 10})
	good, err := os.ReadFile(filepath.Join(dir, info.Shards[0].File))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+4 <= len(good); at += 4 {
		for _, v := range []uint32{0, 1, 0x7fffffff, 0xffffffff, 0x80000000, 0x01010101} {
			data := bytes.Clone(good)
			putUint32(data[at:], v)
			readForged(t, doc, data)
		}
	}
}

// readForged reads a shard whose checksums in the manifest doc are made to agree with its data.
func readForged(t *testing.T, doc, data []byte) {
	t.Helper()
	m := new(Manifest)
	if err := json.Unmarshal(doc, m); err != nil {
		t.Fatal(err)
	}
	sh := &m.Splits["train"].Shards[0]
	sh.CRC32C = checksum(data)
	for i := range sh.Blocks {
		b := &sh.Blocks[i]
		b.CRC32C = checksum(data[b.Offset : b.Offset+b.Bytes])
	}
	if err := m.validate(); err != nil {
		t.Fatal(err)
	}
	mapped := &shard{path: sh.File, info: sh, model: m, data: data}
	p, err := newSplit("train", m, []*shard{mapped}), mapped.parse()
	if err == nil {
		err = p.CheckAll()
	}
	if err != nil {
		if !errors.Is(err, ErrBadData) {
			t.Fatalf("not marked as bad data: %v", err)
		}
		return
	}
	for row := range p.Rows() {
		n := len(p.ID(row)) + len(p.Float(0, row)) + len(p.Bytes(1, row)) + len(p.Float(2, row))
		if n < 13 {
			t.Fatalf("row %d: %d elements", row, n)
		}
		for _, l := range p.Labels(row) {
			if l < 0 || int(l) >= m.Classes {
				t.Fatalf("row %d: label %d", row, l)
			}
		}
	}
}
