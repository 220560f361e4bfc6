package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sdnn/ingest"
	"sdnn/internal/disk"
)

// datasets are the raw formats that can be ingested and made up.
var datasets = append([]string{"yt8m"}, ingest.ImageDatasets()...)

func newIngest(a *app) *cobra.Command {
	o := &ingest.Options{}
	var flags *pflag.FlagSet // of the verb, for what was given and not only its value
	cmd := newVerb(a, "ingest DATASET --out STORE PATH...", "Turn raw files into a store",
		`Turn raw files into splits of a store, which training and evaluation map into memory. A PATH is a file, a folder (its files
of the dataset's kind) or a quoted glob pattern. DATASET is one of

  yt8m      video-level TFRecord files of YouTube-8M; --split is needed
  cifar10   data_batch_*.bin (split train) and test_batch.bin (test), the binary version
  cifar100  train.bin and test.bin, the binary version
  svhn      train_32x32.mat and extra_32x32.mat (both train, the extra images last; name the files to leave them out) and
            test_32x32.mat: the cropped digits

The names of the files tell the split of images, unless --split does; all splits enter the store at once.

All checksums in the files are verified. A damaged record stops the ingest with status 3 and leaves the store as it was;
with --skip-bad damaged records are dropped, reported and counted. An ingest that is interrupted or killed leaves the
store as it was.

STORE must be new, empty, or hold a store, to which the splits are added.`,
		[]string{"sdnn ingest yt8m --out store --split train --vocabulary vocabulary.csv 'yt8m/train*.tfrecord'",
			"sdnn ingest cifar10 --out store --json cifar-10-batches-bin/"},
		func(ctx context.Context, args []string) error {
			if err := known("dataset", args[0], datasets); err != nil {
				return err
			}
			if flags.Changed("classes") && o.Classes < 1 {
				return usagef("--classes %d: it must be at least 1; leave it out for the default", o.Classes)
			}
			o.Paths = args[1:]
			return runIngest(ctx, a, args[0], o)
		})
	cmd.Args = takesArgs(2, -1, "DATASET or PATH")
	f := cmd.Flags()
	flags = f
	f.StringVar(&o.Out, "out", "", "the `store`; made if need be")
	f.StringVar(&o.Split, "split", "", "train, validate or test (default for images: by the names of the files)")
	f.StringVar(&o.Vocabulary, "vocabulary", "", "CSV `file` with the names of the classes (YouTube-8M's vocabulary.csv)")
	f.IntVar(&o.Classes, "classes", 0, "number of classes (default the vocabulary's, or else 3862; images: always the dataset's)")
	f.BoolVar(&o.SkipBad, "skip-bad", false, "drop damaged records instead of stopping at the first")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the split if the store has it")
	require(cmd, "out")
	return cmd
}

// ingestResult is what ingest prints.
type ingestResult struct {
	Store string `json:"store"`
	Split string `json:"split,omitempty"` // if there is but one
	ingest.Result
	Splits map[string]int64 `json:"splits,omitempty"` // of images: the rows of each
}

func runIngest(ctx context.Context, a *app, dataset string, o *ingest.Options) error {
	if dataset == "yt8m" && o.Split == "" {
		return usagef("--split is missing; see sdnn ingest --help")
	}
	if err := checkFolder("--out", o.Out); err != nil {
		return err
	}
	o.Threads = a.threads
	bar := a.newProgress("ingest", true)
	total := int64(0)
	o.Progress = func(p ingest.Progress) {
		total = p.TotalBytes
		bar.set(p.Bytes, total)
	}
	o.Warn = func(w ingest.Warning) { a.log.Warn(w.Message, "kind", w.Kind) }
	r := ingestResult{Store: o.Out, Split: o.Split}
	var err error
	if dataset == "yt8m" {
		r.Result, err = ingest.YT8M(ctx, *o)
	} else {
		var images ingest.ImageResult
		images, err = ingest.Images(ctx, dataset, *o)
		r.Result, r.Splits = images.Result, images.Splits
	}
	bar.end()
	if disk.Full(err) && total > 0 {
		return fmt.Errorf("%w; the files to be ingested have %s, and what they make in the store about as much", err, size(total))
	} else if err != nil {
		return err
	}
	if len(r.Splits) == 1 {
		for name := range r.Splits {
			r.Split = name
		}
	}
	a.print.result(r)
	return nil
}

func (r ingestResult) text(w io.Writer) {
	what := "split " + r.Split
	if r.Split == "" {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(r.Splits)) {
			parts = append(parts, fmt.Sprintf("%s (%d)", name, r.Splits[name]))
		}
		what = "splits " + strings.Join(parts, ", ")
	}
	fmt.Fprintf(w, "%s: %s: %d rows of %s (%s) in %s (%s), %.1f s", r.Store, what, r.Rows,
		count(r.Files, "file"), size(r.BytesIn), count(r.Shards, "shard"), size(r.BytesOut), r.Seconds)
	if r.Skipped > 0 {
		fmt.Fprintf(w, "; %s skipped", count(int(r.Skipped), "damaged record"))
	}
	if r.Duplicates > 0 {
		fmt.Fprintf(w, "; %s kept", count(int(r.Duplicates), "duplicate id"))
	}
	fmt.Fprintln(w)
}
