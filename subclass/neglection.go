package subclass

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Score is how the neglection degrees of an epoch's batches become one number a
// class.
type Score string

const (
	// ScoreMean is the mean of theta over the batches in which the class occurs.
	ScoreMean Score = "mean"
	// ScoreAuthors is what the authors' code ranks by: theta is added once per
	// occurrence of the label, the sum is multiplied by 1+1/N after every batch of N
	// rows and divided by the index of the epoch's last batch (taken as 1 if the epoch
	// has one batch only). It follows class frequency.
	ScoreAuthors Score = "authors"
)

// ParseScore returns the score with the given name.
func ParseScore(name string) (Score, error) {
	switch s := Score(name); s {
	case ScoreMean, ScoreAuthors:
		return s, nil
	}
	return "", fmt.Errorf("unknown neglection score %q; use %s or %s", name, ScoreMean, ScoreAuthors)
}

// Neglection accumulates neglection degrees over the batches of stage 1, for both
// scores at once.
type Neglection struct {
	classes int
	// Of the running epoch:
	sum     []float64 // of theta over the batches in which the class occurs
	batches []int64   // in which the class occurs
	running []float64 // the authors' sum
	steps   int64     // batches
	// Of the epochs that ended; 0 for a class that did not occur.
	epochs []Epoch
}

// Epoch holds one epoch's scores, an element a class; 0 if the class did not occur.
type Epoch struct {
	Mean    []float64
	Authors []float64
	Batches []int64 // in which the class occurred
}

// Theta returns the epoch's degrees under score s.
func (e *Epoch) Theta(s Score) []float64 {
	if s == ScoreAuthors {
		return e.Authors
	}
	return e.Mean
}

// NewNeglection returns an accumulator for the given number of classes.
func NewNeglection(classes int) *Neglection {
	return &Neglection{classes: classes, sum: make([]float64, classes), batches: make([]int64, classes), running: make([]float64, classes)}
}

// AddBatch counts a batch of rows rows: theta has the degree of every class, 0 if it
// does not occur, and labels are all labels of the batch, row after row. It allocates
// nothing and panics if the lengths do not fit.
func (n *Neglection) AddBatch(theta []float32, labels []int32, rows int) {
	n.check(len(theta), rows)
	for c, t := range theta {
		n.occur(c, float64(t))
	}
	for _, l := range labels {
		n.running[l] += float64(theta[l])
	}
	n.step(rows)
}

// AddBatch64 is AddBatch for degrees in float64, such as those of [Theta].
func (n *Neglection) AddBatch64(theta []float64, labels []int32, rows int) {
	n.check(len(theta), rows)
	for c, t := range theta {
		n.occur(c, t)
	}
	for _, l := range labels {
		n.running[l] += theta[l]
	}
	n.step(rows)
}

func (n *Neglection) check(classes, rows int) {
	if classes != n.classes || rows < 1 {
		panic(fmt.Sprintf("subclass: AddBatch: %d degrees for %d classes, %d rows", classes, n.classes, rows))
	}
}

func (n *Neglection) occur(c int, theta float64) {
	if theta != 0 {
		n.sum[c] += theta
		n.batches[c]++
	}
}

func (n *Neglection) step(rows int) {
	growth := 1 + 1/float64(rows)
	for c := range n.running {
		n.running[c] *= growth
	}
	n.steps++
}

// EndEpoch turns the batches since the last call into an epoch and begins the next.
func (n *Neglection) EndEpoch() {
	e := Epoch{Mean: make([]float64, n.classes), Authors: make([]float64, n.classes), Batches: slices.Clone(n.batches)}
	last := float64(max(n.steps-1, 1))
	for c := range n.classes {
		if n.batches[c] > 0 {
			e.Mean[c] = n.sum[c] / float64(n.batches[c])
		}
		e.Authors[c] = n.running[c] / last
	}
	n.epochs = append(n.epochs, e)
	clear(n.sum)
	clear(n.batches)
	clear(n.running)
	n.steps = 0
}

// Epochs returns the epochs that ended. The caller must not change them.
func (n *Neglection) Epochs() []Epoch { return n.epochs }

// Ranking returns the classes in order of neglection under score s in the last epoch
// that ended: the largest degree first, of equal degrees the lower class first.
// Classes that did not occur are left out. Without an epoch there is no ranking.
func (n *Neglection) Ranking(s Score) []int {
	if len(n.epochs) == 0 {
		return []int{}
	}
	theta := n.epochs[len(n.epochs)-1].Theta(s)
	order := []int{}
	for c, t := range theta {
		if t > 0 {
			order = append(order, c)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case theta[a] > theta[b]:
			return -1
		case theta[a] < theta[b]:
			return 1
		}
		return 0
	})
	return order
}

// Neglected returns the k first classes of the ranking, or all of it.
func (n *Neglection) Neglected(s Score, k int) []int {
	r := n.Ranking(s)
	return r[:min(k, len(r))]
}

const neglectionMagic = "SDNG"

// MarshalBinary returns the exact state, within an epoch too, so that an interrupted
// stage 1 resumes to the same bits. The body is: classes u64; for each class sum f64,
// running f64, batches u64; steps u64; epochs u64; for each epoch and class mean f64,
// authors f64, batches u64.
func (n *Neglection) MarshalBinary() ([]byte, error) {
	e := newEncoder(neglectionMagic)
	e.u64(uint64(n.classes))
	block := func(a, b []float64, count []int64) {
		for c := range n.classes {
			e.f64(a[c])
			e.f64(b[c])
			e.u64(uint64(count[c]))
		}
	}
	block(n.sum, n.running, n.batches)
	e.u64(uint64(n.steps))
	e.u64(uint64(len(n.epochs)))
	for _, ep := range n.epochs {
		block(ep.Mean, ep.Authors, ep.Batches)
	}
	return e.finish(), nil
}

// ReadNeglection is the inverse of MarshalBinary for the given number of classes. A
// damaged state is an ErrBadState.
func ReadNeglection(state []byte, classes int) (*Neglection, error) {
	d := newDecoder(state, neglectionMagic, "neglection")
	if c := d.u64(); d.err == nil && c != uint64(classes) {
		return nil, badState("neglection of %d classes, expected %d", c, classes)
	}
	n := NewNeglection(classes)
	block := func(a, b []float64, count []int64) {
		for c := range classes {
			a[c], b[c], count[c] = d.f64(), d.f64(), int64(d.u64())
		}
	}
	block(n.sum, n.running, n.batches)
	n.steps = int64(d.u64())
	for range d.count(24 * classes) {
		e := Epoch{make([]float64, classes), make([]float64, classes), make([]int64, classes)}
		block(e.Mean, e.Authors, e.Batches)
		n.epochs = append(n.epochs, e)
	}
	return n, d.finish()
}

// NeglectionFile is the content of neglection.json.
type NeglectionFile struct {
	Score     Score             `json:"score"`
	Neglected []int             `json:"neglected"` // the chosen classes, in order
	Ranking   []int             `json:"ranking"`   // all classes that occurred, in order
	Epochs    []NeglectionEpoch `json:"epochs"`
}

// NeglectionEpoch is one epoch in neglection.json.
type NeglectionEpoch struct {
	Epoch   int      `json:"epoch"` // from 1
	Theta   []Degree `json:"theta"` // of each class
	Batches []int64  `json:"batches"`
}

// Degree is a neglection degree in JSON: a number; null for a class that did not
// occur (0 here); the string "Infinity" for +Inf, which JSON numbers cannot hold and
// which strconv, Python's float and JavaScript's Number all read.
type Degree float64

// MarshalJSON implements json.Marshaler.
func (d Degree) MarshalJSON() ([]byte, error) {
	switch v := float64(d); {
	case v == 0:
		return []byte("null"), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case v != v || v < 0:
		return nil, fmt.Errorf("subclass: %v is no neglection degree", v)
	default:
		return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Degree) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "null":
		*d = 0
		return nil
	case `"Infinity"`:
		*d = Degree(math.Inf(1))
		return nil
	}
	return json.Unmarshal(b, (*float64)(d))
}

// File describes n for neglection.json, with the k most neglected classes as the
// chosen ones.
func (n *Neglection) File(s Score, k int) NeglectionFile {
	f := NeglectionFile{Score: s, Neglected: n.Neglected(s, k), Ranking: n.Ranking(s), Epochs: []NeglectionEpoch{}}
	for i := range n.epochs {
		e := NeglectionEpoch{Epoch: i + 1, Batches: n.epochs[i].Batches}
		for _, t := range n.epochs[i].Theta(s) {
			e.Theta = append(e.Theta, Degree(t))
		}
		f.Epochs = append(f.Epochs, e)
	}
	return f
}
