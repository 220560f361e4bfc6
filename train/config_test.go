package train

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"sdnn/features"
)

var yt8mManifest = &features.Manifest{Dataset: "yt8m", Classes: 3862, Columns: []features.Column{
	{Name: "mean_rgb", Kind: features.Float32, Width: 1024}, {Name: "mean_audio", Kind: features.Float32, Width: 128}}}

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		recipe, net string
		want        map[string]string
	}{
		{"", "", map[string]string{"net": "logistic", "schedule": "linear", "bias-init": "prior", "logit-adjust": "auto", "metric": "gap", "beta2": "0.999",
			"optimizer": "adam", "subclass": "false", "neglected": "100", "noise": "0", "dropout": "0", "validate-fraction": "0.1"}},
		{"", "mlp", map[string]string{"dropout": "0.3", "hidden": "2048"}},
		{"", "conv1d", map[string]string{"noise": "0.03", "filters": "64", "dropout": "0"}},
		{"yt8m-conv1d", "", map[string]string{"net": "conv1d", "epochs": "5", "batch": "1024", "lr": "0.001", "schedule": "exp:0.95@4000000",
			"recipe": "yt8m-conv1d", "subclass": "true", "neglected": "100", "subclasses": "2",
			"subclass-weight": "0.9", "neglect-epochs": "1", "sibling-target": "0", "neglected-weight": "1", "split": "kmeans", "min-positives": "2"}},
		{"yt8m-conv1d", "mlp", map[string]string{"net": "mlp", "subclass": "true", "dropout": "0.3"}},
	} {
		cfg, err := NewConfig(c.recipe, c.net, yt8mManifest)
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s %s: %v", c.recipe, c.net, err)
		}
		for flag, want := range c.want {
			if got := cfg.Get(flag); got != want {
				t.Errorf("%s %s: --%s is %s, want %s", c.recipe, c.net, flag, got, want)
			}
		}
	}
}

// TestFewClasses: of a small store only a tenth of the classes is neglected by default.
func TestFewClasses(t *testing.T) {
	m := *yt8mManifest
	for classes, want := range map[int]string{5: "1", 200: "20", 4000: "100"} {
		m.Classes = classes
		cfg, err := NewConfig("", "", &m)
		if err != nil || cfg.Get("neglected") != want {
			t.Errorf("%d classes: --neglected is %s (%v), want %s", classes, cfg.Get("neglected"), err, want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"net", "resnet", "logistic, mlp, moe, conv1d"},
		{"epochs", "0", "at least 1"},
		{"epochs", "many", "whole number"},
		{"lr", "-1", "positive"},
		{"lr", "NaN", "positive"},
		{"dropout", "1", "[0, 1)"},
		{"optimizer", "lion", "adam, sgd"},
		{"schedule", "quadratic", "constant, linear[:WARMUP], cosine[:WARMUP], exp:"},
		{"schedule", "linear:x", "warm-up"},
		{"schedule", "cosine:-1", "warm-up"},
		{"schedule", "cosine:NaN", "warm-up"},
		{"schedule", "linear:1.5", "warm-up"},
		{"bias-init", "log", "prior, zero"},
		{"metric", "error_rate", "gap, map, loss"},
		{"logit-adjust", "some", "auto, none nor a number"},
		{"logit-adjust", "NaN", "auto, none nor a number"},
		{"logit-adjust", "1e9", "from -10 to 10"},
		{"beta2", "1", "between 0 and 1"},
		{"schedule", "exp:2@10", "(0, 1]"},
		{"schedule", "step:0.1@5,3", "grow"},
		{"seed", "-1", "whole number from 0"},
		{"subclass", "perhaps", "true or false"},
		{"neglected", "4000", "3862"},
		{"subclasses", "300", "255"},
		{"split", "halves", "kmeans, random"},
		{"subclass-weight", "1.5", "between 0 and 1"},
		{"validate-fraction", "1", "[0, 1)"},
		{"validate-split", "train", "trained on"},
		{"augment", "flip", "images"},
		{"lr", "1e7", "is not a positive number of at most 1000000"},
		{"neglected-weight", "1e7", "is not a positive number of at most 1000000"},
		{"precision", "f16", "f32, bf16"},
	} {
		cfg, err := NewConfig("yt8m-conv1d", "", yt8mManifest)
		if err != nil {
			t.Fatal(err)
		}
		if err = cfg.Set(c.flag, c.value); err == nil {
			err = cfg.Validate()
		}
		var usage *UsageError
		if !errors.As(err, &usage) || usage.Flag != c.flag || !strings.Contains(err.Error(), c.want) {
			t.Errorf("--%s %s: error %v, want one that says %q", c.flag, c.value, err, c.want)
		}
	}
	for _, net := range []string{"logistic", "moe", "mlp"} {
		cfg, err := NewConfig("", net, yt8mManifest)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Dropout, cfg.Noise = 0.5, 0.1
		if err := cfg.Validate(); (err == nil) != (net == "mlp") || err != nil && !strings.Contains(err.Error(), net+" has no dropout") {
			t.Errorf("dropout of %s: %v", net, err)
		}
	}
	if _, err := NewConfig("imagenet", "", yt8mManifest); err == nil || !strings.Contains(err.Error(), "yt8m-conv1d") {
		t.Errorf("unknown recipe: %v", err)
	}
	if _, err := NewConfig("yt8m-conv1d", "", &features.Manifest{Dataset: "cifar10", Classes: 10}); err == nil {
		t.Error("a recipe of another dataset is accepted")
	}
}

// TestSetGet: every flag of the configuration can be read and set.
func TestSetGet(t *testing.T) {
	cfg, err := NewConfig("", "", yt8mManifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range Flags() {
		if err := cfg.Set(flag, cfg.Get(flag)); err != nil {
			t.Error(err)
		}
	}
	for _, flag := range SubclassFlags() {
		if !slices.Contains(Flags(), flag) {
			t.Errorf("--%s is no flag", flag)
		}
	}
}

func readGolden(t *testing.T, name string, v any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
