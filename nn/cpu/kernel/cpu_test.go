package kernel

import (
	"strings"
	"testing"
)

// everyPath runs f once for each code path of this machine, with that path in
// use, and names in the log those that the machine lacks.
func everyPath(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, l := range Levels {
		previous, err := Use(l)
		if err != nil {
			t.Logf("not run here: path %v: %v", l, err)
			continue
		}
		t.Run(l.String(), f)
		if _, err := Use(previous); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		value string
		top   Level
		want  Level
		err   string // part of the message
	}{
		{"", AVX512, AVX512, ""},
		{"", Portable, Portable, ""},
		{"portable", AVX512, Portable, ""},
		{"avx2", AVX512, AVX2, ""},
		{"avx512", AVX512, AVX512, ""},
		{"avx512", AVX2, AVX2, "SDNN_CPU=avx512: this CPU lacks"},
		{"AVX2", AVX512, AVX512, "unknown code path"},
		{"sse9", AVX2, AVX2, "use portable, avx2 or avx512"},
	} {
		got, err := choose(c.value, c.top)
		if got != c.want {
			t.Errorf("choose(%q, %v) = %v, want %v", c.value, c.top, got, c.want)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("choose(%q, %v): error %v, want %q", c.value, c.top, err, c.err)
		}
	}
}

func TestUse(t *testing.T) {
	if !Has(Portable) {
		t.Fatal("every machine has the portable path")
	}
	if _, err := Use(AVX512 + 1); err == nil {
		t.Error("Use accepted a path that does not exist")
	}
	everyPath(t, func(t *testing.T) {
		if !Has(Path()) {
			t.Errorf("path %v in use but not had", Path())
		}
	})
	if Has(AVX2) != (len(missing(AVX2)) == 0) {
		t.Errorf("Has(AVX2) = %v, missing %v", Has(AVX2), missing(AVX2))
	}
}
