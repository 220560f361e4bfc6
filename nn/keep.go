package nn

// Keeper is a session whose memory is not the program's: it can take over the
// data of a split, so that a step is fed with row numbers and the batch is
// gathered, and images varied, where it is computed on.
type Keeper interface {
	// Keep copies d and returns the number that Feed.Kept names it by, from 1.
	// It returns 0 if d does not fit beside the model: the rows are then fed as
	// they would have been. It may be called between steps, more than once, and
	// the data lives as long as the session.
	Keep(d KeepData) (kept int, err error)
}

// KeepData are rows that a Keeper takes over: one column for each of
// Model.Features. What is in dst after Floats or Bytes has returned are the
// rows from, from+1, ..., as many as dst has room for.
type KeepData struct {
	Rows   int
	Floats func(column, from int, dst []float32) error // of columns as wide as the feature
	Images *KeepImages                                 // in place of Floats
}

// KeepImages says how stored images become the input of a network: square
// images, stored as the planes R, G, B, each row by row, as bytes. A batch is
// [N,Side,Side,3], byte x of plane c becoming Value[c][x]. How a row of a Feed
// with Vary is varied follows from its key as package features' Augmenter says.
type KeepImages struct {
	Side   int
	Value  [3][256]float32
	Pad    int  // crop: a window of the image's size from the image with Pad black pixels around
	Flip   bool // mirror left and right, with probability 1/2
	Cutout int  // blank a square of this side
	Bytes  func(from int, dst []byte) error
}
