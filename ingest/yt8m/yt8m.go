// Package yt8m owns the video-level records of YouTube-8M: a parser that
// allocates nothing per record, an encoder, and the vocabulary file. Framing is
// package tfrecord's, the store is package features'.
//
// A record is a tensorflow.Example, or a SequenceExample without feature lists;
// on the wire they differ by two bytes (proto fields in brackets):
//
//	Example / SequenceExample
//	├─ [1] Features: map<string, Feature> [1], any key order
//	│   ├─ "id" or "video_id"  bytes_list [1]: one value, 1 to 256 bytes
//	│   ├─ "labels"            int64_list [3]: class numbers; empty or absent is allowed
//	│   ├─ "mean_rgb"          float_list [2]: 1024 values
//	│   ├─ "mean_audio"        float_list [2]: 128 values
//	│   └─ anything else is skipped unread
//	└─ [2] FeatureLists: empty here ("12 00" or absent); frames in frame-level records
//
// Lists are packed or not. Repeated fields and keys follow the rules of Protocol
// Buffers: messages merge, of equal map keys and of a oneof the last one wins.
//
// What a record may not do: lack its id or a feature, have another width, hold a
// NaN or an infinity, or a label outside the classes; such a record is damaged
// (RecordError). A label given twice counts once, at its first place. A record
// without labels is kept: the test set has such. If both ids are there, "id" counts.
//
// Source: tensorflow/core/example/{example,feature}.proto; the data set's
// description at research.google.com/youtube8m/download.html.
package yt8m

import "fmt"

const (
	// RGBWidth and AudioWidth are how many floats mean_rgb and mean_audio have.
	RGBWidth   = 1024
	AudioWidth = 128

	// DefaultClasses is the number of classes of the 2018 version of YouTube-8M.
	DefaultClasses = 3862

	// Names of the features, in records and as columns of a store.
	MeanRGB   = "mean_rgb"
	MeanAudio = "mean_audio"

	maxIDBytes = 256
)

// A Record is one video.
type Record struct {
	ID        []byte    // the video's id
	Labels    []int32   // its classes, without duplicates
	MeanRGB   []float32 // RGBWidth values
	MeanAudio []float32 // AudioWidth values
}

// A RecordError says what is wrong with the content of a record.
type RecordError struct {
	Field    string // feature name, or "message" for the encoding itself
	Expected string // what a sound record holds
	Found    string // what this one holds
}

// Error implements error.
func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: expected %s, found %s", e.Field, e.Expected, e.Found)
}

// A KindError says that a record is sound, as far as can be seen, but of another
// kind than video level: the whole file is the wrong one, not this record.
type KindError struct {
	Found string // what the record is, with its feature lists
}

// Error implements error.
func (e *KindError) Error() string {
	return fmt.Sprintf("expected a video-level record (%s and %s), found %s; "+
		"use the video-level files of YouTube-8M (download partition 2/video/...)", MeanRGB, MeanAudio, e.Found)
}
