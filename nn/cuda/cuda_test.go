package cuda_test

import (
	"os"
	"path/filepath"
	"testing"

	"sdnn/nn/conformance"
	"sdnn/nn/cuda"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/fakecard"
)

// cacheDir keeps the compiled kernels for all tests of the package.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sdnn-cuda")
	if err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "kernels")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// open starts an engine on a fake card that reports to t what is wrong, also what is left at the end.
func open(t testing.TB, o fakecard.Options) (*cuda.Engine, *fakecard.Card) {
	t.Helper()
	if o.Report == nil {
		o.Report = t
	}
	card := fakecard.New(o)
	return engineOn(t, card, cuda.Options{CacheDir: cacheDir}), card
}

// engineOn returns an engine on a card, both closed after the test.
func engineOn(t testing.TB, card driver.Card, o cuda.Options) *cuda.Engine {
	t.Helper()
	e, err := cuda.New(card, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Engine.Close: %v", err)
		}
		if err := card.Close(); err != nil {
			t.Errorf("Card.Close: %v", err)
		}
	})
	return e
}

// computing is open, for tests of numbers.
func computing(t testing.TB) *cuda.Engine {
	t.Helper()
	if ok, why := fakecard.CanExecute(); !ok {
		t.Skipf("NOT CHECKED: kernels cannot run here: %v", why)
	}
	e, _ := open(t, fakecard.Options{})
	return e
}

func TestConformance(t *testing.T) { conformance.Run(t, computing(t), conformance.AllOps) }
