package subclass

import (
	"errors"
	"fmt"
	"math"
)

// ErrBadState marks every error that says that a saved map, partition or
// neglection state is damaged: errors.Is(err, ErrBadState).
var ErrBadState = errors.New("bad subclass state")

// stateError is an ErrBadState with its reason.
type stateError struct{ what string }

func (e *stateError) Error() string        { return e.what }
func (e *stateError) Is(target error) bool { return target == ErrBadState }

func badState(format string, args ...any) error {
	return &stateError{fmt.Sprintf(format, args...)}
}

// Map says which class each subclass belongs to. It does not change.
type Map struct {
	class   []int32 // of each subclass
	offsets []int32 // class c has the subclasses members[offsets[c]:offsets[c+1]]
	members []int32
	// ownFirst says that subclass c belongs to class c for every c below Classes().
	ownFirst bool
}

// Identity returns the map in which every class is its own only subclass.
func Identity(classes int) *Map {
	m, err := NewMap(classes, identity(classes))
	if err != nil {
		panic("subclass: Identity: " + err.Error())
	}
	return m
}

func identity(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = int32(i)
	}
	return s
}

// NewMap returns the map with the given class for each subclass. It is an
// ErrBadState if a class is out of range or has no subclass.
func NewMap(classes int, classOf []int32) (*Map, error) {
	if classes < 1 || len(classOf) < classes {
		return nil, badState("%d subclasses for %d classes; expected at least one for each class", len(classOf), classes)
	}
	m := &Map{class: append([]int32(nil), classOf...), offsets: make([]int32, classes+1), members: make([]int32, len(classOf)), ownFirst: true}
	for s, c := range classOf {
		if c < 0 || int(c) >= classes {
			return nil, badState("subclass %d has class %d; expected 0 to %d", s, c, classes-1)
		}
		m.offsets[c+1]++
		if s < classes && int(c) != s {
			m.ownFirst = false
		}
	}
	for c := range classes {
		if m.offsets[c+1] == 0 {
			return nil, badState("class %d has no subclass", c)
		}
		m.offsets[c+1] += m.offsets[c]
	}
	next := append([]int32(nil), m.offsets[:classes]...)
	for s, c := range classOf {
		m.members[next[c]] = int32(s)
		next[c]++
	}
	return m, nil
}

// relabel numbers the subclasses when the given classes, in order of neglection,
// are split in the given numbers of clusters (see the package comment).
func relabel(classes int, split, clusters []int) (*Map, error) {
	classOf := identity(classes)
	for i, c := range split {
		for range clusters[i] - 1 {
			classOf = append(classOf, int32(c))
		}
	}
	return NewMap(classes, classOf)
}

// Classes returns C.
func (m *Map) Classes() int { return len(m.offsets) - 1 }

// Subclasses returns S.
func (m *Map) Subclasses() int { return len(m.class) }

// Class returns the class of subclass s.
func (m *Map) Class(s int) int { return int(m.class[s]) }

// Members returns the subclasses of class c in the order of its clusters,
// ascending. The caller must not change them.
func (m *Map) Members(c int) []int32 { return m.members[m.offsets[c]:m.offsets[c+1]] }

// ClassScores fills dst (rows x C) with the class scores of scores (rows x S): the
// maximum over each class's subclasses. A NaN among them makes the class NaN. dst
// may be scores itself only if S = C. It allocates nothing and panics if the
// lengths do not fit.
func (m *Map) ClassScores(dst, scores []float32) {
	c, s := m.Classes(), m.Subclasses()
	rows := len(scores) / s
	if rows*s != len(scores) || rows*c != len(dst) {
		panic(fmt.Sprintf("subclass: ClassScores: %d scores of %d subclasses into %d of %d classes", len(scores), s, len(dst), c))
	}
	if m.ownFirst {
		for r := range rows {
			to, from := dst[r*c:(r+1)*c], scores[r*s:(r+1)*s]
			copy(to, from)
			m.raise(to, from[c:], m.class[c:])
		}
		return
	}
	for r := range rows {
		to := dst[r*c : (r+1)*c]
		for i := range to {
			to[i] = float32(math.Inf(-1))
		}
		m.raise(to, scores[r*s:(r+1)*s], m.class)
	}
}

// raise raises the classes' scores to those of their subclasses.
func (*Map) raise(to, from []float32, class []int32) {
	for i, v := range from {
		p := &to[class[i]]
		*p = max(*p, v) // NaN if either is
	}
}

// Best returns the class of the best subclass of one row of S scores: the answer
// for single-label data. Of equal scores the lower subclass wins; NaN never does.
func (m *Map) Best(scores []float32) int {
	best := 0
	for s, v := range scores[:m.Subclasses()] {
		if v > scores[best] || scores[best] != scores[best] {
			best = s
		}
	}
	return m.Class(best)
}

// ColumnWeights returns a weight for every subclass: v for those of the neglected
// classes, 1 for the others.
func (m *Map) ColumnWeights(neglected []int, v float32) []float32 {
	w := make([]float32, m.Subclasses())
	for i := range w {
		w[i] = 1
	}
	for _, c := range neglected {
		for _, s := range m.Members(c) {
			w[s] = v
		}
	}
	return w
}
