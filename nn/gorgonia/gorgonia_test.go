package gorgonia

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"sdnn/nn"
	"sdnn/nn/conformance"
)

func TestConformance(t *testing.T) { conformance.Run(t, New(), conformance.VideoOps) }

func TestAgreesWithReference(t *testing.T) { conformance.Compare(t, conformance.Reference(), New()) }

// pooledNet is a small net with a max-pool.
func pooledNet(op nn.Op) *nn.Model {
	g := nn.NewGraph()
	x := g.NewInput("x", 4, 6)
	w := g.NewParam("conv.weight", nn.Shape{2, 3}, nn.TorchUniform(3))
	b := g.NewParam("conv.bias", nn.Shape{2}, nn.TorchUniform(3))
	h := g.Apply("conv", nn.Conv1D{}, x, w, b)[0]
	h = g.Apply("op", op, h)[0]
	h = g.Apply("pool", nn.MaxPool1D{}, h)[0]
	h = g.Apply("flat", nn.Reshape{Shape: nn.Shape{6}}, h)[0]
	v := g.NewParam("classes.weight", nn.Shape{3, 6}, nn.TorchUniform(6))
	z := g.Apply("classes", nn.Dense{}, h, v)[0]
	return &nn.Model{Name: "pooled", Batch: 4, Graph: g, Features: []*nn.Value{x}, Output: z,
		Loss: g.Apply("loss", nn.SubclassCE{}, z)[0], Penultimate: h, ClassWeight: v}
}

// open compiles the net for training and fills slot 0.
func open(t *testing.T) nn.Session {
	t.Helper()
	s, err := New().Compile(pooledNet(nn.ReLU{}), nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewAdam()})
	if err != nil {
		t.Fatal(err)
	}
	f := s.Feed(0)
	f.Rows = 4
	nn.FillNormal(f.Features[0], 1)
	f.Targets.Reset()
	for r := range 4 {
		f.Targets.Add(int32(r%3), 1, 1)
		f.Targets.EndRow()
	}
	return s
}

func weights(t *testing.T, s nn.Session) []float32 {
	t.Helper()
	var w []float32
	if err := s.ReadState("conv.weight", func(x []float32) error { w = slices.Clone(x); return nil }); err != nil {
		t.Fatal(err)
	}
	return w
}

// A NaN makes the library's max-pool index out of range. That has to reach the
// caller as an error, leave the parameters alone and the session usable.
func TestPanicInLibraryIsAnError(t *testing.T) {
	s := open(t)
	before, good := weights(t, s), s.Feed(0).Features[0][3]
	s.Feed(0).Features[0][3] = float32(math.NaN())
	err := s.TrainStep(0, nn.StepParams{LR: 0.1, Step: 7})
	if err == nil || !strings.Contains(err.Error(), "step 7") || !strings.Contains(err.Error(), "panic") {
		t.Fatalf("got %v, want an error that names the step and the panic", err)
	}
	if !slices.Equal(weights(t, s), before) {
		t.Error("a failed step changed the parameters")
	}
	s.Feed(0).Features[0][3] = good
	if err := s.TrainStep(0, nn.StepParams{LR: 0.1, Step: 7}); err != nil {
		t.Errorf("after a failed step: %v", err)
	}
}

func TestUseSgemm(t *testing.T) {
	defer UseSgemm(nil)
	want := open(t)
	if err := want.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}); err != nil {
		t.Fatal(err)
	}
	calls := 0
	UseSgemm(func(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
		calls++
		gonum.Implementation{}.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	})
	got := open(t)
	if err := got.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}); err != nil {
		t.Fatal(err)
	}
	if calls == 0 {
		t.Error("the step did not use the matrix product it was given")
	}
	if !slices.Equal(weights(t, got), weights(t, want)) {
		t.Error("the same matrix product gave other parameters")
	}
}

func TestBatchThatDoesNotFit(t *testing.T) {
	s := open(t)
	for _, rows := range []int{0, 5, -1} {
		s.Feed(0).Rows = rows
		if _, _, err := s.Forward(0); err == nil {
			t.Errorf("Forward took a batch of %d rows of 4", rows)
		}
		if err := s.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}); err == nil {
			t.Errorf("TrainStep took a batch of %d rows of 4", rows)
		}
	}
	s.Feed(0).Rows = 3
	if err := s.TrainStep(0, nn.StepParams{LR: 0.1, Step: 1}); err == nil {
		t.Error("TrainStep took targets of 4 rows for a batch of 3")
	}
}

// strange is an op that no engine knows.
type strange struct{ nn.ReLU }

func (strange) Kind() string { return "strange" }

func TestUnsupported(t *testing.T) {
	var u *nn.UnsupportedError
	_, err := New().Compile(pooledNet(strange{}), nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewAdam()})
	if !errors.As(err, &u) || !strings.Contains(u.What, "strange") {
		t.Errorf("an unknown op gave %v, want an UnsupportedError that names it", err)
	}
	_, err = New().Compile(pooledNet(nn.ReLU{}), nn.CompileOptions{Precision: nn.BF16})
	if !errors.As(err, &u) || !strings.Contains(u.What, "bf16") {
		t.Errorf("bf16 gave %v, want an UnsupportedError that names it", err)
	}
}
