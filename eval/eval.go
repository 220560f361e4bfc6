// Package eval measures classifiers: it owns the metrics, the submission file
// and the comparison of two evaluations, and knows nothing of how scores came
// about.
//
// # Multi-label metrics
//
// [MultiLabel] takes class scores a batch at a time and keeps, for every video,
// only its K best classes (K = 20 by the YouTube-8M rules), 8 bytes an entry:
//
//	scores N x C --select--> K best per video --append--> buckets by score
//	                              |                            |
//	                        Hit@1, PERR                 GAP@K, AP per class
//
// Definitions (those of the YouTube-8M starter code):
//
//   - Hit@1: share of videos whose best class is a label.
//   - PERR: precision among the m best classes of a video with m labels, averaged
//     over all videos; a class with score 0 or less is never counted as found, and
//     a video without labels scores 0 and counts.
//   - AP of a class: average precision over the videos that have the class among
//     their K best, with all positives of the class in the denominator. mAP is the
//     mean over the classes that have positives.
//   - GAP@K: average precision of all videos' K best pooled, with all positives of
//     all classes in the denominator.
//
// # Ties
//
// Within a video, of equal scores the lower class index ranks first. Between
// videos no order of equal scores would be less arbitrary than another, so AP and
// GAP count a group of ties with its expected value over all orders (McSherry and
// Najork, "Computing information retrieval performance measures efficiently in
// the presence of tied scores", ECIR 2008). Every metric is therefore the same bit
// for bit whatever the order of the videos, the size of the batches and the number
// of threads.
package eval
