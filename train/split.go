package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sdnn/nn/cpu/kernel"
	"sdnn/subclass"
	"sdnn/train/internal/durable"
)

// splitStage is stage 2: it splits the neglected classes and begins stage 3.
// It is short beside the others, so an interrupted one begins anew.
func (t *trainer) splitStage(ctx context.Context) error {
	c := &t.cfg
	t.o.Reporter.Stage(2, "splitting the neglected classes", 0, 0)
	neglected, counts := t.positives()
	samples, err := t.samples(ctx, neglected)
	if err != nil {
		return stopped(ctx, err)
	}
	defer samples.close()
	t.partition, err = subclass.Split(ctx, c.Classes, neglected, samples, subclass.SplitOptions{
		Method: subclass.Method(c.Split), Clusters: c.Subclasses, MinPositives: c.neededPositives(), Seed: stageSeed(c.Seed, 2, "split"),
		Dots: dots})
	if err == nil {
		err = samples.failed()
	}
	if err != nil {
		return stopped(ctx, err)
	}
	t.reportSplit()
	if err := t.writePartition(counts); err != nil {
		return err
	}
	t.closeStage()
	t.pos = position{Stage: 3, Neglected: t.pos.Neglected, SubclassToClass: classList(t.partition.Map()), MetricsLines: t.pos.MetricsLines}
	if err := t.openStage(); err != nil {
		return err
	}
	return t.save(t.run.session)
}

// dots gives k-means the vector unit: it is where it spends its time. A dot
// product depends on its two vectors alone, as subclass.Dots asks.
func dots(out []float32, x []float32, vectors [][]float32) {
	for i, v := range vectors {
		out[i] = float32(kernel.Dot(x, v))
	}
}

// stopped turns the error of a cancelled context into ErrInterrupted: the end
// of stage 1 is saved.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ErrInterrupted
	}
	return err
}

func (t *trainer) reportSplit() {
	added := 0
	if t.pairs != nil {
		added = len(t.pairs.list)
	}
	t.o.Reporter.Message(splitText(&t.cfg, t.partition, len(t.pos.Neglected), added))
}

// splitText says what became of the neglected classes, and of those that were
// not split which flag asked for more examples than they have.
func splitText(c *Config, p *subclass.Partition, neglected, pairs int) string {
	split := len(p.Cells())
	text := fmt.Sprintf("%d of the %d neglected classes %s split", split, neglected, numbered(split, "was", "were"))
	who, them := fmt.Sprint(len(p.Skipped())), "them"
	if neglected == 1 {
		who, them = "it", "it"
		text = "the neglected class was split"
		if split == 0 {
			text = "the neglected class was not split"
		}
	}
	if c.Subclasses == 1 {
		text = plural(neglected, "neglected class", "neglected classes") + ", none split (--subclasses 1)"
	}
	if skipped := p.Skipped(); len(skipped) > 0 {
		text += fmt.Sprintf("; %s %s too few %s", who, numbered(len(skipped), "has", "have"), c.Examples())
		switch {
		case skipped[0].Needed == c.neededPositives():
			text += fmt.Sprintf(" (--min-positives %d)", c.MinPositives)
		case c.pairing(): // which count as examples there
			text += fmt.Sprintf(", also with their pairs, for --subclasses %d", c.Subclasses)
		default:
			text += fmt.Sprintf(" for --subclasses %d", c.Subclasses)
		}
	}
	if pairs > 0 {
		text += fmt.Sprintf("; %s %s added to %s", plural(pairs, "paired image", "paired images"), numbered(pairs, "was", "were"), them)
	}
	return text
}

// neededPositives is how many examples a class needs to be split, by
// --min-positives: a class's pairs are no examples of their own.
func (c *Config) neededPositives() int {
	if c.pairing() {
		return 2 * c.MinPositives
	}
	return c.MinPositives
}

func plural(n int, one, more string) string { return fmt.Sprintf("%d %s", n, numbered(n, one, more)) }

// numbered is the word for n: one's or that of more.
func numbered(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

func (t *trainer) writePartition(counts []int64) error {
	state, err := t.partition.MarshalBinary()
	if err != nil {
		return err
	}
	if err := durable.WriteBytes(filepath.Join(t.o.Dir, partitionFile), state); err != nil {
		return err
	}
	return writeJSON(filepath.Join(t.o.Dir, subclassesFile), t.partition.File(counts))
}

// readPartition reads what writePartition wrote.
func (t *trainer) readPartition() error {
	path := filepath.Join(t.o.Dir, partitionFile)
	state, err := os.ReadFile(path)
	if err != nil {
		return &CorruptError{path, err}
	}
	if t.partition, err = subclass.ReadPartition(state, t.cfg.Classes); err != nil {
		return &CorruptError{path, err}
	}
	if have := classList(t.partition.Map()); fmt.Sprint(have) != fmt.Sprint(t.pos.SubclassToClass) {
		return &CorruptError{path, errors.New("its subclasses are not those of the checkpoint")}
	}
	return nil
}

// classList is the class of each subclass.
func classList(m *subclass.Map) []int32 {
	list := make([]int32, m.Subclasses())
	for s := range list {
		list[s] = int32(m.Class(s))
	}
	return list
}
