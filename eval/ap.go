package eval

// averagePrecision sums precision at every hit over items that come in order of
// descending score. Items of equal score form a group that counts with its expected
// value over all orders. The zero value is ready.
type averagePrecision struct {
	seen, hits int64   // items and hits before the current group
	sum        float64 // of precision at the hits before the current group
	score      uint32  // key of the current group
	tied       int64   // items in the current group
	tiedHits   int64
}

// add counts one item; scores must not ascend.
func (a *averagePrecision) add(scoreKey uint32, hit bool) {
	if scoreKey != a.score {
		a.flush()
		a.score = scoreKey
	}
	a.tied++
	if hit {
		a.tiedHits++
	}
}

func (a *averagePrecision) flush() {
	a.sum += tiedPrecision(a.seen, a.hits, a.tied, a.tiedHits)
	a.seen += a.tied
	a.hits += a.tiedHits
	a.tied, a.tiedHits = 0, 0
}

// value returns the average precision for the given number of positives, found or
// not; 0 when there are none.
func (a *averagePrecision) value(positives int64) float64 {
	if positives == 0 {
		return 0
	}
	a.flush()
	return a.sum / float64(positives)
}

// tiedPrecision is the expected sum of precision at the hits of a group of tied
// items, of which h are hits, after seen items with hits hits, when all orders of
// the group are equally likely: the item at place j (1-based) is a hit with
// probability h/tied and then has (j-1)(h-1)/(tied-1) hits before it in the group.
func tiedPrecision(seen, hits, tied, h int64) float64 {
	switch {
	case h == 0:
		return 0
	case tied == 1:
		return float64(hits+1) / float64(seen+1)
	}
	slope := float64(h-1) / float64(tied-1)
	sum := 0.0
	for j := int64(1); j <= tied; j++ {
		sum += (float64(hits+1) + float64(j-1)*slope) / float64(seen+j)
	}
	return sum * float64(h) / float64(tied)
}
