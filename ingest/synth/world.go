package synth

import "sdnn/ingest/yt8m"

const (
	maxLabels  = 8
	companions = 4 // classes that often come with a class
	hardEvery  = 4 // every fourth class has opposite modes

	// signal is the length of a direction; with it the features have the size of
	// real ones, some tenths.
	signal = 8
)

// A world is what all videos of a data set have in common.
type world struct {
	seed    uint64
	classes int
	modes   int
	noise   float32
	zipf    zipf
	rgb     []float32 // [classes][modes][yt8m.RGBWidth]
	audio   []float32 // [classes][modes][yt8m.AudioWidth]
	friends []int     // [classes][companions]
}

// hard reports whether class c has two opposite modes.
func hard(c int) bool { return c%hardEvery == hardEvery-1 }

// modesOf returns the number of modes of class c.
func (w *world) modesOf(c int) int {
	if hard(c) {
		return 2
	}
	return w.modes
}

func newWorld(o *Options) *world {
	w := &world{seed: o.Seed, classes: o.Classes, modes: max(o.Modes, 2), noise: float32(o.Noise), zipf: newZipf(o.Classes)}
	w.rgb = make([]float32, w.classes*w.modes*yt8m.RGBWidth)
	w.audio = make([]float32, w.classes*w.modes*yt8m.AudioWidth)
	w.friends = make([]int, w.classes*companions)
	for c := range w.classes {
		r := newRandom(w.seed, forPrototypes, uint64(c))
		for m := range w.modesOf(c) {
			rgb, audio := w.direction(c, m)
			if hard(c) && m == 1 {
				firstRGB, firstAudio := w.direction(c, 0)
				negate(rgb, firstRGB)
				negate(audio, firstAudio)
				continue
			}
			unitVector(&r, rgb, signal)
			unitVector(&r, audio, signal)
		}
		r = newRandom(w.seed, forCompanions, uint64(c))
		for k := range companions {
			w.friends[c*companions+k] = w.zipf.draw(&r)
		}
	}
	return w
}

func negate(dst, src []float32) {
	for i, v := range src {
		dst[i] = -v
	}
}

// direction returns the rgb and the audio part of mode m of class c.
func (w *world) direction(c, m int) (rgb, audio []float32) {
	k := c*w.modes + m
	return w.rgb[k*yt8m.RGBWidth : (k+1)*yt8m.RGBWidth], w.audio[k*yt8m.AudioWidth : (k+1)*yt8m.AudioWidth]
}

// video makes the video that (purpose, index) stands for. rec has its features'
// full widths; labels and features are overwritten, the id is left alone. modes,
// if not nil, receives the hidden mode of each label, for tests.
func (w *world) video(purpose, index uint64, rec *yt8m.Record, modes *[]int) {
	r := newRandom(w.seed, purpose, index)
	clear(rec.MeanRGB)
	clear(rec.MeanAudio)
	rec.Labels = rec.Labels[:0]
	if modes != nil {
		*modes = (*modes)[:0]
	}
	main := w.zipf.draw(&r)
	var drawn [maxLabels]int
	n := 0
	for c, more := main, true; more; more = n < maxLabels && r.below(3) > 0 {
		if n > 0 {
			if c = w.zipf.draw(&r); r.below(4) > 0 {
				c = w.friends[main*companions+r.below(companions)]
			}
		}
		again := false
		for _, d := range drawn[:n] {
			again = again || d == c
		}
		if again {
			continue
		}
		strength := float32(1)
		if n > 0 {
			strength = 0.6 + float32(float32(r.unit())*0.4)
		}
		m := r.below(w.modesOf(c))
		rgb, audio := w.direction(c, m)
		addScaled(rec.MeanRGB, rgb, strength)
		addScaled(rec.MeanAudio, audio, strength)
		if forgotten := n > 0 && r.below(20) == 0; !forgotten {
			rec.Labels = append(rec.Labels, int32(c))
			if modes != nil {
				*modes = append(*modes, m)
			}
		}
		drawn[n] = c
		n++
	}
	addNoise(&r, rec.MeanRGB, w.noise)
	addNoise(&r, rec.MeanAudio, w.noise)
}

// addScaled adds x*by to dst. The conversion forbids a fused multiply-add, which
// would give other bits on machines that have one.
func addScaled(dst, x []float32, by float32) {
	for i, v := range x {
		dst[i] += float32(v * by)
	}
}

func addNoise(r *random, dst []float32, by float32) {
	for i := range dst {
		dst[i] += float32(r.bell() * by)
	}
}
