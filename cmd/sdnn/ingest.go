package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sdnn/ingest"
)

// datasets are the raw formats that can be ingested and made up.
var datasets = []string{"yt8m"}

func newIngest(a *app) *cobra.Command {
	o := &ingest.Options{}
	cmd := newVerb(a, "ingest DATASET --out STORE --split SPLIT PATH...", "Turn raw files into a store",
		`Turn raw files into a split of a store, which training and evaluation map into memory. DATASET is yt8m: the video-level
TFRecord files of YouTube-8M. A PATH is a file, a folder (its *.tfrecord files) or a quoted glob pattern.

Both checksums of every record are verified. A damaged record stops the ingest with status 3 and leaves the store as it
was; with --skip-bad damaged records are dropped, reported and counted. An ingest that is interrupted or killed leaves the
store as it was.`,
		[]string{"sdnn ingest yt8m --out store --split train --vocabulary vocabulary.csv 'yt8m/train*.tfrecord'",
			"sdnn ingest yt8m --out store --split validate --skip-bad --json yt8m/validate/"},
		func(ctx context.Context, args []string) error {
			if err := known("dataset", args[0], datasets); err != nil {
				return err
			}
			o.Paths = args[1:]
			return runIngest(ctx, a, o)
		})
	cmd.Args = takesArgs(2, -1, "DATASET or PATH")
	f := cmd.Flags()
	f.StringVar(&o.Out, "out", "", "the `store`; made if need be")
	f.StringVar(&o.Split, "split", "", "train, validate or test")
	f.StringVar(&o.Vocabulary, "vocabulary", "", "CSV `file` with the names of the classes (YouTube-8M's vocabulary.csv)")
	f.IntVar(&o.Classes, "classes", 0, "number of classes (default the vocabulary's, or else 3862)")
	f.BoolVar(&o.SkipBad, "skip-bad", false, "drop damaged records instead of stopping at the first")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the split if the store has it")
	require(cmd, "out", "split")
	return cmd
}

// ingestResult is what ingest prints.
type ingestResult struct {
	Store string `json:"store"`
	Split string `json:"split"`
	ingest.Result
}

func runIngest(ctx context.Context, a *app, o *ingest.Options) error {
	o.Threads = a.threads
	bar := a.newProgress("ingest", true)
	o.Progress = func(p ingest.Progress) { bar.set(p.Bytes, p.TotalBytes) }
	o.Warn = func(w ingest.Warning) { a.log.Warn(w.Message, "kind", w.Kind) }
	r, err := ingest.YT8M(ctx, *o)
	bar.end()
	if err != nil {
		return err
	}
	a.print.result(ingestResult{o.Out, o.Split, r})
	return nil
}

func (r ingestResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: split %s: %d rows of %s (%s) in %s (%s), %.1f s", r.Store, r.Split, r.Rows,
		count(r.Files, "file"), size(r.BytesIn), count(r.Shards, "shard"), size(r.BytesOut), r.Seconds)
	if r.Skipped > 0 {
		fmt.Fprintf(w, "; %s skipped", count(int(r.Skipped), "damaged record"))
	}
	if r.Duplicates > 0 {
		fmt.Fprintf(w, "; %s kept", count(int(r.Duplicates), "duplicate id"))
	}
	fmt.Fprintln(w)
}
