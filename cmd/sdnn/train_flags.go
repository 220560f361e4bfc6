package main

import (
	"strings"

	"github.com/spf13/pflag"

	"sdnn/features"
	"sdnn/mlp"
	"sdnn/train"
)

// addSettingFlags declares the flags of train.Config. Their defaults are only shown: a setting is changed when its flag
// is given.
func addSettingFlags(f *pflag.FlagSet) {
	d := defaultsOf(mlp.Logistic, "")
	f.String("net", "", "`network`: "+strings.Join(train.Nets(), ", ")+" (default logistic, of images vgg16)")
	f.String("recipe", "", "the paper's settings for a dataset and net: "+strings.Join(train.Recipes(), ", "))
	f.String("protocol", "",
		"images: authors, for their rate and schedule, and --bias-init zero --logit-adjust none "+
			"--neglect-score authors --pairing-rule wrapped --validate-split test --validate-fraction 0")
	f.String("engine", d.Engine, strings.Join(engineNames, ", "))
	f.String("precision", string(d.Precision), precisionHelp)
	f.Bool("fast", d.Fast, fastHelp)
	f.Int("limit", d.Limit, "train on the first `rows` only (0: all)")
	f.Int64("max-steps", d.MaxSteps, "stop each stage after so many `steps` (0: no limit)")
	f.Float64("validate-fraction", d.ValidateFraction,
		"part of the train split held out to choose the best checkpoint; 0: train on all, best is last")
	f.String("validate-split", d.ValidateSplit, "choose the best checkpoint on this `split` instead")

	f.Bool("refit", false, "features: when the held-out part of the train split has chosen, train anew on all rows, "+
		"for as many epochs as were best (default true for fewer than 100000 rows)")
	f.String("metric", "", "what chooses the best checkpoint and the logit adjustment on held-out examples: "+
		"gap, map or loss, of images error_rate or loss"+shownDefaults("metric"))
	f.String("logit-adjust", d.LogitAdjust, "add `TAU` ln(n) to the logit of a class of n training rows: "+
		"auto chooses the number on held-out examples when training is over; none; or a number")

	f.Int("epochs", 0, "epochs of the last stage"+byRows("epochs"))
	f.Int("batch", 0, "examples a step"+byRows("batch"))
	f.Float64("lr", 0, "learning rate"+byRows("lr"))
	f.String("schedule", "", "of the learning rate: constant, linear[:WARMUP] or cosine[:WARMUP] to 0 at the end, "+
		"exp:FACTOR@EXAMPLES or step:FACTOR@EPOCH,EPOCH,...; "+
		"WARMUP is steps of rising, or below 1 a part of all steps"+shownDefaults("schedule"))
	f.String("optimizer", "", "adam, or sgd with Nesterov momentum"+shownDefaults("optimizer"))
	f.Float64("beta2", 0, "adam: decay of the mean square of the gradients (default 0.999)")
	f.String("bias-init", d.BiasInit, "prior: each output starts at its log odds in the training rows; "+
		"zero: the net's customary values, about 0")
	f.Float64("weight-decay", 0, "weight decay"+shownDefaults("weight-decay"))
	f.String("augment", "",
		"images: a `list` of crop (a window of the image with 4 black pixels around, or crop:PIXELS), "+
			"flip, cutout:PIXELS; or none"+shownDefaults("augment"))
	f.Float64("noise", 0,
		"features of videos: standard deviation of the noise on them in training (default: conv1d 0.03, others none)")
	f.Float64("dropout", 0,
		"dropout rate of mlp, conv1d, vgg16 and wrn nets (default: mlp 0.3, conv1d none, vgg16 0.5, "+
			"wrn 0.3, on svhn 0.4)")
	f.Int("hidden", d.Hidden, "mlp: hidden units")
	f.Int("experts", d.Experts, "moe: experts a class")
	f.Int("filters", d.Filters, "conv1d: filters")

	addSubclassFlags(f, d)
}

// addSubclassFlags declares those of the subclass method.
func addSubclassFlags(f *pflag.FlagSet, d *train.Config) {
	f.Bool("subclass", d.Subclass, "the subclass method; without it the plain network is trained")
	f.Int("neglected", 0,
		"`K`: how many of the most neglected classes are split (default a tenth of the classes, of "+
			"videos at most 100, of images at least 2)")
	f.Int("subclasses", d.Subclasses, "subclasses of a neglected class")
	f.Float64("subclass-weight", d.SubclassWeight,
		"loss weight of a sibling's output: 1 ignores confusion of siblings, 0 treats them as strangers")
	f.Int("neglect-epochs", 0, "epochs of the first stage, which finds the neglected classes "+
		"(default a quarter of --epochs, images 10)")
	f.String("neglect-score", d.NeglectScore,
		"mean (over the batches where a class occurs) or authors (as in their code)")
	f.String("cluster-space", d.ClusterSpace,
		"where a class is split: input features, or the first network's penultimate ones")
	f.Bool("no-pairing", d.NoPairing, "images: no paired copies of the images of neglected classes")
	f.String("pairing-rule", train.PairMean,
		"images: mean of the two, or wrapped, the authors' code, whose bytes overflow")
	f.Int("min-positives", d.MinPositives, "a class with fewer examples is not split")
	f.Float64("sibling-target", d.SiblingTarget,
		"extension: target of a sibling's output; 0 is the paper, 1 makes copies of the class")
	f.Float64("neglected-weight", d.NeglectedWeight, "extension: loss weight of neglected classes; 1 is the paper")
	f.String("split", d.Split, "kmeans, or random as a control")
}

// defaultsOf are the settings of a net on a dataset when nothing is given.
func defaultsOf(net, dataset string) *train.Config {
	c, err := train.NewConfig("", net, &features.Manifest{Dataset: dataset})
	if err != nil {
		panic("sdnn: " + err.Error())
	}
	return &c
}

// shownDefaults is what --help says of a setting that the kind of data decides.
func shownDefaults(flag string) string {
	video, image := defaultsOf(mlp.Logistic, ""), defaultsOf("vgg16", "")
	text := "images " + image.Get(flag)
	if v := video.Get(flag); v != "" {
		text = v + ", " + text
	}
	for _, dataset := range []string{"cifar100", "svhn"} {
		if c := defaultsOf("vgg16", dataset); c.Get(flag) != image.Get(flag) {
			text += ", " + dataset + " " + c.Get(flag)
		}
	}
	return " (default " + text + ")"
}

// byRows is what --help says of a setting that for features follows from the rows.
func byRows(flag string) string {
	var values []string
	for _, rows := range []int64{1000, 10_000, 1_000_000} {
		m := &features.Manifest{Splits: map[string]*features.SplitInfo{"train": {Rows: rows}}}
		c, err := train.NewConfig("", mlp.Logistic, m)
		if err != nil {
			panic("sdnn: " + err.Error())
		}
		values = append(values, c.Get(flag))
	}
	text := values[0]
	if values[2] != text {
		text = strings.Join(values, ", ") + " for 1000, 10000, 1000000 rows"
	}
	vgg, wrn := defaultsOf("vgg16", "").Get(flag), defaultsOf("wrn-28-10", "").Get(flag)
	svhn := defaultsOf("vgg16", "svhn").Get(flag)
	text += "; images " + vgg
	if wrn != vgg {
		text += ", wrn " + wrn
	}
	if svhn != vgg {
		text += ", svhn " + svhn
	}
	return " (default by net and rows, logistic " + text + ")"
}
