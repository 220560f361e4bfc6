package nn

import "math"

// OptimizerKind names an update rule.
type OptimizerKind string

// The update rules.
const (
	Adam OptimizerKind = "adam"
	SGD  OptimizerKind = "sgd" // with Nesterov momentum
)

// Optimizer is an update rule with its constants.
//
// Adam as in TensorFlow 1, eps outside the bias correction:
// m = b1 m + (1-b1) g; v = b2 v + (1-b2) g²; w -= lr_t m/(sqrt(v)+eps) with
// lr_t from AdamRate. SGD as in PyTorch with nesterov=True:
// g += wd w; u = mu u + g; w -= lr (g + mu u), u starting at 0.
type Optimizer struct {
	Kind         OptimizerKind `json:"kind"`
	Beta1, Beta2 float64       `json:",omitempty"`
	Epsilon      float64       `json:"epsilon,omitempty"`
	Momentum     float64       `json:"momentum,omitempty"`
	WeightDecay  float64       `json:"weight_decay,omitempty"` // added to every gradient, times the weight
}

// NewAdam returns Adam with the customary constants 0.9, 0.999, 1e-8.
func NewAdam() Optimizer { return Optimizer{Kind: Adam, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8} }

// NewSGD returns SGD with Nesterov momentum 0.9.
func NewSGD(weightDecay float64) Optimizer {
	return Optimizer{Kind: SGD, Momentum: 0.9, WeightDecay: weightDecay}
}

// AdamRate is the learning rate of step t = 1, 2, ... with Adam's bias
// correction in it: lr sqrt(1-b2^t)/(1-b1^t).
func (o Optimizer) AdamRate(lr float64, t int64) float64 {
	return lr * math.Sqrt(1-math.Pow(o.Beta2, float64(t))) / (1 - math.Pow(o.Beta1, float64(t)))
}

// StateNames lists the state that the rule keeps for each parameter; a state
// tensor is called "<name>/<parameter>".
func (o Optimizer) StateNames() []string {
	if o.Kind == SGD {
		return []string{"sgd.momentum"}
	}
	return []string{"adam.m", "adam.v"}
}
