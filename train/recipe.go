package train

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sdnn/features"
	"sdnn/nn"
)

// Nets lists the values of --net.
func Nets() []string { return []string{"logistic", "mlp", "moe", "conv1d"} }

// recipe is a named choice of settings: the paper's for one dataset and net.
type recipe struct {
	dataset string
	net     string
	set     func(c *Config)
}

// recipes by name. A recipe only sets what differs from NewConfig's defaults.
var recipes = map[string]recipe{
	// Gkalelis and Mezaris 2020, section 4.2: conv1d, K = 100, H = 2, one epoch of stage 1.
	"yt8m-conv1d": {"yt8m", "conv1d", func(c *Config) {
		c.Subclass = true
		c.Neglected = min(100, c.Classes)
	}},
}

// Recipes lists the values of --recipe.
func Recipes() []string { return slices.Sorted(maps.Keys(recipes)) }

// NewConfig returns the settings of a recipe, or with recipe "" the defaults of
// a net ("" for logistic) on a store; either may be "", and a recipe's net may
// be overridden. Flags are applied to the result by Set. The error is a
// *UsageError for an unknown name or a recipe of another dataset.
func NewConfig(recipeName, net string, m *features.Manifest) (Config, error) {
	r, known := recipes[recipeName]
	if recipeName != "" {
		if !known {
			return Config{}, &UsageError{"recipe", fmt.Sprintf("%q is unknown; the recipes are %s", recipeName, strings.Join(Recipes(), ", "))}
		}
		if r.dataset != m.Dataset {
			return Config{}, &UsageError{"recipe", fmt.Sprintf("%q is for a %s store, this one holds %s", recipeName, r.dataset, m.Dataset)}
		}
		if net == "" {
			net = r.net
		}
	}
	if net == "" {
		net = "logistic"
	}
	if !slices.Contains(Nets(), net) {
		return Config{}, &UsageError{"net", fmt.Sprintf("%q is unknown; the nets are %s", net, strings.Join(Nets(), ", "))}
	}
	c := defaults(net, m)
	if known {
		c.Recipe = recipeName
		r.set(&c)
	}
	return c, nil
}

// defaults are the settings of section 6 of the method for YouTube-8M.
func defaults(net string, m *features.Manifest) Config {
	c := Config{
		Format: ConfigFormat, Net: net, Engine: "auto", Precision: nn.F32, Seed: 1,
		Dataset: m.Dataset, Classes: m.Classes,
		ValidateFraction: 0.1,
		Epochs:           5, Batch: 1024, LR: 1e-3, Schedule: "exp:0.95@4000000", Optimizer: string(nn.Adam),
		Hidden: 2048, Experts: 2, Filters: 64,
		Neglected: max(1, min(100, m.Classes/10)), Subclasses: 2, SubclassWeight: 0.9, NeglectEpochs: 1,
		NeglectScore: ScoreMean, ClusterSpace: SpaceInput, MinPositives: 2, NeglectedWeight: 1, Split: SplitKMeans,
	}
	for _, col := range m.Columns {
		if col.Kind == features.Float32 {
			c.Columns = append(c.Columns, Column{col.Name, col.Width})
		}
	}
	switch net {
	case "mlp":
		c.Dropout = 0.3
	case "conv1d":
		c.Noise = 0.03
	}
	return c
}
