package cuda_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

// chosen compiles and runs a step, and returns which candidates it was run with,
// by problem, and how many candidates were planned.
func chosen(t *testing.T, dir string, fast bool, info driver.Info) (used map[string]int, plans int) {
	t.Helper()
	card := fakecard.New(fakecard.Options{Report: t, CheckOnly: true, Trace: true, Info: info})
	e, err := cuda.New(card, cuda.Options{CacheDir: dir, Fast: fast})
	if err != nil {
		t.Fatal(err)
	}
	m := imageNet("residual", 4, 8, 8, 8)
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
	if err != nil {
		t.Fatal(err)
	}
	plans = strings.Count(card.Trace(), "plan ")
	card.ResetTrace()
	fill(s.Feed(0), 1, 4, 3)
	if err := errors.Join(s.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}), s.Sync()); err != nil {
		t.Fatal(err)
	}
	used = map[string]int{}
	for line := range strings.Lines(card.Trace()) {
		name, _, ok := strings.Cut(line, " stream")
		if !ok || !strings.HasPrefix(name, "conv ") && !strings.HasPrefix(name, "matmul ") {
			continue
		}
		name, number, _ := strings.Cut(name, "#")
		used[name] = 0
		if number != "" {
			used[name] = int(number[0] - '0')
		}
	}
	if err := errors.Join(s.Close(), e.Close(), card.Close()); err != nil {
		t.Fatal(err)
	}
	return used, plans
}

// With --fast every product and convolution takes the fastest candidate, which
// is timed once and then known from the disk, for this card and these libraries.
func TestChoices(t *testing.T) {
	info := driver.Info{Name: "one card", Major: 9, Multiprocessors: 4, SharedPerBlock: 48 << 10, Driver: 13000,
		Libraries: map[string]int{"cublasLt": 1, "cudnn": 1, "nvrtc": 1}, SupportsBF16: true}
	dir := t.TempDir()
	first, planned := chosen(t, dir, false, info)
	for name, i := range first {
		if i != 0 {
			t.Errorf("without --fast, %s takes candidate %d", name, i)
		}
	}
	choices := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "choices-*.json"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	if len(choices()) != 0 {
		t.Error("without --fast, choices are kept")
	}
	best := func(what string, timed bool, info driver.Info) {
		t.Helper()
		used, plans := chosen(t, dir, true, info)
		other := 0
		for name, i := range used {
			if want := fakecard.Fastest(name); i != want {
				t.Errorf("%s: %s takes candidate %d, %d is the fastest", what, name, i, want)
			}
			if i != 0 {
				other++
			}
		}
		if other == 0 || len(used) != len(first) {
			t.Errorf("%s: %d of %d problems take another than the first candidate", what, other, len(used))
		}
		if timed != (plans > planned) {
			t.Errorf("%s: %d plans were made, %d without timing", what, plans, planned)
		}
	}
	best("the first time", true, info)
	best("known", false, info)
	file := choices()[0]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string]string{"empty": "", "cut off": string(text[:len(text)/2]), "of another card": strings.Replace(string(text), "one card", "a card", 1)} {
		if err := os.WriteFile(file, []byte(damaged), 0o666); err != nil {
			t.Fatal(err)
		}
		best("the file is "+what, true, info)
	}
	info.Libraries["cudnn"] = 2
	best("another version", true, info)
	if n := len(choices()); n != 2 {
		t.Errorf("%d files of choices, want one a version", n)
	}
	info.Libraries["cudnn"] = 1
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), `"candidate": `, `"candidate": 4`)), 0o666); err != nil {
		t.Fatal(err)
	}
	best("candidates that there are no more", true, info)
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// Timing may fail, for want of memory too: then the first candidate is taken.
func TestChoicesWithoutTiming(t *testing.T) {
	for _, call := range []string{"Elapsed", "NewEvent", "Matmul.Run", "SyncEvent"} {
		card := fakecard.New(fakecard.Options{Report: t, CheckOnly: true})
		e, err := cuda.New(card, cuda.Options{CacheDir: t.TempDir(), Fast: true})
		if err != nil {
			t.Fatal(err)
		}
		after := 0
		if call == "NewEvent" {
			after = 14 // those of the slots, and of staging
		}
		card.Fail(call, after, &driver.Error{Call: call, Code: 2, Text: "CUDA_ERROR_OUT_OF_MEMORY"})
		s, err := e.Compile(videoNet("logistic", 4, 12, 8), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(0)})
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		if err := errors.Join(s.Close(), e.Close(), card.Close()); err != nil {
			t.Error(err)
		}
	}
}
