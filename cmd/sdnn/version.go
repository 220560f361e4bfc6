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
	"sdnn/nn/cuda/libraries"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "devel"

func newVersion(a *app) *cobra.Command {
	return newVerb(a, "version", "Show the version, the engines and what they use of this machine",
		`Show the version, the engines that this machine can run, the CPU features in use and the GPUs found.

The environment variable SDNN_CPU (portable, avx2 or avx512) makes the cpu engine use another code path than the fastest.
SDNN_CUDA_PATH names folders where NVIDIA's libraries are looked for first.`,
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
	GPUs    []gpuInfo    `json:"gpus"`
	GPUNote string       `json:"gpu_note"` // what keeps them from being used; "" if nothing does
	CUDA    cudaInfo     `json:"cuda"`
}

// gpuInfo is a card.
type gpuInfo struct {
	Index      int    `json:"index"`
	Name       string `json:"name"`
	Memory     int    `json:"memory_bytes"`
	Capability string `json:"compute_capability"` // "9.0"
}

// cudaInfo is what drives the cards.
type cudaInfo struct {
	Driver    string        `json:"driver"` // the CUDA version it supports, "13.0"; "" without one
	Libraries []libraryInfo `json:"libraries"`
}

type libraryInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Path    string `json:"path"` // "" if not known
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
	gpus := libraries.Survey()
	r := versionResult{
		Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Threads: runtime.NumCPU(),
		Engines: engineList(gpus),
		CPU:     cpuInfo{Path: kernel.Path().String(), Features: append([]string{}, kernel.Features()...)},
	}
	r.addGPUs(gpus)
	if err := kernel.BF16Err(); err != nil {
		r.CPU.BF16Note = err.Error()
	}
	r.CPU.BF16 = r.CPU.BF16Note == ""
	r.Commit, r.Dirty = commit()
	a.print.result(r)
	return nil
}

// addGPUs puts in what was found of cards.
func (r *versionResult) addGPUs(found libraries.Report) {
	r.GPUs, r.CUDA.Libraries = []gpuInfo{}, []libraryInfo{}
	for _, c := range found.Cards {
		r.GPUs = append(r.GPUs, gpuInfo{c.Index, c.Name, c.Memory, fmt.Sprintf("%d.%d", c.Major, c.Minor)})
	}
	if found.Driver > 0 {
		r.CUDA.Driver = fmt.Sprintf("%d.%d", found.Driver/1000, found.Driver%1000/10)
	}
	for _, l := range found.Libraries {
		r.CUDA.Libraries = append(r.CUDA.Libraries, libraryInfo(l))
	}
	if found.Missing != nil {
		r.GPUNote = found.Missing.Error()
	}
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
	r.gpuText(w)
}

func (r versionResult) gpuText(w io.Writer) {
	if len(r.GPUs) == 0 {
		fmt.Fprintln(w, "gpu: none")
		return
	}
	for _, g := range r.GPUs {
		fmt.Fprintf(w, "gpu %d: %s, %.1f GiB, compute capability %s\n", g.Index, g.Name, float64(g.Memory)/(1<<30), g.Capability)
	}
	fmt.Fprintf(w, "cuda: driver for %s", r.CUDA.Driver)
	for _, l := range r.CUDA.Libraries {
		fmt.Fprintf(w, ", %s %s", l.Name, l.Version)
	}
	fmt.Fprintln(w)
	for _, l := range r.CUDA.Libraries {
		if l.Path != "" {
			fmt.Fprintf(w, "cuda: %s is %s\n", l.Name, l.Path)
		}
	}
}
