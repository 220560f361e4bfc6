package features

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWriterLeavesOthersFoldersAlone: a folder of something else is neither written to nor tidied, by a writer or a reader.
func TestWriterLeavesOthersFoldersAlone(t *testing.T) {
	for what, others := range map[string]map[string]string{
		"raw files":              {"data_batch_1.bin": "pixels", "train-00000.arrow.part": "download"},
		"run":                    {"config.json": "{}", "run.lock": ""},
		"another's manifest":     {"manifest.json": `{"name": "extension", "manifest_version": 3}`, "manifest.json.part": "x"},
		"another's of a version": {"manifest.json": `{"format_version": 2, "header": {}}`},
		"another's journal":      {"journal.json": `{"entries": []}`, "validate-00000.arrow.part": "x"},
		"folder":                 {"train-00000.arrow.part/file": ""},
	} {
		dir := t.TempDir()
		for name, text := range others {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		for _, overwrite := range []bool{false, true} {
			_, err := NewWriter(dir, "train", testSchema, WriterOptions{Overwrite: overwrite})
			if fe := (*ForeignError)(nil); !errors.As(err, &fe) || strings.Contains(err.Error(), "delete") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := Open(dir); !errors.As(err, new(*MissingError)) || strings.Contains(err.Error(), "delete") {
			t.Errorf("%s: Open: %v", what, err)
		}
		var have []string
		for name := range others {
			if text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil || string(text) != others[name] {
				t.Errorf("%s: %v", what, err)
			}
			have = append(have, strings.Split(name, "/")[0])
		}
		if entries, _ := os.ReadDir(dir); len(entries) != len(have) {
			t.Errorf("%s: left: %v", what, entries)
		}
	}
}

// TestWriterTakesWhatIsItsOwn: what a first writer leaves that dies at any moment, what systems put into every folder, and files that
// others put into a store are no hindrance.
func TestWriterTakesWhatIsItsOwn(t *testing.T) {
	for what, names := range map[string][]string{
		"nothing": nil, "lock": {lockName}, "parts": {lockName, "train-00000.arrow.part", "train-00001.arrow.part", "journal.json.part"},
		"hidden": {".DS_Store", "lost+found"},
	} {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := writeSplit(dir, "validate", 1, 5, small); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := writeSplit(dir, "train", 1, 5, small); err != nil {
			t.Errorf("%s: a second split: %v", what, err)
		}
		if err := readStore(dir, "train", 1, 5); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
