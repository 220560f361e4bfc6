package cpu_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// precisions are those that this machine can compute in; the log names the others.
func precisions(t *testing.T) []nn.Precision {
	if err := kernel.BF16Err(); err != nil {
		t.Logf("not run here: bf16: %v", err)
		return []nn.Precision{nn.F32}
	}
	return []nn.Precision{nn.F32, nn.BF16}
}

// runOf trains a net for some steps and returns everything that can be read
// from the session after them: its state, gradients if kept, scores and losses.
func runOf(t *testing.T, m *nn.Model, threads, steps int, o nn.CompileOptions) (names []string, tensors map[string][]float32) {
	t.Helper()
	tensors = map[string][]float32{}
	o.Seed = 7
	o.OnStep = func(r nn.StepResult) { tensors["loss"] = append(tensors["loss"], float32(r.Loss)) }
	s, err := engine(t, threads).Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range steps {
		fill(s.Feed(0), i, m.Batch-i, m.Outputs())
		if err := s.TrainStep(0, nn.StepParams{LR: 0.01, Step: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	names = append(names, "loss", "scores")
	for _, st := range s.State() {
		names = append(names, st.Name)
		if st.Trained && o.KeepGradients {
			names = append(names, "grad/"+st.Name)
		}
	}
	for _, name := range names[2:] {
		if err := s.ReadState(name, func(d []float32) error {
			tensors[name] = append([]float32(nil), d...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	scores, _, err := s.Forward(0)
	if err != nil {
		t.Fatal(err)
	}
	tensors["scores"] = append([]float32(nil), scores...)
	return names, tensors
}

// Weights updated while their gradient is in cache end in the bits of those
// that read it from memory, on any number of threads.
func TestFusedUpdateGivesTheSameBits(t *testing.T) {
	for _, precision := range precisions(t) {
		for _, c := range []struct {
			kind  string
			batch int // more than a block of products, one, and the least
		}{{"mlp", 1100}, {"logistic", 400}, {"conv1d", 30}, {"moe", 1}} {
			for _, optimizer := range []nn.Optimizer{nn.NewAdam(), nn.NewSGD(5e-4)} {
				o := nn.CompileOptions{Purpose: nn.Training, Optimizer: optimizer, Precision: precision, KeepGradients: true}
				steps := min(3, c.batch)
				_, want := runOf(t, videoNet(c.kind, c.batch, 85, 97), 2, steps, o)
				o.KeepGradients = false
				for _, threads := range []int{1, 3} {
					names, got := runOf(t, videoNet(c.kind, c.batch, 85, 97), threads, steps, o)
					for _, name := range names {
						if !slices.Equal(got[name], want[name]) {
							t.Errorf("%s, batch %d, %s, %s, %d threads: other bits of %s than with the gradient in memory", c.kind, c.batch, precision, optimizer.Kind, threads, name)
						}
					}
				}
			}
		}
	}
}

// A dense layer's gradient is stored only when it is read: for the neglection
// degree.
func TestDenseUpdateFuses(t *testing.T) {
	for purpose, want := range map[nn.Purpose]int{nn.Training: 2, nn.Measuring: 1} {
		s, err := engine(t, 1).Compile(videoNet("mlp", 8, 20, 5), nn.CompileOptions{Purpose: purpose, Optimizer: nn.NewAdam()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.(nn.Profiler).SetProfiling(true)
		fill(s.Feed(0), 1, 8, 5)
		if err := s.TrainStep(0, nn.StepParams{LR: 0.001, Step: 1}); err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, o := range s.(nn.Profiler).Profile(true) {
			if o.Kind == "dense-backward-weight+adam" {
				got++
			}
		}
		if got != want {
			t.Errorf("purpose %d: %d of mlp's 2 dense layers are updated by the op that makes the gradient, want %d", purpose, got, want)
		}
	}
}

// In bf16 every tensor of a step is that of f32 within what eight bits of the
// products' operands allow, and not the same: it is computed in bf16.
func TestBF16IsNearF32(t *testing.T) {
	if len(precisions(t)) == 1 {
		t.SkipNow()
	}
	for _, kind := range []string{"logistic", "mlp", "conv1d", "moe"} {
		o := nn.CompileOptions{Purpose: nn.Training, Optimizer: nn.NewSGD(5e-4), KeepGradients: true}
		_, want := runOf(t, videoNet(kind, 130, 85, 97), 2, 1, o)
		o.Precision = nn.BF16
		names, got := runOf(t, videoNet(kind, 130, 85, 97), 2, 1, o)
		for _, name := range names {
			var diff, size float64
			for i, w := range want[name] {
				d := float64(got[name][i]) - float64(w)
				diff, size = diff+d*d, size+float64(w)*float64(w)
			}
			if relative := math.Sqrt(diff / size); !(relative < 0x1p-7) {
				t.Errorf("%s: %s in bf16 is %.2g of its length from f32", kind, name, relative)
			}
		}
		if slices.Equal(got["scores"], want["scores"]) {
			t.Errorf("%s: the scores in bf16 are those of f32 to the bit", kind)
		}
	}
}

// Where bf16 cannot run, the engine says what is in the way.
func TestBF16IsRefusedWithTheReason(t *testing.T) {
	before, err := kernel.Use(kernel.Portable)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = kernel.Use(before) }()
	_, err = engine(t, 1).Compile(videoNet("logistic", 4, 5, 3), nn.CompileOptions{Precision: nn.BF16})
	if err == nil || !strings.Contains(err.Error(), kernel.BF16Err().Error()) {
		t.Errorf("Compile in bf16 on the portable path: error %v, want one with %v", err, kernel.BF16Err())
	}
	if _, err = engine(t, 1).Compile(videoNet("logistic", 4, 5, 3), nn.CompileOptions{Precision: "f16"}); err == nil {
		t.Error("Compile accepted a precision that it does not know")
	}
}

// A net that would be computed in f32 for the most part is refused, with the part that would not be.
func TestBF16IsRefusedForConvolutions(t *testing.T) {
	if len(precisions(t)) == 1 {
		t.SkipNow()
	}
	_, err := engine(t, 1).Compile(profileNet(2), nn.CompileOptions{Precision: nn.BF16})
	if err == nil || !strings.Contains(err.Error(), "only dense layers of 4096 weights or more are computed in it, here 0.0 % of the operations") {
		t.Errorf("Compile of an image net in bf16: error %v", err)
	}
}
