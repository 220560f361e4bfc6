package nn

import (
	"math/rand/v2"
	"testing"
)

// A plan is right if two values alive at the same step never share an
// element, unless one was allowed to overwrite the other.
func TestPlanMemorySharesNothingAlive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var values []*Value
		var steps []PlanStep
		for i := range 3 + r.IntN(30) {
			v := &Value{ID: i, Shape: Shape{1 + r.IntN(100)}}
			s := PlanStep{Writes: []*Value{v}}
			for _, u := range values {
				if r.IntN(4) == 0 {
					s.Reads = append(s.Reads, u)
				}
			}
			if len(s.Reads) > 0 && r.IntN(2) == 0 && s.Reads[0].Shape.Equal(v.Shape) {
				s.InPlace = [][2]*Value{{s.Reads[0], v}}
			}
			values = append(values, v)
			steps = append(steps, s)
		}
		kept := values[r.IntN(len(values))]
		p := PlanMemory(len(values), steps, func(v *Value) bool { return v == kept })
		checkPlan(t, round, p, steps, values, kept)
	}
}

// checkPlan runs the steps symbolically: each element remembers which value
// wrote it last, and every read must find its own value there.
func checkPlan(t *testing.T, round int, p *Plan, steps []PlanStep, values []*Value, kept *Value) {
	t.Helper()
	arena := make([]int, p.Size)
	holds := func(v *Value) bool {
		for e := range v.Shape.Size() {
			if arena[p.Offset[v.ID]+e] != v.ID {
				return false
			}
		}
		return true
	}
	for i := range arena {
		arena[i] = -1
	}
	for i, s := range steps {
		for _, v := range s.Reads {
			if !holds(v) {
				t.Fatalf("round %d step %d: value %d was overwritten before its read", round, i, v.ID)
			}
		}
		for _, v := range s.Writes {
			for e := range v.Shape.Size() {
				arena[p.Offset[v.ID]+e] = v.ID
			}
		}
	}
	if !holds(kept) {
		t.Fatalf("round %d: kept value %d was overwritten", round, kept.ID)
	}
}

func TestPlanMemoryReusesAndOverwrites(t *testing.T) {
	v := func(id int) *Value { return &Value{ID: id, Shape: Shape{64}} }
	a, b, c, d := v(0), v(1), v(2), v(3)
	p := PlanMemory(4, []PlanStep{
		{Writes: []*Value{a}},
		{Reads: []*Value{a}, Writes: []*Value{b}, InPlace: [][2]*Value{{a, b}}},
		{Reads: []*Value{b}, Writes: []*Value{c}},
		{Reads: []*Value{c}, Writes: []*Value{d}},
	}, func(x *Value) bool { return x == d })
	if p.Offset[a.ID] != p.Offset[b.ID] {
		t.Errorf("b could overwrite a, but lies at %d, a at %d", p.Offset[b.ID], p.Offset[a.ID])
	}
	if p.Size != 128 {
		t.Errorf("arena of %d elements, two values alive at a time need 128", p.Size)
	}
}
