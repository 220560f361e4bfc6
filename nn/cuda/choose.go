package cuda

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// chooser finds the fastest of the first few candidates that the libraries offer
// for a product or convolution, by timing them on the card, once for a card,
// versions of the libraries and problem: the choices are kept on disk beside the
// compiled kernels. It is there with Options.Fast only. Candidates add in
// different orders, so that what a run ends in depends on the choices; without
// it every run takes the libraries' first, which depends on the problem alone.
type chooser struct {
	card  driver.Card
	timer driver.Timer
	path  string // "": nothing is kept

	mu      sync.Mutex
	choices map[string]choice
	changed bool
}

// choice is what was found for a problem.
type choice struct {
	Candidate    int     `json:"candidate"`
	Of           int     `json:"of"`
	Microseconds float64 `json:"us"`
}

// choiceFile is the file.
type choiceFile struct {
	Card    string            `json:"card"` // all that the choices depend on beside the problem
	Choices map[string]choice `json:"choices"`
}

// What is timed: runs in a row, how often, of how many candidates.
const (
	mostCandidates = 6
	trialRuns      = 5
	trialRounds    = 3
)

// newChooser reads the choices of the card; nil if it has no clock.
func newChooser(card driver.Card, dir string) *chooser {
	timer, ok := card.(driver.Timer)
	if !ok {
		return nil
	}
	c := &chooser{card: card, timer: timer, choices: map[string]choice{}}
	if dir == "" {
		dir = kernels.CacheDir()
	}
	if dir != "" {
		sum := sha256.Sum256([]byte(c.about()))
		c.path = filepath.Join(dir, "choices-"+hex.EncodeToString(sum[:12])+".json")
		c.choices = c.read()
	}
	return c
}

// about is what the choices depend on beside the problem.
func (c *chooser) about() string {
	i := c.card.Info()
	return fmt.Sprintf("%s sm_%d%d, %d multiprocessors, driver %d, cublasLt %d, cudnn %d", i.Name, i.Major, i.Minor, i.Multiprocessors,
		i.Driver, i.Libraries["cublasLt"], i.Libraries["cudnn"])
}

// read reads the file; what is damaged or another card's is none.
func (c *chooser) read() map[string]choice {
	var f choiceFile
	b, err := os.ReadFile(c.path)
	if err != nil || json.Unmarshal(b, &f) != nil || f.Card != c.about() || f.Choices == nil {
		return map[string]choice{}
	}
	return f.Choices
}

// save writes what is new, beside what others have written meanwhile, in one
// step. Without it the next run takes the time again, no more.
func (c *chooser) save() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed || c.path == "" {
		return
	}
	c.changed = false
	for key, theirs := range c.read() {
		if _, ok := c.choices[key]; !ok {
			c.choices[key] = theirs
		}
	}
	b, err := json.MarshalIndent(choiceFile{c.about(), c.choices}, "", " ")
	if err != nil || os.MkdirAll(filepath.Dir(c.path), 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(c.path), ".new-*")
	if err != nil {
		return
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if errors.Join(err, f.Close()) == nil {
		_ = os.Rename(f.Name(), c.path)
	}
}

// trial is a planned candidate.
type trial struct {
	plan interface {
		Workspace() int
		Close() error
	}
	run func(operands [4]driver.Ptr, workspace driver.Ptr, s driver.Stream) error
}

// problem is what candidates are timed for.
type problem struct {
	key   string
	bytes [4]int // of the operands, the result first; 0: there is none
	plan  func(candidate int) (trial, error)
}

// pick returns the number of the fastest candidate, 0 if there is no chooser.
func (c *chooser) pick(s driver.Stream, p problem) int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.choices[p.key]; ok {
		return known.Candidate
	}
	found, err := c.measure(s, p)
	if err != nil {
		return 0 // whatever it was, it comes again where it is reported
	}
	c.choices[p.key], c.changed = found, true
	return found.Candidate
}

// forget drops a choice that cannot be planned any more.
func (c *chooser) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.choices, key)
}

// measure times the candidates on memory of their own, which is given back.
func (c *chooser) measure(s driver.Stream, p problem) (best choice, err error) {
	var operands [4]driver.Ptr
	total := 0
	for _, n := range p.bytes {
		total += align(n)
	}
	memory, err := c.card.Alloc(total)
	if err != nil {
		return best, err
	}
	defer func() { err = fail(err, c.card.SyncStream(s), c.card.Free(memory)) }()
	at := memory
	for i, n := range p.bytes {
		if n > 0 {
			operands[i] = at
		}
		at = at.Add(align(n))
	}
	if err := c.card.Zero(memory, total, s); err != nil {
		return best, err
	}
	shortest := time.Duration(0)
	for i := range mostCandidates {
		t, err := p.plan(i)
		if errors.Is(err, driver.ErrNoCandidate) {
			break
		}
		best.Of = i + 1
		took := time.Duration(0)
		if err == nil {
			took, err = c.time(s, t, operands)
			err = fail(err, t.plan.Close())
		}
		switch {
		case err != nil && i == 0:
			return best, err
		case err == nil && (i == 0 || took < shortest):
			best.Candidate, shortest = i, took
		}
	}
	best.Microseconds = float64(shortest.Nanoseconds()) / 1e3
	return best, nil
}

// time is what a run of a candidate takes, in the shortest of a few rounds.
func (c *chooser) time(s driver.Stream, t trial, operands [4]driver.Ptr) (shortest time.Duration, err error) {
	workspace, err := c.card.Alloc(max(t.plan.Workspace(), 1))
	if err != nil {
		return 0, err
	}
	defer func() { err = fail(err, c.card.SyncStream(s), c.card.Free(workspace)) }()
	var clock [2]driver.Event
	for i := range clock {
		if clock[i], err = c.timer.NewTimedEvent(); err != nil {
			return 0, err
		}
		defer func() { err = fail(err, c.card.DestroyEvent(clock[i])) }()
	}
	runs := func(n int) error {
		for range n {
			if err := t.run(operands, workspace, s); err != nil {
				return err
			}
		}
		return nil
	}
	if err := runs(1); err != nil { // code is loaded
		return 0, err
	}
	for round := range trialRounds {
		err := fail(c.card.Record(clock[0], s), runs(trialRuns), c.card.Record(clock[1], s), c.card.SyncEvent(clock[1]))
		if err != nil {
			return 0, err
		}
		took, err := c.timer.Elapsed(clock[0], clock[1])
		if err != nil {
			return 0, err
		}
		if took /= trialRuns; round == 0 || took < shortest {
			shortest = took
		}
	}
	return shortest, nil
}
