package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sdnn/features"
	"sdnn/ingest/cifar"
)

const (
	// ImageColumn is the name of the column of a store that has the images: planes R, G, B of 32 x 32.
	ImageColumn = "image"
	imageBytes  = cifar.PixelBytes

	// imageChunkRows is how many images are handed to the writer at once.
	imageChunkRows = 256
)

// UnknownFile is the kind of warning that files in a folder were left out because their names tell no split.
const UnknownFile WarningKind = "unknown-file"

// An imageSet is a data set of images: its classes, its files, and how to read them.
type imageSet struct {
	name      string
	classes   int
	names     []string // of the classes
	namesFile string   // of the official archive, with the names of the classes; empty if it has none
	mean, std []float64

	ext   string      // of its files
	kinds []imageKind // of its files
	// check finds what is wrong with a file at a glance. Errors: *BadDataError, those of the file system.
	check func(f *os.File, in inputFile) error
	// open begins a file that may be cut short. Errors are those of check.
	open func(f *os.File, in inputFile) (imageSource, error)
}

// An imageKind is how the official files of a split are named.
type imageKind struct {
	pattern string // of path.Match, of the whole name
	split   string
	rank    int // the files of a split are read in the order of their ranks, then their paths
}

// An imageSource reads the images of one file.
type imageSource interface {
	// next reads an image into pixels (imageBytes) and returns its class. Errors: io.EOF at the end, *BadDataError, those of the
	// file system. After damage of scope oneRecord it can go on.
	next(pixels []byte) (class int32, err error)
	// record returns the number of the image that next read last, from 0.
	record() int64
	// consumed returns how much of the file was read.
	consumed() int64
}

// Pixel statistics are those of the paper's settings, in units of 0..255.
var (
	cifarMean, cifarStd = []float64{125.3, 123.0, 113.9}, []float64{63.0, 62.1, 66.7}
	svhnMean, svhnStd   = []float64{109.9, 109.7, 113.8}, []float64{50.1, 50.6, 50.8}
)

var imageSets = []*imageSet{
	cifarSet("cifar10", cifar.CIFAR10, []imageKind{{"data_batch_*.bin", "train", 0}, {"test_batch.bin", "test", 0}}),
	cifarSet("cifar100", cifar.CIFAR100, []imageKind{{"train.bin", "train", 0}, {"test.bin", "test", 0}}),
	svhnSet(),
}

// ImageDatasets lists the data sets that Images reads.
func ImageDatasets() []string {
	var names []string
	for _, s := range imageSets {
		names = append(names, s.name)
	}
	return names
}

// ImageResult is what an ingest of images did: the sums over all splits, and the rows of each.
type ImageResult struct {
	Result
	Splits map[string]int64 `json:"splits"`
}

// Images reads the official binary files of a data set of images (cifar10, cifar100, svhn) into splits of a store, which is
// created if need be.
//
// Options.Paths are files, folders (their .bin or .mat files) or glob patterns. The split of a file follows from its official
// name; the extra set of SVHN belongs to train, behind the training set, as the paper trains on both: name the files to leave it
// out. Options.Split overrides the names, but of a folder with files of several splits only those of Split are taken. Files in a
// folder whose names tell no split are left out with a warning.
//
// All splits become part of the store together, and only if Images returns without an error; ctx cancels it. The id of an image
// is the name of its file without the ending and its number in the file ("data_batch_1/00000012"), so that it stays the same
// whatever else is ingested. Memory does not grow with the input, but for 4 bytes an image of SVHN. Options.Threads is not used:
// one thread reads and decompresses, another writes.
//
// The classes are named by Options.Vocabulary, or else by the names file of the official archive if it lies beside the first file,
// or else by their official names. Coarse labels of CIFAR-100 are checked and not stored: they follow from the class
// (cifar.CoarseOf).
//
// Errors are those of YT8M. With SkipBad, images with an impossible label are dropped, and so is the rest of a file that is cut
// short; other damage of compressed data stops the ingest even then, as nothing in them can be trusted.
func Images(ctx context.Context, dataset string, o Options) (ImageResult, error) {
	start := time.Now()
	i := slices.IndexFunc(imageSets, func(s *imageSet) bool { return s.name == dataset })
	if i < 0 {
		panic("ingest: Images of dataset " + dataset)
	}
	in := &imageIngestion{set: imageSets[i], Options: o}
	if err := in.settle(); err != nil {
		return ImageResult{}, err
	}
	if err := in.preflight(); err != nil {
		return ImageResult{}, err
	}
	schema := features.Schema{Dataset: in.set.name, Classes: in.set.classes, ClassNames: in.names,
		Columns:   []features.Column{{Name: ImageColumn, Kind: features.Uint8, Width: imageBytes}},
		PixelMean: in.set.mean, PixelStd: in.set.std}
	w, err := features.NewSplits(o.Out, in.splitNames(), schema, features.WriterOptions{Overwrite: o.Overwrite})
	if err != nil {
		return ImageResult{}, err
	}
	in.w = w
	if err := in.run(ctx); err != nil {
		if abort := w.Abort(); abort != nil {
			err = errors.Join(err, abort)
		}
		return ImageResult{}, err
	}
	infos, err := w.Commit()
	if err != nil {
		return ImageResult{}, err
	}
	for _, info := range infos {
		in.res.Shards += len(info.Shards)
		for _, sh := range info.Shards {
			in.res.BytesOut += sh.Bytes
		}
	}
	in.res.Seconds = time.Since(start).Seconds()
	return in.res, nil
}

// imageSplit is the files of a split, in the order of reading.
type imageSplit struct {
	name  string
	files []inputFile
}

// imageIngestion is the state of one call of Images.
type imageIngestion struct {
	Options
	set    *imageSet
	splits []imageSplit
	names  []string // of the classes
	w      *features.Splits
	res    ImageResult
	at     Progress
	done   int64 // bytes of the files before the current one
	chunk  imageChunk
}

// settle checks the options and finds files and class names.
func (in *imageIngestion) settle() error {
	if err := in.Options.settle(imageChunkRows, true); err != nil {
		return err
	}
	if in.Classes != 0 && in.Classes != in.set.classes {
		return usagef("%d classes: %s has %d", in.Classes, in.set.name, in.set.classes)
	}
	files, err := in.set.find(in.Paths, in.Split, in.Warn)
	if err != nil {
		return err
	}
	in.splits = in.set.group(files, in.Split)
	if err := distinctNames(files); err != nil {
		return err
	}
	in.res.Splits = map[string]int64{}
	in.res.Files, in.at.TotalFiles = len(files), len(files)
	for _, f := range files {
		in.at.TotalBytes += f.size
	}
	in.res.BytesIn = in.at.TotalBytes
	in.names, err = in.classNames(files[0])
	return err
}

func (in *imageIngestion) splitNames() []string {
	var names []string
	for _, s := range in.splits {
		names = append(names, s.name)
	}
	return names
}

// classNames returns the names of the classes, see Images.
func (in *imageIngestion) classNames(first inputFile) ([]string, error) {
	if in.Vocabulary != "" {
		names, _, err := classNames(in.Vocabulary, in.set.classes)
		return names, err
	}
	if in.set.namesFile == "" {
		return in.set.names, nil
	}
	path := filepath.Join(filepath.Dir(first.path), in.set.namesFile)
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return in.set.names, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	names, err := cifar.ReadNames(f, in.set.classes)
	if e, ok := errors.AsType[*cifar.NamesError](err); ok {
		return nil, &BadDataError{File: path, Offset: -1, Record: int64(e.Line), What: "class names", Expected: e.Expected, Found: e.Found,
			Hint: "mend or remove the file: without it the official names are used", Err: err}
	}
	return names, err
}

// preflight checks every file, so that a wrong one is found before anything is written.
func (in *imageIngestion) preflight() error {
	for _, s := range in.splits {
		for _, f := range s.files {
			err := withFile(f.path, func(file *os.File) error { return in.set.check(file, f) })
			if bad, ok := errors.AsType[*BadDataError](err); ok && in.SkipBad && bad.scope != wholeInput {
				continue // told when its turn comes
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// withFile calls use with a file that is only read.
func withFile(path string, use func(f *os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return use(f)
}

// run reads all files into the writer.
func (in *imageIngestion) run(ctx context.Context) error {
	in.chunk = newImageChunk(in.chunkRows)
	for i, s := range in.splits {
		for _, f := range s.files {
			if err := withFile(f.path, func(file *os.File) error { return in.file(ctx, i, file, f) }); err != nil {
				return err
			}
			in.done += f.size
			in.at.Files++
		}
		if in.res.Splits[s.name] == 0 {
			found := fmt.Sprintf("none in %d files", len(s.files))
			if in.res.Skipped > 0 {
				found = fmt.Sprintf("only damaged ones (%d)", in.res.Skipped)
			}
			return &BadDataError{File: s.files[0].path, Offset: -1, Record: -1, What: "images", Expected: "at least one sound one", Found: found}
		}
	}
	return nil
}

// file reads one file into split i.
func (in *imageIngestion) file(ctx context.Context, i int, file *os.File, f inputFile) error {
	src, err := in.set.open(file, f)
	if err != nil {
		return err
	}
	prefix := filepath.Base(f.path)
	prefix = strings.TrimSuffix(prefix, filepath.Ext(prefix)) + "/"
	c := &in.chunk
	for end := false; !end; {
		class, err := src.next(c.room())
		switch {
		case err == nil:
			c.add(prefix, src.record(), class)
		case err == io.EOF:
			end = true
			if src.record() < 0 {
				in.Warn(Warning{Kind: EmptyFile, Message: f.path + ": the file holds no image"})
			}
		default:
			if end, err = in.trouble(err); err != nil {
				return err
			}
		}
		if !end && !c.full() {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := in.flush(i, src.consumed()); err != nil {
			return err
		}
	}
	return nil
}

// flush writes the chunk to split i. consumed is how much of the current file was read.
func (in *imageIngestion) flush(i int, consumed int64) error {
	n := int64(in.chunk.rows.Len())
	if err := in.w.Append(i, &in.chunk.rows); err != nil {
		return err
	}
	in.chunk.reset()
	in.res.Rows += n
	in.res.Splits[in.splits[i].name] += n
	in.at.Rows, in.at.Bytes = in.res.Rows, in.done+consumed
	in.Progress(in.at)
	return nil
}

// trouble decides what an error of a source means: whether the file ends here, and whether the ingest does.
func (in *imageIngestion) trouble(err error) (end bool, failure error) {
	bad, ok := errors.AsType[*BadDataError](err)
	if !ok || !in.SkipBad || bad.scope == wholeInput {
		return true, err
	}
	in.res.Skipped++
	if bad.scope == oneRecord {
		in.Warn(Warning{Kind: SkippedRecord, Message: bad.damage() + "; image skipped", Bad: bad})
		return false, nil
	}
	in.res.CutFiles++
	in.Warn(Warning{Kind: CutFile, Message: bad.Error() + "; the rest of the file was skipped", Bad: bad})
	return true, nil
}

// An imageChunk is a group of images on its way to the writer.
type imageChunk struct {
	rows   features.Rows
	pixels []byte
	limit  int
}

func newImageChunk(limit int) imageChunk {
	c := imageChunk{pixels: make([]byte, limit*imageBytes), limit: limit}
	c.rows.Bytes = make([][]byte, 1)
	c.reset()
	return c
}

func (c *imageChunk) reset() {
	r := &c.rows
	r.IDs, r.Labels = r.IDs[:0], r.Labels[:0]
	r.IDOffsets, r.LabelOffsets = append(r.IDOffsets[:0], 0), append(r.LabelOffsets[:0], 0)
	r.Bytes[0] = nil
}

func (c *imageChunk) full() bool { return len(c.rows.Labels) == c.limit }

// room returns the place of the next image's pixels.
func (c *imageChunk) room() []byte {
	n := len(c.rows.Labels) * imageBytes
	return c.pixels[n : n+imageBytes]
}

// add takes the image whose pixels are in their place already.
func (c *imageChunk) add(prefix string, record int64, class int32) {
	r := &c.rows
	r.IDs = fmt.Appendf(append(r.IDs, prefix...), "%08d", record)
	r.IDOffsets = append(r.IDOffsets, int32(len(r.IDs)))
	r.Labels = append(r.Labels, class)
	r.LabelOffsets = append(r.LabelOffsets, int32(len(r.Labels)))
	r.Bytes[0] = c.pixels[:len(r.Labels)*imageBytes]
}
