package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNotFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "", file: file, filepath.Join(file, "a", "b"): file, filepath.Join(dir, "new", "er"): "", "": "", "relative/new": "",
	} {
		if got := NotFolder(path); got != want {
			t.Errorf("NotFolder(%q) = %q, want %q", path, got, want)
		}
	}
}
