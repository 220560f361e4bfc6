package ingest

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
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

// TestSVHNMemoryIsFlat ingests compressed files of 1,000 and 16,000 images: the live memory is the same.
func TestSVHNMemoryIsFlat(t *testing.T) {
	live := func(n int) (peak uint64) {
		path := filepath.Join(t.TempDir(), "train_32x32.mat")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(matfile.Header("test")); err != nil {
			t.Fatal(err)
		}
		err = matfile.WriteCompressed(f, "X", matfile.ClassUint8, []int{32, 32, 3, n}, matfile.Uint8, &pattern{}, int64(n)*imageBytes)
		if err == nil {
			err = matfile.WriteCompressed(f, "y", matfile.ClassUint8, []int{n, 1}, matfile.Uint8, io.LimitReader(ones{}, int64(n)), int64(n))
		}
		if err != nil {
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
	small, large := live(1000), live(16000)
	if large > small+4<<20 {
		t.Errorf("%d MB for 16,000 images, %d MB for 1,000", large>>20, small>>20)
	}
}

type ones struct{}

func (ones) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 1
	}
	return len(b), nil
}
