package yt8m

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestVocabulary(t *testing.T) {
	const file = "\ufeffTrainVideoCount,Index,KnowledgeGraphId,Name,WikiDescription\r\n" +
		"5,2,/m/c,\"Cars, fast\",\"several\nlines\"\r\n" +
		"9,0,/m/a,Game,\r\n" +
		"7,1,/m/b,,nameless\r\n" +
		"1,3,,\"say \"\"hi\"\"\",\r\n"
	names, err := ReadVocabulary(strings.NewReader(file), "v.csv")
	if want := []string{"Game", "/m/b", "Cars, fast", `say "hi"`}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %q, %v", names, err)
	}
}

func TestVocabularyErrors(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"", "v.csv: line 1: expected a header"},
		{"a,b\n", `line 1: expected a header with the columns Index and Name, found "a,b"`},
		{"Index,Name\n", "line 1: expected a row for each class, found none"},
		{"Index,Name\nx,y\n", `line 2: expected an index from 0 to 1048575, found "x"`},
		{"Index,Name\n-1,y\n", `found "-1"`},
		{"Index,Name\n99999999999,y\n", `found "99999999999"`},
		{"Index,Name\n0,a\n1,b\n0,c\n", "line 4: expected every index once, found 0 again, first on line 2"},
		{"Index,Name\n0,a\n2,c\n", "expected all indices from 0 to 2, found no row for 1"},
		{"Index,Name\n0,a,b\n", "line 2: expected comma-separated values, found wrong number of fields"},
		{"Index,Name\n0,\"a\n", "comma-separated values"},
	} {
		_, err := ReadVocabulary(strings.NewReader(c.file), "v.csv")
		var v *VocabularyError
		if !errors.As(err, &v) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.file, err, c.want)
		}
	}
}

func TestVocabularyRoundTrip(t *testing.T) {
	rows := []VocabularyRow{{1, 5, "/m/x", "B, \"b\"", "two\nlines"}, {0, 7, "/m/y", "A", ""}}
	var b bytes.Buffer
	if err := WriteVocabulary(&b, rows); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,Vertical3,WikiDescription\n") {
		t.Errorf("header of %q", b.String())
	}
	names, err := ReadVocabulary(&b, "v.csv")
	if err != nil || !slices.Equal(names, []string{"A", "B, \"b\""}) {
		t.Errorf("got %q, %v", names, err)
	}
}
