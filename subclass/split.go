package subclass

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sdnn/nn"
)

// Method is how a class's rows are put in subclasses.
type Method string

const (
	// MethodKMeans is the paper's.
	MethodKMeans Method = "kmeans"
	// MethodRandom is the control: subclasses of equal size without meaning. What it
	// reaches, the clusters are not the reason of.
	MethodRandom Method = "random"
)

// ParseMethod returns the method with the given name.
func ParseMethod(name string) (Method, error) {
	switch m := Method(name); m {
	case MethodKMeans, MethodRandom:
		return m, nil
	}
	return "", fmt.Errorf("unknown way to split %q; use %s or %s", name, MethodKMeans, MethodRandom)
}

// Positives are the training rows of a class, ascending.
type Positives struct {
	Class int
	Rows  []int32
}

// SplitOptions are the settings of [Split].
type SplitOptions struct {
	Method       Method
	Clusters     int // subclasses of a class; 1 splits nothing
	MinPositives int // a class with fewer rows than this, or than Clusters, is not split
	Seed         uint64
	Threads      int
	Dots         Dots
	// Progress, if set, is called after each class with the number of classes done.
	Progress func(done int)
}

// Split splits the neglected classes, given in order of neglection, each by its own
// rows of samples, which are the features of the whole training set (they are not
// looked at for a random split and may then be nil). A class's clusters depend on its
// rows, the seed and the options, not on the other classes or the number of threads.
// The only error is ctx's; Split panics if rows do not ascend.
func Split(ctx context.Context, classes int, neglected []Positives, samples Samples, o SplitOptions) (*Partition, error) {
	if o.Clusters < 1 || o.Clusters > MaxClusters {
		panic(fmt.Sprintf("subclass: Split: %d clusters", o.Clusters))
	}
	var cells []Cell
	var skipped []Skipped
	needed := max(o.MinPositives, o.Clusters)
	for i, p := range neglected {
		switch {
		case o.Clusters == 1:
		case len(p.Rows) < needed:
			skipped = append(skipped, Skipped{p.Class, len(p.Rows), needed})
		default:
			cell, err := splitClass(ctx, p, samples, o)
			if err != nil {
				return nil, err
			}
			cells = append(cells, cell)
		}
		if o.Progress != nil {
			o.Progress(i + 1)
		}
	}
	p, err := NewPartition(classes, cells, skipped)
	if err != nil {
		panic("subclass: Split: " + err.Error())
	}
	return p, nil
}

func splitClass(ctx context.Context, p Positives, samples Samples, o SplitOptions) (Cell, error) {
	cell := Cell{Class: p.Class, Clusters: o.Clusters, Rows: p.Rows}
	seed := nn.RowKey(o.Seed, 0, uint64(p.Class))
	if o.Method == MethodRandom {
		cell.Cluster = randomClusters(p.Rows, o.Clusters, seed)
		return cell, ctx.Err()
	}
	c, err := KMeans(ctx, subset{samples, p.Rows}, KMeansOptions{Clusters: o.Clusters, Seed: seed, Threads: o.Threads, Dots: o.Dots})
	if err != nil {
		return Cell{}, err
	}
	cell.Cluster, cell.Inertia = c.Cluster, c.Inertia
	return cell, nil
}

// randomClusters deals the rows out like cards, in the order of their hashes: the
// sizes differ by one at most.
func randomClusters(rows []int32, clusters int, seed uint64) []uint8 {
	type card struct {
		hash uint64
		at   int
	}
	cards := make([]card, len(rows))
	for i, r := range rows {
		cards[i] = card{nn.RowKey(seed, 1, uint64(r)), i}
	}
	slices.SortFunc(cards, func(a, b card) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.at, b.at))
	})
	out := make([]uint8, len(rows))
	for i, c := range cards {
		out[c.at] = uint8(i % clusters)
	}
	return out
}

// subset is some rows of samples.
type subset struct {
	Samples
	rows []int32
}

func (s subset) Len() int                           { return len(s.rows) }
func (s subset) Row(i int, buf []float32) []float32 { return s.Samples.Row(int(s.rows[i]), buf) }
