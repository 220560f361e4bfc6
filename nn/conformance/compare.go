package conformance

import (
	"testing"

	"sdnn/nn"
)

// Compare runs two engines beside each other through the suite's nets: scores,
// losses, gradients and neglection degrees of each step, and the parameters
// after it. A net that either engine refuses is skipped.
func Compare(t *testing.T, a, b nn.Engine) {
	for _, c := range allCases() {
		t.Run(c.name(), func(t *testing.T) { compare(t, a, b, c) })
	}
}

func compare(t *testing.T, a, b nn.Engine, c *testCase) {
	purpose := nn.Training
	if c.theta {
		purpose = nn.Measuring
	}
	o := nn.CompileOptions{Purpose: purpose, Optimizer: nn.NewSGD(5e-4), KeepGradients: true}
	ha, hb := open(t, a, c, nil, o), open(t, b, c, nil, o)
	p := nn.NewProgram(c.model, purpose)
	for i, f := range c.feeds {
		xa, _, la := ha.forward(0, f)
		xb, _, lb := hb.forward(0, f)
		check(t, "scores of "+b.Name()+" against "+a.Name(), nn.Shape{f.Rows, c.model.Outputs()}, xb, widen(xa), valueTolerance)
		checkLoss(t, "evaluation loss", lb, la)

		st := State{}
		for _, v := range trained(c.model) {
			st[v.Name] = widen(ha.read(v.Name))
		}
		for _, v := range c.model.Graph.Constants() {
			st[v.Name] = c.initial(seed)[v.Name]
		}
		exact := Interpret(p, f, st) // only to know what theta's rounding can be
		sp := nn.StepParams{LR: 0.05, Step: int64(i + 1)}
		ra, rb := ha.train(1, f, sp), hb.train(1, f, sp)
		checkLoss(t, "training loss", rb.Loss, ra.Loss)
		if c.theta {
			checkTheta(t, p, f, exact, ra.Theta)
			checkTheta(t, p, f, exact, rb.Theta)
		}
		for j, v := range c.model.Graph.Params() {
			if p.Grads[j] != nil {
				tol := gradTolerance
				tol.abs += rounding(exact, j)
				check(t, stateName("grad", v), v.Shape, hb.read(stateName("grad", v)), widen(ha.read(stateName("grad", v))), tol)
			}
		}
		for _, v := range trained(c.model) {
			check(t, v.Name, v.Shape, hb.read(v.Name), widen(ha.read(v.Name)), valueTolerance)
		}
	}
}
