package kernels

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sdnn/nn/cuda/driver"
)

// TestDeclarations checks that every kernel is declared as README.md lists it,
// has a geometry, and says the extent of every pointer.
func TestDeclarations(t *testing.T) {
	listed := readme(t)
	for name, s := range declared() {
		if geometries[base(name)] == nil {
			t.Errorf("%s has no geometry", name)
		}
		var params []string
		for _, p := range s.Params {
			text := p.Type + " "
			if p.Kind == driver.ArgPtr {
				text += "*"
				if p.extent == nil && !slices.Contains([]string{"x", "images", "index", "y", "m"}, p.Name) {
					t.Errorf("%s: the extent of %s is not declared", name, p.Name)
				}
			}
			if p.Const {
				text = "const " + text
			}
			params = append(params, text+p.Name)
		}
		got := strings.Join(params, ", ")
		if listed[name] != got {
			t.Errorf("%s is declared with\n\t%s\nREADME.md lists\n\t%s", name, got, listed[name])
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("README.md lists %s, which is not declared", name)
	}
}

// readme returns the parameters of the kernels that README.md lists, by name.
func readme(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z]\w+)\(([^)]*)\)`).FindAllStringSubmatch(string(b), -1) {
		name, ok := strings.CutSuffix(m[1], "_T")
		params := strings.NewReplacer("unsigned short", "bf16").Replace(m[2])
		if !ok {
			all[m[1]] = params
			continue
		}
		of := regexp.MustCompile(`\bT\b`)
		all[name+"_f32"], all[name+"_bf16"] = of.ReplaceAllString(params, "float"), of.ReplaceAllString(params, "bf16")
	}
	return all
}
