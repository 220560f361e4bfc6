package main

import (
	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/nn/gorgonia"
)

// noGPU says why no GPU is found.
const noGPU = "this version has no GPU engine"

// engineNames are the values of --engine.
var engineNames = []string{"auto", "cpu", "cuda", "gorgonia"}

// engineList says which engines this machine can run.
func engineList() []engineInfo {
	return []engineInfo{
		{"cpu", true, "all networks; vector kernels of our own"},
		{"gorgonia", true, "video networks; an independent implementation to check the cpu engine with, slower"},
		{"cuda", false, noGPU},
	}
}

// newEngine starts the engine that --engine names, and returns what stops it.
func newEngine(name string, threads int) (nn.Engine, func(), error) {
	if err := known("--engine", name, engineNames); err != nil {
		return nil, nil, err
	}
	switch name {
	case "cuda":
		return nil, nil, usagef("--engine cuda: %s; use --engine cpu", noGPU)
	case "gorgonia":
		return gorgonia.New(), func() {}, nil
	}
	e, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	return e, e.Close, nil
}
