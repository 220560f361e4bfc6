package kernels

import (
	"errors"
	"fmt"
	"sync"

	"sdnn/nn/cuda/driver"
)

// Set is the kernels compiled and loaded on a card. Its methods may be called
// by any goroutine.
type Set struct {
	card      driver.Card
	modules   []driver.Module
	functions map[string]function
}

type function struct {
	*Signature
	handle driver.Function
}

// Load compiles the sources for the card, or takes them from the cache, and
// loads them. cache is the cache's folder, "" for the user's (CacheDir); one that
// cannot be read or written costs the time of compiling, no more.
//
// The error of a source that does not compile is a *CompileError.
func Load(card driver.Card, cache string) (*Set, error) {
	if cache == "" {
		cache = CacheDir()
	}
	all := Sources()
	modules, errs := make([]driver.Module, len(all)), make([]error, len(all))
	var wait sync.WaitGroup
	for i, src := range all {
		wait.Go(func() { modules[i], errs[i] = load(card, cache, src) })
	}
	wait.Wait()
	s := &Set{card: card, functions: map[string]function{}}
	for _, m := range modules {
		if m != 0 {
			s.modules = append(s.modules, m)
		}
	}
	err := errors.Join(errs...)
	if err == nil {
		err = s.find(modules)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// find looks up all functions; modules are those of Sources.
func (s *Set) find(modules []driver.Module) error {
	for i, src := range Sources() {
		for name, sig := range declared() {
			if sig.Source != src.Name {
				continue
			}
			f, err := s.card.Function(modules[i], name)
			if err != nil {
				return fmt.Errorf("kernel %s of %s: %w", name, src.Name, err)
			}
			s.functions[name] = function{sig, f}
		}
	}
	return nil
}

// Launch queues a kernel on a stream, with the geometry that follows from its
// arguments. A name that is not declared, and arguments that do not fit the
// declaration, panic.
func (s *Set) Launch(stream driver.Stream, name string, args ...driver.Arg) error {
	f, ok := s.functions[name]
	if !ok {
		panic("kernels: no kernel is called " + name)
	}
	if err := f.Check(args); err != nil {
		panic("kernels: " + err.Error())
	}
	grid, block := f.Geometry(args)
	return s.card.Launch(f.handle, grid, block, 0, stream, args)
}

// Close unloads the modules.
func (s *Set) Close() error {
	var err error
	for _, m := range s.modules {
		err = errors.Join(err, s.card.Unload(m))
	}
	s.modules, s.functions = nil, nil
	return err
}

// CompileError is a source that the compiler refused.
type CompileError struct {
	Source string
	Log    string // the compiler's messages
	Err    error
}

// Error implements error.
func (e *CompileError) Error() string {
	return fmt.Sprintf("compiling the kernels of %s: %v\n%s", e.Source, e.Err, e.Log)
}

// Unwrap returns the compiler's error.
func (e *CompileError) Unwrap() error { return e.Err }
