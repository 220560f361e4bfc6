package tfrecord

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// slowCRC is CRC-32C bit by bit from its definition (reflected polynomial
// 0x82f63b78), masked as TensorFlow does: independent of hash/crc32.
func slowCRC(data []byte) uint32 {
	c := ^uint32(0)
	for _, b := range data {
		c ^= uint32(b)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0x82f63b78
			} else {
				c >>= 1
			}
		}
	}
	c = ^c
	return (c>>15 | c<<17) + 0xa282ead8
}

// naive reads all records of data at once: the payloads before the first
// damage, and whether the file is whole.
func naive(data []byte, limit uint64) (payloads [][]byte, whole bool) {
	for len(data) > 0 {
		if len(data) < 12 || slowCRC(data[:8]) != binary.LittleEndian.Uint32(data[8:]) {
			return payloads, false
		}
		n := binary.LittleEndian.Uint64(data)
		if n > limit || uint64(len(data)) < n+16 {
			return payloads, false
		}
		p := data[12 : 12+n]
		if slowCRC(p) != binary.LittleEndian.Uint32(data[12+n:]) {
			return payloads, false
		}
		payloads = append(payloads, p)
		data = data[n+16:]
	}
	return payloads, true
}

func write(t testing.TB, payloads ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, p := range payloads {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll returns copies of the payloads, and the error that ended reading; it
// steps over recoverable damage, which it counts.
func readAll(r *Reader) (payloads [][]byte, skipped int, err error) {
	for {
		p, err := r.Next()
		var c *CorruptError
		switch {
		case err == io.EOF:
			return payloads, skipped, nil
		case errors.As(err, &c) && c.Recoverable():
			skipped++
		case err != nil:
			return payloads, skipped, err
		default:
			payloads = append(payloads, bytes.Clone(p))
		}
	}
}

func TestMaskedCRCGolden(t *testing.T) {
	// crc32c of "123456789" is the check value 0xe3069283 of the CRC catalogue;
	// 3347755237 is its masked form as TensorFlow computes it.
	if got := MaskedCRC([]byte("123456789")); got != 3347755237 {
		t.Errorf("MaskedCRC = %d", got)
	}
	for _, s := range []string{"", "a", strings.Repeat("\x00", 32)} {
		if got, want := MaskedCRC([]byte(s)), slowCRC([]byte(s)); got != want {
			t.Errorf("%q: %#x, want %#x", s, got, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	payloads := [][]byte{{}, []byte("x"), bytes.Repeat([]byte("abc"), 200_000), []byte("tail")}
	data := write(t, payloads...)
	if got, whole := naive(data, 1<<30); !whole || len(got) != len(payloads) {
		t.Fatalf("the naive reader finds %d records, whole %v", len(got), whole)
	}
	for name, src := range map[string]io.Reader{
		"whole":    bytes.NewReader(data),
		"halves":   iotest.HalfReader(bytes.NewReader(data)),
		"data+EOF": iotest.DataErrReader(bytes.NewReader(data)),
	} {
		r := NewReader(src, name)
		got, skipped, err := readAll(r)
		if err != nil || skipped != 0 || len(got) != len(payloads) {
			t.Fatalf("%s: %d records, %d skipped, %v", name, len(got), skipped, err)
		}
		for i := range got {
			if !bytes.Equal(got[i], payloads[i]) {
				t.Errorf("%s: record %d differs", name, i)
			}
		}
		if r.Consumed() != int64(len(data)) || r.Record() != int64(len(payloads)-1) {
			t.Errorf("%s: consumed %d of %d, last record %d", name, r.Consumed(), len(data), r.Record())
		}
	}
}

// TestEveryFlip flips every byte of a small file in turn: each flip must be
// found, in the record where it lies, and no wrong payload may come out.
func TestEveryFlip(t *testing.T) {
	payloads := [][]byte{[]byte("first"), []byte("second record"), []byte("third")}
	data := write(t, payloads...)
	starts := []int{0, 21, 50, len(data)}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		rec := 0
		for i >= starts[rec+1] {
			rec++
		}
		r := NewReader(bytes.NewReader(bad), "flipped")
		var c *CorruptError
		for {
			p, err := r.Next()
			if err == nil {
				if k := int(r.Record()); !bytes.Equal(p, payloads[k]) {
					t.Fatalf("byte %d: wrong payload for record %d", i, k)
				}
				continue
			}
			if !errors.As(err, &c) {
				t.Fatalf("byte %d: %v", i, err)
			}
			break
		}
		if c.Record != int64(rec) || c.Offset != int64(starts[rec]) || c.File != "flipped" {
			t.Errorf("byte %d: reported as %v", i, c)
		}
		wantRecoverable := i-starts[rec] >= 12
		if c.Recoverable() != wantRecoverable {
			t.Errorf("byte %d: recoverable %v", i, c.Recoverable())
		}
		if rest, _, err := readAll(r); wantRecoverable && (err != nil || len(rest) != 2-rec) {
			t.Errorf("byte %d: %d records behind the damage, %v", i, len(rest), err)
		} else if !wantRecoverable && err == nil {
			t.Errorf("byte %d: reading went on behind a broken length", i)
		}
	}
}

func TestTruncation(t *testing.T) {
	data := write(t, []byte("first"), []byte("second"))
	for n := range data {
		_, _, err := readAll(NewReader(bytes.NewReader(data[:n]), "cut"))
		var c *CorruptError
		if n == 0 || n == 21 { // the boundaries of records
			if err != nil {
				t.Errorf("cut at %d: %v", n, err)
			}
		} else if !errors.As(err, &c) || c.Problem != Truncated {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// TestAbsurdLength: a length with a correct checksum must neither be believed
// above the limit, nor make the reader allocate what the file does not hold.
func TestAbsurdLength(t *testing.T) {
	forge := func(n uint64) []byte {
		b := binary.LittleEndian.AppendUint64(nil, n)
		return binary.LittleEndian.AppendUint32(b, slowCRC(b))
	}
	for _, n := range []uint64{DefaultMaxRecord + 1, 1 << 40, 1<<64 - 1} {
		_, err := NewReader(bytes.NewReader(forge(n)), "f").Next()
		var c *CorruptError
		if !errors.As(err, &c) || c.Problem != TooLong {
			t.Errorf("length %d: %v", n, err)
		}
	}
	r := NewReader(bytes.NewReader(forge(DefaultMaxRecord)), "f")
	_, err := r.Next()
	var c *CorruptError
	if !errors.As(err, &c) || c.Problem != Truncated {
		t.Errorf("got %v", err)
	}
	if len(r.buf) > readBytes {
		t.Errorf("buffer grew to %d bytes for a file of 12", len(r.buf))
	}
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	data := write(t, []byte("first"))
	r := NewReader(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), "f")
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "f: reading at offset 21") {
			t.Errorf("got %v", err)
		}
	}
}

func TestMessage(t *testing.T) {
	data := write(t, []byte("first"), []byte("second"))
	data[21+12] ^= 1
	_, err := func() ([]byte, error) {
		r := NewReader(bytes.NewReader(data), "train0001.tfrecord")
		r.Next()
		return r.Next()
	}()
	const want = "train0001.tfrecord: record 1 at offset 21: checksum of the record data: expected 0x"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	data := write(t, bytes.Repeat([]byte("x"), 4700), bytes.Repeat([]byte("y"), 4700))
	src := bytes.NewReader(data)
	r := NewReader(src, "f")
	if n := testing.AllocsPerRun(100, func() {
		src.Reset(data)
		r.Reset(src, "f")
		for range 2 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a file", n)
	}
}

// FuzzReader compares the reader with a naive one on arbitrary bytes.
func FuzzReader(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("..", "..", "testdata", "raw", "*.tfrecord"))
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seed files: %v", err)
	}
	for _, s := range seeds {
		data, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 10_000)])
	}
	f.Add(write(f, []byte("a"), nil, []byte("ccc")))
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, data []byte) {
		want, whole := naive(data, limit)
		r := NewReader(bytes.NewReader(data), "fuzz")
		r.MaxRecord = limit
		for i := 0; ; i++ {
			p, err := r.Next()
			if i < len(want) {
				if err != nil || !bytes.Equal(p, want[i]) {
					t.Fatalf("record %d: %v", i, err)
				}
				continue
			}
			var c *CorruptError
			if whole && err != io.EOF || !whole && !errors.As(err, &c) {
				t.Fatalf("after %d records, whole %v: %v", i, whole, err)
			}
			break
		}
		for r.err == nil { // what comes behind recoverable damage must end, too
			r.Next()
		}
	})
}
