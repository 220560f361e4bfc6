package gorgonia

import (
	"testing"

	"sdnn/nn/conformance"
)

func TestConformance(t *testing.T) { conformance.Run(t, New(), conformance.VideoOps) }

func TestAgreesWithReference(t *testing.T) { conformance.Compare(t, conformance.Reference(), New()) }
