package libraries

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// PathVariable names the folders that are searched first, separated as in PATH.
// An entry may be the folder of the libraries, one that has them in lib64 or
// lib, or a site-packages folder with NVIDIA's wheels.
const PathVariable = "SDNN_CUDA_PATH"

// place is a folder that may hold libraries. An empty dir is the dynamic
// loader's own search: LD_LIBRARY_PATH, its cache, its default folders.
type place struct {
	dir   string
	label string // for people; places of one kind share it
}

// machine is what the search reads of its surroundings; tests have their own.
type machine struct {
	root     string // before absolute paths of the system; "" but in tests
	env      func(string) string
	arch     string
	isolated bool // tests: the dynamic loader's own search is left out
}

func thisMachine() machine { return machine{env: os.Getenv, arch: runtime.GOARCH} }

// places lists the folders to search, in order, each once. Of the folders that
// patterns match, the one that sorts last comes first: the newest version.
func (m machine) places() []place {
	var all []place
	add := func(label string, patterns ...string) {
		for _, p := range patterns {
			if !filepath.IsAbs(p) {
				continue // from a variable that a person did not mean as a place
			}
			found, _ := filepath.Glob(p) // fails on a malformed pattern only: no such folder
			slices.Sort(found)
			slices.Reverse(found)
			for _, dir := range found {
				if !slices.ContainsFunc(all, func(o place) bool { return o.dir == dir }) {
					all = append(all, place{dir, label})
				}
			}
		}
	}
	for _, entry := range filepath.SplitList(m.env(PathVariable)) {
		if entry == "" {
			continue
		}
		if abs, err := filepath.Abs(entry); err == nil {
			entry = abs
		}
		entry = escapeGlob(entry)
		add(PathVariable, entry, entry+"/lib64", entry+"/lib", entry+"/nvidia/*/lib")
	}
	if !m.isolated {
		all = append(all, place{"", "the loader's path"})
	}

	gnu, target := "x86_64-linux-gnu", "x86_64-linux"
	if m.arch == "arm64" {
		gnu, target = "aarch64-linux-gnu", "sbsa-linux"
	}
	add("/usr/local/cuda*/lib64", m.root+"/usr/local/cuda/lib64", m.root+"/usr/local/cuda-*/lib64", m.root+"/usr/local/cuda*/targets/"+target+"/lib")
	add("/usr/lib/"+gnu, m.root+"/usr/lib/"+gnu, m.root+"/usr/lib64", m.root+"/usr/local/lib")
	add("/opt/cuda/lib64", m.root+"/opt/cuda/lib64", m.root+"/opt/cuda/targets/"+target+"/lib")
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if prefix := m.env(name); prefix != "" {
			prefix = escapeGlob(prefix)
			add("$"+name, wheels(prefix)...)
			if name == "CONDA_PREFIX" { // conda's own packages
				add("$"+name, prefix+"/lib", prefix+"/targets/"+target+"/lib")
			}
		}
	}
	const python = "Python's nvidia packages"
	for _, prefix := range []string{"/usr/local", "/usr", "/opt/conda", "/opt/venv"} {
		add(python, wheels(m.root+prefix)...)
	}
	if home := m.env("HOME"); home != "" {
		home = escapeGlob(home)
		for _, prefix := range []string{"/.local", "/.pyenv/versions/*", "/miniconda3", "/anaconda3", "/miniforge3", "/.venv"} {
			add(python, wheels(home+prefix)...)
		}
	}
	return all
}

// wheels are the patterns of the folders that NVIDIA's wheels put libraries in
// below a prefix of a Python: nvidia/cudnn/lib, nvidia/cublas/lib, ... for
// CUDA 12, nvidia/cu13/lib for CUDA 13.
func wheels(prefix string) []string {
	return []string{
		prefix + "/lib/python3*/site-packages/nvidia/*/lib",
		prefix + "/lib/python3*/dist-packages/nvidia/*/lib",
	}
}

// driverPlaces are where libcuda.so.1 may be besides: it belongs to the system,
// and containers and WSL mount it.
func (m machine) driverPlaces() []place {
	all := m.places()
	for _, dir := range []string{"/usr/lib/wsl/lib", "/usr/local/nvidia/lib64", "/usr/lib/nvidia", "/run/opengl-driver/lib"} {
		if _, err := os.Stat(m.root + dir); err == nil {
			all = append(all, place{m.root + dir, dir})
		}
	}
	return all
}

// labels names the places that were searched, for people; in a message of one
// line, places that do not exist are left out, but for the usual ones.
func (m machine) labels(all []place) []string {
	var names []string
	if m.env(PathVariable) == "" {
		names = append(names, PathVariable+", which is not set")
	} else {
		names = append(names, PathVariable)
	}
	for _, p := range all {
		if !slices.Contains(names, p.label) {
			names = append(names, p.label)
		}
	}
	for _, usual := range []string{"/usr/local/cuda*/lib64", "Python's nvidia packages"} {
		if !slices.Contains(names, usual) {
			names = append(names, usual)
		}
	}
	return names
}

// escapeGlob makes what a person named stand for itself in a pattern.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(filepath.Clean(s))
}

// beside returns the files of dir that match one of the patterns, in the
// patterns' order.
func beside(dir string, patterns ...string) []string {
	var files []string
	for _, p := range patterns {
		found, _ := filepath.Glob(escapeGlob(dir) + "/" + p)
		slices.Sort(found)
		for _, f := range found {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files
}

// packages are the wheels that bring the libraries of a major version of CUDA.
func packages(major int) string {
	if major >= 13 {
		return "nvidia-cublas nvidia-cudnn-cu13 nvidia-cuda-nvrtc"
	}
	return "nvidia-cublas-cu12 nvidia-cudnn-cu12 nvidia-cuda-nvrtc-cu12"
}
