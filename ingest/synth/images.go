package synth

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sdnn/ingest/cifar"
	"sdnn/ingest/matfile"
)

// DefaultImages are images on which a small net trains in a minute on two cores.
const DefaultImages = 4000

// ImageOptions chooses a data set of images. Zero values stand for defaults.
type ImageOptions struct {
	Seed   uint64
	Images int     // training images; DefaultImages
	Test   int     // test images; a quarter of Images
	Modes  int     // looks of an easy class, 1 to 16; DefaultModes
	Noise  float64 // deviation of the noise of a pixel, in units of 40 grey levels; DefaultNoise
}

// ImageResult is what was written.
type ImageResult struct {
	TrainImages int     `json:"train_images"`
	TestImages  int     `json:"test_images"`
	Classes     int     `json:"classes"`
	HardClasses int     `json:"hard_classes"` // those with two opposite looks
	Files       int     `json:"files"`        // with images
	BytesOut    int64   `json:"bytes_out"`    // of them
	Seconds     float64 `json:"seconds"`
}

// An imageFile is a file with a range of the images of a purpose.
type imageFile struct {
	name    string
	purpose uint64 // forTrain or forValidate
	lo, hi  int
}

// imageMark is the content of synth.json for images.
type imageMark struct {
	Dataset string       `json:"dataset"`
	Seed    uint64       `json:"seed"`
	Images  int          `json:"images"`
	Test    int          `json:"test"`
	Modes   int          `json:"modes"`
	Noise   float64      `json:"noise"`
	Classes []imageClass `json:"classes"`
}

type imageClass struct {
	Class int  `json:"class"`
	Modes int  `json:"modes"`
	Hard  bool `json:"hard"`
}

// ImageDatasets lists what Images can make.
func ImageDatasets() []string { return []string{"cifar10", "cifar100", "svhn"} }

// Images writes a made-up data set in the format, with the names and with the classes of cifar10, cifar100 or svhn to dir, and
// synth.json, which tells how it was made. A third of the training images of svhn are its extra set. The classes of CIFAR are of
// equal size, those of SVHN are not, as in truth. The folder, what may be in it and errors are as for YT8M.
func Images(ctx context.Context, dir, dataset string, o ImageOptions) (ImageResult, error) {
	start := time.Now()
	if err := o.settle(); err != nil {
		return ImageResult{}, err
	}
	g := &imageGenerator{dir: dir, dataset: dataset, o: o}
	g.plan()
	if err := g.claim(); err != nil {
		return ImageResult{}, err
	}
	err := g.run(ctx)
	if err == nil {
		err = publish(dir, g.names())
	}
	if err != nil {
		for _, name := range g.names() {
			os.Remove(filepath.Join(dir, name+partSuffix)) // it may not exist
		}
		return ImageResult{}, err
	}
	g.res.Seconds = time.Since(start).Seconds()
	return g.res, nil
}

// settle fills in defaults and checks ranges.
func (o *ImageOptions) settle() error {
	if o.Images == 0 {
		o.Images = DefaultImages
	}
	if o.Test == 0 {
		o.Test = max(o.Images/4, 1)
	}
	if o.Modes == 0 {
		o.Modes = DefaultModes
	}
	if o.Noise == 0 {
		o.Noise = DefaultNoise
	}
	const most = 1_000_000 // of 3 KB: a .mat file holds 4 GB
	for _, c := range []struct {
		what      string
		n, lo, hi int
	}{{"training images", o.Images, 5, most}, {"test images", o.Test, 1, most}, {"modes", o.Modes, 1, 16}} {
		if c.n < c.lo || c.n > c.hi {
			return &UsageError{fmt.Sprintf("%d %s: expected %d to %d", c.n, c.what, c.lo, c.hi)}
		}
	}
	if !(o.Noise >= 0 && o.Noise <= 100) {
		return &UsageError{fmt.Sprintf("noise %g: expected 0 to 100", o.Noise)}
	}
	return nil
}

// imageGenerator is the state of one call of Images.
type imageGenerator struct {
	dir, dataset string
	o            ImageOptions
	classes      int
	files        []imageFile
	texts        map[string]string // other files
	world        *imageWorld
	res          ImageResult
}

// plan says which files there are to be, as the official archives have them.
func (g *imageGenerator) plan() {
	n := g.o.Images
	g.texts = map[string]string{}
	lines := func(names []string) string { return strings.Join(names, "\n") + "\n" }
	switch g.dataset {
	case "cifar10":
		g.classes = cifar.CIFAR10.Classes
		for i := range 5 {
			g.files = append(g.files, imageFile{fmt.Sprintf("data_batch_%d.bin", i+1), forTrain, i * n / 5, (i + 1) * n / 5})
		}
		g.files = append(g.files, imageFile{"test_batch.bin", forValidate, 0, g.o.Test})
		g.texts["batches.meta.txt"] = lines(cifar.CIFAR10.Names()) + "\n"
	case "cifar100":
		g.classes = cifar.CIFAR100.Classes
		g.files = []imageFile{{"train.bin", forTrain, 0, n}, {"test.bin", forValidate, 0, g.o.Test}}
		g.texts["fine_label_names.txt"], g.texts["coarse_label_names.txt"] = lines(cifar.CIFAR100.Names()), lines(cifar.CoarseNames())
	case "svhn":
		g.classes = 10
		extra := n - n/3
		g.files = []imageFile{{"train_32x32.mat", forTrain, 0, extra}, {"extra_32x32.mat", forTrain, extra, n}, {"test_32x32.mat", forValidate, 0, g.o.Test}}
	default:
		panic("synth: Images of dataset " + g.dataset)
	}
	g.world = newImageWorld(g.classes, g.o)
	m := imageMark{Dataset: g.dataset, Seed: g.o.Seed, Images: n, Test: g.o.Test, Modes: g.o.Modes, Noise: g.o.Noise}
	for c := range g.classes {
		if hard(c) {
			g.res.HardClasses++
		}
		m.Classes = append(m.Classes, imageClass{c, g.world.modesOf(c), hard(c)})
	}
	doc, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		panic("synth: " + err.Error()) // it has nothing that cannot be encoded
	}
	g.texts[markName] = string(doc) + "\n"
	g.res.TrainImages, g.res.TestImages, g.res.Classes, g.res.Files = n, g.o.Test, g.classes, len(g.files)
}

// names returns the names of all files.
func (g *imageGenerator) names() []string {
	var names []string
	for _, f := range g.files {
		names = append(names, f.name)
	}
	for name := range g.texts {
		names = append(names, name)
	}
	return names
}

// claim makes the folder, or sees that it holds nothing but what Images wrote for the same data set.
func (g *imageGenerator) claim() error {
	if err := os.MkdirAll(g.dir, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	ours := false
	if data, err := os.ReadFile(filepath.Join(g.dir, markName)); err == nil {
		var m imageMark
		ours = json.Unmarshal(data, &m) == nil && m.Dataset == g.dataset
	}
	names := g.names()
	for _, e := range entries {
		name, left := strings.CutSuffix(e.Name(), partSuffix) // of a run that was killed
		if !slices.Contains(names, name) || !e.Type().IsRegular() || !ours && !left {
			return &ExistsError{Dir: g.dir, File: e.Name()}
		}
	}
	return nil
}

// run writes all files, under their temporary names.
func (g *imageGenerator) run(ctx context.Context) error {
	for _, f := range g.files {
		if err := g.write(f.name, func(w *os.File) error { return g.images(ctx, w, f) }); err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(g.dir, f.name+partSuffix))
		if err != nil {
			return err
		}
		g.res.BytesOut += info.Size()
	}
	for name, text := range g.texts {
		err := g.write(name, func(w *os.File) error {
			_, err := w.WriteString(text)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *imageGenerator) write(name string, content func(*os.File) error) error {
	f, err := os.Create(filepath.Join(g.dir, name+partSuffix))
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}

// images writes the images of a file in the format of the data set.
func (g *imageGenerator) images(ctx context.Context, w *os.File, f imageFile) error {
	if g.dataset == "svhn" {
		return g.digits(ctx, w, f)
	}
	format := cifar.CIFAR10
	if g.classes == cifar.CIFAR100.Classes {
		format = cifar.CIFAR100
	}
	b := bufio.NewWriterSize(w, 256<<10)
	rec := new(cifar.Record)
	var raw []byte
	for i := f.lo; i < f.hi; i++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		rec.Class = int32(balancedClass(i, g.classes))
		if format.Coarse > 0 {
			rec.Coarse = cifar.CoarseOf(rec.Class)
		}
		g.world.image(f.purpose, i, int(rec.Class), &rec.Pixels)
		raw = format.Append(raw[:0], rec)
		if _, err := b.Write(raw); err != nil {
			return err
		}
	}
	return b.Flush()
}

// balancedClass spreads the classes evenly: any run of so many images as there are classes, from a multiple of their number on,
// has each once, in no natural order.
func balancedClass(i, classes int) int { return (i*7 + i/classes*3) % classes }

// digits writes a file of SVHN.
func (g *imageGenerator) digits(ctx context.Context, w *os.File, f imageFile) error {
	n := f.hi - f.lo
	labels := make([]byte, n)
	for i := range labels {
		if labels[i] = byte(unevenDigit(g.o.Seed, f.purpose, f.lo+i)); labels[i] == 0 {
			labels[i] = 10
		}
	}
	if _, err := w.Write(matfile.Header("made up by sdnn synth svhn")); err != nil {
		return err
	}
	x := &columnReader{ctx: ctx, g: g, f: f, at: f.lo, labels: labels}
	err := matfile.WriteCompressed(w, "X", matfile.ClassUint8, []int{32, 32, 3, n}, matfile.Uint8, x, int64(n)*cifar.PixelBytes)
	if err != nil {
		return err
	}
	if _, err := w.Write(matfile.AppendVariable(nil, "y", matfile.ClassDouble, []int{n, 1}, matfile.Uint8, labels)); err != nil {
		return err
	}
	return nil
}

// unevenDigit draws a digit, small ones more often: house numbers obey Benford's law.
func unevenDigit(seed, purpose uint64, i int) int {
	weights := [10]int{5, 14, 11, 9, 8, 7, 6, 6, 5, 5}
	r := newRandom(seed, purpose+forDigits, uint64(i))
	at := r.below(76) // their sum
	for digit, w := range weights {
		if at -= w; at < 0 {
			return digit
		}
	}
	panic("synth: weights of digits")
}

// columnReader is a stream of the images of a file with their planes column by column.
type columnReader struct {
	ctx    context.Context
	g      *imageGenerator
	f      imageFile
	at     int
	labels []byte
	pixels [cifar.PixelBytes]byte
	raw    [cifar.PixelBytes]byte
	rest   bytes.Reader
}

func (c *columnReader) Read(p []byte) (int, error) {
	if c.rest.Len() == 0 {
		if err := context.Cause(c.ctx); err != nil {
			return 0, err
		}
		if c.at == c.f.hi {
			return 0, io.EOF
		}
		c.g.world.image(c.f.purpose, c.at, int(c.labels[c.at-c.f.lo])%10, &c.pixels)
		for i := range c.raw { // i = (plane*32 + column)*32 + row
			c.raw[i] = c.pixels[i&^1023|i%32*32|i/32%32]
		}
		c.rest.Reset(c.raw[:])
		c.at++
	}
	return c.rest.Read(p)
}
