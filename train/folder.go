package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sdnn/features"
	"sdnn/internal/disk"
	"sdnn/subclass"
	"sdnn/train/internal/durable"
)

// LoadConfig reads config.json of the run in dir and compares it with the copy
// in last.safetensors, if the run has come to one. Errors: *NoRunError,
// *CorruptError.
func LoadConfig(dir string) (Config, error) {
	last := checkpointFile(dir, Last)
	c, err := readConfig(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(last); err == nil {
			return c, &CorruptError{filepath.Join(dir, configFile), errors.New("it is missing, but " + filepath.Base(last) + " of its run is here")}
		}
		return c, &NoRunError{dir, "there is no run here (no " + configFile + ")"}
	} else if err != nil {
		return c, err
	}
	f, _, saved, _, err := openCheckpoint(last)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return Config{}, err
	}
	f.Close()
	if !sameConfig(saved, &c) {
		return Config{}, differs(dir, Last)
	}
	return c, nil
}

// readConfig reads config.json of the run in dir. Errors: fs.ErrNotExist,
// *CorruptError, those of the file system.
func readConfig(dir string) (c Config, err error) {
	path := filepath.Join(dir, configFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		where := ""
		if bad, ok := errors.AsType[*json.SyntaxError](err); ok {
			where = fmt.Sprintf(" at offset %d", bad.Offset)
		}
		return Config{}, &CorruptError{path, fmt.Errorf("damaged%s: expected the settings of the run in JSON, found %w", where, err)}
	}
	c.fillOld()
	if c.Format != ConfigFormat {
		return Config{}, &CorruptError{path, fmt.Errorf("format %d, this program reads format %d", c.Format, ConfigFormat)}
	}
	return c, nil
}

// checkConfig says whether config.json is damaged: whether it is not what the
// checkpoint holds. Evaluation goes by the checkpoint, and can do without.
func checkConfig(dir, checkpoint string, saved *Config) error {
	c, err := readConfig(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && !sameConfig(saved, &c):
		return differs(dir, checkpoint)
	}
	return err
}

// sameConfig says whether two configurations are the same in JSON.
func sameConfig(a, b *Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// differs is the error of a config.json that is not the checkpoint's. The
// checkpoint has a checksum, so it is config.json that was changed.
func differs(dir, checkpoint string) error {
	return &CorruptError{filepath.Join(dir, configFile), errors.New("it differs from the checkpoint's copy in " + checkpoint + ".safetensors")}
}

// verifyBest checks every byte of best.safetensors, and that it is of the run
// whose last checkpoint is at a position.
func verifyBest(dir string, run *Config, last *position) error {
	path := checkpointFile(dir, Best)
	f, st, saved, _, err := openCheckpoint(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lostBest(dir, last)
	} else if err != nil {
		return err
	}
	defer f.Close()
	if !sameConfig(saved, run) {
		return &CorruptError{path, errors.New("its settings are not those of " + configFile + ": it is of another run")}
	}
	_, err = load(path, st, nil, true)
	return err
}

// restoreSides writes the files anew that follow from the state that was
// loaded and are not as they were written. counts has the training rows of each
// class, if there is a partition.
func (t *trainer) restoreSides(counts []int64) error {
	if n := t.neglection; n != nil && len(n.Epochs()) > 0 {
		if err := t.restore(neglectionFile, n.File(subclass.Score(t.cfg.NeglectScore), t.cfg.Neglected)); err != nil {
			return err
		}
	}
	if t.partition == nil {
		return nil
	}
	return t.restore(subclassesFile, t.partition.File(counts))
}

func (t *trainer) restore(name string, v any) error {
	path := filepath.Join(t.o.Dir, name)
	want, err := indented(v)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(path)
	if err == nil && bytes.Equal(have, want) {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t.o.Reporter.Message(path + " is missing or not what the checkpoint says: it was written anew")
	return durable.WriteBytes(path, want)
}

// writeJSON replaces a file by the indented JSON of v.
func writeJSON(path string, v any) error {
	text, err := indented(v)
	if err != nil {
		return err
	}
	return durable.WriteBytes(path, text)
}

func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// hasRun says whether dir holds a run, begun or finished.
func hasRun(dir string) (bool, error) {
	for _, name := range []string{configFile, Last + ".safetensors"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// runFiles are the files of a run, config.json first.
var runFiles = []string{configFile, Last + ".safetensors", Best + ".safetensors", metricsName, neglectionFile, subclassesFile, partitionFile, scratchFile}

// foreign lists what is in dir and cannot be what a run left that was killed as
// it began or was removed. Hidden files, and what file systems keep in their
// roots, are nobody's.
func foreign(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		own := name == lockFile || slices.Contains(runFiles, strings.TrimSuffix(name, durable.Suffix))
		if !own && !strings.HasPrefix(name, ".") && name != "lost+found" {
			names = append(names, name)
		}
	}
	return names, nil
}

// checkForeign refuses a folder that belongs to something else, as a *UsageError.
func checkForeign(dir string) error {
	names, err := foreign(dir)
	if err != nil || len(names) == 0 {
		return err
	}
	store, err := features.Open(dir)
	if err == nil {
		store.Close()
	}
	if _, none := errors.AsType[*features.MissingError](err); !none {
		return &UsageError{"out", dir + " is a store, and a run needs a folder of its own: give a new or empty one"}
	}
	more := ""
	if n := len(names); n > 3 {
		names, more = names[:3], fmt.Sprintf(" and %d more", n-3)
	}
	return &UsageError{"out", fmt.Sprintf("%s holds no run, but other files (%s%s): give a new or empty folder", dir, strings.Join(names, ", "), more)}
}

// removeRun removes the files of a run, config.json first: without it a run is
// not gone on with, whatever else is left. Files of others stay.
func removeRun(dir string) error {
	for _, name := range runFiles {
		for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, name+durable.Suffix)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return disk.SyncDir(dir)
}

// conflicts lists the flags in which asked differs from the run's settings.
func conflicts(run, asked *Config) []string {
	var flags []string
	a, b := reflect.ValueOf(run).Elem(), reflect.ValueOf(asked).Elem()
	for i := range a.NumField() {
		flag := a.Type().Field(i).Tag.Get("flag")
		if flag != "" && !a.Field(i).Equal(b.Field(i)) {
			flags = append(flags, fmt.Sprintf("--%s %v (the run has %v)", flag, b.Field(i), a.Field(i)))
		}
	}
	return flags
}
