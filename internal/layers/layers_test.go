// Package layers checks the direction of imports: a package may import only what lies in a lower layer (ARCHITECTURE.md).
package layers

import (
	"errors"
	"os/exec"
	"path"
	"strings"
	"testing"
)

// layers from the top; a package belongs to the row with the longest matching path. Packages of one row do not import each
// other, except inside one tree (ingest and ingest/yt8m).
var layers = [][]string{
	{"cmd/sdnn"},
	{"train"},
	{"nn/cpu", "nn/cuda", "nn/gorgonia", "nn/conformance", "mlp", "cnn", "subclass", "ingest", "eval"},
	{"nn", "features"},
	{"internal/disk", "internal/race"},
}

// allowed are the imports that break the rule, with the reason.
var allowed = map[[2]string]string{}

// tree returns the entry of layers that pkg belongs to and its row; row is -1 for a package that no entry covers.
func tree(pkg string) (name string, row int) {
	row = -1
	for i, names := range layers {
		for _, n := range names {
			if (pkg == n || strings.HasPrefix(pkg, n+"/")) && len(n) > len(name) {
				name, row = n, i
			}
		}
	}
	return name, row
}

func TestImportsGoDownward(t *testing.T) {
	const module = "sdnn/"
	// Imports of tests are left out: a test may compare rooms with each other.
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("go list: %s", failed.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		importer, ok := strings.CutPrefix(fields[0], module)
		if !ok || strings.HasPrefix(importer, "internal/") {
			continue
		}
		packages++
		from, high := tree(importer)
		if high < 0 {
			t.Errorf("%s is in no layer: add its room to layers, here and in ARCHITECTURE.md", importer)
			continue
		}
		for _, imported := range fields[1:] {
			imported, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			to, low := tree(imported)
			_, exception := allowed[[2]string{importer, imported}]
			if from != to && low <= high && !exception {
				t.Errorf("%s imports %s, which is not below it: move what it needs down, or what needs it up", importer, imported)
			}
		}
	}
	if packages == 0 {
		t.Fatal("go list named no package")
	}
}

func TestTree(t *testing.T) {
	for pkg, want := range map[string]string{"nn": "nn", "nn/cpu/kernel": "nn/cpu", "train/safetensors": "train", "ingest": "ingest", "nncpu": ""} {
		if got, _ := tree(pkg); got != want {
			t.Errorf("tree(%q) = %q, want %q", pkg, got, want)
		}
	}
	for _, row := range layers {
		for _, n := range row {
			if path.Clean(n) != n {
				t.Errorf("%q is not a clean path", n)
			}
		}
	}
}
