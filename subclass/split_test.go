package subclass

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"sdnn/nn"
)

// Golden split.json with our own clusters: numbering and sizes as there, and the
// three groups of class 1, two of the others are found.
func TestSplitFindsGoldenGroups(t *testing.T) {
	var g goldenSplit
	readJSON(t, "testdata/split.json", &g)
	m := Matrix{flatten(g.X), len(g.X[0])}
	for _, o := range g.Order {
		var p Positives
		var want []int
		p.Class = o[0]
		for r, l := range g.Labels {
			if l == o[0] {
				p.Rows = append(p.Rows, int32(r))
				want = append(want, g.Sub[r])
			}
		}
		got, err := Split(context.Background(), 3, []Positives{p}, m, SplitOptions{Method: MethodKMeans, Clusters: o[1], MinPositives: 2, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range p.Rows {
			for j, q := range p.Rows {
				if (got.Cluster(o[0], int(r)) == got.Cluster(o[0], int(q))) != (want[i] == want[j]) {
					t.Errorf("class %d: rows %d and %d are grouped otherwise", o[0], r, q)
				}
			}
		}
	}
}

// threeClasses has 3 classes of 60, 41 and 3 rows, some rows in two of them.
func threeClasses(r *rand.Rand) (m Matrix, positives []Positives) {
	m = blobs(r, 100, 6, 5, .5)
	positives = []Positives{{Class: 2}, {Class: 0}, {Class: 1}}
	for i := range int32(100) {
		if i < 60 {
			positives[0].Rows = append(positives[0].Rows, i)
		}
		if i >= 59 {
			positives[1].Rows = append(positives[1].Rows, i)
		}
		if i%40 == 7 {
			positives[2].Rows = append(positives[2].Rows, i)
		}
	}
	return m, positives
}

func TestSplit(t *testing.T) {
	m, positives := threeClasses(rand.New(rand.NewPCG(1, 2)))
	for _, method := range []Method{MethodKMeans, MethodRandom} {
		o := SplitOptions{Method: method, Clusters: 3, MinPositives: 5, Seed: 7, Threads: 1}
		p, err := Split(context.Background(), 4, positives, m, o)
		if err != nil {
			t.Fatal(err)
		}
		if want := []int32{0, 1, 2, 3, 2, 2, 0, 0}; !slices.Equal(p.Map().class, want) {
			t.Errorf("map %v, want %v", p.Map().class, want)
		}
		if want := []Skipped{{1, 3, 5}}; !slices.Equal(p.Skipped(), want) {
			t.Errorf("skipped %v, want %v", p.Skipped(), want)
		}
		f := p.File([]int64{41, 3, 60, 9})
		if f.Sizes[0]+f.Sizes[6]+f.Sizes[7] != 41 || f.Sizes[1] != 3 || f.Sizes[2]+f.Sizes[4]+f.Sizes[5] != 60 || f.Sizes[3] != 9 {
			t.Errorf("sizes %v", f.Sizes)
		}
		if sizes := f.Split[0].Sizes; method == MethodRandom && !slices.Equal(sizes, []int64{20, 20, 20}) {
			t.Errorf("random sizes %v", sizes)
		}
		o.Threads = 3
		again, err := Split(context.Background(), 4, positives[1:], m, o)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again.Cells()[0], p.Cells()[1]) {
			t.Errorf("%s: a class's clusters depend on other classes or threads", method)
		}
	}
}

func TestOneClusterSplitsNothing(t *testing.T) {
	m, positives := threeClasses(rand.New(rand.NewPCG(1, 2)))
	p, err := Split(context.Background(), 4, positives, m, SplitOptions{Method: MethodKMeans, Clusters: 1})
	if err != nil {
		t.Fatal(err)
	}
	if p.Map().Subclasses() != 4 || len(p.Cells()) != 0 || len(p.Skipped()) != 0 {
		t.Errorf("%d subclasses, %d cells, skipped %v", p.Map().Subclasses(), len(p.Cells()), p.Skipped())
	}
}

// Targets against their definition, label by label, with several split positives.
func TestTargets(t *testing.T) {
	m, positives := threeClasses(rand.New(rand.NewPCG(1, 2)))
	p, err := Split(context.Background(), 4, positives, m, SplitOptions{Method: MethodRandom, Clusters: 3, MinPositives: 5, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	s := p.Map().Subclasses()
	for _, o := range []Targeting{{p, 0.9, 0}, {p, 0, 0}, {p, 1, 0}, {p, 0.9, 0.5}, {p, 0, 1}} {
		var targets nn.Targets
		targets.Reset()
		rows := [][]int32{{2, 3}, {3, 2, 2}, {2, 0}, {0}, {}, {1}}
		at := []int{0, 30, 59, 80, 99, 7}
		for i, labels := range rows {
			o.AddRow(&targets, at[i], labels)
		}
		y, mm := Dense(&targets, s)
		for i, labels := range rows {
			for c := range s {
				wantY, wantM := float32(0), float32(0)
				if class := p.Map().Class(c); slices.Contains(labels, int32(class)) {
					switch {
					case int(p.Map().Members(class)[p.Cluster(class, at[i])]) == c:
						wantY, wantM = 1, 1
					case o.SiblingTarget > 0:
						wantY, wantM = o.SiblingTarget, 1
					default:
						wantM = o.SubclassWeight
					}
				}
				if y[i*s+c] != float64(wantY) || mm[i*s+c] != float64(wantM) {
					t.Errorf("row %d column %d: y %v m %v, want %v %v", i, c, y[i*s+c], mm[i*s+c], wantY, wantM)
				}
			}
			if index := targets.Index[targets.Offsets[i]:targets.Offsets[i+1]]; !slices.IsSorted(index) {
				t.Errorf("row %d: columns %v", i, index)
			}
		}
		if n := testing.AllocsPerRun(20, func() {
			targets.Reset()
			for i, labels := range rows {
				o.AddRow(&targets, at[i], labels)
			}
		}); n > 0 {
			t.Errorf("%v allocations a refill", n)
		}
	}
}

func TestScores(t *testing.T) {
	m, err := NewMap(3, []int32{0, 1, 2, 0, 0, 2})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(4, 4))
	scores := randomVector(r, 50*6)
	got := make([]float32, 50*3)
	m.ClassScores(got, scores)
	for i := range 50 {
		row := scores[i*6 : (i+1)*6]
		want := []float32{max(row[0], row[3], row[4]), row[1], max(row[2], row[5])}
		if !slices.Equal(got[i*3:(i+1)*3], want) {
			t.Errorf("row %d: %v, want %v", i, got[i*3:(i+1)*3], want)
		}
		if best := m.Best(row); want[best] != slices.Max(row) {
			t.Errorf("row %d: best class %d", i, best)
		}
	}
	if n := testing.AllocsPerRun(20, func() { m.ClassScores(got, scores) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if w, want := m.ColumnWeights([]int{2}, 3), []float32{1, 1, 3, 1, 1, 3}; !slices.Equal(w, want) {
		t.Errorf("weights %v, want %v", w, want)
	}
}

// The reference gradient against central differences of the reference loss, with
// every kind of target and weight.
func TestReferenceGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	const n, s = 4, 6
	var z, y, m, c []float64
	for i := range n * s {
		z = append(z, 2*r.NormFloat64())
		y = append(y, []float64{0, 0, 1, 0.5}[i%4])
		m = append(m, []float64{0, 0.9, 1, 1}[i%4])
	}
	for range s {
		c = append(c, 1+r.Float64())
	}
	_, grad := SubclassCE(z, y, m, c, s)
	for i := range z {
		const h = 1e-5
		v := z[i]
		z[i] = v + h
		up, _ := SubclassCE(z, y, m, c, s)
		z[i] = v - h
		down, _ := SubclassCE(z, y, m, c, s)
		z[i] = v
		near(t, "gradient", grad[i], (up-down)/(2*h), 1e-8)
	}
}

func BenchmarkAddRow(b *testing.B) {
	const rows = 1 << 20
	var cell = Cell{Class: 5, Clusters: 2}
	for i := range int32(rows) {
		cell.Rows = append(cell.Rows, i)
		cell.Cluster = append(cell.Cluster, uint8(i%2))
	}
	p, err := NewPartition(3862, []Cell{cell}, nil)
	if err != nil {
		b.Fatal(err)
	}
	o := Targeting{Partition: p, SubclassWeight: .9}
	var t nn.Targets
	labels := []int32{3, 5, 900}
	for i := 0; b.Loop(); i++ {
		if i%1024 == 0 {
			t.Reset()
		}
		o.AddRow(&t, int(nn.Hash32(1, uint32(i))%rows), labels)
	}
}
