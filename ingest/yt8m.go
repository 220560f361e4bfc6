package ingest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"sdnn/features"
	"sdnn/ingest/yt8m"
)

// YT8M reads video-level TFRecord files of YouTube-8M into a split of a store,
// which is created if need be. The store changes only if YT8M returns without an
// error; ctx cancels it. Rows are in the order of the sorted files whatever
// Threads is. Memory does not grow with the input, but for 8 bytes a row.
//
// Errors: *UsageError for options that cannot be met, *BadDataError for damaged
// input (with SkipBad only for input of another kind, or without any sound
// record), *features.ExistsError and the others of features.NewWriter, the cause
// of ctx, or an error of the file system.
func YT8M(ctx context.Context, o Options) (Result, error) {
	start := time.Now()
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if err := o.settle(defaultChunkRows, false); err != nil {
		return Result{}, err
	}
	names, classes, err := classNames(o.Vocabulary, o.Classes)
	if err != nil {
		return Result{}, err
	}
	files, err := findFiles(o.Paths, ".tfrecord", o.Split, o.Warn)
	if err != nil {
		return Result{}, err
	}
	schema := features.Schema{
		Dataset: "yt8m", Classes: classes, ClassNames: names,
		Columns: []features.Column{
			{Name: yt8m.MeanRGB, Kind: features.Float32, Width: yt8m.RGBWidth},
			{Name: yt8m.MeanAudio, Kind: features.Float32, Width: yt8m.AudioWidth},
		},
	}
	w, err := features.NewWriter(o.Out, o.Split, schema, features.WriterOptions{Overwrite: o.Overwrite})
	if err != nil {
		return Result{}, o.explain(err)
	}
	in := &ingestion{Options: o, files: files, classes: classes, w: w, firstRow: make([]int, len(files))}
	if err := in.run(ctx); err != nil {
		if abort := w.Abort(); abort != nil {
			err = errors.Join(err, abort)
		}
		return Result{}, err
	}
	info, err := w.Commit()
	if err != nil {
		return Result{}, err
	}
	res := in.res
	res.Shards = len(info.Shards)
	for _, s := range info.Shards {
		res.BytesOut += s.Bytes
	}
	res.Seconds = time.Since(start).Seconds()
	return res, nil
}

// explain says of a store with other classes which option was forgotten: the
// splits of YouTube-8M come one at a time, and all need the same.
func (o *Options) explain(err error) error {
	se, ok := errors.AsType[*features.SchemaError](err)
	if ok && se.Field == "classes" && o.Vocabulary == "" && o.Classes == 0 {
		se.Got += ", the default"
		se.Hint = fmt.Sprintf("give --vocabulary FILE, or --classes %s, as for the splits that are there, or write it to another store", se.Want)
	}
	return err
}

// classNames reads the vocabulary, if there is one, and settles the number of classes.
func classNames(vocabulary string, classes int) ([]string, int, error) {
	if classes < 0 {
		return nil, 0, usagef("%d classes: expected a positive number", classes)
	}
	if vocabulary == "" {
		if classes == 0 {
			classes = yt8m.DefaultClasses
		}
		return nil, classes, nil
	}
	f, err := os.Open(vocabulary)
	if os.IsNotExist(err) {
		return nil, 0, usagef("%s: no such vocabulary file", vocabulary)
	} else if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	names, err := yt8m.ReadVocabulary(f, vocabulary)
	var v *yt8m.VocabularyError
	if errors.As(err, &v) {
		return nil, 0, &BadDataError{File: v.File, Offset: -1, Record: int64(v.Line), What: "vocabulary",
			Expected: v.Expected, Found: v.Found, Err: err}
	} else if err != nil {
		return nil, 0, err
	}
	if classes != 0 && classes != len(names) {
		return nil, 0, usagef("%s names %d classes, but %d classes were asked for", vocabulary, len(names), classes)
	}
	return names, len(names), nil
}

// An ingestion is the state of one call of YT8M.
type ingestion struct {
	Options
	files    []inputFile
	classes  int
	w        *features.Writer
	res      Result
	firstRow []int // row at which each file begins
	hashes   hashList
}

// run reads all files into the writer and looks for duplicates.
func (in *ingestion) run(ctx context.Context) error {
	progress := Progress{TotalFiles: len(in.files)}
	for _, f := range in.files {
		progress.TotalBytes += f.size
	}
	in.res.Files, in.res.BytesIn = len(in.files), progress.TotalBytes
	p := &pipeline{files: in.files, classes: in.classes, skipBad: in.SkipBad, chunkRows: in.chunkRows}
	begun := -1 // last file of which a chunk came
	err := p.run(ctx, in.Threads, func(file int, c *chunk, last bool) error {
		if file != begun {
			begun = file
			in.firstRow[file] = int(in.res.Rows)
		}
		in.note(c.notes)
		if err := in.w.Append(&c.rows); err != nil {
			return err
		}
		in.hashes.add(c.hashes)
		in.res.Rows += int64(len(c.hashes))
		progress.Rows = in.res.Rows
		progress.Bytes += c.bytes
		if last {
			progress.Files++
		}
		in.Progress(progress)
		return nil
	})
	if err != nil {
		return err
	}
	if in.res.Rows == 0 {
		found := fmt.Sprintf("none in %d files", len(in.files))
		if in.res.Skipped > 0 {
			found = fmt.Sprintf("only damaged ones (%d)", in.res.Skipped)
		}
		return &BadDataError{File: in.files[0].path, Offset: -1, Record: -1, What: "records", Expected: "at least one sound one", Found: found}
	}
	return in.findDuplicates(ctx)
}

// note counts and passes on what workers had to say.
func (in *ingestion) note(notes []Warning) {
	for _, n := range notes {
		switch n.Kind {
		case SkippedRecord:
			in.res.Skipped++
		case CutFile:
			in.res.Skipped++
			in.res.CutFiles++
		}
		in.Warn(n)
	}
}
