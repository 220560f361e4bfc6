// Package subclass owns the class side of the subclass method (N. Gkalelis and V.
// Mezaris, "Subclass deep neural networks: re-enabling neglected classes in deep
// network training for multimedia classification", MMM 2020): which classes are
// neglected, how their samples are split into subclasses, and what that means for
// targets, losses and scores. It knows nothing of networks' insides or of files.
//
//	stage 1   theta of every batch --> Neglection --> order of neglection
//	stage 2   K most neglected, their positives --> Split (KMeans) --> Partition, Map
//	stage 3   labels --> Targeting --> sparse targets of the subclass cross-entropy
//	testing   subclass scores --> Map.ClassScores --> class scores
//
// # Numbering
//
// C classes become S >= C subclasses. The first cluster of a split class keeps the
// class's own number; the others take C, C+1, ... class by class in order of
// neglection. A class that is not split is its own only subclass. With 3 classes of
// which class 2 and then class 0 are split in two:
//
//	subclass  0  1  2  3  4
//	class     0  1  2  2  0
//
// # Reference implementations
//
// [SubclassCE] and [Theta] are the formulas in float64, written for clarity:
// engines are tested against them.
package subclass
