package cifar

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// A NamesError says what is wrong with a file of class names.
type NamesError struct {
	Line     int // from 1
	Expected string
	Found    string
}

// Error implements error.
func (e *NamesError) Error() string {
	return fmt.Sprintf("line %d: expected %s, found %s", e.Line, e.Expected, e.Found)
}

// maxNameBytes bounds the name of a class.
const maxNameBytes = 256

// ReadNames reads the names of the classes, one a line in the order of their numbers, as batches.meta.txt and
// fine_label_names.txt have them. Blank lines count only as the end. Errors are *NamesError or those of r.
func ReadNames(r io.Reader, classes int) ([]string, error) {
	var names []string
	s := bufio.NewScanner(io.LimitReader(r, int64(classes+100)*maxNameBytes))
	line, blank := 0, 0
	for s.Scan() {
		line++
		name := strings.TrimSpace(s.Text())
		switch {
		case name == "":
			blank = line
			continue
		case blank > 0:
			return nil, &NamesError{blank, "a name", "a blank line"}
		case len(name) > maxNameBytes:
			return nil, &NamesError{line, fmt.Sprintf("a name of at most %d bytes", maxNameBytes), fmt.Sprintf("%d bytes", len(name))}
		case len(names) == classes:
			return nil, &NamesError{line, fmt.Sprintf("no more than %d names", classes), fmt.Sprintf("%.40q", name)}
		}
		names = append(names, name)
	}
	if err := s.Err(); err == bufio.ErrTooLong {
		return nil, &NamesError{line + 1, "a line of text", "a very long one"}
	} else if err != nil {
		return nil, err
	}
	if len(names) < classes {
		return nil, &NamesError{max(line, 1), fmt.Sprintf("%d names", classes), fmt.Sprintf("%d", len(names))}
	}
	return names, nil
}

// NamesFile returns the name of the file that the official archive has the class names in.
func (f Format) NamesFile() string {
	if f.Coarse > 0 {
		return "fine_label_names.txt"
	}
	return "batches.meta.txt"
}

// Names returns the official names of the classes, as the archive's file has them.
func (f Format) Names() []string {
	if f.Coarse > 0 {
		return strings.Fields(names100)
	}
	return strings.Fields(names10)
}

// CoarseNames returns the official names of the coarse classes of CIFAR-100.
func CoarseNames() []string { return strings.Fields(coarse100) }

// CoarseOf returns the coarse class of class c of CIFAR-100. It is the same for every image of a class, so a store, which keeps
// the class, has lost nothing.
func CoarseOf(c int32) int32 { return int32(coarseOf[c]) }

const names10 = "airplane automobile bird cat deer dog frog horse ship truck"

const names100 = `apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
bowl boy bridge bus butterfly camel can castle caterpillar cattle
chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
plain plate poppy porcupine possum rabbit raccoon ray road rocket
rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm`

const coarse100 = `aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2`

var coarseOf = [100]uint8{
	4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11,
	6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5,
	5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
	10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13,
	16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
}
