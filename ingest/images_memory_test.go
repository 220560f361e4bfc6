package ingest

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"sdnn/ingest/matfile"
)

// pattern is an endless stream of bytes that compress well.
type pattern struct{ at int }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at >> 9)
		p.at++
	}
	return len(b), nil
}

// writeDigits writes a file like SVHN's with n images that compress well.
func writeDigits(path string, n int, compressed bool) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(matfile.Header("test")); err != nil {
		return err
	}
	write := writePlain
	if compressed {
		write = matfile.WriteCompressed
	}
	if err := write(f, "X", matfile.ClassUint8, []int{32, 32, 3, n}, matfile.Uint8, &pattern{}, int64(n)*imageBytes); err != nil {
		return err
	}
	if err := write(f, "y", matfile.ClassUint8, []int{n, 1}, matfile.Uint8, ones{}, int64(n)); err != nil {
		return err
	}
	return f.Close()
}

// writePlain writes what matfile.WriteCompressed does, not compressed, in constant memory.
func writePlain(w io.WriteSeeker, name string, class matfile.Class, dims []int, _ matfile.Type, data io.Reader, size int64) error {
	le := binary.LittleEndian
	inside := le.AppendUint32(nil, 6) // flags
	inside = append(le.AppendUint32(inside, 8), byte(class), 0, 0, 0, 0, 0, 0, 0)
	inside = le.AppendUint32(le.AppendUint32(inside, 5), uint32(4*len(dims)))
	for _, d := range dims {
		inside = le.AppendUint32(inside, uint32(d))
	}
	inside = append(le.AppendUint32(inside, 1<<16|1), name[0], 0, 0, 0) // a small element
	inside = le.AppendUint32(le.AppendUint32(inside, 2), uint32(size))
	padding := -size & 7
	head := le.AppendUint32(le.AppendUint32(nil, 14), uint32(int64(len(inside))+size+padding))
	_, err := io.Copy(w, io.MultiReader(bytes.NewReader(append(head, inside...)), io.LimitReader(data, size), bytes.NewReader(make([]byte, padding))))
	return err
}

// TestSVHNMemoryIsFlat ingests files of 1,000 and 16,000 images, 3 and 49 MB inflated: the live memory is the same, so that a
// full SVHN extra set (531,131 images, 1.6 GB) takes but its 4 bytes of label an image more. docs/benchmarks.md has the figure.
func TestSVHNMemoryIsFlat(t *testing.T) {
	for _, compressed := range []bool{true, false} {
		small, large := liveMemory(t, 1000, compressed), liveMemory(t, 16000, compressed)
		if large > small+4<<20 {
			t.Errorf("compressed %v: %d MB for 16,000 images, %d MB for 1,000", compressed, large>>20, small>>20)
		}
	}
}

// liveMemory ingests n images and returns the most memory that was alive on the way.
func liveMemory(t *testing.T, n int, compressed bool) (peak uint64) {
	path := filepath.Join(t.TempDir(), "train_32x32.mat")
	if err := writeDigits(path, n, compressed); err != nil {
		t.Fatal(err)
	}
	calls := 0
	o := Options{Paths: []string{path}, Out: filepath.Join(t.TempDir(), "store"), Progress: func(p Progress) {
		if calls++; calls%20 == 3 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}}
	if r, _ := mustIngestImages(t, "svhn", o); r.Rows != int64(n) {
		t.Fatal(r)
	}
	return peak
}

type ones struct{}

func (ones) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 1
	}
	return len(b), nil
}

// BenchmarkSVHNExtra ingests a file of the size of SVHN's extra set, 531,131 images: 1.6 GB, as much again on disk for the store.
// It tells the most memory that the process held, Linux's VmHWM.
func BenchmarkSVHNExtra(b *testing.B) {
	for _, form := range []string{"compressed", "plain"} {
		b.Run(form, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "extra_32x32.mat")
			if err := writeDigits(path, 531131, form == "compressed"); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r, err := Images(b.Context(), "svhn", Options{Paths: []string{path}, Out: filepath.Join(b.TempDir(), "store")})
				if err != nil || r.Rows != 531131 {
					b.Fatal(r, err)
				}
				b.ReportMetric(float64(r.Rows)/r.Seconds, "images/s")
			}
			b.ReportMetric(peakMB(b), "MB-peak")
		})
	}
}

// peakMB is the most memory that the process has held, in MB; -1 where the system does not tell.
func peakMB(b *testing.B) float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]), 64)
	if err != nil {
		return -1
	}
	return kb * 1024 / 1e6
}
