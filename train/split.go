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
	needed := c.MinPositives
	if c.pairing() {
		needed *= 2 // a class's pairs are no examples of their own
	}
	t.partition, err = subclass.Split(ctx, c.Classes, neglected, samples, subclass.SplitOptions{
		Method: subclass.Method(c.Split), Clusters: c.Subclasses, MinPositives: needed, Seed: stageSeed(c.Seed, 2, "split"),
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
	k, split, skipped := len(t.pos.Neglected), len(t.partition.Cells()), len(t.partition.Skipped())
	text := fmt.Sprintf("%d of the %d neglected classes were split", split, k)
	if t.cfg.Subclasses == 1 {
		text = fmt.Sprintf("%d neglected classes, none split (--subclasses 1)", k)
	}
	if skipped > 0 {
		text += fmt.Sprintf("; %d have too few %s (--min-positives %d)", skipped, t.cfg.Examples(), t.cfg.MinPositives)
	}
	if t.pairs != nil {
		text += fmt.Sprintf("; %d paired images were added to them", len(t.pairs.list))
	}
	t.o.Reporter.Message(text)
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
