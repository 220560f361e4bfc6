package train

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sdnn/features"
	"sdnn/nn"
	"sdnn/nn/cpu"
)

// testStore writes a small store of the YouTube-8M kind: classes of falling
// frequency, each with two hidden modes, one to three labels a video.
func testStore(t testing.TB, rows int) *features.Store {
	t.Helper()
	dir := t.TempDir()
	const classes, rgb, audio = 12, 10, 6
	schema := features.Schema{Dataset: "yt8m", Classes: classes, Columns: []features.Column{
		{Name: "mean_rgb", Kind: features.Float32, Width: rgb}, {Name: "mean_audio", Kind: features.Float32, Width: audio}}}
	for split, n := range map[string]int{"train": rows, "validate": rows / 4} {
		w, err := features.NewWriter(dir, split, schema, features.WriterOptions{RowsPerBatch: 64})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(testRows(split, n, classes, rgb, audio)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := features.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func testRows(split string, n, classes, rgb, audio int) *features.Rows {
	modes := rand.New(rand.NewPCG(1, 1))
	centre := make([][]float32, classes*2)
	for i := range centre {
		for range rgb + audio {
			centre[i] = append(centre[i], float32(modes.NormFloat64()))
		}
	}
	r := rand.New(rand.NewPCG(2, uint64(len(split))))
	rows := &features.Rows{IDOffsets: []int32{0}, LabelOffsets: []int32{0}, Float: make([][]float32, 2)}
	for i := range n {
		rows.IDs = fmt.Appendf(rows.IDs, "%s%05d", split, i)
		rows.IDOffsets = append(rows.IDOffsets, int32(len(rows.IDs)))
		x := make([]float32, rgb+audio)
		for j := range x {
			x[j] = float32(0.4 * r.NormFloat64())
		}
		seen := map[int]bool{}
		for range 1 + r.IntN(3) {
			c := int(float64(classes) * r.Float64() * r.Float64())
			if seen[c] {
				continue
			}
			seen[c] = true
			rows.Labels = append(rows.Labels, int32(c))
			for j, v := range centre[2*c+r.IntN(2)] {
				x[j] += v
			}
		}
		rows.LabelOffsets = append(rows.LabelOffsets, int32(len(rows.Labels)))
		rows.Float[0] = append(rows.Float[0], x[:rgb]...)
		rows.Float[1] = append(rows.Float[1], x[rgb:]...)
	}
	return rows
}

func testConfig(t testing.TB, s *features.Store, net string, set ...string) Config {
	t.Helper()
	c, err := NewConfig("", net, s.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	c.Version = "test"
	set = append([]string{"batch=32", "epochs=3", "lr=0.01", "hidden=16", "filters=4", "neglected=4", "neglect-epochs=2"}, set...)
	for _, kv := range set {
		flag, value, _ := strings.Cut(kv, "=")
		if err := c.Set(flag, value); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func testEngine(t testing.TB) nn.Engine {
	t.Helper()
	e, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func mustRun(t testing.TB, cfg Config, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// files reads a run, without timings.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == metricsName {
			text = withoutTimings(t, text)
		}
		out[e.Name()] = string(text)
	}
	return out
}

// metricsLines reads metrics.jsonl of a run.
func metricsLines(t testing.TB, dir string) []metricsLine {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, metricsName))
	if err != nil {
		t.Fatal(err)
	}
	var lines []metricsLine
	for l := range strings.Lines(string(text)) {
		var line metricsLine
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatalf("metrics line %q: %v", l, err)
		}
		lines = append(lines, line)
	}
	return lines
}

func withoutTimings(t testing.TB, text []byte) []byte {
	t.Helper()
	var out []byte
	for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var line metricsLine
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatalf("metrics line %q: %v", l, err)
		}
		line.ExamplesPerS = 0
		b, _ := json.Marshal(line)
		out = append(append(out, b...), '\n')
	}
	return out
}

func sameFiles(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("%s differs", name)
		}
	}
	if !reflect.DeepEqual(keys(want), keys(got)) {
		t.Errorf("files %v, want %v", keys(got), keys(want))
	}
}

func keys(m map[string]string) map[string]bool {
	k := map[string]bool{}
	for n := range m {
		k[n] = true
	}
	return k
}
