package main

import (
	"errors"

	"sdnn/nn"
	"sdnn/nn/cpu"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/libraries"
	"sdnn/nn/gorgonia"
)

// engineNames are the values of --engine.
var engineNames = []string{"auto", "cpu", "cuda", "gorgonia"}

// precisionNames are the values of --precision.
var precisionNames = []string{string(nn.F32), string(nn.TF32), string(nn.BF16)}

// precisionHelp is what --help says of --precision.
const precisionHelp = "f32, bf16 where the engine has it, or tf32 with --engine cuda"

// fastHelp is what --help says of --fast.
const fastHelp = "--engine cuda: time several algorithms for every product and convolution and take the fastest, whose last bits may differ from run to run"

// openCUDA starts the engine for NVIDIA cards, on the first one, and returns what stops it.
func openCUDA(fast bool) (nn.Engine, func(), error) {
	card, err := libraries.Open(0)
	if err != nil {
		return nil, nil, err
	}
	e, err := cuda.New(card, cuda.Options{Fast: fast})
	if err != nil {
		return nil, nil, errors.Join(err, card.Close())
	}
	return e, func() {
		_ = e.Close() // the program ends: what a card says now helps nobody
		_ = card.Close()
	}, nil
}

// engineList says which engines this machine can run. gpus is what was found of cards.
func engineList(gpus libraries.Report) []engineInfo {
	card := engineInfo{"cuda", true, "all networks, on the first NVIDIA card; kernels of our own, products and convolutions of NVIDIA's libraries"}
	if gpus.Missing != nil {
		card = engineInfo{Name: "cuda", Note: gpus.Missing.Error()}
	}
	return []engineInfo{
		{"cpu", true, "all networks; vector kernels of our own"},
		{"gorgonia", true, "video networks; an independent implementation to check the cpu engine with, slower"},
		card,
	}
}

// newEngine starts the engine that --engine names, and returns what stops it. With auto that is an NVIDIA card if there is one
// that can be used. If there seems to be one that cannot, or SDNN_CUDA_PATH expects one, the log says why; a machine without one
// needs no explanation. fast is --fast: the engines that have no use for it refuse it.
func newEngine(a *app, name string, fast bool) (nn.Engine, func(), error) {
	if err := known("--engine", name, engineNames); err != nil {
		return nil, nil, err
	}
	switch {
	case fast && (name == "cpu" || name == "gorgonia"):
		return nil, nil, usagef("--fast is for --engine cuda; the %s engine always ends in the same bits", name)
	case name == "gorgonia":
		return gorgonia.New(), func() {}, nil
	case name == "cuda":
		e, stop, err := openCUDA(fast)
		if err != nil {
			return nil, nil, usagef("--engine cuda: %w; or use --engine cpu", err)
		}
		return e, stop, nil
	case name == "auto" && libraries.Present():
		e, stop, err := openCUDA(fast)
		if err == nil {
			return e, stop, nil
		}
		a.log.Info("the NVIDIA card is not used, the cpu engine is: " + err.Error())
	}
	e, err := cpu.New(cpu.Options{Threads: a.threads})
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	return e, e.Close, nil
}
