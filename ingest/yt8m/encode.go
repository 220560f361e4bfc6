package yt8m

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendExample appends rec, encoded as the published video-level files are (a
// packed Example; keys in the order id, labels, mean_rgb, mean_audio), and
// returns the longer slice. Any widths are written; Parse insists on its own.
func AppendExample(dst []byte, rec *Record) []byte {
	labels := 0
	for _, l := range rec.Labels {
		labels += protowire.SizeVarint(uint64(int64(l)))
	}
	sizes := [...]int{len(rec.ID), labels, 4 * len(rec.MeanRGB), 4 * len(rec.MeanAudio)}
	names := [...]string{"id", "labels", MeanRGB, MeanAudio}
	kinds := [...]list{bytesList, int64List, floatList, floatList}

	features := 0
	for i, n := range sizes {
		features += nested(entrySize(names[i], n))
	}
	dst = open(dst, 1, features)
	for i, n := range sizes {
		dst = open(dst, 1, entrySize(names[i], n))
		dst = open(dst, 1, len(names[i]))
		dst = append(dst, names[i]...)
		dst = open(dst, 2, nested(nested(n)))
		dst = open(dst, protowire.Number(kinds[i]), nested(n))
		dst = open(dst, 1, n)
		switch i {
		case 0:
			dst = append(dst, rec.ID...)
		case 1:
			for _, l := range rec.Labels {
				dst = protowire.AppendVarint(dst, uint64(int64(l)))
			}
		case 2:
			dst = appendFloats(dst, rec.MeanRGB)
		case 3:
			dst = appendFloats(dst, rec.MeanAudio)
		}
	}
	return dst
}

// open appends the tag and length of a field of n bytes. All fields here are
// length-delimited and have numbers below 16, so a tag is one byte.
func open(dst []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.BytesType), uint64(n))
}

// nested returns the size of a field of n bytes with its tag and length.
func nested(n int) int { return 1 + protowire.SizeBytes(n) }

// entrySize returns the size of a map entry whose list holds n bytes.
func entrySize(name string, n int) int { return nested(len(name)) + nested(nested(nested(n))) }

func appendFloats(dst []byte, v []float32) []byte {
	for _, x := range v {
		dst = protowire.AppendFixed32(dst, math.Float32bits(x))
	}
	return dst
}
