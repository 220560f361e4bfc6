package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// console is stderr, shared by log lines and a progress bar: a line that is written while a bar is shown takes its place, and
// the bar is drawn again below.
type console struct {
	mu   sync.Mutex
	w    io.Writer
	bars bool // w is a terminal that may have progress bars
	bar  *progressbar.ProgressBar
}

func newConsole(w io.Writer) *console {
	f, ok := w.(*os.File)
	return &console{w: w, bars: ok && term.IsTerminal(int(f.Fd()))}
}

// Write writes log lines.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		c.bar.Clear()
	}
	return c.w.Write(p)
}

// clear removes the progress bar, if there is one.
func (c *console) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		c.bar.Clear()
		c.bar = nil
	}
}

// progressEvery is the time between the log lines that stand for a progress bar where there is no terminal.
const progressEvery = 10 * time.Second

// progress reports how far a long work is: as a bar on a terminal, else as an occasional log line. It may be used concurrently.
type progress struct {
	a     *app
	what  string
	bytes bool

	mu     sync.Mutex
	bar    *progressbar.ProgressBar
	total  int64
	begun  time.Time
	logged time.Time
}

// newProgress begins to report on what; its units are bytes, or else just counted.
func (a *app) newProgress(what string, bytes bool) *progress {
	now := time.Now()
	return &progress{a: a, what: what, bytes: bytes, begun: now, logged: now}
}

// progressHook hears of all progress; tests interrupt the program there, and see it interrupted when the channel is closed.
var progressHook = func(what string, done int64, interrupted <-chan struct{}) {}

// set says that done of total units are done.
func (p *progress) set(done, total int64) {
	progressHook(p.what, done, p.a.interrupted)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.a.console.bars {
		p.draw(done, total)
		return
	}
	if now := time.Now(); now.Sub(p.logged) >= progressEvery {
		p.logged = now
		p.a.log.Info(p.what, "done", p.units(done), "of", p.units(total), "seconds", int(now.Sub(p.begun).Seconds()))
	}
}

func (p *progress) units(n int64) any {
	if p.bytes {
		return fmt.Sprintf("%.1fMB", float64(n)/1e6)
	}
	return n
}

func (p *progress) draw(done, total int64) {
	c := p.a.console
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.bar == nil || p.total != total {
		p.total = total
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(c.w),
			progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowBytes(p.bytes),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(20),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionSetPredictTime(true))
	}
	c.bar = p.bar
	_ = p.bar.Set64(done) // a bar that cannot be drawn is no reason to stop
}

// end removes the bar.
func (p *progress) end() { p.a.console.clear() }

// textHandler writes log records as lines for people:
//
//	sdnn: message (key=value key=value)
//	sdnn: warning: message
type textHandler struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
	group string
}

func newTextHandler(w io.Writer, level slog.Level) *textHandler {
	return &textHandler{w: w, level: level}
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		a.Key = h.group + a.Key
		c.attrs = append(c.attrs[:len(c.attrs):len(c.attrs)], a)
	}
	return &c
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	b.WriteString("sdnn: ")
	if r.Level >= slog.LevelWarn && r.Level < slog.LevelError {
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message)
	open := " ("
	write := func(a slog.Attr) {
		value := a.Value.Resolve().String()
		if strings.ContainsAny(value, " \"=()") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "%s%s=%s", open, a.Key, value)
		open = " "
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.group + a.Key
		write(a)
		return true
	})
	if open == " " {
		b.WriteByte(')')
	}
	b.WriteByte('\n')
	_, err := h.w.Write(b.Bytes())
	return err
}
