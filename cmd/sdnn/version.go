package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"sdnn/nn/cpu/kernel"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "devel"

func newVersion(a *app) *cobra.Command {
	return newVerb(a, "version", "Show the version, the engines and what they use of this machine",
		`Show the version, the engines that this machine can run, the CPU features in use and the GPUs found.

The environment variable SDNN_CPU (portable, avx2 or avx512) makes the cpu engine use another code path than the fastest.`,
		[]string{"sdnn version", "SDNN_CPU=portable sdnn version --json"},
		func(context.Context, []string) error { return runVersion(a) })
}

// versionResult is what version prints.
type versionResult struct {
	Version string       `json:"version"`
	Commit  string       `json:"commit"` // "" if unknown
	Dirty   bool         `json:"dirty"`  // built from a changed tree
	Go      string       `json:"go"`
	OS      string       `json:"os"`
	Arch    string       `json:"arch"`
	Threads int          `json:"threads"`
	Engines []engineInfo `json:"engines"`
	CPU     cpuInfo      `json:"cpu"`
	GPUs    []string     `json:"gpus"`
	GPUNote string       `json:"gpu_note"` // why there are none
}

// engineInfo says of an engine whether this machine can run it.
type engineInfo struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Note      string `json:"note"` // what it is, or why it cannot run
}

type cpuInfo struct {
	Path     string   `json:"path"`      // code path in use
	Features []string `json:"features"`  // that the code paths know of
	BF16     bool     `json:"bf16"`      // --precision bf16 can run
	BF16Note string   `json:"bf16_note"` // why it cannot
}

func runVersion(a *app) error {
	if err := kernel.PathErr(); err != nil {
		return usagef("%w", err)
	}
	r := versionResult{
		Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Threads: runtime.NumCPU(),
		Engines: engineList(),
		CPU:     cpuInfo{Path: kernel.Path().String(), Features: append([]string{}, kernel.Features()...)},
		GPUs:    []string{}, GPUNote: noGPU,
	}
	if err := kernel.BF16Err(); err != nil {
		r.CPU.BF16Note = err.Error()
	}
	r.CPU.BF16 = r.CPU.BF16Note == ""
	r.Commit, r.Dirty = commit()
	a.print.result(r)
	return nil
}

// commit returns the commit that the program was built from, as the Go toolchain recorded it.
func commit() (revision string, dirty bool) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", false
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	return revision, dirty
}

func (r versionResult) text(w io.Writer) {
	fmt.Fprintf(w, "sdnn %s", r.Version)
	if r.Commit != "" {
		fmt.Fprintf(w, ", commit %.12s", r.Commit)
	}
	if r.Dirty {
		fmt.Fprint(w, " with changes")
	}
	fmt.Fprintf(w, "\n%s %s/%s, %s\n", r.Go, r.OS, r.Arch, count(r.Threads, "processor thread"))
	for _, e := range r.Engines {
		state := ""
		if !e.Available {
			state = "not available: "
		}
		fmt.Fprintf(w, "engine %s: %s%s\n", e.Name, state, e.Note)
	}
	fmt.Fprintf(w, "cpu: code path %s", r.CPU.Path)
	if len(r.CPU.Features) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(r.CPU.Features, " "))
	}
	if r.CPU.BF16 {
		fmt.Fprint(w, ", bf16 available")
	} else {
		fmt.Fprintf(w, ", bf16 not available: %s", r.CPU.BF16Note)
	}
	fmt.Fprintln(w)
	if len(r.GPUs) == 0 {
		fmt.Fprintf(w, "gpu: none: %s\n", r.GPUNote)
	}
	for _, g := range r.GPUs {
		fmt.Fprintf(w, "gpu: %s\n", g)
	}
}
