package eval

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listTruth is a Truth over slices.
type listTruth struct {
	ids    []string
	labels [][]int32
}

func (l listTruth) Len() int               { return len(l.ids) }
func (l listTruth) Labels(row int) []int32 { return l.labels[row] }
func (l listTruth) Find(id []byte) (int, bool) {
	for i, s := range l.ids {
		if s == string(id) {
			return i, true
		}
	}
	return 0, false
}

func writeSubmission(t testing.TB, path string, ids []string, pred [][]float32, topK int) {
	t.Helper()
	w, err := CreateSubmission(path, len(pred[0]), topK)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if err := w.Write([]byte(id), pred[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func evaluateFile(t testing.TB, path string, classes int, truth Truth) (MultiLabelResult, SubmissionReport, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return EvaluateSubmission(NewSubmission(f, "file.csv", classes), truth, 20)
}

func TestSubmissionGivesTheSameMetrics(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pred, labels := randomCase(r, 120, 60, 4, func() float32 { return float32(math.Exp(-20 * r.Float64())) })
	pred[3] = make([]float32, 60) // ties
	var ids []string
	for i := range pred {
		ids = append(ids, fmt.Sprintf("v%03d", i))
	}
	m := NewMultiLabel(60, 20, 2)
	if err := m.Add(flatten(pred, labels)); err != nil {
		t.Fatal(err)
	}
	want := m.Result()

	path := filepath.Join(t.TempDir(), "out.csv")
	writeSubmission(t, path, ids, pred, 20)
	got, report, err := evaluateFile(t, path, 60, listTruth{ids, labels})
	if err != nil {
		t.Fatal(err)
	}
	if report != (SubmissionReport{}) {
		t.Errorf("report %+v", report)
	}
	if got.GAP != want.GAP || got.MAP != want.MAP || got.HitAt1 != want.HitAt1 || got.PERR != want.PERR || got.Videos != want.Videos {
		t.Errorf("file: %v %v %v %v; scores: %v %v %v %v", got.GAP, got.MAP, got.HitAt1, got.PERR, want.GAP, want.MAP, want.HitAt1, want.PERR)
	}
}

func TestSubmissionBehindALink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file.csv"), filepath.Join(dir, "link.csv")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Skip(err) // Windows asks for a right
	}
	writeSubmission(t, link, []string{"a"}, [][]float32{{1, 0}}, 1)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced (%v)", err)
	}
	if got, err := os.ReadFile(file); err != nil || !StartsPredictions(got) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSubmissionText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	writeSubmission(t, path, []string{"a-_1", "b"}, [][]float32{{.5, 1e-7, 1, .5}, {0, 0.1, 0, 0}}, 3)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "VideoId,LabelConfidencePairs\na-_1,2 1 0 0.5 3 0.5\nb,1 0.1 0 0 2 0\n"
	if string(got) != want {
		t.Errorf("file %q, want %q", got, want)
	}
}

// Nothing but a complete file ever has the name.
func TestSubmissionIsAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.csv")
	writeSubmission(t, path, []string{"old"}, [][]float32{{1}}, 1)
	old, _ := os.ReadFile(path)
	w, err := CreateSubmission(path, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "a,b", "a\nb", `a"b`} {
		if err := w.Write([]byte(id), []float32{1}); err == nil {
			t.Errorf("id %q was written", id)
		}
	}
	if err := w.Write([]byte("n"), []float32{float32(math.NaN())}); err == nil || !strings.Contains(err.Error(), "NaN") {
		t.Errorf("NaN: error %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, old) {
		t.Errorf("file changed before Close: %q", now)
	}
	w.Abort()
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := CreateSubmission(filepath.Join(dir, "none", "out.csv"), 1, 1); err == nil {
		t.Error("a folder that does not exist is no error")
	}
}

func TestSubmissionErrors(t *testing.T) {
	const head = submissionHeader + "\n"
	for _, c := range []struct {
		text string
		want string
	}{
		{"", `f.csv:1: expected the header VideoId,LabelConfidencePairs, found ""`},
		{"id,1 2\n", `f.csv:1: expected the header VideoId,LabelConfidencePairs, found "id,1 2"`},
		{head + "id 1 2\n", `f.csv:2:1: expected a video id and a comma, found "id 1 2"`},
		{head + ",1 2\n", `f.csv:2:1: expected a video id and a comma, found ",1 2"`},
		{head + "a,1 .5\n\nid,x 2\n", `f.csv:4:4: expected a label from 0 to 9, found "x"`},
		{head + "id,10 2\n", `f.csv:2:4: expected a label from 0 to 9, found "10"`},
		{head + "id,-1 2\n", `f.csv:2:4: expected a label from 0 to 9, found "-1"`},
		{head + "id,1 0.5 1 0.4\n", `f.csv:2:10: expected each label once, found "1"`},
		{head + "id,1\n", `f.csv:2:5: expected a score, found ""`},
		{head + "id,1 0.5 2 half\n", `f.csv:2:12: expected a score, found "half"`},
		{head + "id,1 nan\n", `f.csv:2:6: expected a score, found "nan"`},
		{head + "id,1  0.5\n", `f.csv:2:6: expected a score, found ""`},
		{head + "id," + strings.Repeat("1", maxLine), `f.csv:2: expected a line of at most 1048576 bytes, found "a longer one"`},
	} {
		s := NewSubmission(strings.NewReader(c.text), "f.csv", 10)
		for s.Next() {
		}
		var typed *SubmissionError
		if err := s.Err(); !errors.As(err, &typed) || err.Error() != c.want {
			t.Errorf("%.60q:\n%v, want\n%s", c.text, err, c.want)
		}
	}
}

func TestSubmissionOddButGood(t *testing.T) {
	text := "\xef\xbb\xbf" + submissionHeader + "\r\nb,2 0.25 1 0.5 \r\n\r\nzz,\nunknown,1 1\na,"
	truth := listTruth{[]string{"a", "b", "missing", "zz"}, [][]int32{{1}, {1}, {2, 2}, nil}}
	got, report, err := EvaluateSubmission(NewSubmission(strings.NewReader(text), "f.csv", 3), truth, 20)
	if err != nil {
		t.Fatal(err)
	}
	if want := (SubmissionReport{Missing: 1, Unknown: 1, ExampleUnknown: "unknown"}); report != want {
		t.Errorf("report %+v, want %+v", report, want)
	}
	// One of three positives found at the first place of the pool.
	near(t, "GAP", got.GAP, 1.0/3, 1e-12)
	near(t, "hit@1", got.HitAt1, 1.0/4, 1e-12)
	if got.Videos != 4 || got.Positives != 3 {
		t.Errorf("%+v", got)
	}
}

func TestSubmissionDuplicateVideo(t *testing.T) {
	text := submissionHeader + "\na,1 1\nb,1 1\na,1 1\n"
	_, _, err := EvaluateSubmission(NewSubmission(strings.NewReader(text), "f.csv", 3), listTruth{[]string{"a", "b"}, make([][]int32, 2)}, 20)
	var dup *DuplicateError
	if !errors.As(err, &dup) || dup.First != 2 || dup.Line != 4 {
		t.Errorf("error %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestSubmissionReaderFails(t *testing.T) {
	s := NewSubmission(brokenReader{}, "f.csv", 3)
	if s.Next() || !errors.Is(s.Err(), os.ErrDeadlineExceeded) {
		t.Errorf("error %v", s.Err())
	}
}

// FuzzSubmission: any bytes give videos or a typed error, and what was read can be
// written and read again.
func FuzzSubmission(f *testing.F) {
	f.Add([]byte(submissionHeader + "\nid,1 0.5 2 0.25\n"))
	f.Add([]byte(submissionHeader + "\r\nid,\r\n\r\nb,9 1e-30 0 -0\r\n"))
	f.Add([]byte(submissionHeader + "\nid,1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const classes = 10
		s := NewSubmission(bytes.NewReader(b), "f.csv", classes)
		for s.Next() {
			seen := map[int]bool{}
			last := float32(math.Inf(1))
			for _, k := range s.keys {
				c, score := keyClass(k), keyScore(k)
				if c >= classes || seen[c] || score > last || score != score {
					t.Errorf("line %d: class %d score %v after %v", s.line, c, score, last)
				}
				seen[c], last = true, score
			}
		}
		var typed *SubmissionError
		if err := s.Err(); err != nil && !errors.As(err, &typed) {
			t.Errorf("error %v", err)
		}
	})
}

func BenchmarkSubmissionWrite(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	scores := skewed(r, 64*3862)
	w, err := CreateSubmission(filepath.Join(b.TempDir(), "out.csv"), 3862, 20)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := w.Write([]byte("abcd"), scores[i%64*3862:][:3862]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "videos/s")
}
