package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sdnn/internal/disk"
)

func TestWriteIsWholeOrNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	// What a crash left does not hinder.
	if err := os.WriteFile(path+Suffix, []byte("left by a crash, longer than the new"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := WriteBytes(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	err := Write(path, func(f *os.File) error {
		if _, err := f.WriteString("half of the ne"); err != nil {
			t.Fatal(err)
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("after a failed write the file holds %q (%v)", got, err)
	}
	if _, err := os.Stat(path + Suffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed write left its part: %v", err)
	}
	if err := WriteBytes(filepath.Join(path, "no", "folder"), nil); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if unlock, err = Lock(path); err != nil {
		t.Fatal(err)
	}
	unlock()
}
