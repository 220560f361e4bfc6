package eval

import (
	"cmp"
	"fmt"
	"slices"
)

// ClassValue is a class's quality under some metric.
type ClassValue struct {
	Class int
	Name  string
	Count int64 // samples of the class; a class without any takes no part
	Value float64
}

// Values returns the classes' average precision (more is better).
func (r *MultiLabelResult) Values() []ClassValue {
	v := make([]ClassValue, len(r.PerClass))
	for i, c := range r.PerClass {
		v[i] = ClassValue{c.Class, c.Name, c.Positives, c.AP}
	}
	return v
}

// Values returns the classes' accuracy, 1 minus their error rate (more is better).
func (r *SingleLabelResult) Values() []ClassValue {
	v := make([]ClassValue, len(r.PerClass))
	for i, c := range r.PerClass {
		v[i] = ClassValue{c.Class, c.Name, c.Images, 1 - c.ErrorRate}
	}
	return v
}

// Group is the mean quality of some classes in two evaluations.
type Group struct {
	Classes int     `json:"classes"` // that take part
	Before  float64 `json:"before"`
	After   float64 `json:"after"`
	Delta   float64 `json:"delta"`
	Better  int     `json:"better"` // classes that gained
	Worse   int     `json:"worse"`  // classes that lost
}

// ClassDelta is one class in two evaluations.
type ClassDelta struct {
	Class     int     `json:"class"`
	Name      string  `json:"name,omitempty"`
	Count     int64   `json:"count"`
	Neglected bool    `json:"neglected"`
	Before    float64 `json:"before"`
	After     float64 `json:"after"`
	Delta     float64 `json:"delta"`
}

// Comparison says what changed between two evaluations, for the neglected classes and
// for the rest: a gain of the ones at the cost of the others is none.
type Comparison struct {
	Neglected Group        `json:"neglected"`
	Rest      Group        `json:"rest"`
	All       Group        `json:"all"`
	PerClass  []ClassDelta `json:"per_class"` // the largest gain first, of equal ones the lower class
}

// Compare compares the evaluations of two classifiers on the same data. It is an error
// if the classes or their numbers of samples differ: the data is then not the same.
func Compare(before, after []ClassValue, neglected []int) (Comparison, error) {
	if len(before) != len(after) {
		return Comparison{}, fmt.Errorf("cannot compare evaluations of %d and of %d classes; evaluate both runs on the same store", len(before), len(after))
	}
	var c Comparison
	for i, b := range before {
		a := after[i]
		if a.Class != b.Class || a.Count != b.Count {
			return Comparison{}, fmt.Errorf("cannot compare: class %d has %d samples in one evaluation, class %d has %d in the other; evaluate both runs on the same split", b.Class, b.Count, a.Class, a.Count)
		}
		if b.Count == 0 {
			continue
		}
		d := ClassDelta{b.Class, b.Name, b.Count, slices.Contains(neglected, b.Class), b.Value, a.Value, a.Value - b.Value}
		c.PerClass = append(c.PerClass, d)
		c.All.add(d)
		if d.Neglected {
			c.Neglected.add(d)
		} else {
			c.Rest.add(d)
		}
	}
	for _, g := range []*Group{&c.Neglected, &c.Rest, &c.All} {
		g.finish()
	}
	slices.SortStableFunc(c.PerClass, func(x, y ClassDelta) int { return cmp.Compare(y.Delta, x.Delta) })
	return c, nil
}

func (g *Group) add(d ClassDelta) {
	g.Classes++
	g.Before += d.Before
	g.After += d.After
	switch {
	case d.Delta > 0:
		g.Better++
	case d.Delta < 0:
		g.Worse++
	}
}

// finish turns the sums into means.
func (g *Group) finish() {
	if g.Classes > 0 {
		g.Before /= float64(g.Classes)
		g.After /= float64(g.Classes)
	}
	g.Delta = g.After - g.Before
}
