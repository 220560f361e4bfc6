package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sdnn/features"
	"sdnn/ingest/cifar"
)

// xzHeader is what an .xz file begins with.
const xzHeader = "\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46"

// Compressed files in a folder are not passed over in silence, and as inputs
// they are refused for what they are, with what to do.
func TestCompressed(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(cifar.CIFAR100.Append(nil, image(0)))
	z.Close()
	train := write("both/train.bin.xz", []byte(xzHeader))
	imageFile(t, filepath.Join(dir, "both", "test.bin"), cifar.CIFAR100, 0, 3)
	write("both/test.bin.gz", zipped.Bytes()) // is there decompressed
	write("both/notes.txt.gz", zipped.Bytes())
	images := func(split string, paths ...string) ([]Warning, error) {
		r, warnings, err := ingestImages(t, "cifar100", Options{Paths: paths, Out: filepath.Join(t.TempDir(), "s"), Split: split})
		if err == nil && r.Rows != 3 {
			t.Errorf("%d rows, want those of test.bin", r.Rows)
		}
		return warnings, err
	}
	both := filepath.Join(dir, "both")
	warnings, err := images("", both)
	if err != nil || len(warnings) != 1 || warnings[0].Kind != CompressedFile ||
		warnings[0].Message != both+": leaving out train.bin.xz, which must be decompressed first: xz -d "+train {
		t.Errorf("a folder with a compressed file: %v, %v", warnings, err)
	}
	if warnings, err = images("test", both); err != nil || len(warnings) > 0 {
		t.Errorf("with --split test: %v, %v", warnings, err)
	}

	write("none/test.bin.gz", zipped.Bytes())
	_, err = images("", filepath.Join(dir, "none"))
	if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), "are compressed; decompress them first: gzip -d ") {
		t.Errorf("a folder of compressed files: %v", err)
	}
	archive := write("cifar-100-binary.tar.gz", zipped.Bytes())
	for path, want := range map[string]string{
		train:                            "found one in the format xz; decompress it first: xz -d " + train,
		filepath.Join(dir, "none", "*"):  "found one in the format gz; decompress it first: gzip -d ",
		write("renamed", []byte("BZh9")): "", // too short to be anything
		archive:                          "decompress it first: tar -xf " + archive,
	} {
		_, err := images("test", path)
		if !errors.Is(err, features.ErrBadData) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// Of videos too, those of the split that is wanted.
func TestCompressedVideos(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"train0000.tfrecord.xz", "validate0000.tfrecord.xz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(xzHeader), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	shard(t, filepath.Join(dir, "train0001.tfrecord"), "a", "b")
	var warnings []Warning
	_, err := YT8M(context.Background(), Options{Paths: []string{dir}, Out: filepath.Join(t.TempDir(), "s"), Split: "train",
		Warn: func(w Warning) { warnings = append(warnings, w) }})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Message, "leaving out train0000.tfrecord.xz, which") {
		t.Errorf("a folder of videos: %v, %v", warnings, err)
	}
}

// Damage to one record says what to do, and a warning that it was skipped does not.
func TestAdviceOnRecords(t *testing.T) {
	in, out := filepath.Join(t.TempDir(), "in.bin"), filepath.Join(t.TempDir(), "store")
	data := cifar.CIFAR10.Append(cifar.CIFAR10.Append(nil, image(0)), image(1))
	data[0] = 200
	if err := os.WriteFile(in, data, 0o666); err != nil {
		t.Fatal(err)
	}
	const damage = ": record 0 at offset 0: label: expected 0 to 9, found 200"
	_, _, err := ingestImages(t, "cifar10", Options{Paths: []string{in}, Out: out, Split: "train"})
	if err == nil || err.Error() != in+damage+"; fetch the file again, or leave such records out with --skip-bad" {
		t.Errorf("error %v", err)
	}
	_, warnings := mustIngestImages(t, "cifar10", Options{Paths: []string{in}, Out: out, Split: "train", SkipBad: true})
	if len(warnings) != 1 || warnings[0].Message != in+damage+"; image skipped" {
		t.Errorf("warnings %v", warnings)
	}
}
