package cpu_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"sdnn/cnn"
	"sdnn/nn"
	"sdnn/nn/cpu"
)

// withBatch are nets, and how to build them for another batch.
var withBatch = map[string]func(batch int) *nn.Model{
	"moe":      func(batch int) *nn.Model { return videoNet("moe", batch, 45, 37) },
	"conv1d":   func(batch int) *nn.Model { return videoNet("conv1d", batch, 45, 37) },
	"residual": func(batch int) *nn.Model { return normNet("residual", batch, 16, 16, 16) },
}

// A model for another batch is what its builder would have made.
func TestWithBatch(t *testing.T) {
	for name, build := range withBatch {
		if got, want := build(70).WithBatch(9), build(9); !reflect.DeepEqual(got, want) {
			t.Errorf("%s for a batch of 70, changed to 9, is not that for 9", name)
		}
	}
}

// What does not fit is refused before anything is allocated, with the largest
// batch that fits, which is so.
func TestMemoryMessage(t *testing.T) {
	o := nn.CompileOptions{Purpose: nn.Measuring, Optimizer: nn.NewSGD(0), Beside: 100}
	for name, build := range withBatch {
		e := engine(t, 2)
		e.SetAvailable(8<<20, "the test's memory")
		for _, batch := range []int{4000, 1 << 40, math.MaxInt} {
			_, err := e.Compile(build(1).WithBatch(batch), o)
			var short *nn.MemoryError
			if !errors.As(err, &short) {
				t.Fatalf("%s, batch %d: got %v, want an *nn.MemoryError", name, batch, err)
			}
			if short.Need <= short.Free || short.Free != 8<<20 || short.Batch != batch || short.Fits < 1 || short.Fits >= 4000 {
				t.Errorf("%s: %+v", name, short)
			}
			for _, want := range []string{fmt.Sprintf("--batch %d", short.Fits), "the test's memory, and 8.0 MiB are free"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message does not say %q: %v", want, err)
				}
			}
			s, err := e.Compile(build(short.Fits), o)
			if err != nil {
				t.Fatalf("%s: the batch of %d that fits: %v", name, short.Fits, err)
			}
			s.Close()
			if _, err := e.Compile(build(short.Fits+short.Fits/16+1), o); !errors.As(err, &short) {
				t.Errorf("%s: a batch of a sixteenth more than fits: %v", name, err)
			}
		}
		e.SetAvailable(1000, "a few bytes")
		if _, err := e.Compile(build(4), o); err == nil || !strings.Contains(err.Error(), "not even a batch of 1 fits") {
			t.Errorf("%s in 1000 bytes: %v", name, err)
		}
		e.SetAvailable(0, "") // not known
		s, err := e.Compile(build(4), o)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

// Where memory is short, an evaluation does without the weights that it would
// keep transformed.
func TestShortMemoryKeepsNoWeights(t *testing.T) {
	e := engine(t, 2)
	build := func() *nn.Model {
		return cnn.WRN(cnn.Spec{Batch: 2, Outputs: 3, Size: 16, Channels: 3}, 2, []int{16, 16, 32, 64})
	}
	kept := map[bool]int{}
	e.SetAvailable(0, "no memory")
	_, err := e.Compile(build(), nn.CompileOptions{})
	short, ok := errors.AsType[*nn.MemoryError](err)
	if !ok {
		t.Fatal(err)
	}
	for _, tight := range []bool{false, true} {
		e.SetAvailable(1<<30, "enough")
		if tight {
			e.SetAvailable(short.Need, "just enough")
		}
		s, err := e.Compile(build(), nn.CompileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		kept[tight] = cpu.Kept(s)
		fill(s.Feed(0), 1, 2, 3)
		if _, _, err := s.Forward(0); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if kept[false] == 0 || kept[true] >= kept[false] {
		t.Errorf("with enough memory %d convolutions keep weights, in short memory %d", kept[false], kept[true])
	}
}

// The memory that is left is the machine's, or a control group's where that is less.
func TestAvailableMemory(t *testing.T) {
	const (
		mem = "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 4000 kB\n"
		v2  = "sys/fs/cgroup/"
		v1  = "sys/fs/cgroup/memory/"
	)
	machine, group := "this machine's memory", "container"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int
		of    string
	}{
		{"no /proc", nil, 0, ""},
		{"no limit", map[string]string{"proc/meminfo": mem}, 4000 << 10, machine},
		{"swap", map[string]string{"proc/meminfo": mem + "SwapFree: 50 kB\n"}, 4050 << 10, machine},
		{"v2 without limit", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "0::/a/b\n", v2 + "a/b/memory.max": "max\n", v2 + "a/b/memory.current": "5000\n"},
			4000 << 10, machine},
		{"v2, cache can go", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "0::/a/b\n", v2 + "a/b/memory.max": "3000000\n", v2 + "a/b/memory.current": "2000000\n",
			v2 + "a/b/memory.stat": "anon 4\ninactive_file 300000\nactive_file 20000\nslab_reclaimable 1000\n"}, 1321000, group},
		{"v2, the group above", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "0::/a/b\n", v2 + "a/b/memory.max": "3000000\n", v2 + "a/b/memory.current": "2000\n",
			v2 + "a/memory.max": "2500000", v2 + "a/memory.current": "2000000"}, 500000, group},
		{"v2, a group outside of the namespace", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "0::/../../x\n", v2 + "memory.max": "3000\n", v2 + "memory.current": "1000\n"}, 2000, group},
		{"v2, more taken than allowed", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "0::/\n", v2 + "memory.max": "3000\n", v2 + "memory.current": "4000\n"}, 0, group},
		{"v2, swap of the group", map[string]string{"proc/meminfo": mem + "SwapFree: 50 kB\n", "proc/self/cgroup": "0::/\n", v2 + "memory.max": "3000\n", v2 + "memory.current": "1000\n",
			v2 + "memory.swap.max": "700\n", v2 + "memory.swap.current": "100\n"}, 2600, group},
		{"v1", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/x\n0::/\n", v1 + "x/memory.limit_in_bytes": "3000000\n",
			v1 + "x/memory.usage_in_bytes": "2000000", v1 + "x/memory.stat": "inactive_file 1\ntotal_inactive_file 300000\ntotal_active_file 5\n"}, 1300005, group},
		{"v1, path of the host", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "4:memory:/docker/0123\n", v1 + "memory.limit_in_bytes": "3000000\n",
			v1 + "memory.usage_in_bytes": "2000000"}, 1000000, group},
		{"v1 without limit", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "4:memory:/\n", v1 + "memory.limit_in_bytes": "9223372036854771712\n",
			v1 + "memory.usage_in_bytes": "2000000"}, 4000 << 10, machine},
		{"v1 without limit, more cache than use", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "4:memory:/\n", v1 + "memory.limit_in_bytes": "9223372036854771712\n",
			v1 + "memory.usage_in_bytes": "2000000", v1 + "memory.stat": "total_inactive_file 2000000\ntotal_active_file 8192\n"}, 4000 << 10, machine},
		{"v2, more cache than use", map[string]string{"proc/meminfo": mem, "proc/self/cgroup": "0::/\n", v2 + "memory.max": "3000\n", v2 + "memory.current": "1000\n",
			v2 + "memory.stat": "active_file 1200\n"}, 3000, group},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got, of := cpu.AvailableIn(root); got != c.want || !strings.Contains(of, c.of) || (of == "") != (c.of == "") {
			t.Errorf("%s: %d bytes of %q, want %d of %q", c.name, got, of, c.want, c.of)
		}
	}
}
