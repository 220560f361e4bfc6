package nn

import "testing"

func TestFloorIsTheLargerOfTheTwoBounds(t *testing.T) {
	r := Roof{Flops: 100e9, BF16Flops: 400e9, Bandwidth: []Bandwidth{{Set: 1e6, Rate: 500e9}, {Set: 8e6, Rate: 100e9}, {Set: 128e6, Rate: 20e9}}}
	for _, c := range []struct {
		name  string
		op    OpProfile
		want  float64
		bound Bound
	}{
		{"by products", OpProfile{Flops: 9e9, Work: 2e9, Bytes: 10e6, Set: 10e6}, 0.02, BoundFlops},
		{"by products of bfloat16", OpProfile{Flops: 2e9, Work: 2e9, Bytes: 10e6, Set: 10e6, BF16: true}, 0.005, BoundFlops},
		{"by memory", OpProfile{Work: 2e9, Bytes: 4e9, Set: 2e9}, 0.2, BoundBytes},
		{"by a cache", OpProfile{Bytes: 10e6, Set: 10e6}, 0.0001, BoundBytes},
		{"between two sets the smaller", OpProfile{Bytes: 127e6, Set: 127e6}, 0.00127, BoundBytes},
		{"less than any set", OpProfile{Bytes: 5e3, Set: 5e3}, 1e-8, BoundBytes},
		{"two passes over a set", OpProfile{Bytes: 400e6, Set: 200e6}, 0.02, BoundBytes},
	} {
		got, bound := r.Floor(&c.op)
		if diff := got - c.want; diff < -1e-15 || diff > 1e-15 || bound != c.bound {
			t.Errorf("%s: floor %g s (%s), want %g s (%s)", c.name, got, bound, c.want, c.bound)
		}
	}
	var unknown Roof
	if got, _ := unknown.Floor(&OpProfile{Work: 1e9, Bytes: 1e9, Set: 1e9}); got != 0 {
		t.Errorf("the floor under an unknown roof is %g s, want 0", got)
	}
}

func TestRaiseKeepsTheBest(t *testing.T) {
	var r Roof
	r.Raise(Roof{Path: "p", Flops: 3, BF16Flops: 8, Bandwidth: []Bandwidth{{1, 10}, {2, 5}}})
	r.Raise(Roof{Path: "p", Flops: 4, BF16Flops: 7, Bandwidth: []Bandwidth{{1, 9}, {2, 6}}})
	if r.Path != "p" || r.Flops != 4 || r.BF16Flops != 8 || r.Bandwidth[0].Rate != 10 || r.Bandwidth[1].Rate != 6 {
		t.Errorf("%+v", r)
	}
	r.Raise(Roof{}) // it failed
	r.Raise(Roof{Path: "p", Flops: 2, Bandwidth: []Bandwidth{{1, 11}}})
	if r.Flops != 4 || len(r.Bandwidth) != 2 || r.Bandwidth[0].Rate != 11 || r.Bandwidth[1].Rate != 6 {
		t.Errorf("%+v", r)
	}
	short := Roof{Path: "p", Flops: 9, Bandwidth: []Bandwidth{{1, 12}}}
	short.Raise(r)
	if short.Flops != 9 || len(short.Bandwidth) != 2 || short.Bandwidth[0].Rate != 12 {
		t.Errorf("%+v", short)
	}
}
