package kernels_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
)

// counting counts compilations; it needs no compiler.
type counting struct {
	*fakecard.Card
	compiled atomic.Int32
}

func (c *counting) Compile(name, source string) ([]byte, string, error) {
	c.compiled.Add(1)
	return c.Card.Compile(name, source)
}

func counted(t *testing.T, major int) *counting {
	o := fakecard.Options{Report: t, CheckOnly: true}
	o.Info.Major, o.Info.Libraries = major, map[string]int{"nvrtc": 12080}
	c := &counting{Card: fakecard.New(o)}
	t.Cleanup(func() { c.Close() })
	return c
}

// load loads and unloads, and returns how many sources were compiled for it.
func (c *counting) load(t *testing.T, dir string) int {
	t.Helper()
	before := c.compiled.Load()
	set, err := kernels.Load(c, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	return int(c.compiled.Load() - before)
}

func TestCache(t *testing.T) {
	all, dir, c := len(kernels.Sources()), filepath.Join(t.TempDir(), "a", "b"), counted(t, 9)
	if n := c.load(t, dir); n != all {
		t.Errorf("%d sources compiled for an empty cache, want %d", n, all)
	}
	if n := c.load(t, dir); n != 0 {
		t.Errorf("%d sources compiled again", n)
	}
	if n := counted(t, 8).load(t, dir); n != all {
		t.Errorf("%d sources compiled for another card, want %d", n, all)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*-sm90-*"))
	if err != nil || len(files) != all {
		t.Fatalf("%d files in the cache: %v", len(files), err)
	}
	damage := []func(path string) error{
		func(p string) error { return os.Truncate(p, 40) },
		func(p string) error { return os.Truncate(p, 0) },
		os.Remove,
		func(p string) error {
			b, err := os.ReadFile(p)
			b[len(b)/2] ^= 1
			return errors.Join(err, os.WriteFile(p, b, 0o644))
		},
	}
	for i, f := range damage {
		if err := f(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.load(t, dir); n != len(damage) {
		t.Errorf("%d sources compiled, %d files were damaged", n, len(damage))
	}
	if n := c.load(t, dir); n != 0 {
		t.Errorf("%d sources compiled again: damaged files were not replaced", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

// TestCacheOfNoUse: a folder that cannot be written costs compiling, no more.
func TestCacheOfNoUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := counted(t, 9)
	for range 2 {
		if n := c.load(t, filepath.Join(file, "below")); n != len(kernels.Sources()) {
			t.Errorf("%d sources compiled", n)
		}
	}
}

// TestLoadErrors: nothing stays loaded when a call fails.
func TestLoadErrors(t *testing.T) {
	failed := &driver.Error{Call: "x", Code: 1, Text: "made to fail"}
	for _, method := range []string{"Compile", "Load", "Function"} {
		c := counted(t, 9)
		c.Fail(method, 2, failed)
		_, err := kernels.Load(c, t.TempDir())
		if !errors.Is(err, failed) {
			t.Errorf("%s fails: Load says %v", method, err)
		}
		var compile *kernels.CompileError
		if is := errors.As(err, &compile); is != (method == "Compile") {
			t.Errorf("%s fails: the error is a CompileError: %v", method, is)
		} else if is && compile.Log != "made to fail" {
			t.Errorf("the log is %q", compile.Log)
		}
	}
}

// TestLaunchPanics: a programmer's errors.
func TestLaunchPanics(t *testing.T) {
	c := counted(t, 9)
	set, err := kernels.Load(c, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for what, f := range map[string]func(){
		"unknown name":  func() { set.Launch(0, "relu_forward_f16") },
		"few arguments": func() { set.Launch(0, "relu_forward_f32", P(1), P(1)) },
		"wrong kind":    func() { set.Launch(0, "relu_forward_f32", P(1), P(1), I(1)) },
		"null":          func() { set.Launch(0, "relu_forward_f32", P(1), P(0), L(1)) },
		"too large":     func() { I(1 << 40) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			f()
		}()
	}
}
