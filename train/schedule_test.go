package train

import (
	"math"
	"testing"
)

func checkRate(t *testing.T, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-12*want {
		t.Errorf("rate %.17g, want %.17g", got, want)
	}
}

func TestGoldenSchedules(t *testing.T) {
	var video struct {
		Base  float64
		Batch int64
		Rows  [][2]float64
	}
	readGolden(t, "yt8m_lr.json", &video)
	s, err := ParseSchedule("exp:0.95@4000000")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range video.Rows {
		checkRate(t, s.rate(video.Base, moment{examples: int64(r[0]) * video.Batch}), r[1])
	}
	var images map[string]struct {
		Base       float64
		LRPerEpoch []float64 `json:"lr_per_epoch"`
	}
	readGolden(t, "lr_schedule.json", &images)
	for name, text := range map[string]string{"cifar": "step:0.2@60,120,160,220,260", "svhn": "step:0.1@80,120,160,220"} {
		s, err := ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		if len(images[name].LRPerEpoch) == 0 {
			t.Fatalf("no golden rates of %s", name)
		}
		for epoch, want := range images[name].LRPerEpoch {
			checkRate(t, s.rate(images[name].Base, moment{epoch: epoch, examples: 1 << 40}), want)
		}
	}
	if s, err = ParseSchedule("constant"); err != nil || s.rate(0.5, moment{epoch: 7, examples: 1 << 40}) != 0.5 {
		t.Errorf("constant: %v, %v", s, err)
	}
}

// TestFitSchedule: a shorter training goes through the same learning rates, and
// one of the paper's length is the golden one.
func TestFitSchedule(t *testing.T) {
	const paper = "step:0.2@60,120,160,220,260"
	for _, c := range []struct {
		schedule string
		epochs   int
		want     string
	}{
		{paper, 300, paper},
		{paper, 600, "step:0.2@120,240,320,440,520"},
		{paper, 30, "step:0.2@6,12,16,22,26"},
		{paper, 20, "step:0.2@4,8,11,15,17"},
		{"step:0.1@80,120,160,220", 30, "step:0.1@8,12,16,22"},
		{paper, 5, "step:0.2@1,2,3,4"},
		{paper, 2, "step:0.2@1"},
		{paper, 1, "constant"},
		{"constant", 7, "constant"},
		{"exp:0.95@4000000", 7, "exp:0.95@4000000"},
	} {
		cfg := Config{Epochs: c.epochs, Schedule: c.schedule}
		if cfg.FitSchedule(300); cfg.Schedule != c.want {
			t.Errorf("%s in %d epochs: %s, want %s", c.schedule, c.epochs, cfg.Schedule, c.want)
		}
	}
}

// TestFallingRates compares linear and cosine with their definitions, step by step.
func TestFallingRates(t *testing.T) {
	const base, steps = 0.3, 40
	for text, want := range map[string]func(i float64) float64{
		"linear":      func(i float64) float64 { return 1 - i/steps },
		"cosine":      func(i float64) float64 { return 0.5 + 0.5*math.Cos(math.Pi*i/steps) },
		"linear:0":    func(i float64) float64 { return 1 - i/steps },
		"linear:10":   func(i float64) float64 { return min((i+1)/11, 1-(i-10)/30) },
		"linear:0.25": func(i float64) float64 { return min((i+1)/11, 1-(i-10)/30) },
		"cosine:0.5": func(i float64) float64 {
			if i < 20 {
				return (i + 1) / 21
			}
			return 0.5 + 0.5*math.Cos(math.Pi*(i-20)/20)
		},
		"linear:40":   func(i float64) float64 { return (i + 1) / 41 },
		"cosine:1000": func(i float64) float64 { return (i + 1) / 41 }, // longer than the stage: all of it
	} {
		s, err := ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(steps) {
			got := s.rate(base, moment{epoch: int(i) / 10, examples: 32 * i, step: i, steps: steps})
			if w := base * want(float64(i)); math.Abs(got-w) > 1e-12 {
				t.Errorf("%s: rate of step %d is %g, want %g", text, i, got, w)
			}
		}
	}
}

// FuzzParseSchedule: what is accepted gives finite rates that are never negative.
func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{"constant", "linear", "linear:0.1", "cosine:100", "exp:0.95@4000000", "step:0.2@60,120", "linear:", "cosine:1e9", "step:@", "exp:1e-300@1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSchedule(text)
		if err != nil {
			return
		}
		for _, m := range []moment{{}, {0, 0, 0, 1}, {3, 1000, 9, 10}, {0, 1, 1, 1}, {1 << 20, 1 << 40, 1 << 33, 1 << 34}} {
			if r := s.rate(0.1, m); !(r >= 0 && r <= 0.1) {
				t.Errorf("%q: rate %g at %+v", text, r, m)
			}
		}
	})
}

// TestRatesOfARun: a falling schedule goes by the steps of each stage, also where
// --max-steps ends it, and a run's lines tell the rates.
func TestRatesOfARun(t *testing.T) {
	store, engine := testStore(t, 200), testEngine(t) // 200 rows of batch 32: 7 steps an epoch
	for _, c := range []struct {
		set  []string
		want []float64 // of the last step of each epoch
	}{
		{[]string{"epochs=2"}, []float64{1 - 6.0/14, 1 - 13.0/14}},
		{[]string{"epochs=2", "max-steps=10"}, []float64{1 - 6.0/10, 1 - 9.0/10}},
		{[]string{"epochs=1", "subclass=true", "neglect-epochs=2"}, []float64{1 - 6.0/14, 1 - 13.0/14, 1 - 6.0/7}},
	} {
		dir := t.TempDir()
		cfg := testConfig(t, store, "logistic", append([]string{"schedule=linear", "validate-fraction=0", "lr=0.01"}, c.set...)...)
		mustRun(t, cfg, Options{Dir: dir, Store: store, Engine: engine})
		var got []float64
		for _, l := range metricsLines(t, dir) {
			if l.End {
				got = append(got, l.LR)
			}
		}
		if len(got) != len(c.want) {
			t.Fatalf("%v: rates %v, want %v", c.set, got, c.want)
		}
		for i, w := range c.want {
			checkRate(t, got[i], 0.01*w)
		}
	}
}
