package subclass

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Cell is a class that is split: which of its training rows went to which cluster.
type Cell struct {
	Class    int
	Clusters int
	Rows     []int32 // the class's training rows, ascending
	Cluster  []uint8 // of each row, below Clusters
	Inertia  float64 // sum of squared distances to the clusters' means; 0 for a random split
}

// sizes returns the number of rows of each cluster.
func (c *Cell) sizes() []int64 {
	n := make([]int64, c.Clusters)
	for _, k := range c.Cluster {
		n[k]++
	}
	return n
}

// Skipped is a neglected class that was not split, for want of positives.
type Skipped struct {
	Class     int `json:"class"`
	Positives int `json:"positives"`
	Needed    int `json:"needed"`
}

// Partition is the outcome of stage 2: the split classes in order of neglection, the
// map that follows from them, and the neglected classes that were not split. It does
// not change.
type Partition struct {
	m       *Map
	cells   []Cell
	skipped []Skipped
	at      []int32 // index into cells by class, -1 for classes that are not split
}

// Whole returns the partition of classes that splits none: plain training.
func Whole(classes int) *Partition {
	p, err := NewPartition(classes, nil, nil)
	if err != nil {
		panic("subclass: Whole: " + err.Error())
	}
	return p
}

// NewPartition returns the partition with the given cells, in order of neglection.
// It keeps the slices. Cells that do not fit together (a class out of range or
// twice, rows that do not ascend, an empty or unknown cluster) are an ErrBadState.
func NewPartition(classes int, cells []Cell, skipped []Skipped) (*Partition, error) {
	p := &Partition{cells: cells, skipped: skipped, at: make([]int32, classes)}
	for c := range p.at {
		p.at[c] = -1
	}
	var split, clusters []int
	for i := range cells {
		c := &cells[i]
		if c.Class < 0 || c.Class >= classes {
			return nil, badState("split class %d; expected 0 to %d", c.Class, classes-1)
		}
		if p.at[c.Class] >= 0 {
			return nil, badState("class %d is split twice", c.Class)
		}
		if err := c.check(); err != nil {
			return nil, err
		}
		p.at[c.Class] = int32(i)
		split, clusters = append(split, c.Class), append(clusters, c.Clusters)
	}
	var err error
	p.m, err = relabel(classes, split, clusters)
	return p, err
}

// MaxClusters is the largest number of subclasses of a class.
const MaxClusters = 256

func (c *Cell) check() error {
	if c.Clusters < 1 || c.Clusters > MaxClusters || len(c.Rows) != len(c.Cluster) {
		return badState("class %d: %d rows with %d assignments to %d clusters", c.Class, len(c.Rows), len(c.Cluster), c.Clusters)
	}
	for i, k := range c.Cluster {
		if int(k) >= c.Clusters {
			return badState("class %d: row %d in cluster %d of %d", c.Class, c.Rows[i], k, c.Clusters)
		}
		if c.Rows[i] < 0 || i > 0 && c.Rows[i] <= c.Rows[i-1] {
			return badState("class %d: row %d does not ascend", c.Class, c.Rows[i])
		}
	}
	if k := slices.Index(c.sizes(), 0); k >= 0 {
		return badState("class %d: cluster %d is empty", c.Class, k)
	}
	return nil
}

// Map returns the map of subclasses to classes.
func (p *Partition) Map() *Map { return p.m }

// Cells returns the split classes in order of neglection. The caller must not change
// them.
func (p *Partition) Cells() []Cell { return p.cells }

// Skipped returns the neglected classes that were not split.
func (p *Partition) Skipped() []Skipped { return p.skipped }

// Cluster returns which cluster of class c training row row is in: 0 if the class is
// not split. It panics if the class was split without this row.
func (p *Partition) Cluster(c, row int) int {
	if p.at[c] < 0 {
		return 0
	}
	cell := &p.cells[p.at[c]]
	i, ok := slices.BinarySearch(cell.Rows, int32(row))
	if !ok {
		panic(fmt.Sprintf("subclass: row %d is none of the rows that class %d was split by", row, c))
	}
	return int(cell.Cluster[i])
}

// File is the content of subclasses.json.
type File struct {
	Classes         int         `json:"classes"`
	Subclasses      int         `json:"subclasses"`
	SubclassToClass []int32     `json:"subclass_to_class"`
	Sizes           []int64     `json:"sizes"` // training rows of each subclass
	Split           []FileSplit `json:"split"` // in order of neglection
	NotSplit        []Skipped   `json:"not_split"`
}

// FileSplit is one split class in subclasses.json.
type FileSplit struct {
	Class      int     `json:"class"`
	Subclasses []int32 `json:"subclasses"`
	Sizes      []int64 `json:"sizes"`
	Inertia    float64 `json:"inertia,omitempty"`
}

// File describes p for subclasses.json; positives is the number of training rows of
// each class.
func (p *Partition) File(positives []int64) File {
	f := File{
		Classes: p.m.Classes(), Subclasses: p.m.Subclasses(), SubclassToClass: p.m.class,
		Sizes: make([]int64, p.m.Subclasses()), Split: []FileSplit{}, NotSplit: p.skipped,
	}
	if f.NotSplit == nil {
		f.NotSplit = []Skipped{}
	}
	copy(f.Sizes, positives)
	for i := range p.cells {
		c := &p.cells[i]
		s := FileSplit{c.Class, p.m.Members(c.Class), c.sizes(), c.Inertia}
		for k, sub := range s.Subclasses {
			f.Sizes[sub] = s.Sizes[k]
		}
		f.Split = append(f.Split, s)
	}
	return f
}

// ReadMap returns the map in a subclasses.json; evaluation needs no more of it. A
// damaged document is an ErrBadState.
func ReadMap(doc []byte) (*Map, error) {
	var f File
	if err := json.Unmarshal(doc, &f); err != nil {
		return nil, badState("subclasses.json: %v; restore the file from a copy or train again", err)
	}
	if f.Subclasses != len(f.SubclassToClass) {
		return nil, badState("subclasses.json: %d subclasses announced, %d listed in subclass_to_class", f.Subclasses, len(f.SubclassToClass))
	}
	m, err := NewMap(f.Classes, f.SubclassToClass)
	if err != nil {
		return nil, badState("subclasses.json: %v", err)
	}
	return m, nil
}
