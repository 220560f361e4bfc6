package features

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestCombine(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		a, b := make([]byte, rng.IntN(300)), make([]byte, rng.IntN(5000))
		for _, p := range [][]byte{a, b} {
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
		}
		want := crc32.Checksum(append(append([]byte{}, a...), b...), castagnoli)
		if got := combine(checksum(a), checksum(b), int64(len(b))); got != Checksum(want) {
			t.Fatalf("%d and %d bytes: %v, want %08x", len(a), len(b), got, want)
		}
	}
}

// A flipped bit anywhere in any file of a store is found, and named.
func TestFlippedByteAnywhere(t *testing.T) {
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 60, small)
	mustWrite(t, dir, "validate", 2, 5, small)
	base := files(t, dir)

	doc := []byte(base[manifestName])
	for i := range doc {
		for _, bit := range []int{i % 8, 5} { // bit 5 turns a hexadecimal digit into its upper case
			doc[i] ^= 1 << bit
			if _, err := decodeManifest(manifestName, doc); !errors.Is(err, ErrBadData) || !strings.Contains(err.Error(), manifestName) {
				t.Fatalf("manifest byte %d bit %d: %v", i, bit, err)
			}
			doc[i] ^= 1 << bit
		}
	}
	for _, sh := range info.Shards {
		path := filepath.Join(dir, sh.File)
		data := []byte(base[sh.File])
		for i := 0; i < len(data); i += 29 {
			data[i] ^= 1 << (i % 8)
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
			data[i] ^= 1 << (i % 8)
			err := readStore(dir, "train", 1, 60)
			if ce := (*CorruptError)(nil); !errors.As(err, &ce) || ce.File != path || int64(i) < ce.Offset || int64(i) >= ce.Offset+ce.Bytes {
				t.Fatalf("%s byte %d: %v", sh.File, i, err)
			}
			if i%5 > 0 {
				continue
			}
			r, err := Verify(dir, nil)
			if ce := (*CorruptError)(nil); !errors.As(err, &ce) || len(r.Damage) != 1 || ce.File != path || int64(i) < ce.Offset || int64(i) >= ce.Offset+ce.Bytes {
				t.Fatalf("%s byte %d: Verify: %+v, %v", sh.File, i, r, err)
			}
			if err := readStore(dir, "validate", 2, 5); err != nil {
				t.Fatalf("damage to one split reached another: %v", err)
			}
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// Damage to a chunk must not keep the others from being read, and must be reported again on a second try.
func TestDamageIsLazyAndLasting(t *testing.T) {
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 60, small)
	sh := info.Shards[1]
	path := filepath.Join(dir, sh.File)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[sh.Blocks[1].Offset+sh.Blocks[1].Bytes-1] ^= 4
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	p := mustOpen(t, dir, "train")
	bad := int(info.Shards[0].Rows)
	if err := p.CheckRows([]int{0, bad - 1, 59}); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := p.GatherFloat(0, []int{0, bad}, make([]float32, 10), 5); !errors.Is(err, ErrBadData) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTruncatedMissingAndForeignFiles(t *testing.T) {
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 60, small)
	base := files(t, dir)
	shard := info.Shards[1].File
	for name, change := range map[string]func(all map[string]string){
		"missing shard":   func(all map[string]string) { delete(all, shard) },
		"empty shard":     func(all map[string]string) { all[shard] = "" },
		"truncated shard": func(all map[string]string) { all[shard] = all[shard][:len(all[shard])-1] },
		"longer shard":    func(all map[string]string) { all[shard] += "\x00" },
		"swapped shards": func(all map[string]string) {
			all[shard], all[info.Shards[0].File] = all[info.Shards[0].File], all[shard]
		},
		"empty manifest":     func(all map[string]string) { all[manifestName] = "" },
		"truncated manifest": func(all map[string]string) { all[manifestName] = all[manifestName][:500] },
		"no JSON":            func(all map[string]string) { all[manifestName] = "hello, world; this is a manifest of nothing" },
		"damaged journal":    func(all map[string]string) { all[journalName] = "{}" },
	} {
		all := map[string]string{}
		for k, v := range base {
			all[k] = v
		}
		change(all)
		restore(t, dir, all)
		if err := readStore(dir, "train", 1, 60); !errors.Is(err, ErrBadData) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
		if _, err := Verify(dir, nil); !errors.Is(err, ErrBadData) {
			t.Errorf("%s: Verify: %v", name, err)
		}
		if strings.Contains(name, "shard") {
			o := small
			o.Overwrite = true
			mustWrite(t, dir, "train", 2, 30, o) // what the message advises
			if err := readStore(dir, "train", 2, 30); err != nil {
				t.Errorf("%s: after --overwrite: %v", name, err)
			}
		}
	}
	if _, err := Open(t.TempDir()); !errors.As(err, new(*MissingError)) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "nothing")); !errors.As(err, new(*MissingError)) {
		t.Errorf("no folder: %v", err)
	}
}

func TestOtherFormatVersion(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 5, small)
	path := filepath.Join(dir, manifestName)
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edited := []byte(strings.Replace(string(doc), `"format_version": 1`, `"format_version": 2`, 1))
	for _, damaged := range []bool{true, false} {
		if !damaged {
			edited = reseal("manifest_crc32c", edited)
		}
		if err := os.WriteFile(path, edited, 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		if ve := (*VersionError)(nil); !errors.As(err, &ve) || ve.Version != 2 || ve.Damaged != damaged || !errors.Is(err, ErrBadData) {
			t.Errorf("got %v", err)
		}
		if _, err := NewWriter(dir, "train", testSchema, WriterOptions{Overwrite: true}); !errors.As(err, new(*VersionError)) {
			t.Errorf("a writer: %v", err)
		}
	}
}

// A manifest with the right checksum that says what is not so.
func TestLyingManifest(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, "train", 1, 60, small)
	doc, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(m *Manifest, s *SplitInfo){
		"rows":           func(m *Manifest, s *SplitInfo) { s.Rows++ },
		"shard rows":     func(m *Manifest, s *SplitInfo) { s.Rows++; s.Shards[0].Rows++ },
		"block rows":     func(m *Manifest, s *SplitInfo) { s.Rows++; s.Shards[0].Rows++; s.Shards[0].Blocks[1].Rows++ },
		"moved row":      func(m *Manifest, s *SplitInfo) { s.Shards[0].Blocks[1].Rows++; s.Shards[0].Blocks[2].Rows-- },
		"negative rows":  func(m *Manifest, s *SplitInfo) { s.Shards[0].Blocks[1].Rows = -1 },
		"offset":         func(m *Manifest, s *SplitInfo) { s.Shards[0].Blocks[1].Offset += 8 },
		"block size":     func(m *Manifest, s *SplitInfo) { s.Shards[0].Blocks[1].Bytes = 1 << 62 },
		"boundary":       func(m *Manifest, s *SplitInfo) { moveBoundary(&s.Shards[0], 8) },
		"size":           func(m *Manifest, s *SplitInfo) { s.Shards[0].Bytes++ },
		"checksum":       func(m *Manifest, s *SplitInfo) { s.Shards[0].CRC32C++ },
		"block checksum": func(m *Manifest, s *SplitInfo) { s.Shards[0].Blocks[1].CRC32C++ },
		"no blocks":      func(m *Manifest, s *SplitInfo) { s.Shards[0].Blocks = nil },
		"no shards":      func(m *Manifest, s *SplitInfo) { s.Shards = nil },
		"path":           func(m *Manifest, s *SplitInfo) { s.Shards[0].File = "../" + s.Shards[0].File },
		"null split":     func(m *Manifest, s *SplitInfo) { m.Splits["train"] = nil },
		"split name":     func(m *Manifest, s *SplitInfo) { m.Splits["a/b"] = s },
		"fewer classes":  func(m *Manifest, s *SplitInfo) { m.Classes = 3; m.ClassNames = nil },
		"class names":    func(m *Manifest, s *SplitInfo) { m.ClassNames = m.ClassNames[:2] },
		"width":          func(m *Manifest, s *SplitInfo) { m.Columns[0].Width++ },
		"kind":           func(m *Manifest, s *SplitInfo) { m.Columns[0].Kind = Uint8 },
		"column name":    func(m *Manifest, s *SplitInfo) { m.Columns[0].Name = "rgb" },
		"column twice":   func(m *Manifest, s *SplitInfo) { m.Columns[0].Name = m.Columns[2].Name },
		"columns":        func(m *Manifest, s *SplitInfo) { m.Columns = m.Columns[:1] },
		"pixel mean":     func(m *Manifest, s *SplitInfo) { m.PixelMean = m.PixelMean[:1] },
	} {
		m := new(Manifest)
		if err := json.Unmarshal(doc, m); err != nil {
			t.Fatal(err)
		}
		lie(m, m.Splits["train"])
		lying, err := encodeManifest(m)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, manifestName), lying, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := readStore(dir, "train", 1, 60); !errors.Is(err, ErrBadData) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Verify(dir, nil); !errors.Is(err, ErrBadData) {
			t.Errorf("%s: Verify: %v", name, err)
		}
	}
}

// moveBoundary moves bytes from the second to the first record batch and makes all sums agree.
func moveBoundary(sh *ShardInfo, n int64) {
	sh.Blocks[1].Bytes += n
	sh.Blocks[2].Offset += n
	sh.Blocks[2].Bytes -= n
	sh.CRC32C = 0
	for _, b := range sh.Blocks {
		sh.CRC32C = combine(sh.CRC32C, b.CRC32C, b.Bytes)
	}
}

// A file that is cut short while it is mapped faults; that must be an error, not the end of the process.
func TestTruncatedWhileMapped(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not let a mapped file be cut")
	}
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 4000, WriterOptions{RowsPerBatch: 1000})
	p := mustOpen(t, dir, "train")
	if err := p.Check(2); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, info.Shards[0].File), 4096); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(3); !errors.Is(err, ErrBadData) || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("Check: %v", err)
	}
	err := p.GatherFloat(0, []int{2500}, make([]float32, 5), 5)
	if ce := (*CorruptError)(nil); !errors.As(err, &ce) || ce.Offset != info.Shards[0].Blocks[3].Offset {
		t.Errorf("Gather: %v", err)
	}
}

func TestVerifyReportsAllDamage(t *testing.T) {
	dir := t.TempDir()
	info := mustWrite(t, dir, "train", 1, 60, small)
	for _, sh := range info.Shards[:2] {
		path := filepath.Join(dir, sh.File)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[sh.Blocks[1].Offset]++
		data[sh.Blocks[2].Offset]++
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var last, total int64
	r, err := Verify(dir, func(d, n int64) { last, total = d, n })
	if !errors.Is(err, ErrBadData) || len(r.Damage) != 4 || r.Rows != 60-40 {
		t.Errorf("%+v, %v", r, err)
	}
	if r.Bytes != total || last == 0 {
		t.Errorf("%d bytes read, progress says %d of %d", r.Bytes, last, total)
	}
}
