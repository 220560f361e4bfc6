package train

import (
	"fmt"
	"strconv"
	"strings"

	"sdnn/features"
)

// cropPad is the number of black pixels around an image that crop without a
// number cuts from, as the paper's settings do.
const cropPad = 4

// ParseAugment reads how training images are varied: a list, in any order, of
//
//	crop, crop:N  a window of the image's size out of the image with 4, or N, black pixels around
//	flip          left and right exchanged, in half of the cases
//	cutout:N      a square of N x N pixels set to the mean colour, anywhere
//
// or "none", or nothing.
func ParseAugment(s string) (features.Augment, error) {
	var a features.Augment
	if s == "" || s == "none" {
		return a, nil
	}
	seen := map[string]bool{}
	for _, part := range strings.Split(s, ",") {
		name, arg, hasArg := strings.Cut(part, ":")
		n, err := strconv.Atoi(arg)
		switch {
		case seen[name]:
			return a, fmt.Errorf("%q: %s twice", s, name)
		case hasArg && (err != nil || n < 1):
			return a, fmt.Errorf("%q: %q is no number of pixels", part, arg)
		case name == "crop":
			if a.Pad = cropPad; hasArg {
				a.Pad = n
			}
		case name == "flip" && !hasArg:
			a.Flip = true
		case name == "cutout" && hasArg:
			a.Cutout = n
		default:
			return a, fmt.Errorf("%q is unknown; write a list of crop, flip and cutout:PIXELS, or none", part)
		}
		seen[name] = true
	}
	return a, nil
}
