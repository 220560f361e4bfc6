package kernels_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
	"sdnn/nn/cuda/kernels"
)

// reference is a parameter updated in float64.
type reference struct{ w, a, b []float64 }

func (p *reference) update(o nn.Optimizer, g []float64, lr float64, step int64) {
	for i := range p.w {
		d := g[i] + o.WeightDecay*p.w[i]
		if o.Kind == nn.SGD {
			p.a[i] = o.Momentum*p.a[i] + d
			p.w[i] -= lr * (d + o.Momentum*p.a[i])
			continue
		}
		p.a[i] = o.Beta1*p.a[i] + (1-o.Beta1)*d
		p.b[i] = o.Beta2*p.b[i] + (1-o.Beta2)*d*d
		p.w[i] -= o.AdamRate(lr, step) * p.a[i] / (math.Sqrt(p.b[i]) + o.Epsilon)
	}
}

// optimise launches the kernel of an update rule.
func (r *rig) optimise(o nn.Optimizer, tensors []kernels.OptimizerTensor, lr float64, step int64) {
	r.t.Helper()
	r.launchOptimiser(o, string(o.Kind)+"_f32", nil, nil, nil, tensors, lr, step)
}

// launchOptimiser launches a kernel with arguments before and behind those of
// the tables, and behind their sizes.
func (r *rig) launchOptimiser(o nn.Optimizer, name string, before, behind, sizes []driver.Arg, tensors []kernels.OptimizerTensor, lr float64, step int64) {
	r.t.Helper()
	table, chunks := kernels.OptimizerTable(tensors)
	shift := r.shift
	r.shift = false
	rate := lr
	if o.Kind == nn.Adam {
		rate = o.AdamRate(lr, step)
	}
	args := slices.Concat(before, []driver.Arg{P(put(r, table)), P(put(r, chunks)), P(put(r, []float32{float32(rate)}))}, behind,
		[]driver.Arg{I(len(tensors)), I(len(chunks) / 2)}, sizes)
	r.shift = shift
	if o.Kind == nn.SGD {
		r.run(name, append(args, F(float32(o.Momentum)), F(float32(o.WeightDecay)))...)
		return
	}
	r.run(name, append(args, F(float32(o.Beta1)), F(float32(1-o.Beta1)), F(float32(o.Beta2)), F(float32(1-o.Beta2)), F(float32(o.Epsilon)), F(float32(o.WeightDecay)))...)
}

func TestOptimizers(t *testing.T) {
	r := newRig(t)
	adam := nn.NewAdam()
	adam.WeightDecay = 1e-3
	for _, o := range []nn.Optimizer{nn.NewSGD(5e-4), adam} {
		for _, r.shift = range []bool{false, true} {
			r.optimizer(o)
			r.clean()
		}
	}
}

// optimizer runs steps over tensors of odd sizes, gradients of both types, with
// and without a bf16 copy.
func (r *rig) optimizer(o nn.Optimizer) {
	sizes := []int{1, 33, 4096, 4097, 9000, 31}
	var refs []*reference
	var tensors []kernels.OptimizerTensor
	for i, n := range sizes {
		w := r.random("f32", n)
		refs = append(refs, &reference{widen(w), make([]float64, n), make([]float64, n)})
		p := kernels.OptimizerTensor{Weight: put(r, w), State: [2]driver.Ptr{put(r, make([]float32, n))}, Elements: n, GradientBF16: i%2 == 1}
		if o.Kind == nn.Adam {
			p.State[1] = put(r, make([]float32, n))
		}
		if i%3 != 2 {
			p.Shadow = r.make("bf16", n)
		}
		tensors = append(tensors, p)
	}
	for step := int64(1); step <= 3; step++ {
		for i, n := range sizes {
			typ := "f32"
			if tensors[i].GradientBF16 {
				typ = "bf16"
			}
			g := r.random(typ, n)
			refs[i].update(o, widen(g), 0.05, step)
			tensors[i].Gradient = r.of(typ, g)
		}
		r.optimise(o, tensors, 0.05, step)
	}
	for i, p := range refs {
		what := fmt.Sprintf("%s, tensor %d: ", o.Kind, i)
		w := get[float32](r, tensors[i].Weight)
		r.near(what+"weight", w, p.w, 1e-5)
		r.near(what+"first state", get[float32](r, tensors[i].State[0]), p.a, 1e-5)
		if o.Kind == nn.Adam {
			r.near(what+"second state", get[float32](r, tensors[i].State[1]), p.b, 1e-5)
		}
		if tensors[i].Shadow != 0 {
			for j, s := range get[uint16](r, tensors[i].Shadow) {
				if s != fakecard.BF16(w[j]) {
					r.t.Fatalf("%sshadow of %g is %#x", what, w[j], s)
				}
			}
		}
	}
}

// TestSGDGolden repeats two steps of PyTorch's SGD on the parameters of a small VGG.
func TestSGDGolden(t *testing.T) {
	r := newRig(t)
	type step struct{ Grads, After, Momentum map[string]any }
	var g struct {
		SGD struct {
			LR, Momentum float64
			WeightDecay  float64 `json:"weight_decay"`
		}
		Init map[string]any
		F64  struct{ Step1, Step2 step }
	}
	golden(t, "testdata/golden/net_vgg3.json", &g)
	o := nn.NewSGD(g.SGD.WeightDecay)
	o.Momentum = g.SGD.Momentum
	for name := range g.F64.Step1.Grads {
		init := numbers(g.Init[name])
		p := kernels.OptimizerTensor{Weight: put(r, narrow(init)), State: [2]driver.Ptr{put(r, make([]float32, len(init)))}, Elements: len(init)}
		for i, s := range []step{g.F64.Step1, g.F64.Step2} {
			p.Gradient = put(r, narrow(numbers(s.Grads[name])))
			r.optimise(o, []kernels.OptimizerTensor{p}, g.SGD.LR, int64(i+1))
			r.near(name, get[float32](r, p.Weight), numbers(s.After[name]), 1e-5)
			r.near(name+" momentum", get[float32](r, p.State[0]), numbers(s.Momentum[name]), 1e-5)
		}
	}
}

// TestAdamGolden repeats the first step of TensorFlow's Adam on the video net's
// parameters, whose gradients are recorded.
func TestAdamGolden(t *testing.T) {
	r := newRig(t)
	var all struct {
		Cases map[string]struct {
			Init map[string]any
			F64  []struct {
				LR          float64
				Grads       map[string]any
				ParamsAfter map[string]any `json:"params_after"`
			}
		}
	}
	golden(t, "testdata/golden/yt8m_net.json", &all)
	checked := 0
	for name, c := range all.Cases {
		first := c.F64[0]
		for key, grad := range first.Grads {
			after, ok := first.ParamsAfter[key]
			if !ok {
				continue
			}
			init := numbers(c.Init[key])
			p := kernels.OptimizerTensor{Weight: put(r, narrow(init)), Gradient: put(r, narrow(numbers(grad))), Elements: len(init),
				State: [2]driver.Ptr{put(r, make([]float32, len(init))), put(r, make([]float32, len(init)))}}
			r.optimise(nn.NewAdam(), []kernels.OptimizerTensor{p}, first.LR, 1)
			r.near(name+" "+key, get[float32](r, p.Weight), numbers(after), 1e-5)
			checked++
		}
	}
	if checked == 0 {
		t.Error("no golden step has gradients and parameters")
	}
}

// numbers flattens nested lists.
func numbers(v any) []float64 {
	list, ok := v.([]any)
	if !ok {
		return []float64{v.(float64)}
	}
	var out []float64
	for _, e := range list {
		out = append(out, numbers(e)...)
	}
	return out
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
