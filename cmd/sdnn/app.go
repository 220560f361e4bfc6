package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// app is what the verbs share: the common flags, where results go and where logs go.
type app struct {
	threads   int
	seed      uint64
	json      bool
	quiet     bool
	logFormat string

	started bool // a verb's run function was reached: errors are no longer cobra's
	stdout  *output
	console *console
	log     *slog.Logger

	interrupted <-chan struct{}             // closed by the first signal
	signalLog   atomic.Pointer[slog.Logger] // log, for the goroutine that waits for signals
	print       printer
}

func newApp(stdout, stderr io.Writer) *app {
	a := &app{stdout: &output{w: stdout}, console: newConsole(stderr)}
	a.setLogs(slog.LevelInfo, false)
	return a
}

func (a *app) setLogs(level slog.Level, asJSON bool) {
	defer func() { a.signalLog.Store(a.log) }()
	if asJSON {
		a.log = slog.New(slog.NewJSONHandler(a.console, &slog.HandlerOptions{Level: level}))
		a.console.bars = false
		return
	}
	a.log = slog.New(newTextHandler(a.console, level))
}

// wantsJSONLogs reports whether --log-format json is among args: it counts for errors in the arguments too.
func wantsJSONLogs(args []string) bool {
	for i, arg := range args {
		if arg == "--log-format=json" || arg == "--log-format" && i+1 < len(args) && args[i+1] == "json" {
			return true
		}
	}
	return false
}

// start checks the common flags and sets up what they choose.
func (a *app) start() error {
	if a.logFormat != "text" && a.logFormat != "json" {
		return fmt.Errorf("--log-format %q: text or json is expected", a.logFormat)
	}
	if a.threads < 0 {
		return fmt.Errorf("--threads %d: it cannot be negative; 0 means all", a.threads)
	}
	level := slog.LevelInfo
	if a.quiet {
		level = slog.LevelWarn
		a.console.bars = false
	}
	a.setLogs(level, a.logFormat == "json")
	a.print = textPrinter{a.stdout}
	if a.json {
		a.print = jsonPrinter{json.NewEncoder(a.stdout)}
	}
	return nil
}

// result is what a verb prints. Its exported fields are the JSON form.
type result interface {
	// text writes the form for people, lines that end in '\n'.
	text(w io.Writer)
}

// printer writes results to stdout. A failed write is remembered by the output and ends the program with exitFailed when the
// verb is done: nobody who closes a pipe early loses a training by it.
type printer interface {
	// result prints the verb's result, or one of several.
	result(r result)
	// event prints something on the way that only programs want to read.
	event(e any)
}

type textPrinter struct{ w io.Writer }

func (p textPrinter) result(r result) { r.text(p.w) }
func (p textPrinter) event(any)       {}

type jsonPrinter struct{ enc *json.Encoder }

func (p jsonPrinter) result(r result) { p.event(r) }
func (p jsonPrinter) event(e any) {
	if err := p.enc.Encode(e); err != nil {
		panic("sdnn: " + err.Error()) // a NaN: results have null in its place
	}
}

// output is stdout. It keeps the first error for the end of the program and drops what comes after it, so writing to it never
// fails. A reader that went away, as head does, has what it wanted: that is no error.
type output struct {
	w    io.Writer
	gone bool // nobody reads it any more
	err  error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err != nil || o.gone {
		return len(p), nil
	}
	_, err := o.w.Write(p)
	switch {
	case errors.Is(err, syscall.EPIPE):
		o.gone = true
	case err != nil:
		o.err = fmt.Errorf("standard output: %w", err)
	}
	return len(p), nil
}

// ignoreBrokenPipes makes writing to a closed pipe an error, where it would end the process.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }

// sameSignal is the time in which a second signal is taken for the first one: timeout(1) sends it to the process and then to its
// group.
const sameSignal = time.Second

// watchSignals returns a context that the first SIGINT or SIGTERM cancels, with errInterrupted as its cause. The second ends the
// process at once.
func (a *app) watchSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case <-done:
				return
			case <-signals:
			}
			switch {
			case first.IsZero():
				first = time.Now()
				cancel(errInterrupted)
				a.signalLog.Load().Info("interrupted: stopping in good order after the step at hand; interrupt again to stop at once")
			case time.Since(first) > sameSignal:
				os.Exit(exitInterrupted)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// unlessInterrupted calls f, which only reads, and returns early when ctx is cancelled.
func unlessInterrupted(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
