package nn

import "fmt"

// BatchNorm normalises each channel over the batch's rows and positions:
// y = gamma (x - mean)/sqrt(var + Epsilon) + beta, with the batch's mean and
// biased variance (Ioffe and Szegedy 2015). Inputs x [N,...,C], gamma [C],
// beta [C] and the Buffers running mean [C] and running variance [C], which a
// training step moves as PyTorch does:
//
//	running = (1 - Momentum) running + Momentum batch
//
// with the unbiased variance (divided by count-1). Outputs y, and mean [C] and
// 1/sqrt(var + Epsilon) [C] for the reverse pass.
type BatchNorm struct{ Epsilon, Momentum float64 }

// Kind implements Op.
func (BatchNorm) Kind() string { return "batch-norm" }

// Infer implements Op.
func (BatchNorm) Infer(in []*Value) ([]Shape, []bool, error) {
	if err := batchNormInputs(in); err != nil {
		return nil, nil, err
	}
	c := in[1].Shape
	return []Shape{in[0].Shape, c, c}, []bool{true, false, false}, nil
}

// ForEvaluation implements Modal.
func (o BatchNorm) ForEvaluation() Op { return BatchNormInference{o.Epsilon} }

// Gradient implements Differentiable.
func (BatchNorm) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	out := p.Apply("d:"+n.Out[0].Name+"/in", BatchNormBackward{}, dout, n.In[0], n.In[1], n.Out[1], n.Out[2])
	return []*Value{out[0], out[1], out[2], nil, nil}
}

// BatchNormBackward takes dy, x, gamma, mean, 1/std to dx, dgamma, dbeta:
// with xh = (x - mean)/std, dbeta = sum dy, dgamma = sum dy xh and
// dx = gamma/std (dy - dbeta/count - xh dgamma/count).
type BatchNormBackward struct{}

// Kind implements Op.
func (BatchNormBackward) Kind() string { return "batch-norm-backward" }

// Infer implements Op.
func (BatchNormBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	c := in[2].Shape
	return []Shape{in[1].Shape, c, c}, []bool{true, false, false}, nil
}

// BatchNormInference is BatchNorm with the running statistics in place of the
// batch's. Evaluation has it for BatchNorm. A graph may hold it too: the layer is
// then trained with its statistics frozen, as is customary in fine-tuning.
type BatchNormInference struct{ Epsilon float64 }

// Kind implements Op.
func (BatchNormInference) Kind() string { return "batch-norm-inference" }

// Infer implements Op.
func (BatchNormInference) Infer(in []*Value) ([]Shape, []bool, error) {
	if err := batchNormInputs(in); err != nil {
		return nil, nil, err
	}
	return []Shape{in[0].Shape}, []bool{true}, nil
}

// Gradient implements Differentiable.
func (o BatchNormInference) Gradient(p *Program, n *Node, dout *Value, _ []bool) []*Value {
	out := p.Apply("d:"+n.Out[0].Name+"/in", BatchNormInferenceBackward(o), dout, n.In[0], n.In[1], n.In[3], n.In[4])
	return []*Value{out[0], out[1], out[2], nil, nil}
}

// BatchNormInferenceBackward takes dy, x, gamma, running mean, running variance
// to dx, dgamma, dbeta: the statistics do not depend on x, so that with std =
// sqrt(variance + Epsilon), dx = gamma/std dy, dgamma = sum dy (x - mean)/std and
// dbeta = sum dy.
type BatchNormInferenceBackward struct{ Epsilon float64 }

// Kind implements Op.
func (BatchNormInferenceBackward) Kind() string { return "batch-norm-inference-backward" }

// Infer implements Op.
func (BatchNormInferenceBackward) Infer(in []*Value) ([]Shape, []bool, error) {
	c := in[2].Shape
	return []Shape{in[1].Shape, c, c}, []bool{true, false, false}, nil
}

func batchNormInputs(in []*Value) error {
	if len(in) != 5 {
		return fmt.Errorf("has %d inputs, needs x, gamma, beta, running mean and variance", len(in))
	}
	c := Shape{in[0].Shape[len(in[0].Shape)-1]}
	for _, v := range in[1:] {
		if !v.Shape.Equal(c) {
			return fmt.Errorf("%v does not fit the channels of %v", v, in[0])
		}
	}
	return nil
}
