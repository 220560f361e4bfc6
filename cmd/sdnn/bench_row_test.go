package main

import (
	"context"
	"errors"
	"testing"

	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/fakecard"
)

// A row of steps is as many as it says, of both kinds, on all slots.
func TestBenchRow(t *testing.T) {
	card := fakecard.New(fakecard.Options{CheckOnly: true, Report: t})
	e, err := cuda.New(card, cuda.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := mlp.Build(mlp.Spec{Net: mlp.Logistic, Batch: 4, Outputs: 3, Columns: []mlp.Column{{Name: "a", Width: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	s, err := e.Compile(m, nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewAdam(), OnStep: func(nn.StepResult) { steps++ }})
	if err != nil {
		t.Fatal(err)
	}
	b := &benchRun{o: &benchOptions{batch: 4}, session: s, model: m}
	for _, what := range benchSteps {
		f, n := b.row(what)
		if _, err := timed(context.Background(), 1, 2, f); err != nil || n != benchRow {
			t.Errorf("%s: %d steps, %v", what, n, err)
		}
	}
	if steps != 3*benchRow {
		t.Errorf("%d steps of %d", steps, 3*benchRow)
	}
	if err := errors.Join(s.Close(), e.Close(), card.Close()); err != nil {
		t.Error(err)
	}
}
