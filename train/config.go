package train

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sdnn/mlp"
	"sdnn/nn"
	"sdnn/subclass"
)

// ConfigFormat is the version of config.json that this package writes and reads.
const ConfigFormat = 1

// Column is a feature column that the network reads.
type Column struct {
	Name  string `json:"name"`
	Width int    `json:"width"`
}

// Config has every setting of a run, resolved: nothing is left to defaults.
// It is what config.json holds. A field with a flag tag is set by that flag of
// sdnn train.
type Config struct {
	Format  int    `json:"format"`
	Version string `json:"sdnn_version"` // of the program that began the run

	Recipe    string       `json:"recipe,omitempty" flag:"recipe"`
	Protocol  string       `json:"protocol,omitempty" flag:"protocol"` // "" or ProtocolAuthors
	Net       string       `json:"net" flag:"net"`
	Engine    string       `json:"engine" flag:"engine"`
	Precision nn.Precision `json:"precision" flag:"precision"`
	Fast      bool         `json:"fast,omitempty" flag:"fast"` // of the cuda engine: algorithms are timed; their last bits may differ from run to run
	Seed      uint64       `json:"seed" flag:"seed"`

	Dataset string            `json:"dataset"`
	Classes int               `json:"classes"`
	Columns []Column          `json:"columns"`
	Data    map[string]string `json:"data"` // split to checksum of its shards; set by Run
	// PixelMean and PixelStd normalise images, per plane, in units of 0..255.
	PixelMean []float64 `json:"pixel_mean,omitempty"`
	PixelStd  []float64 `json:"pixel_std,omitempty"`

	Limit    int   `json:"limit" flag:"limit"`
	MaxSteps int64 `json:"max_steps" flag:"max-steps"` // of each stage; 0: no limit

	ValidateFraction float64 `json:"validate_fraction" flag:"validate-fraction"`
	ValidateSplit    string  `json:"validate_split,omitempty" flag:"validate-split"`
	Metric           string  `json:"metric" flag:"metric"`             // chooses the best checkpoint and the logit adjustment
	LogitAdjust      string  `json:"logit_adjust" flag:"logit-adjust"` // AdjustAuto, AdjustNone or a number
	Refit            bool    `json:"refit" flag:"refit"`               // train on all rows in the end, see refitting

	Epochs      int     `json:"epochs" flag:"epochs"` // of stage 3
	Batch       int     `json:"batch" flag:"batch"`
	LR          float64 `json:"lr" flag:"lr"`
	Schedule    string  `json:"schedule" flag:"schedule"` // see ParseSchedule
	Optimizer   string  `json:"optimizer" flag:"optimizer"`
	Beta2       float64 `json:"beta2,omitempty" flag:"beta2"` // of adam alone
	BiasInit    string  `json:"bias_init" flag:"bias-init"`
	WeightDecay float64 `json:"weight_decay" flag:"weight-decay"`
	Augment     string  `json:"augment,omitempty" flag:"augment"` // images only, see ParseAugment
	Noise       float64 `json:"noise" flag:"noise"`
	Dropout     float64 `json:"dropout" flag:"dropout"`
	Hidden      int     `json:"hidden" flag:"hidden"`
	Experts     int     `json:"experts" flag:"experts"`
	Filters     int     `json:"filters" flag:"filters"`

	Subclass        bool    `json:"subclass" flag:"subclass"`
	Neglected       int     `json:"neglected" flag:"neglected"`   // K
	Subclasses      int     `json:"subclasses" flag:"subclasses"` // H
	SubclassWeight  float64 `json:"subclass_weight" flag:"subclass-weight"`
	NeglectEpochs   int     `json:"neglect_epochs" flag:"neglect-epochs"` // of stage 1
	NeglectScore    string  `json:"neglect_score" flag:"neglect-score"`
	ClusterSpace    string  `json:"cluster_space" flag:"cluster-space"`
	NoPairing       bool    `json:"no_pairing" flag:"no-pairing"` // images only
	PairingRule     string  `json:"pairing_rule,omitempty" flag:"pairing-rule"`
	MinPositives    int     `json:"min_positives" flag:"min-positives"`
	SiblingTarget   float64 `json:"sibling_target" flag:"sibling-target"`
	NeglectedWeight float64 `json:"neglected_weight" flag:"neglected-weight"`
	Split           string  `json:"split" flag:"split"`
}

// The values of the settings that are words.
const (
	ScoreMean    = "mean"    // NeglectScore: mean theta over the batches where a class occurs
	ScoreAuthors = "authors" // NeglectScore: the running sum of the authors' code

	SpaceInput       = "input"       // ClusterSpace: the features as the network reads them
	SpacePenultimate = "penultimate" // ClusterSpace: the input of the classification layer

	PairMean    = string(subclass.PairMean)    // PairingRule: the mean of two images
	PairWrapped = string(subclass.PairWrapped) // PairingRule: the authors' code, whose bytes overflow

	ProtocolAuthors = "authors"

	BiasPrior = "prior" // BiasInit: each output starts at its log odds in the training rows
	BiasZero  = "zero"  // BiasInit: the net's customary initial values, at or about 0

	SplitKMeans = "kmeans"
	SplitRandom = "random"
)

// UsageError says which flag has a value that cannot be.
type UsageError struct {
	Flag string // without dashes
	What string
}

// Error implements error.
func (e *UsageError) Error() string { return fmt.Sprintf("--%s: %s", e.Flag, e.What) }

// SubclassFlags lists the flags that mean nothing without --subclass.
func SubclassFlags() []string {
	return []string{"neglected", "subclasses", "subclass-weight", "neglect-epochs", "neglect-score",
		"cluster-space", "no-pairing", "pairing-rule", "min-positives", "sibling-target", "neglected-weight", "split"}
}

// fillOld sets what runs of earlier versions did not have to what they did.
func (c *Config) fillOld() {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&c.BiasInit, BiasZero)
	fill(&c.LogitAdjust, AdjustNone)
	fill(&c.Metric, MetricGAP)
	if c.Images() && c.Metric == MetricGAP {
		c.Metric = MetricErrorRate
	}
	if c.Beta2 == 0 {
		c.Beta2 = nn.NewAdam().Beta2
	}
}

// Set sets the field of a flag from its text. The error is a *UsageError; a
// name that is no flag of the configuration panics.
func (c *Config) Set(flag, value string) error {
	f := c.field(flag)
	var err error
	switch f.Kind() {
	case reflect.String:
		if flag == "logit-adjust" {
			value = canonicalAdjust(value)
		}
		f.SetString(value)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(value)
		f.SetBool(b)
	case reflect.Int, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(value, 10, f.Type().Bits())
		f.SetInt(n)
	case reflect.Uint64:
		var n uint64
		n, err = strconv.ParseUint(value, 10, 64)
		f.SetUint(n)
	case reflect.Float64:
		var x float64
		x, err = strconv.ParseFloat(value, 64)
		f.SetFloat(x)
	default:
		panic("train: --" + flag + " has a type that Set does not know")
	}
	if err != nil {
		return &UsageError{flag, fmt.Sprintf("%q is not %s", value, kindNames[f.Kind()])}
	}
	return nil
}

var kindNames = map[reflect.Kind]string{
	reflect.Bool: "true or false", reflect.Float64: "a number",
	reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Uint64: "a whole number from 0",
}

// Get returns the text of the field of a flag.
func (c *Config) Get(flag string) string { return fmt.Sprint(c.field(flag).Interface()) }

func (c *Config) field(flag string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("flag") == flag {
			return v.Field(i)
		}
	}
	panic("train: no setting has the flag --" + flag)
}

// Flags lists the flags that set a field, in the order of the fields.
func Flags() []string {
	var flags []string
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if f := t.Field(i).Tag.Get("flag"); f != "" {
			flags = append(flags, f)
		}
	}
	return flags
}

// Validate checks every setting. The error is a *UsageError that names the flag.
func (c *Config) Validate() error {
	if err := CheckNet(c.Net); err != nil {
		return err
	}
	if _, err := ParseSchedule(c.Schedule); err != nil {
		return &UsageError{"schedule", err.Error()}
	}
	for _, check := range c.checks() {
		if !check.ok {
			return &UsageError{check.flag, strconv.Quote(c.Get(check.flag)) + " " + check.what}
		}
	}
	return nil
}

type check struct {
	flag string
	ok   bool
	what string
}

// oneOf checks that a setting is one of some words.
func oneOf(flag, v string, words ...string) check {
	return check{flag, slices.Contains(words, v), "is none of " + strings.Join(words, ", ")}
}

func (c *Config) checks() []check {
	_, adjustErr := ParseLogitAdjust(c.LogitAdjust)
	checks := []check{
		oneOf("optimizer", c.Optimizer, string(nn.Adam), string(nn.SGD)),
		oneOf("bias-init", c.BiasInit, BiasPrior, BiasZero),
		oneOf("precision", string(c.Precision), string(nn.F32), string(nn.TF32), string(nn.BF16)),
		{"beta2", c.Beta2 > 0 && c.Beta2 < 1, "is not between 0 and 1"},
		{"logit-adjust", adjustErr == nil, fmt.Sprint(adjustErr)},
		{"epochs", c.Epochs >= 1, "is not at least 1"},
		{"batch", c.Batch >= 1 && c.Batch <= 1<<20, "is not between 1 and 1048576"},
		{"lr", c.LR > 0 && c.LR <= 1e6, "is not a positive number of at most 1000000"},
		{"weight-decay", c.WeightDecay >= 0 && c.WeightDecay < 1, "is not in [0, 1)"},
		{"noise", c.Noise >= 0 && c.Noise <= 1e3, "is not between 0 and 1000"},
		{"dropout", c.Dropout >= 0 && c.Dropout < 1, "is not in [0, 1)"},
		{"hidden", c.Hidden >= 1, "is not at least 1"},
		{"experts", c.Experts >= 1, "is not at least 1"},
		{"filters", c.Filters >= 1, "is not at least 1"},
		{"limit", c.Limit >= 0, "is negative (0 is no limit)"},
		{"max-steps", c.MaxSteps >= 0, "is negative (0 is no limit)"},
		{"validate-fraction", c.ValidateFraction >= 0 && c.ValidateFraction < 1, "is not in [0, 1)"},
		{"validate-split", c.ValidateSplit != trainSplit, "is what is trained on; choose another split"},
	}
	if c.Images() {
		checks = append(checks, c.imageChecks()...)
	} else {
		checks = append(checks,
			oneOf("metric", c.Metric, MetricGAP, MetricMAP, MetricLoss),
			check{"dropout", c.Dropout == 0 || c.Net == mlp.MLP || c.Net == mlp.Conv1D, "does nothing: " + c.Net + " has no dropout; leave it out, or take --net mlp or conv1d"},
			check{"augment", c.Augment == "" || c.Augment == "none", "is for images; features know --noise, and mlp and conv1d --dropout"},
			check{"protocol", c.Protocol == "", "is for images; for features give --neglect-score authors"})
	}
	if !c.Subclass {
		return checks
	}
	if c.Images() {
		checks = append(checks, oneOf("pairing-rule", c.PairingRule, PairMean, PairWrapped))
	}
	return append(checks,
		oneOf("neglect-score", c.NeglectScore, ScoreMean, ScoreAuthors),
		oneOf("cluster-space", c.ClusterSpace, SpaceInput, SpacePenultimate),
		oneOf("split", c.Split, SplitKMeans, SplitRandom),
		check{"neglected", c.Neglected >= 1 && c.Neglected <= c.Classes, fmt.Sprintf("is not between 1 and the %d classes", c.Classes)},
		check{"subclasses", c.Subclasses >= 1 && c.Subclasses <= 255, "is not between 1 and 255"},
		check{"subclass-weight", c.SubclassWeight >= 0 && c.SubclassWeight <= 1, "is not between 0 and 1"},
		check{"neglect-epochs", c.NeglectEpochs >= 1, "is not at least 1"},
		check{"min-positives", c.MinPositives >= 1, "is not at least 1"},
		check{"sibling-target", c.SiblingTarget >= 0 && c.SiblingTarget <= 1, "is not between 0 and 1"},
		check{"neglected-weight", c.NeglectedWeight > 0 && c.NeglectedWeight <= 1e6, "is not a positive number of at most 1000000"},
	)
}

// imageChecks are those of image nets.
func (c *Config) imageChecks() []check {
	a, err := ParseAugment(c.Augment)
	if fits := len(c.Columns) == 1 && c.side() > 0; err == nil && fits && max(a.Pad, a.Cutout) > c.side() {
		side := c.side()
		err = fmt.Errorf("crop and cutout may take at most the %d pixels of an image's side", side)
	}
	return []check{
		oneOf("metric", c.Metric, MetricErrorRate, MetricLoss),
		{"refit", !c.Refit, "is for features; images are trained once"},
		{"augment", err == nil, fmt.Sprintf("cannot be: %v", err)},
		{"noise", c.Noise == 0, "is for the features of videos; images know --augment"},
		{"protocol", c.Protocol == "" || c.Protocol == ProtocolAuthors, "is not " + ProtocolAuthors},
		{"net", len(c.Columns) == 1 && c.side() > 0, "needs a store of square images"},
	}
}

// Images says whether the run's network is one for images.
func (c *Config) Images() bool { return isImageNet(c.Net) }

// Examples is the word for the run's examples.
func (c *Config) Examples() string {
	if c.Images() {
		return "images"
	}
	return "videos"
}

// pairing says whether the images of neglected classes get paired copies.
func (c *Config) pairing() bool { return c.Subclass && c.Images() && !c.NoPairing }

// optimiser returns the update rule with its constants.
func (c *Config) optimiser() nn.Optimizer {
	o := nn.NewSGD(c.WeightDecay)
	if c.Optimizer == string(nn.Adam) {
		o = nn.NewAdam()
		o.WeightDecay = c.WeightDecay
		o.Beta2 = c.Beta2
	}
	return o
}
