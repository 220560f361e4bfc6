package subclass

import (
	"math"
	"slices"
	"testing"
)

type goldenPairing struct {
	Rounding struct {
		A, B    []int
		Wrapped [][]int `json:"authors_uint8_wrap"`
		Mean    [][]int `json:"mean_floor_no_wrap"`
	}
	Augment struct {
		Images    [][][][]int `json:"images_nhwc"`
		Labels    []int
		Classes   []int
		Partners  [][]int     `json:"partner_indices"`
		OutImages [][][][]int `json:"out_images"`
		OutLabels []int       `json:"out_labels"`
	}
}

func readPairing(t *testing.T) goldenPairing {
	t.Helper()
	var g goldenPairing
	readJSON(t, "testdata/samplepairing.json", &g)
	if len(g.Rounding.A) != 256 || len(g.Rounding.B) == 0 || len(g.Augment.Images) == 0 {
		t.Fatal("no cases")
	}
	return g
}

// TestMixGolden compares both rules with NumPy's, in all places of a word and in the
// rest behind the last.
func TestMixGolden(t *testing.T) {
	g := readPairing(t)
	for _, c := range []struct {
		rule PairingRule
		want [][]int
	}{{PairMean, g.Rounding.Mean}, {PairWrapped, g.Rounding.Wrapped}} {
		for i, b := range g.Rounding.B {
			for shift := range 8 {
				n := 256 - shift
				x, y, want := make([]byte, n), make([]byte, n), make([]byte, n)
				for j := range n {
					x[j], y[j], want[j] = byte(g.Rounding.A[j+shift]), byte(b), byte(c.want[i][j+shift])
				}
				got := make([]byte, n)
				c.rule.Mix(got, x, y)
				if !slices.Equal(got, want) {
					t.Fatalf("%s of 0..255 and %d, from %d on: other bytes", c.rule, b, shift)
				}
				c.rule.Mix(x, y, x) // in place, the other way round
				if !slices.Equal(x, want) {
					t.Fatalf("%s in place of %d: other bytes", c.rule, b)
				}
			}
		}
	}
}

// TestMixNeighbours: what happens in a byte does not reach the one beside it.
func TestMixNeighbours(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			x := []byte{255, byte(a), 255, byte(a), 0, byte(a), 255, 0}
			y := []byte{255, byte(b), 1, byte(b), 0, byte(b), 1, 0}
			mean, wrapped := make([]byte, 8), make([]byte, 8)
			PairMean.Mix(mean, x, y)
			PairWrapped.Mix(wrapped, x, y)
			for i := range x {
				sum := int(x[i]) + int(y[i])
				if int(mean[i]) != sum/2 || int(wrapped[i]) != sum%256/2 {
					t.Fatalf("%d and %d: %d and %d", x[i], y[i], mean[i], wrapped[i])
				}
			}
		}
	}
}

// TestPairingsGolden builds the golden set with its own partners: the order in which
// Pairings lists the new images is that of the authors.
func TestPairingsGolden(t *testing.T) {
	g := readPairing(t).Augment
	var neglected []Positives
	for _, class := range g.Classes {
		p := Positives{Class: class}
		for row, label := range g.Labels {
			if label == class {
				p.Rows = append(p.Rows, int32(row))
			}
		}
		neglected = append(neglected, p)
	}
	pairs := Pairings(neglected, len(g.Images), 1)
	partners := flatten(g.Partners)
	if len(pairs) != len(partners) || len(g.OutImages) != len(g.Images)+len(pairs) {
		t.Fatalf("%d pairs, want %d", len(pairs), len(partners))
	}
	bytesOf := func(image [][][]int) []byte {
		var out []byte
		for _, v := range flatten(flatten(image)) {
			out = append(out, byte(v))
		}
		return out
	}
	for i, p := range pairs {
		out := len(g.Images) + i
		if g.Labels[p.Row] != g.OutLabels[out] {
			t.Errorf("pair %d: label %d, want %d", i, g.Labels[p.Row], g.OutLabels[out])
		}
		got := bytesOf(g.Images[p.Row])
		PairWrapped.Mix(got, got, bytesOf(g.Images[partners[i]]))
		if !slices.Equal(got, bytesOf(g.OutImages[out])) {
			t.Errorf("pair %d: other pixels", i)
		}
	}
}

func TestPairingsPartners(t *testing.T) {
	const rows = 50
	all := Positives{Class: 3}
	for row := range int32(rows) {
		all.Rows = append(all.Rows, row)
	}
	counts := make([]float64, rows)
	const seeds = 400
	for seed := range uint64(seeds) {
		for _, p := range Pairings([]Positives{all}, rows, seed) {
			counts[p.Partner]++
		}
	}
	chi := 0.0
	for _, n := range counts {
		chi += (n - seeds) * (n - seeds) / seeds
	}
	if df := rows - 1.0; chi > df+4*math.Sqrt(2*df) {
		t.Errorf("partners are not uniform: chi-square %.1f of %.0f degrees", chi, df)
	}
	// The partner of a row does not depend on the other rows and classes.
	some := Positives{Class: 3, Rows: []int32{7, 20}}
	whole := Pairings([]Positives{all}, rows, 9)
	got := Pairings([]Positives{{Class: 1, Rows: []int32{20}}, some}, rows, 9)
	if want := []Pair{whole[7], whole[20]}; !slices.Equal(got[1:], want) {
		t.Errorf("partners %v, want %v", got[1:], want)
	}
}

func BenchmarkMix(b *testing.B) {
	x, y := make([]byte, 3072), make([]byte, 3072)
	b.SetBytes(3072)
	for b.Loop() {
		PairMean.Mix(x, x, y)
	}
}
