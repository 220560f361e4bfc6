package train

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The kinds of schedules.
const (
	scheduleConstant = "constant"
	scheduleExp      = "exp"
	scheduleStep     = "step"
	scheduleLinear   = "linear"
	scheduleCosine   = "cosine"
)

// Schedule is how the learning rate changes in a stage.
type Schedule struct {
	kind       string
	factor     float64 // exp and step
	every      int64   // exp: examples
	milestones []int   // step: epochs
	warmup     float64 // linear and cosine: below 1 a part of the stage's steps, else steps
}

// moment is a step of a stage: what a schedule looks at.
type moment struct {
	epoch    int   // from 0
	examples int64 // seen in the stage before the step
	step     int64 // from 0
	steps    int64 // that the stage will have in all
}

// ParseSchedule reads a schedule:
//
//	constant                     the rate stays
//	linear[:WARMUP]              falls in a straight line to 0 at the end of the stage
//	cosine[:WARMUP]              falls along half a cosine to 0 at the end of the stage
//	exp:0.95@4000000             times 0.95 after every 4,000,000 examples (staircase)
//	step:0.2@60,120,160,220,260  times 0.2 when those epochs begin (the first epoch is 0)
//
// WARMUP is the steps in which the rate rises in a straight line first, or, below
// 1, the part of the stage's steps (as warmup_steps of Hugging Face's trainer).
func ParseSchedule(s string) (Schedule, error) {
	kind, args, hasArgs := strings.Cut(s, ":")
	switch {
	case s == scheduleConstant:
		return Schedule{kind: kind}, nil
	case kind == scheduleLinear || kind == scheduleCosine:
		return parseFall(s, kind, args, hasArgs)
	}
	f, at, found := strings.Cut(args, "@")
	factor, err := strconv.ParseFloat(f, 64)
	if (kind != scheduleExp && kind != scheduleStep) || !found || err != nil || !(factor > 0 && factor <= 1) {
		return Schedule{}, fmt.Errorf("%q is no schedule: write constant, linear[:WARMUP], cosine[:WARMUP], "+
			"exp:FACTOR@EXAMPLES or step:FACTOR@EPOCH,EPOCH,... with a factor in (0, 1]", s)
	}
	sch := Schedule{kind: kind, factor: factor}
	if kind == scheduleExp {
		if sch.every, err = strconv.ParseInt(at, 10, 64); err != nil || sch.every < 1 {
			return Schedule{}, fmt.Errorf("%q: %q is not a number of examples", s, at)
		}
		return sch, nil
	}
	for _, m := range strings.Split(at, ",") {
		e, err := strconv.Atoi(m)
		if err != nil || e < 1 || len(sch.milestones) > 0 && e <= sch.milestones[len(sch.milestones)-1] {
			return Schedule{}, fmt.Errorf("%q: the epochs must be whole numbers from 1 that grow", s)
		}
		sch.milestones = append(sch.milestones, e)
	}
	return sch, nil
}

// parseFall reads the warm-up of a schedule that falls to 0.
func parseFall(s, kind, warmup string, given bool) (Schedule, error) {
	sch := Schedule{kind: kind}
	if !given {
		return sch, nil
	}
	w, err := strconv.ParseFloat(warmup, 64)
	if err != nil || !(w >= 0 && w <= math.MaxInt32) || w >= 1 && w != math.Trunc(w) {
		return Schedule{}, fmt.Errorf("%q: the warm-up %q is neither a number of steps nor a part of them below 1", s, warmup)
	}
	sch.warmup = w
	return sch, nil
}

// rate is the learning rate of a step.
func (s Schedule) rate(base float64, m moment) float64 {
	switch s.kind {
	case scheduleExp:
		return base * math.Pow(s.factor, float64(m.examples/s.every))
	case scheduleStep:
		for _, at := range s.milestones {
			if m.epoch >= at {
				base *= s.factor
			}
		}
	case scheduleLinear, scheduleCosine:
		return base * s.fall(m)
	}
	return base
}

// fall is the part of the rate that a falling schedule has left: with w steps of
// warm-up of n, (i+1)/(w+1) in step i < w, and after them 1 - x or
// (1 + cos(pi x))/2 with x = (i-w)/(n-w). The last step is one before 0.
func (s Schedule) fall(m moment) float64 {
	w := s.warmupSteps(m.steps)
	if m.step < w {
		return float64(m.step+1) / float64(w+1)
	}
	x := min(float64(m.step-w)/float64(max(m.steps-w, 1)), 1)
	if s.kind == scheduleLinear {
		return 1 - x
	}
	return (1 + math.Cos(math.Pi*x)) / 2
}

// warmupSteps is the length of the warm-up in a stage of so many steps; one that
// is given in steps takes at most the whole stage.
func (s Schedule) warmupSteps(steps int64) int64 {
	if s.warmup < 1 {
		return int64(math.Round(s.warmup * float64(steps)))
	}
	return min(int64(s.warmup), steps)
}

// rate is that of the position's next step.
func (t *trainer) rate() float64 { return t.schedule.rate(t.cfg.LR, t.now()) }

// rateOf is that of a step of the running epoch, or the last one, from 1.
func (t *trainer) rateOf(step int64) float64 {
	m := t.now()
	back := m.step - (step - 1)
	m.step, m.examples = step-1, max(0, m.examples-back*int64(t.run.batch))
	m.epoch = min(m.epoch, t.run.epochs-1)
	return t.schedule.rate(t.cfg.LR, m)
}

// now is the position's next step.
func (t *trainer) now() moment {
	return moment{epoch: t.pos.Epoch, examples: t.pos.Examples, step: t.pos.Step, steps: t.run.steps}
}

// FitSchedule stretches or shrinks a schedule of milestones from a training of
// from epochs to one of c.Epochs: each milestone keeps its part of the training.
// One that is rounded to another's epoch, or out of the training, is dropped.
// Schedules that do not count epochs stay.
func (c *Config) FitSchedule(from int) {
	s, err := ParseSchedule(c.Schedule)
	if err != nil || len(s.milestones) == 0 || from < 1 || c.Epochs < 1 {
		return // Validate tells what is wrong
	}
	var at []string
	last := 0
	for _, m := range s.milestones {
		if e := (2*m*c.Epochs + from) / (2 * from); e > last && e < c.Epochs {
			at = append(at, strconv.Itoa(e))
			last = e
		}
	}
	c.Schedule = scheduleConstant
	if len(at) > 0 {
		c.Schedule = fmt.Sprintf("step:%v@%s", s.factor, strings.Join(at, ","))
	}
}
