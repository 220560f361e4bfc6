package kernels_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
	"sdnn/nn/cuda/libraries"
)

// compiling is a card whose code is NVRTC's: it loads what the driver would take
// by its first bytes, and finds the functions that the code names.
type compiling struct {
	*fakecard.Card
	nvrtc *libraries.Compiler

	mu       sync.Mutex
	compiled int
	modules  [][]byte
	loaded   int
}

func newCompiling(t *testing.T, c *libraries.Compiler, major, minor int) *compiling {
	o := fakecard.Options{Report: t, CheckOnly: true, Info: driver.Info{Major: major, Minor: minor, Libraries: map[string]int{"nvrtc": c.Version()}}}
	card := &compiling{Card: fakecard.New(o), nvrtc: c}
	t.Cleanup(func() {
		card.Close()
		if card.loaded != 0 {
			t.Errorf("%d modules are left", card.loaded)
		}
	})
	return card
}

func (c *compiling) Compile(name, source string) ([]byte, string, error) {
	c.mu.Lock()
	c.compiled++
	c.mu.Unlock()
	return c.nvrtc.Compile(c.Info().Major, c.Info().Minor, name, source)
}

func (c *compiling) Load(code []byte) (driver.Module, error) {
	if !bytes.HasPrefix(code, []byte("\x7fELF")) && !(bytes.Contains(code, []byte("\n.version ")) && bytes.HasSuffix(code, []byte("\x00"))) {
		return 0, &driver.Error{Call: "cuModuleLoadData", Code: 200, Text: "CUDA_ERROR_INVALID_IMAGE"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.modules = append(c.modules, code)
	c.loaded++
	return driver.Module(len(c.modules)), nil
}

func (c *compiling) Unload(driver.Module) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded--
	return nil
}

func (c *compiling) Function(m driver.Module, name string) (driver.Function, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if code := c.modules[m-1]; !bytes.Contains(code, []byte(".text."+name+"\x00")) && !bytes.Contains(code, []byte(".visible .entry "+name+"(")) {
		return 0, &driver.Error{Call: "cuModuleGetFunction(" + name + ")", Code: 500, Text: "CUDA_ERROR_NOT_FOUND"}
	}
	return driver.Function(m), nil
}

// TestNVRTCCache: NVRTC's code, machine code and PTX, comes back from the cache
// byte for byte, and is not that of another card.
func TestNVRTCCache(t *testing.T) {
	c, err := libraries.OpenCompiler()
	if err != nil {
		t.Skipf("the sources were NOT compiled by NVRTC: %v", err)
	}
	dir := t.TempDir()
	for _, capability := range [][2]int{{9, 0}, {99, 0}} {
		t.Run(fmt.Sprint(capability[0]), func(t *testing.T) {
			t.Parallel()
			card, all := newCompiling(t, c, capability[0], capability[1]), len(kernels.Sources())
			for range 2 {
				set, err := kernels.Load(card, dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := set.Close(); err != nil {
					t.Error(err)
				}
			}
			if card.compiled != all || len(card.modules) != 2*all {
				t.Fatalf("%d compiled and %d loaded for %d sources, loaded twice", card.compiled, len(card.modules), all)
			}
			for i, code := range card.modules[all:] {
				if !slices.ContainsFunc(card.modules[:all], func(c []byte) bool { return bytes.Equal(c, code) }) {
					t.Errorf("module %d is another when it comes from the cache", i)
				}
			}
		})
	}
}
