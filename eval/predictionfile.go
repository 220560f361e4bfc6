package eval

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sdnn/internal/disk"
)

// StartsPredictions says whether start, the first bytes of a file (100 are
// enough), are those of a file of predictions, of videos or of images, as this
// package writes it.
func StartsPredictions(start []byte) bool {
	line, _, ended := bytes.Cut(start, []byte("\n"))
	return ended && (string(line) == submissionHeader || string(line) == strings.Join(imageHeader, ","))
}

// predictionFile is a file, of predictions or of what is made of them, that
// appears under its name, complete and durable, when Close returns nil, and not before.
type predictionFile struct {
	path      string // as it was given
	real      string // where it is, behind links: a link of the user's stays one, and so does /dev/stdout
	file      *os.File
	out       *bufio.Writer
	temporary bool // file is a temporary one, to be renamed
	err       error
}

func (w *predictionFile) create(path string) (err error) {
	w.path, w.real = path, path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		w.real = real
	}
	if info, e := os.Stat(path); e == nil && !info.Mode().IsRegular() {
		w.file, err = os.OpenFile(path, os.O_WRONLY, 0)
	} else {
		w.temporary = true
		w.file, err = os.OpenFile(fmt.Sprintf("%s.%d.part", w.real, os.Getpid()), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	}
	if err != nil {
		return w.failed(err)
	}
	w.out = bufio.NewWriterSize(predictionBytes{w}, 1<<18)
	return nil
}

// failed is an error of writing with the name that the user knows, not the
// temporary one.
func (w *predictionFile) failed(err error) error {
	return fmt.Errorf("%s: not written: %w", w.path, disk.Cause(err))
}

// predictionBytes is what goes into the file.
type predictionBytes struct{ *predictionFile }

func (w predictionBytes) Write(p []byte) (n int, err error) {
	if n, err = w.file.Write(p); err != nil {
		err = w.failed(err)
	}
	return n, err
}

// Close makes the file durable and gives it its name. After an error of it or of
// Write nothing but the old file, if any, is left.
func (w *predictionFile) Close() error {
	err := w.err
	if err == nil {
		err = w.out.Flush()
	}
	step := func(do func() error) {
		if err == nil {
			if err = do(); err != nil {
				err = w.failed(err)
			}
		}
	}
	if w.temporary {
		step(w.file.Sync)
	}
	if e := w.file.Close(); e != nil {
		step(func() error { return e })
	}
	if !w.temporary {
		return err
	}
	step(func() error { return os.Rename(w.file.Name(), w.real) })
	if err != nil {
		os.Remove(w.file.Name())
		return err
	}
	syncFolder(filepath.Dir(w.real))
	return nil
}

// Abort removes what was written so far.
func (w *predictionFile) Abort() {
	w.file.Close()
	if w.temporary {
		os.Remove(w.file.Name())
	}
}

// syncFolder makes a new name in a folder durable where the system knows of that;
// elsewhere (Windows) opening a folder fails and there is nothing to do.
func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}
