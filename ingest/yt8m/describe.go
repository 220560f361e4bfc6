package yt8m

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// describeOther says what a record without mean_rgb or mean_audio is: one of the
// known other kinds (*KindError), or a video-level record that lacks something
// (*RecordError). It reads the record once more, and is off the fast path.
func describeOther(payload []byte) error {
	names, err := mapKeys(payload)
	if err != nil {
		return err
	}
	lists, err := featureLists(payload)
	if err != nil {
		return err
	}
	if len(lists) == 0 {
		missing := MeanRGB
		if names.has(MeanRGB) {
			missing = MeanAudio
		}
		return &RecordError{missing, "this feature", "only " + names.String()}
	}
	kind := "a SequenceExample"
	switch {
	case lists.has("audio_embedding"):
		kind = "an AudioSet record"
	case names.has("segment_labels"):
		kind = "a frame-level YouTube-8M record with segment labels"
	case lists.has("rgb") || lists.has("audio"):
		kind = "a frame-level YouTube-8M record"
	}
	return &KindError{Found: fmt.Sprintf("%s (%s)", kind, lists)}
}

// entries lists map keys with the number of frames behind each, -1 where the
// notion does not apply.
type entries []struct {
	key    string
	frames int
}

func (e entries) has(key string) bool {
	for _, x := range e {
		if x.key == key {
			return true
		}
	}
	return false
}

// String prints up to ten keys, shortened and quoted where they are odd, as they
// come from a file that nobody vouches for.
func (e entries) String() string {
	if len(e) == 0 {
		return "no features"
	}
	var parts []string
	for i, x := range e {
		if i == 10 {
			parts = append(parts, fmt.Sprintf("%d more", len(e)-i))
			break
		}
		name := x.key
		if len(name) > 40 {
			name = name[:40] + "..."
		}
		if q := fmt.Sprintf("%q", name); q != `"`+name+`"` || name == "" {
			name = q
		}
		if x.frames >= 0 {
			name += fmt.Sprintf(" of %d frames", x.frames)
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ")
}

// mapKeys returns the feature names of the record's context.
func mapKeys(payload []byte) (entries, error) {
	return mapEntries(payload, 1, func([]byte) (int, error) { return -1, nil })
}

// featureLists returns the names of the record's feature lists, with frames.
func featureLists(payload []byte) (entries, error) {
	return mapEntries(payload, 2, func(list []byte) (int, error) {
		n := 0
		err := each(list, 1, func([]byte) error { n++; return nil })
		return n, err
	})
}

// mapEntries walks message field outer, in it the map of field 1, and calls count
// with every value.
func mapEntries(payload []byte, outer protowire.Number, count func(value []byte) (int, error)) (entries, error) {
	var out entries
	err := each(payload, outer, func(features []byte) error {
		return each(features, 1, func(entry []byte) error {
			var key, value []byte
			if err := each(entry, 1, func(v []byte) error { key = v; return nil }); err != nil {
				return err
			}
			if err := each(entry, 2, func(v []byte) error { value = v; return nil }); err != nil {
				return err
			}
			n, err := count(value)
			if err != nil {
				return err
			}
			if len(out) < 1000 && !out.has(string(key)) { // each key once; a bound against hostile records
				out = append(out, struct {
					key    string
					frames int
				}{string(key), n})
			}
			return nil
		})
	})
	return out, err
}

// each calls f with every length-delimited field num of the message b.
func each(b []byte, num protowire.Number, f func(val []byte) error) error {
	for len(b) > 0 {
		x, err := next(&b)
		if err != nil {
			return err
		}
		if x.is(num, protowire.BytesType) {
			if err := f(x.val); err != nil {
				return err
			}
		}
	}
	return nil
}
