package train

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Schedule is how the learning rate falls in a stage.
type Schedule struct {
	factor     float64
	every      int64 // examples; 0 for milestones
	milestones []int // epochs
}

// ParseSchedule reads a schedule:
//
//	constant                     the rate stays
//	exp:0.95@4000000             times 0.95 after every 4,000,000 examples (staircase)
//	step:0.2@60,120,160,220,260  times 0.2 when those epochs begin (the first epoch is 0)
func ParseSchedule(s string) (Schedule, error) {
	if s == "constant" {
		return Schedule{factor: 1}, nil
	}
	kind, args, _ := strings.Cut(s, ":")
	f, at, found := strings.Cut(args, "@")
	factor, err := strconv.ParseFloat(f, 64)
	if (kind != "exp" && kind != "step") || !found || err != nil || !(factor > 0 && factor <= 1) {
		return Schedule{}, fmt.Errorf("%q is no schedule: write constant, exp:FACTOR@EXAMPLES or step:FACTOR@EPOCH,EPOCH,... with a factor in (0, 1]", s)
	}
	sch := Schedule{factor: factor}
	if kind == "exp" {
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

// Rate is the learning rate of a step: epoch counts from 0, examples were seen
// in this stage before the step.
func (s Schedule) Rate(base float64, epoch int, examples int64) float64 {
	if s.every > 0 {
		return base * math.Pow(s.factor, float64(examples/s.every))
	}
	for _, m := range s.milestones {
		if epoch >= m {
			base *= s.factor
		}
	}
	return base
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
	c.Schedule = "constant"
	if len(at) > 0 {
		c.Schedule = fmt.Sprintf("step:%v@%s", s.factor, strings.Join(at, ","))
	}
}
