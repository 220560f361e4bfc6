package main

import (
	"strings"
	"testing"

	"sdnn/nn"
)

// A card has no threads, and one that is full was not measured.
func TestRoofOfACard(t *testing.T) {
	for want, m := range map[string]machineRoof{
		"\nNVIDIA H100, at best: 50.0 GF/s, in bf16 700.0; GB/s on a set of 8 MiB: 5000.0, 1024 MiB: 3000.0\n": newMachineRoof(nn.Roof{Path: "NVIDIA H100",
			Flops: 50e9, BF16Flops: 700e9, Bandwidth: []nn.Bandwidth{{Set: 8 << 20, Rate: 5e12}, {Set: 1 << 30, Rate: 3e12}}}, 0),
		"\nWhat the machine does at best could not be measured: its memory is full\n": newMachineRoof(nn.Roof{}, 0),
	} {
		var b strings.Builder
		if m.text(&b); b.String() != want {
			t.Errorf("%q, want %q", b.String(), want)
		}
	}
}
