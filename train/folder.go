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

	"sdnn/train/internal/durable"
)

// LoadConfig reads config.json of the run in dir. Errors: *NoRunError,
// *CorruptError.
func LoadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, configFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, &NoRunError{dir, "there is no run here (no " + configFile + ")"}
	} else if err != nil {
		return Config{}, err
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, &CorruptError{path, err}
	}
	if c.Format != ConfigFormat {
		return Config{}, &CorruptError{path, fmt.Errorf("format %d, this program reads format %d", c.Format, ConfigFormat)}
	}
	return c, nil
}

// writeJSON replaces a file by the indented JSON of v.
func writeJSON(path string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	return durable.WriteBytes(path, b.Bytes())
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

// removeRun removes the files of a run, config.json first: without it there is
// no run, whatever else is left. Files of others stay.
func removeRun(dir string) error {
	for _, name := range []string{configFile, Last + ".safetensors", Best + ".safetensors", metricsName, neglectionFile, subclassesFile, partitionFile, scratchFile} {
		for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, name+durable.Suffix)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return durable.SyncDir(dir)
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
