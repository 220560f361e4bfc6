package synth

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sdnn/ingest/tfrecord"
	"sdnn/ingest/yt8m"
)

// Defaults of Options: a data set on which both kinds of training and their
// evaluation take about a minute on two cores.
const (
	DefaultVideos  = 6000
	DefaultClasses = 100
	DefaultModes   = 3
	DefaultNoise   = 0.6
	videosPerShard = 1000 // by default; real shards have about as many
)

// Options chooses a data set. Zero values stand for defaults.
type Options struct {
	Seed     uint64
	Videos   int     // training videos; DefaultVideos
	Validate int     // validation videos; a third of Videos
	Classes  int     // 2 or more; DefaultClasses
	Shards   int     // training files; one for every 1000 videos. Validation files in proportion
	Modes    int     // hidden modes of an easy class, 1 to 16; DefaultModes
	Noise    float64 // deviation of the noise of a feature value; DefaultNoise
	Threads  int     // all CPUs
}

// Result is what was written.
type Result struct {
	TrainVideos    int     `json:"train_videos"`
	ValidateVideos int     `json:"validate_videos"`
	TrainShards    int     `json:"train_shards"`
	ValidateShards int     `json:"validate_shards"`
	Classes        int     `json:"classes"`
	HardClasses    int     `json:"hard_classes"` // those with two opposite modes
	Labels         int64   `json:"labels"`       // of all videos together
	BytesOut       int64   `json:"bytes_out"`    // of all TFRecord files
	Seconds        float64 `json:"seconds"`
}

// Names of the files beside the shards.
const (
	vocabularyName = "vocabulary.csv"
	markName       = "synth.json" // tells that synth made the folder, and how
	partSuffix     = ".part"      // of a file that is being written
)

var ownName = regexp.MustCompile(`^((train|validate)[0-9]{4,}\.tfrecord|vocabulary\.csv|synth\.json)(\.part)?$`)

// mark is the content of synth.json: how the data was made, and what its hidden
// modes are.
type mark struct {
	Dataset  string      `json:"dataset"`
	Seed     uint64      `json:"seed"`
	Videos   int         `json:"videos"`
	Validate int         `json:"validate"`
	Modes    int         `json:"modes"`
	Noise    float64     `json:"noise"`
	Classes  []markClass `json:"classes"`
}

type markClass struct {
	Class       int   `json:"class"`
	Modes       int   `json:"modes"`
	Hard        bool  `json:"hard"`
	TrainVideos int64 `json:"train_videos"`
}

// YT8M writes a data set in the format of YouTube-8M's video level to dir:
// train0000.tfrecord ..., validate0000.tfrecord ..., vocabulary.csv, and
// synth.json, which tells how it was made. The folder is created if need be. If
// it holds what an earlier YT8M wrote, that is replaced, once the new data is
// whole; if it holds anything else, YT8M touches nothing and returns an
// *ExistsError. Other errors: *UsageError for options out of range, the cause of
// ctx, those of the file system.
func YT8M(ctx context.Context, dir string, o Options) (Result, error) {
	start := time.Now()
	if err := o.settle(); err != nil {
		return Result{}, err
	}
	if err := claim(dir); err != nil {
		return Result{}, err
	}
	g := newGenerator(dir, &o)
	files, err := g.run(ctx)
	if err == nil {
		files, err = g.describe(files)
	}
	if err == nil {
		err = publish(dir, files)
	}
	if err != nil {
		for _, name := range g.allNames() {
			os.Remove(filepath.Join(dir, name+partSuffix)) // it may not exist
		}
		return Result{}, err
	}
	g.res.Seconds = time.Since(start).Seconds()
	return g.res, nil
}

// settle fills in defaults and checks ranges.
func (o *Options) settle() error {
	set := func(p *int, value int) {
		if *p == 0 {
			*p = value
		}
	}
	set(&o.Videos, DefaultVideos)
	set(&o.Validate, max(o.Videos/3, 1))
	set(&o.Classes, DefaultClasses)
	set(&o.Shards, (o.Videos+videosPerShard-1)/videosPerShard)
	set(&o.Modes, DefaultModes)
	if o.Noise == 0 {
		o.Noise = DefaultNoise
	}
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	const most = 100_000_000
	for _, c := range []struct {
		what      string
		n, lo, hi int
	}{
		{"training videos", o.Videos, 1, most},
		{"validation videos", o.Validate, 1, most},
		{"classes", o.Classes, 2, 1 << 16},
		{"shards", o.Shards, 1, o.Videos},
		{"modes", o.Modes, 1, 16},
	} {
		if c.n < c.lo || c.n > c.hi {
			return &UsageError{fmt.Sprintf("%d %s: expected %d to %d", c.n, c.what, c.lo, c.hi)}
		}
	}
	if !(o.Noise >= 0 && o.Noise <= 100) {
		return &UsageError{fmt.Sprintf("noise %g: expected 0 to 100", o.Noise)}
	}
	return nil
}

// claim makes dir, or sees that it holds nothing but synthetic data.
func claim(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ours := false
	if data, err := os.ReadFile(filepath.Join(dir, markName)); err == nil {
		var m mark
		ours = json.Unmarshal(data, &m) == nil && m.Dataset == "yt8m"
	}
	for _, e := range entries {
		left := filepath.Ext(e.Name()) == partSuffix // of a run that was killed
		if !ownName.MatchString(e.Name()) || !e.Type().IsRegular() || !ours && !left {
			return &ExistsError{Dir: dir, File: e.Name()}
		}
	}
	return nil
}

// publish puts the finished files, named without their suffix, in the place of
// whatever earlier data there is. The mark goes first, so that data without a
// mark is never ours.
func publish(dir string, files []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b string) int {
		return boolFirst(a == markName, b == markName)
	})
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.Rename(path+partSuffix, path); err != nil {
			return err
		}
	}
	var errs []error
	for _, e := range entries { // shards of earlier data that had more of them, and parts of a run that was killed
		if !slices.Contains(files, strings.TrimSuffix(e.Name(), partSuffix)) {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// A part is one shard to be written.
type part struct {
	name    string
	purpose uint64
	letter  byte // first of the ids
	lo, hi  int  // videos
}

// A generator is the state of one call of YT8M.
type generator struct {
	dir   string
	o     *Options
	world *world
	parts []part
	res   Result

	mu     sync.Mutex
	counts []int64 // training videos of each class
}

func newGenerator(dir string, o *Options) *generator {
	g := &generator{dir: dir, o: o, counts: make([]int64, o.Classes)}
	g.res = Result{TrainVideos: o.Videos, ValidateVideos: o.Validate, Classes: o.Classes, HardClasses: o.Classes / hardEvery,
		TrainShards: o.Shards, ValidateShards: min(o.Validate, max(1, o.Shards*o.Validate/o.Videos))}
	split := func(name string, purpose uint64, videos, shards int) {
		for s := range shards {
			g.parts = append(g.parts, part{fmt.Sprintf("%s%04d.tfrecord", name, s), purpose, name[0],
				s * videos / shards, (s + 1) * videos / shards})
		}
	}
	split("train", forTrain, o.Videos, g.res.TrainShards)
	split("validate", forValidate, o.Validate, g.res.ValidateShards)
	return g
}

func (g *generator) allNames() []string {
	names := []string{vocabularyName, markName}
	for _, p := range g.parts {
		names = append(names, p.name)
	}
	return names
}

// run writes all shards and returns their names.
func (g *generator) run(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g.world = newWorld(g.o)
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(g.o.Threads, len(g.parts)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(g.parts) || ctx.Err() != nil {
					return
				}
				if err := g.shard(ctx, g.parts[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	names := make([]string, len(g.parts))
	for i, p := range g.parts {
		names[i] = p.name
	}
	return names, nil
}

// shard writes one file, under its temporary name.
func (g *generator) shard(ctx context.Context, p part) (err error) {
	f, err := os.Create(filepath.Join(g.dir, p.name+partSuffix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tfrecord.NewWriter(f)
	rec := &yt8m.Record{MeanRGB: make([]float32, yt8m.RGBWidth), MeanAudio: make([]float32, yt8m.AudioWidth)}
	var payload []byte
	var size, labels int64
	counts := make([]int64, g.o.Classes)
	for i := p.lo; i < p.hi; i++ {
		if i%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.world.video(p.purpose, uint64(i), rec, nil)
		rec.ID = videoID(rec.ID[:0], p.letter, i)
		payload = yt8m.AppendExample(payload[:0], rec)
		if err := w.Write(payload); err != nil {
			return err
		}
		size += int64(len(payload)) + tfrecord.Overhead
		labels += int64(len(rec.Labels))
		for _, l := range rec.Labels {
			counts[l]++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.res.BytesOut += size
	g.res.Labels += labels
	if p.purpose == forTrain {
		for c, n := range counts {
			g.counts[c] += n
		}
	}
	return nil
}

// videoID appends the id of video i: a letter for the split and at least four
// digits of base 36.
func videoID(dst []byte, letter byte, i int) []byte {
	digits := strconv.FormatInt(int64(i), 36)
	dst = append(dst, letter)
	for n := len(digits); n < 4; n++ {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}

// describe writes the vocabulary and the mark, and returns files with their names.
func (g *generator) describe(files []string) ([]string, error) {
	rows := make([]yt8m.VocabularyRow, g.o.Classes)
	m := mark{Dataset: "yt8m", Seed: g.o.Seed, Videos: g.o.Videos, Validate: g.o.Validate, Modes: g.o.Modes, Noise: g.o.Noise}
	for c := range rows {
		k, about := g.world.modesOf(c), "hidden modes"
		if hard(c) {
			about = "opposite hidden modes: no linear classifier can tell it without subclasses"
		}
		rows[c] = yt8m.VocabularyRow{Index: c, TrainVideos: g.counts[c], GraphID: fmt.Sprintf("/synth/%04d", c),
			Name: fmt.Sprintf("class %d", c), Description: fmt.Sprintf("A made-up class with %d %s.", k, about)}
		m.Classes = append(m.Classes, markClass{c, k, hard(c), g.counts[c]})
	}
	write := func(name string, content func(*bufio.Writer) error) error {
		f, err := os.Create(filepath.Join(g.dir, name+partSuffix))
		if err != nil {
			return err
		}
		w := bufio.NewWriter(f)
		return errors.Join(content(w), w.Flush(), f.Close())
	}
	err := write(vocabularyName, func(w *bufio.Writer) error { return yt8m.WriteVocabulary(w, rows) })
	if err != nil {
		return nil, err
	}
	err = write(markName, func(w *bufio.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(m)
	})
	return append(files, vocabularyName, markName), err
}
