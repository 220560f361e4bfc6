package subclass

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// someNeglection is in the middle of its second epoch.
func someNeglection() *Neglection {
	n := NewNeglection(4)
	n.AddBatch([]float32{1.5, 0, 3, float32(math.Inf(1))}, []int32{0, 2, 2, 3}, 3)
	n.AddBatch([]float32{1.25, 0, 0, 7}, []int32{0, 3}, 2)
	n.EndEpoch()
	n.AddBatch([]float32{2, 0, 2, 0}, []int32{2, 0}, 2)
	return n
}

func somePartition(t testing.TB) *Partition {
	m, positives := threeClasses(rand.New(rand.NewPCG(1, 2)))
	p, err := Split(context.Background(), 4, positives, m, SplitOptions{Method: MethodKMeans, Clusters: 2, MinPositives: 5})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRanking(t *testing.T) {
	n := someNeglection()
	if got, want := n.Ranking(ScoreMean), []int{3, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("ranking %v, want %v", got, want)
	}
	n.EndEpoch()
	if got, want := n.Ranking(ScoreMean), []int{0, 2}; !slices.Equal(got, want) {
		t.Errorf("ranking with a tie %v, want %v", got, want)
	}
	if got := n.Neglected(ScoreAuthors, 1); !slices.Equal(got, []int{0}) {
		t.Errorf("neglected %v", got)
	}
	if got := NewNeglection(2).Neglected(ScoreMean, 5); len(got) != 0 {
		t.Errorf("neglected without an epoch: %v", got)
	}
}

func TestNeglectionResumesToTheSameBits(t *testing.T) {
	n := someNeglection()
	state, err := n.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadNeglection(state, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Neglection{n, m} {
		n.AddBatch([]float32{1, 1.0 / 3, 0, 0}, []int32{0, 0, 1}, 3)
		n.EndEpoch()
	}
	if !reflect.DeepEqual(n, m) {
		t.Errorf("%+v, want %+v", m, n)
	}
}

func TestPartitionState(t *testing.T) {
	p := somePartition(t)
	state, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ReadPartition(state, 4)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, q) {
		t.Errorf("%+v, want %+v", q, p)
	}
}

func TestNeglectionFile(t *testing.T) {
	doc, err := json.Marshal(someNeglection().File(ScoreMean, 2))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"score":"mean","neglected":[3,2],"ranking":[3,2,0],"epochs":[{"epoch":1,"theta":[1.375,null,3,"Infinity"],"batches":[2,0,1,2]}]}`
	if string(doc) != want {
		t.Errorf("%s\nwant\n%s", doc, want)
	}
	var f NeglectionFile
	if err := json.Unmarshal(doc, &f); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f, someNeglection().File(ScoreMean, 2)) {
		t.Errorf("read back %+v", f)
	}
	if doc, err := json.Marshal(NewNeglection(1).File(ScoreMean, 1)); err != nil || strings.Contains(string(doc), "null") {
		t.Errorf("empty: %s, %v", doc, err)
	}
}

func TestMapFile(t *testing.T) {
	p := somePartition(t)
	doc, err := json.Marshal(p.File([]int64{41, 3, 60, 0}))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadMap(doc)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, p.Map()) {
		t.Errorf("map %+v, want %+v", m, p.Map())
	}
	for _, bad := range []string{"", "{}", "[]", `{"classes":1,"subclasses":2,"subclass_to_class":[0]}`, `{"classes":2,"subclasses":2,"subclass_to_class":[0,0]}`,
		`{"classes":1,"subclasses":1,"subclass_to_class":[-1]}`, `{"classes":-1,"subclasses":0,"subclass_to_class":[]}`, `{"classes":9999999999,"subclasses":1,"subclass_to_class":[0]}`} {
		if _, err := ReadMap([]byte(bad)); !errors.Is(err, ErrBadState) {
			t.Errorf("%s: error %v", bad, err)
		}
	}
}

func TestPartitionRefusesNonsense(t *testing.T) {
	good := Cell{Class: 1, Clusters: 2, Rows: []int32{3, 8}, Cluster: []uint8{0, 1}}
	for name, change := range map[string]func(c *Cell){
		"class":          func(c *Cell) { c.Class = 2 },
		"clusters":       func(c *Cell) { c.Clusters = 0 },
		"empty cluster":  func(c *Cell) { c.Cluster = []uint8{1, 1} },
		"unknown":        func(c *Cell) { c.Cluster = []uint8{0, 2} },
		"length":         func(c *Cell) { c.Cluster = []uint8{0} },
		"order":          func(c *Cell) { c.Rows = []int32{8, 8} },
		"negative rows":  func(c *Cell) { c.Rows = []int32{-1, 8} },
		"more than rows": func(c *Cell) { c.Clusters = 3 },
	} {
		c := good
		change(&c)
		if _, err := NewPartition(2, []Cell{c}, nil); !errors.Is(err, ErrBadState) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := NewPartition(2, []Cell{good, good}, nil); !errors.Is(err, ErrBadState) {
		t.Errorf("twice: error %v", err)
	}
}

// Every flipped byte and every cut is noticed.
func TestDamagedStates(t *testing.T) {
	read := map[string]func(b []byte) error{}
	states := map[string][]byte{}
	states["partition"], _ = somePartition(t).MarshalBinary()
	read["partition"] = func(b []byte) error { _, err := ReadPartition(b, 4); return err }
	states["neglection"], _ = someNeglection().MarshalBinary()
	read["neglection"] = func(b []byte) error { _, err := ReadNeglection(b, 4); return err }
	for name, state := range states {
		for i := range state {
			damaged := bytes.Clone(state)
			damaged[i] ^= 0x10
			if err := read[name](damaged); !errors.Is(err, ErrBadState) {
				t.Fatalf("%s: byte %d flipped: error %v", name, i, err)
			}
			if err := read[name](state[:i]); !errors.Is(err, ErrBadState) {
				t.Fatalf("%s: cut to %d: error %v", name, i, err)
			}
		}
	}
}

// reseal gives a fuzzed state a right checksum, or the fuzzer would never get past it.
func reseal(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	e := encoder{bytes.Clone(b[:len(b)-4])}
	return e.finish()
}

func FuzzReadPartition(f *testing.F) {
	b, _ := somePartition(f).MarshalBinary()
	f.Add(b)
	b, _ = Whole(4).MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPartition(reseal(b), 4)
		if err != nil {
			if !errors.Is(err, ErrBadState) {
				t.Error(err)
			}
			return
		}
		again, _ := p.MarshalBinary()
		if !bytes.Equal(again, reseal(b)) {
			t.Errorf("written back otherwise")
		}
	})
}

func FuzzReadNeglection(f *testing.F) {
	b, _ := someNeglection().MarshalBinary()
	f.Add(b)
	b, _ = NewNeglection(4).MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ReadNeglection(reseal(b), 4)
		if err != nil {
			if !errors.Is(err, ErrBadState) {
				t.Error(err)
			}
			return
		}
		again, _ := n.MarshalBinary()
		if !bytes.Equal(again, reseal(b)) {
			t.Errorf("written back otherwise")
		}
	})
}

func FuzzReadMap(f *testing.F) {
	for _, name := range []string{"good", "gap"} {
		doc, err := os.ReadFile(filepath.Join("testdata", "map_"+name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := ReadMap(doc)
		if err != nil {
			if !errors.Is(err, ErrBadState) {
				t.Error(err)
			}
			return
		}
		for c := range m.Classes() {
			for _, s := range m.Members(c) {
				if m.Class(int(s)) != c {
					t.Errorf("subclass %d of class %d has class %d", s, c, m.Class(int(s)))
				}
			}
		}
	})
}
