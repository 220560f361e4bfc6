package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"sdnn/nn"
)

// The values of --sort.
const (
	opsByLost = "lost" // time above the floor, most first
	opsByTime = "time" // most first
	opsAsRun  = "run"  // in the order of the step
)

var opOrders = []string{opsByLost, opsByTime, opsAsRun}

// machineRoof is the line on what the machine does at best.
type machineRoof struct {
	Path      string         `json:"path"`
	Threads   int            `json:"threads"` // 0: the engine computes on a card
	GFlops    float64        `json:"peak_gflops"`
	BF16      float64        `json:"peak_bf16_gflops"` // 0: none
	Bandwidth []setBandwidth `json:"bandwidth"`
}

// setBandwidth is the traffic possible on a working set.
type setBandwidth struct {
	MiB    float64 `json:"mib"`
	GBytes float64 `json:"gbytes"` // a second
}

func (m machineRoof) text(w io.Writer) {
	if m.Path == "" {
		fmt.Fprintln(w, "\nWhat the machine does at best could not be measured: its memory is full")
		return
	}
	fmt.Fprintf(w, "\n%s", m.Path)
	if m.Threads > 0 {
		fmt.Fprintf(w, ", %s", count(m.Threads, "thread"))
	}
	fmt.Fprintf(w, ", at best: %.1f GF/s", m.GFlops)
	if m.BF16 > 0 {
		fmt.Fprintf(w, ", in bf16 %.1f", m.BF16)
	}
	for i, b := range m.Bandwidth {
		sep := ", "
		if i == 0 {
			sep = "; GB/s on a set of "
		}
		fmt.Fprintf(w, "%s%g MiB: %.1f", sep, b.MiB, b.GBytes)
	}
	fmt.Fprintln(w)
}

// opLine is what an op costs in one step. As JSON it is a line of its own.
type opLine struct {
	Net       string  `json:"net"`
	What      string  `json:"what"` // "train" or "eval"
	Batch     int     `json:"batch"`
	Threads   int     `json:"threads"`
	Precision string  `json:"precision"`
	Op        string  `json:"op"`     // "total" of the last line
	Value     string  `json:"value"`  // the name of what it computes
	Millis    float64 `json:"ms"`     // of the fastest call
	Share     float64 `json:"share"`  // of all ops
	GFlops    float64 `json:"gflops"` // a second, by the op's definition; 0 for an op bound by memory
	GBytes    float64 `json:"gbytes"` // a second, of the least traffic
	Floor     float64 `json:"floor_ms"`
	OfFloor   float64 `json:"of_floor"` // floor over time: 1 cannot be improved; 0 where the floor is not known
	Lost      float64 `json:"lost_ms"`  // time above the floor
	Bound     string  `json:"bound"`    // "flops" or "bytes": what makes the floor; "" of the total
}

// smallShare is the share of a step below which an op is left out of a table for people, unless that is in the order of the step.
const smallShare = 0.001

// profileTable is the ops of a step, the total last, as a table for people.
type profileTable struct {
	what  string
	reps  int
	order string
	ops   []opLine
}

func (p profileTable) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s: ops of a step, each its fastest of %d, %s\n", p.what, p.reps,
		map[string]string{opsByLost: "by time above the floor", opsByTime: "by time", opsAsRun: "as they run"}[p.order])
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms\tshare\tGF/s\tGB/s\tfloor ms\t% of floor\tbound\t  op")
	left := 0
	for _, o := range p.ops {
		if o.Share < smallShare && p.order != opsAsRun {
			left++
			continue
		}
		floor, of := "-", "-"
		if o.Floor > 0 {
			floor, of = fmt.Sprintf("%.3f", o.Floor), fmt.Sprintf("%.0f%%", 100*o.OfFloor)
		}
		fmt.Fprintf(t, "%.3f\t%.1f%%\t%.1f\t%.1f\t%s\t%s\t%s\t  %s %s\n", o.Millis, 100*o.Share, o.GFlops, o.GBytes, floor, of, o.Bound, o.Op, o.Value)
	}
	t.Flush()
	if left > 0 {
		fmt.Fprintf(w, "(and %s under %g %% each)\n", count(left, "op"), 100*smallShare)
	}
}

// profile runs reps more steps of each kind with the engine's clocks on, which cost time themselves, and prints the ops.
func (b *benchRun) profile(ctx context.Context, a *app, engine string, threads int) error {
	p, ok := b.session.(nn.Profiler)
	if !ok {
		return usagef("--profile: engine %s does not measure its ops", engine)
	}
	tables := map[string][]nn.OpProfile{}
	var roof nn.Roof
	for _, what := range benchSteps {
		roof.Raise(p.Roof()) // twice: a neighbour may have disturbed one
		p.SetProfiling(true)
		if _, err := timed(ctx, 0, b.o.reps, b.step(what)); err != nil {
			return err
		}
		tables[what] = p.Profile(what == "train")
		p.SetProfiling(false)
	}
	machine := newMachineRoof(roof, threads)
	if engine == "cuda" {
		machine.Threads = 0
	}
	a.print.result(machine)
	for _, what := range benchSteps {
		lines := opLines(tables[what], &roof, b.o.sort)
		for i := range lines {
			l := &lines[i]
			l.Net, l.What, l.Batch, l.Threads, l.Precision = b.o.net, what, b.o.batch, threads, b.o.precision
			if a.json {
				a.print.event(l)
			}
		}
		if !a.json {
			a.print.result(profileTable{what, b.o.reps, b.o.sort, lines})
		}
	}
	return nil
}

func newMachineRoof(r nn.Roof, threads int) machineRoof {
	m := machineRoof{Path: r.Path, Threads: threads, GFlops: r.Flops / 1e9, BF16: r.BF16Flops / 1e9}
	for _, b := range r.Bandwidth {
		m.Bandwidth = append(m.Bandwidth, setBandwidth{b.Set / (1 << 20), b.Rate / 1e9})
	}
	return m
}

// opLines are the lines of the ops that ran, in an order of --sort, and their total.
func opLines(ops []nn.OpProfile, roof *nn.Roof, order string) []opLine {
	var lines []opLine
	var total opLine
	var flops, bytes float64
	for i := range ops {
		o := &ops[i]
		if o.Calls == 0 {
			continue
		}
		s := max(o.Best, 1).Seconds() // a clock may be too coarse for the smallest ops
		floor, bound := roof.Floor(o)
		lines = append(lines, opLine{Op: o.Kind, Value: o.Name, Millis: 1e3 * s, GFlops: o.Flops / s / 1e9, GBytes: o.Bytes / s / 1e9,
			Floor: 1e3 * floor, OfFloor: floor / s, Lost: 1e3 * (s - floor), Bound: string(bound)})
		total.Millis, total.Floor = total.Millis+1e3*s, total.Floor+1e3*floor
		flops, bytes = flops+o.Flops, bytes+o.Bytes
	}
	if len(lines) == 0 {
		return nil
	}
	for i := range lines {
		lines[i].Share = lines[i].Millis / total.Millis
	}
	key := map[string]func(l opLine) float64{
		opsByLost: func(l opLine) float64 { return l.Lost },
		opsByTime: func(l opLine) float64 { return l.Millis },
		opsAsRun:  func(opLine) float64 { return 0 },
	}[order]
	slices.SortStableFunc(lines, func(a, b opLine) int { return cmp.Compare(key(b), key(a)) })
	total.Op, total.Share = "total", 1
	total.GFlops, total.GBytes = flops/total.Millis/1e6, bytes/total.Millis/1e6
	total.OfFloor, total.Lost = total.Floor/total.Millis, total.Millis-total.Floor
	return append(lines, total)
}
