package subclass

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"sdnn/nn"
)

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// near compares relatively, and absolutely below 1.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s = %.15g, want %.15g", what, got, want)
	}
}

func flatten[T any](rows [][]T) []T { return slices.Concat(rows...) }

type goldenCE struct {
	Map    string      `json:"map"`
	Kind   string      `json:"kind"`
	Weight float64     `json:"weight"`
	Class  []int32     `json:"subclass2class"`
	Labels []int       `json:"labels"`
	Logits [][]float64 `json:"logits"`
	F64    struct {
		Loss float64
		Grad [][]float64
	} `json:"f64"`
}

func goldenLosses(t *testing.T, path string) []goldenCE {
	var file struct{ Cases []goldenCE }
	readJSON(t, path, &file)
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	return file.Cases
}

func checkLoss(t *testing.T, c goldenCE, y, m []float64) {
	t.Helper()
	loss, grad := SubclassCE(flatten(c.Logits), y, m, nil, len(c.Logits[0]))
	near(t, c.Kind+" loss", loss, c.F64.Loss, 1e-12)
	for i, want := range flatten(c.F64.Grad) {
		near(t, c.Kind+" gradient", grad[i], want, 1e-12)
	}
}

func TestGoldenClassCE(t *testing.T) {
	for _, c := range goldenLosses(t, "../testdata/golden/class_ce.json") {
		s := len(c.Logits[0])
		targeting := Targeting{Partition: Whole(s), SubclassWeight: 0.9}
		var targets nn.Targets
		targets.Reset()
		for r, l := range c.Labels {
			targeting.AddRow(&targets, r, []int32{int32(l)})
		}
		y, m := Dense(&targets, s)
		checkLoss(t, c, y, m)
	}
}

// The golden labels are subclasses: targets are built here from the definition of
// m, and again by Targeting, with every row put in its label's cluster.
func TestGoldenSubclassCE(t *testing.T) {
	for _, c := range goldenLosses(t, "../testdata/golden/subclass_ce.json") {
		t.Run(c.Map, func(t *testing.T) {
			s := len(c.Class)
			y, m := make([]float64, len(c.Labels)*s), make([]float64, len(c.Labels)*s)
			for r, own := range c.Labels {
				y[r*s+own] = 1
				for k := range s {
					if k == own {
						m[r*s+k] = 1
					} else if c.Class[k] == c.Class[own] {
						m[r*s+k] = c.Weight
					}
				}
			}
			checkLoss(t, c, y, m)

			gotY, gotM := Dense(goldenTargets(t, c), s)
			for i := range y {
				if gotY[i] != y[i] || float32(m[i]) != float32(gotM[i]) {
					t.Fatalf("entry %d: y %v m %v, want %v %v", i, gotY[i], gotM[i], y[i], m[i])
				}
			}
		})
	}
}

// goldenTargets builds a case's targets. The golden maps are not all numbered as
// relabel does, so the map is put into the partition directly.
func goldenTargets(t *testing.T, c goldenCE) *nn.Targets {
	t.Helper()
	classes := int(slices.Max(c.Class)) + 1
	m, err := NewMap(classes, c.Class)
	if err != nil {
		t.Fatal(err)
	}
	p := &Partition{m: m, at: make([]int32, classes)}
	for class := range classes {
		p.at[class] = int32(class)
		p.cells = append(p.cells, Cell{Class: class, Clusters: len(m.Members(class))})
	}
	for r, own := range c.Labels {
		class := c.Class[own]
		cell := &p.cells[class]
		cell.Rows = append(cell.Rows, int32(r))
		cell.Cluster = append(cell.Cluster, uint8(slices.Index(m.Members(int(class)), int32(own))))
	}
	targeting := Targeting{Partition: p, SubclassWeight: float32(c.Weight)}
	var targets nn.Targets
	targets.Reset()
	for r, own := range c.Labels {
		targeting.AddRow(&targets, r, []int32{c.Class[own]})
	}
	return &targets
}

type goldenNeglection struct {
	Classes, Features int
	Batches           []struct {
		Epoch   int
		X       [][]float64
		Logits  [][]float64
		Labels  []int32
		Present []bool
		NormG1  []float64 `json:"norm_g1"`
		NormG0  []float64 `json:"norm_g0"`
		NormG   []float64 `json:"norm_g"`
		Theta   []float64 `json:"t_all"`
	}
	F64 struct {
		Sum     [][]float64 `json:"ti_after_batch"`
		Epochs  [][]float64 `json:"tti_epoch"`
		Final   []float64   `json:"tti_final"`
		Ranking []int       `json:"argsort_desc"`
		Mean    []float64   `json:"paper_mean_over_batches_where_present"`
	} `json:"f64"`
}

func TestGoldenNeglection(t *testing.T) {
	var g goldenNeglection
	readJSON(t, "../testdata/golden/neglection.json", &g)
	n := NewNeglection(g.Classes)
	overall := NewNeglection(g.Classes) // the golden mean is over both epochs
	for i, b := range g.Batches {
		offsets := identity(len(b.Labels) + 1)
		d := Theta(flatten(b.X), flatten(b.Logits), g.Features, g.Classes, offsets, b.Labels)
		for c := range g.Classes {
			near(t, "|g1|", d.G1[c], b.NormG1[c], 1e-12)
			near(t, "|g0|", d.G0[c], b.NormG0[c], 1e-12)
			near(t, "|g|", d.G[c], b.NormG[c], 1e-12)
			want := 0.0
			if b.Present[c] {
				want = b.Theta[c]
			}
			near(t, "theta", d.Theta[c], want, 1e-12)
		}
		n.AddBatch64(d.Theta, b.Labels, len(b.Labels))
		overall.AddBatch64(d.Theta, b.Labels, len(b.Labels))
		for c, want := range g.F64.Sum[i] {
			near(t, "the authors' running sum", n.running[c], want, 1e-12)
		}
		if i+1 == len(g.Batches) || g.Batches[i+1].Epoch != b.Epoch {
			n.EndEpoch()
			for c, want := range g.F64.Epochs[b.Epoch] {
				near(t, "the authors' score", n.Epochs()[b.Epoch].Authors[c], want, 1e-12)
			}
		}
	}
	overall.EndEpoch()
	for c, want := range g.F64.Mean {
		near(t, "mean score", overall.Epochs()[0].Mean[c], want, 1e-12)
	}
	if got := n.Ranking(ScoreAuthors); !slices.Equal(got, g.F64.Ranking) {
		t.Errorf("ranking %v, want %v", got, g.F64.Ranking)
	}
}

func TestGoldenProjection(t *testing.T) {
	var g struct {
		Extra     map[int]int `json:"class2subclass"`
		Classes   int         `json:"num_classes"`
		Pred      [][]float32
		Projected [][]float32
	}
	readJSON(t, "testdata/yt8m_project.json", &g)
	classOf := identity(len(g.Pred[0]))
	for c, s := range g.Extra {
		classOf[s] = int32(c)
	}
	m, err := NewMap(g.Classes, classOf)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(g.Pred)*g.Classes)
	m.ClassScores(got, flatten(g.Pred))
	if want := flatten(g.Projected); !slices.Equal(got, want) {
		t.Errorf("class scores %v, want %v", got, want)
	}
}

type goldenSplit struct {
	X      [][]float32
	Labels []int
	Order  [][2]int // class, clusters
	Sub    []int    `json:"subclass_labels"`
	Class  []int32  `json:"subclass2class"`
}

// The golden clusters, put in as they are, must get the golden numbers.
func TestGoldenSplit(t *testing.T) {
	var g goldenSplit
	readJSON(t, "testdata/split.json", &g)
	var cells []Cell
	next := len(g.Order)
	for _, o := range g.Order {
		numbers := []int{o[0]}
		for range o[1] - 1 {
			numbers = append(numbers, next)
			next++
		}
		cell := Cell{Class: o[0], Clusters: o[1]}
		for r, l := range g.Labels {
			if l == o[0] {
				cell.Rows = append(cell.Rows, int32(r))
				cell.Cluster = append(cell.Cluster, uint8(slices.Index(numbers, g.Sub[r])))
			}
		}
		cells = append(cells, cell)
	}
	p, err := NewPartition(len(g.Order), cells, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Map().class, g.Class) {
		t.Errorf("map %v, want %v", p.Map().class, g.Class)
	}
	for r, c := range g.Labels {
		if got := p.Map().Members(c)[p.Cluster(c, r)]; int(got) != g.Sub[r] {
			t.Errorf("row %d is in subclass %d, want %d", r, got, g.Sub[r])
		}
	}
}
