package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"sdnn/features"
	"sdnn/ingest"
	"sdnn/train"
)

// TestExamplesParse holds every verb to two worked examples that use flags and arguments it has.
func TestExamplesParse(t *testing.T) {
	for _, verb := range newRoot(newApp(io.Discard, io.Discard)).Commands() {
		if !verb.IsAvailableCommand() || verb.Name() == "help" {
			continue
		}
		var examples [][]string
		for line := range strings.Lines(verb.Example) {
			words := strings.Fields(strings.ReplaceAll(line, "'", ""))
			for len(words) > 0 && strings.Contains(words[0], "=") {
				words = words[1:] // environment
			}
			examples = append(examples, words)
		}
		if len(examples) != 2 {
			t.Errorf("%s has %d examples, want 2", verb.Name(), len(examples))
		}
		for _, e := range examples {
			root := newRoot(newApp(io.Discard, io.Discard))
			ran := false
			for _, c := range root.Commands() {
				c.RunE = func(*cobra.Command, []string) error { ran = true; return nil }
			}
			root.SetArgs(e[1:])
			if err := root.Execute(); err != nil || !ran || e[1] != verb.Name() {
				t.Errorf("example %q: ran %v, error %v", strings.Join(e, " "), ran, err)
			}
		}
	}
}

func TestHelpNamesExitStatuses(t *testing.T) {
	for _, verb := range append(verbNames(newRoot(newApp(io.Discard, io.Discard))), "--help") {
		var out bytes.Buffer
		if status := run([]string{verb, "--help"}, &out, io.Discard); status != 0 {
			t.Errorf("%s --help: status %d", verb, status)
		}
		for _, s := range statuses {
			if !strings.Contains(out.String(), fmt.Sprintf("\n  %3d  ", s.status)) {
				t.Errorf("%s --help does not name exit status %d", verb, s.status)
			}
		}
	}
}

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitFailed},
		{syscall.ENOSPC, exitFailed},
		{usagef("x"), exitUsage},
		{fmt.Errorf("in a wrap: %w", usagef("x")), exitUsage},
		{&features.CorruptError{}, exitBadData},
		{&features.VersionError{}, exitBadData},
		{&features.ExistsError{}, exitUsage},
		{&features.BusyError{}, exitFailed},
		{&ingest.BadDataError{}, exitBadData},
		{&ingest.UsageError{}, exitUsage},
		{&train.CorruptError{Err: errors.New("x")}, exitBadData},
		{&train.DataChangedError{}, exitBadData},
		{&train.ExistsError{}, exitUsage},
		{&train.DivergedError{}, exitFailed},
		{train.ErrInterrupted, exitInterrupted},
		{context.Canceled, exitInterrupted},
		{errInterrupted, exitInterrupted},
	} {
		if got := statusOf(c.err); got != c.want {
			t.Errorf("%T %v: status %d, want %d", c.err, c.err, got, c.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	verbs := []string{"ingest", "inspect", "synth", "train", "eval", "predict", "bench", "version"}
	for typed, want := range map[string]string{"trian": "train", "ingset": "ingest", "evl": "eval", "predicts": "predict", "xyzzy": "", "": ""} {
		if got := didYouMean(typed, verbs); got != "" && !strings.Contains(got, want+"?") || (got == "") != (want == "") {
			t.Errorf("didYouMean(%q) = %q, want %q", typed, got, want)
		}
	}
}

// TestEditDistance compares with the recursive definition.
func TestEditDistance(t *testing.T) {
	var naive func(a, b string) int
	naive = func(a, b string) int {
		if a == "" || b == "" {
			return len(a) + len(b)
		}
		i, j := len(a)-1, len(b)-1
		d := naive(a[:i], b[:j])
		if a[i] != b[j] {
			d++
		}
		d = min(d, naive(a[:i], b)+1, naive(a, b[:j])+1)
		if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
			d = min(d, naive(a[:i-1], b[:j-1])+1)
		}
		return d
	}
	words := []string{"", "a", "ab", "ba", "abc", "acb", "cab", "aabb", "train", "trian", "rain"}
	for _, a := range words {
		for _, b := range words {
			if got, want := editDistance(a, b), naive(a, b); got != want {
				t.Errorf("editDistance(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestTextHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newTextHandler(&out, slog.LevelInfo))
	log.Debug("not shown")
	log.Info("stage 1")
	log.Warn("odd", "file", "a b", "n", 3)
	log.With("x", 1).WithGroup("g").Error("bad", "y", 2)
	want := "sdnn: stage 1\nsdnn: warning: odd (file=\"a b\" n=3)\nsdnn: bad (x=1 g.y=2)\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// failing is a standard output that fails to take anything.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestClosedStdout(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"inspect", "--help"}} {
		var errs bytes.Buffer
		if status := run(args, failing{syscall.EPIPE}, &errs); status != exitDone || errs.Len() > 0 {
			t.Errorf("%v into a pipe nobody reads: status %d, want %d; %q", args, status, exitDone, errs.String())
		}
		if status := run(args, failing{syscall.ENOSPC}, &errs); status != exitFailed {
			t.Errorf("%v: status %d, want %d", args, status, exitFailed)
		}
		if !strings.HasPrefix(errs.String(), "sdnn: standard output: ") {
			t.Errorf("%v: %q", args, errs.String())
		}
	}
}
