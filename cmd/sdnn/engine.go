package main

import (
	"sdnn/nn"
	"sdnn/nn/cpu"
)

// noGPU says why no GPU is found.
const noGPU = "this version has no GPU engine"

// engineNames are the values of --engine.
var engineNames = []string{"auto", "cpu", "cuda"}

// engineList says which engines this machine can run.
func engineList() []engineInfo {
	return []engineInfo{
		{"cpu", true, "all networks; vector kernels of our own"},
		{"cuda", false, noGPU},
	}
}

// newEngine starts the engine that --engine names, and returns what stops it.
func newEngine(name string, threads int) (nn.Engine, func(), error) {
	if err := known("--engine", name, engineNames); err != nil {
		return nil, nil, err
	}
	if name == "cuda" {
		return nil, nil, usagef("--engine cuda: %s; use --engine cpu", noGPU)
	}
	e, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	return e, e.Close, nil
}
