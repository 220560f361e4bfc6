package conformance

import (
	"testing"

	"sdnn/nn"
)

// The interpreted reverse pass, against finite differences of the interpreted
// forward pass and against golden values: this tests package nn and the suite.
func TestReference(t *testing.T) { Run(t, Reference(), AllOps) }

func TestCompareReferenceWithItself(t *testing.T) { Compare(t, Reference(), Reference()) }

// Every op of the lists occurs in some net, and no net has an op that is not listed.
func TestCasesCoverAllOps(t *testing.T) {
	covered := map[string]bool{}
	names := map[string]bool{}
	for _, c := range allCases() {
		if names[c.name()] {
			t.Errorf("two cases are called %s", c.name())
		}
		names[c.name()] = true
		for _, kind := range c.kinds() {
			covered[kind] = true
		}
	}
	for _, kind := range AllOps {
		if !covered[kind] {
			t.Errorf("no case has the op %s", kind)
		}
		delete(covered, kind)
	}
	for kind := range covered {
		t.Errorf("the op %s of a case is in no list", kind)
	}
}

var _ nn.Engine = Reference()
