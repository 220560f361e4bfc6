package nn

import (
	"errors"
	"fmt"
)

// ReLU is max(x, 0).
type ReLU struct{}

// Kind implements Op.
func (ReLU) Kind() string { return "relu" }

// Infer implements Op.
func (ReLU) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Gradient implements Differentiable.
func (ReLU) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, ReLUBackward{}, dout, n.Out[0])
}

// ReLUBackward is dx = dy where the output y > 0, else 0; inputs dy, y.
type ReLUBackward struct{}

// Kind implements Op.
func (ReLUBackward) Kind() string { return "relu-backward" }

// Infer implements Op.
func (ReLUBackward) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Sigmoid is 1/(1+exp(-x)).
type Sigmoid struct{}

// Kind implements Op.
func (Sigmoid) Kind() string { return "sigmoid" }

// Infer implements Op.
func (Sigmoid) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Gradient implements Differentiable.
func (Sigmoid) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, SigmoidBackward{}, dout, n.Out[0])
}

// SigmoidBackward is dx = dy y (1-y); inputs dy, y.
type SigmoidBackward struct{}

// Kind implements Op.
func (SigmoidBackward) Kind() string { return "sigmoid-backward" }

// Infer implements Op.
func (SigmoidBackward) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Add is the elementwise sum of two values of one shape.
type Add struct{}

// Kind implements Op.
func (Add) Kind() string { return "add" }

// Infer implements Op.
func (Add) Infer(in []*Value) ([]Shape, []bool, error) {
	if len(in) != 2 || !in[0].Shape.Equal(in[1].Shape) {
		return nil, nil, errors.New("needs two inputs of one shape")
	}
	return same(in)
}

// Gradient implements Differentiable.
func (Add) Gradient(_ *Program, _ *Node, dout *Value, _ []bool) []*Value {
	return []*Value{dout, dout}
}

// TrainingOnly ops are the identity in evaluation: NewProgram leaves them out.
type TrainingOnly interface {
	Op
	trainingOnly()
}

// Modal ops compute something else in evaluation: NewProgram replaces them.
type Modal interface {
	Op
	// ForEvaluation returns the op that takes the same inputs in evaluation
	// and computes the first output.
	ForEvaluation() Op
}

// Dropout keeps element j of a row iff
// Hash32(StreamKey(row key, Stream), j) >= KeepThreshold(Rate), and scales
// what it keeps by 1/(1-Rate) (inverted dropout).
type Dropout struct {
	Rate   float64
	Stream uint32
}

func (Dropout) trainingOnly() {}

// Kind implements Op.
func (Dropout) Kind() string { return "dropout" }

// Infer implements Op.
func (o Dropout) Infer(in []*Value) ([]Shape, []bool, error) {
	if o.Rate < 0 || o.Rate >= 1 {
		return nil, nil, fmt.Errorf("rate %g is outside [0, 1)", o.Rate)
	}
	return same(in)
}

// Gradient implements Differentiable: the same mask on the gradient.
func (o Dropout) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, o, dout)
}

// GaussianNoise adds N(0, Std) drawn by FillNormal from
// StreamKey(row key, Stream).
type GaussianNoise struct {
	Std    float64
	Stream uint32
}

func (GaussianNoise) trainingOnly() {}

// Kind implements Op.
func (GaussianNoise) Kind() string { return "gaussian-noise" }

// Infer implements Op.
func (GaussianNoise) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Gradient implements Differentiable.
func (GaussianNoise) Gradient(_ *Program, _ *Node, dout *Value, _ []bool) []*Value {
	return []*Value{dout}
}

// L2Norm divides each row by max(its Euclidean norm, 1e-12).
type L2Norm struct{}

// Kind implements Op.
func (L2Norm) Kind() string { return "l2-norm" }

// Infer implements Op.
func (L2Norm) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Gradient implements Differentiable.
func (L2Norm) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, L2NormBackward{}, dout, n.In[0])
}

// L2NormBackward is dx = (dy - y (y·dy)) / |x| with y = x/|x|; inputs dy, x.
type L2NormBackward struct{}

// Kind implements Op.
func (L2NormBackward) Kind() string { return "l2-norm-backward" }

// Infer implements Op.
func (L2NormBackward) Infer(in []*Value) ([]Shape, []bool, error) { return same(in) }

// Concat joins batched matrices [N,Wi] along their columns.
type Concat struct{}

// Kind implements Op.
func (Concat) Kind() string { return "concat" }

// Infer implements Op.
func (Concat) Infer(in []*Value) ([]Shape, []bool, error) {
	w := 0
	for _, v := range in {
		if !v.Batched || len(v.Shape) != 2 || v.Shape[0] != in[0].Shape[0] {
			return nil, nil, fmt.Errorf("input %v is not a matrix of the batch", v)
		}
		w += v.Shape[1]
	}
	return []Shape{{in[0].Shape[0], w}}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (Concat) Gradient(p *Program, n *Node, dout *Value, want []bool) []*Value {
	grads := make([]*Value, len(n.In))
	from := 0
	for i, v := range n.In {
		if want[i] {
			grads[i] = p.Apply("d:"+v.Name+"/"+n.Out[0].Name, Columns{from, v.Shape[1]}, dout)[0]
		}
		from += v.Shape[1]
	}
	return grads
}

// Columns takes the columns From to From+Width-1 of a matrix [N,W].
type Columns struct{ From, Width int }

// Kind implements Op.
func (Columns) Kind() string { return "columns" }

// Infer implements Op.
func (o Columns) Infer(in []*Value) ([]Shape, []bool, error) {
	if o.From < 0 || o.From+o.Width > in[0].Shape[1] {
		return nil, nil, fmt.Errorf("columns %d..%d are not in %v", o.From, o.From+o.Width, in[0])
	}
	return []Shape{{in[0].Shape[0], o.Width}}, []bool{true}, nil
}

// Reshape views a batched value [N,...] as [N, Shape...]; it moves nothing.
type Reshape struct{ Shape Shape }

// Kind implements Op.
func (Reshape) Kind() string { return "reshape" }

// Infer implements Op.
func (o Reshape) Infer(in []*Value) ([]Shape, []bool, error) {
	if o.Shape.Size() != in[0].Width() {
		return nil, nil, fmt.Errorf("%v has not the %d elements a row of %v", in[0], o.Shape.Size(), o.Shape)
	}
	return []Shape{append(Shape{in[0].Shape[0]}, o.Shape...)}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (Reshape) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	return p.Apply("d:"+n.In[0].Name+"/"+n.Out[0].Name, Reshape{n.In[0].Shape[1:]}, dout)
}

// same infers one output like the first input.
func same(in []*Value) ([]Shape, []bool, error) {
	return []Shape{in[0].Shape}, []bool{in[0].Batched}, nil
}
