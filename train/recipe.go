package train

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sdnn/cnn"
	"sdnn/features"
	"sdnn/mlp"
	"sdnn/nn"
)

// Nets lists values of --net; wide residual nets exist in any depth 6n+4 and
// width.
func Nets() []string { return append(mlp.Nets(), "vgg16", "wrn-28-10", "wrn-16-8", "wrn-DEPTH-WIDEN") }

// NetsFor lists those of Nets that can read a store.
func NetsFor(m *features.Manifest) []string {
	if len(m.Columns) == 0 {
		return Nets()
	}
	if _, images := imageColumn(m); images {
		return Nets()[len(mlp.Nets()):]
	}
	return mlp.Nets()
}

func isImageNet(net string) bool { return cnn.Known(net) == nil }

// CheckNet says what is wrong with a value of --net, as a *UsageError.
func CheckNet(net string) error {
	if slices.Contains(mlp.Nets(), net) || isImageNet(net) {
		return nil
	}
	what := fmt.Sprintf("%q is unknown; the nets are %s", net, strings.Join(Nets(), ", "))
	if strings.HasPrefix(net, "wrn-") {
		what = strings.TrimPrefix(cnn.Known(net).Error(), "cnn: ")
	}
	return &UsageError{"net", what}
}

// recipe is a named choice of settings: the paper's for one dataset and net.
type recipe struct {
	dataset string
	net     string
	set     func(c *Config)
}

// recipes by name. A recipe only sets what differs from NewConfig's defaults,
// which for images are the paper's settings for the dataset already.
var recipes = map[string]recipe{
	// Gkalelis and Mezaris 2020, section 4.2: conv1d, K = 100, H = 2, one epoch of stage 1.
	"yt8m-conv1d": {"yt8m", "conv1d", func(c *Config) {
		c.Subclass = true
		c.Neglected, c.NeglectEpochs = min(100, c.Classes), 1
		c.Refit = false
		c.Epochs, c.Batch, c.LR, c.Schedule = 5, 1024, 1e-3, "exp:0.95@4000000"
	}},
	// Section 4.1.
	"cifar10-vgg16":  {"cifar10", "vgg16", withSubclasses},
	"cifar10-wrn":    {"cifar10", "wrn-28-10", withSubclasses},
	"cifar100-vgg16": {"cifar100", "vgg16", withSubclasses},
	"cifar100-wrn":   {"cifar100", "wrn-28-10", withSubclasses},
	"svhn-vgg16":     {"svhn", "vgg16", withSubclasses},
	"svhn-wrn":       {"svhn", "wrn-16-8", withSubclasses},
}

// withSubclasses are the paper's settings for images: in place of the default's
// falling rate its steps, for 300 epochs.
func withSubclasses(c *Config) {
	c.Subclass = true
	c.Schedule = paperSchedule(c.Dataset)
}

// paperSchedule is the paper's of images.
func paperSchedule(dataset string) string {
	if dataset == "svhn" {
		return "step:0.1@80,120,160,220"
	}
	return "step:0.2@60,120,160,220,260"
}

// Recipes lists the values of --recipe.
func Recipes() []string { return slices.Sorted(maps.Keys(recipes)) }

// NewConfig returns the settings of a recipe, or with recipe "" the defaults of
// a net ("" for logistic, of images vgg16) on a store; either may be "", and a
// recipe's net may be overridden. Flags are applied to the result by Set. The
// error is a *UsageError for an unknown name, or a recipe or net for another
// kind of data.
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
	col, images := imageColumn(m)
	if net == "" {
		if net = "logistic"; images {
			net = "vgg16"
		}
	}
	if err := CheckNet(net); err != nil {
		return Config{}, err
	}
	if len(m.Columns) > 0 && images != isImageNet(net) {
		return Config{}, &UsageError{"net", fmt.Sprintf("%s cannot read this store, which holds %s; the nets for it are %s", net, describeStore(m), strings.Join(NetsFor(m), ", "))}
	}
	var c Config
	if isImageNet(net) {
		c = imageDefaults(net, col, m)
	} else {
		c = videoDefaults(net, m)
	}
	if known {
		c.Recipe = recipeName
		r.set(&c)
	}
	return c, nil
}

// UseProtocol sets what a value of --protocol stands for, before other flags
// are applied. "authors" follows the authors' code where the method leaves it:
// their neglection score, their overflowing pairs, training on the whole train
// split with the best checkpoint chosen on the test split. The error is a
// *UsageError.
func (c *Config) UseProtocol(name string) error {
	if name != ProtocolAuthors {
		return &UsageError{"protocol", fmt.Sprintf("%q is unknown; the only one is %s", name, ProtocolAuthors)}
	}
	if !c.Images() {
		return &UsageError{"protocol", "it is for images; for features give --neglect-score authors"}
	}
	c.Protocol = name
	c.BiasInit, c.LogitAdjust = BiasZero, AdjustNone
	c.Schedule = paperSchedule(c.Dataset)
	if c.LR = 0.1; c.Dataset == "svhn" {
		c.LR = 0.01
	}
	c.NeglectScore = ScoreAuthors
	c.PairingRule = PairWrapped
	c.ValidateFraction, c.ValidateSplit = 0, testSplit
	return nil
}

// defaults are those that all nets have in common.
func defaults(net string, m *features.Manifest) Config {
	return Config{
		Format: ConfigFormat, Net: net, Engine: "auto", Precision: nn.F32, Seed: 1,
		Dataset: m.Dataset, Classes: m.Classes,
		ValidateFraction: 0.1,
		BiasInit:         BiasPrior, LogitAdjust: AdjustAuto, Metric: MetricGAP, Beta2: nn.NewAdam().Beta2,
		Hidden: 2048, Experts: 2, Filters: 64,
		Subclasses: 2, SubclassWeight: 0.9,
		NeglectScore: ScoreMean, ClusterSpace: SpaceInput, MinPositives: 2, NeglectedWeight: 1, Split: SplitKMeans,
	}
}

// videoDefaults are the settings for features of videos, by the rows of the train
// split.
func videoDefaults(net string, m *features.Manifest) Config {
	c := defaults(net, m)
	c.Optimizer, c.Schedule = string(nn.Adam), scheduleLinear
	c.FitRows(Rows(m))
	c.Neglected = max(1, min(100, m.Classes/10))
	for _, col := range m.Columns {
		if col.Kind == features.Float32 {
			c.Columns = append(c.Columns, Column{col.Name, col.Width})
		}
	}
	switch net {
	case mlp.MLP:
		c.Dropout = 0.3
	case mlp.Conv1D:
		c.Noise = 0.03
	}
	return c
}

// imageDefaults are the settings of section 6 of the method for a dataset, but for
// the rate, which is one that the net bears and falls along a cosine; a dataset
// that is none of the paper's is treated as CIFAR-10.
func imageDefaults(net string, images Column, m *features.Manifest) Config {
	c := defaults(net, m)
	c.Columns = []Column{images}
	c.Metric = MetricErrorRate
	c.PixelMean, c.PixelStd = m.PixelMean, m.PixelStd
	c.Epochs, c.Batch, c.Optimizer, c.WeightDecay = 300, 128, string(nn.SGD), 5e-4
	c.LR, c.Schedule, c.Augment = defaultImageRate(net), scheduleCosine, "crop,flip,cutout:16"
	c.Dropout = cnn.DefaultDropout(net)
	c.Neglected, c.NeglectEpochs = min(max(2, m.Classes/10), max(m.Classes, 1)), 10
	c.PairingRule = PairMean
	switch m.Dataset {
	case "cifar100":
		c.Augment = "crop,flip,cutout:8"
	case "svhn":
		c.LR, c.Augment = 0.01, "cutout:20"
		if net != "vgg16" {
			c.Dropout = 0.4
		}
	}
	return c
}
