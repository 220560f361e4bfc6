package kernel

import "testing"

// Groups of channels hold every channel once, and no thread has more than a
// fair share of them and one smallest group.
func TestGroupsOfChannels(t *testing.T) {
	for _, kind := range []ConvKind{ConvForward, ConvData} {
		for n := 16; n <= 1024; n += 16 {
			v := NewConv3x3(kind, 1, 8, 8, n, n)
			for threads := 1; threads <= 9; threads++ {
				v.fitGroups(threads)
				if v.fit > winoGroup || v.fit%winoLeastGroup != 0 && v.fit != n {
					t.Fatalf("%d channels, %d threads: groups of %d", n, threads, v.fit)
				}
				most := ceilDiv(v.groups(), threads) * v.fit
				if fair := ceilDiv(n, threads); most > fair+2*winoLeastGroup && most > fair*5/4 {
					t.Errorf("%d channels, %d threads: groups of %d, so that a thread has %d channels, %d would be fair", n, threads, v.fit, most, fair)
				}
				if last, end := v.channels(v.groups() - 1); end != n || last >= n {
					t.Errorf("%d channels, %d threads: the last group is [%d, %d)", n, threads, last, end)
				}
			}
		}
	}
	// The wide maps of WRN-28-10 on two threads: nobody waits.
	for _, n := range []int{320, 640} {
		v := NewConv3x3(ConvForward, 16, 8, 8, n, n)
		if v.fitGroups(2); ceilDiv(v.groups(), 2)*v.fit != n/2 {
			t.Errorf("%d channels: groups of %d", n, v.fit)
		}
	}
}

// TestBelow holds the pixels that are fetched ahead to what they are said to be:
// one stretch of memory, which goes on by a tile's pixels from tile to tile and
// ends a row of tiles and some tiles ahead.
func TestBelow(t *testing.T) {
	for _, size := range [][2]int{{32, 32}, {16, 8}, {4, 4}} {
		v := NewConv3x3(ConvForward, 3, size[0], size[1], 16, 16)
		s := v.inSide()
		at, pixels := tileAt{}, s.step*s.step
		if least, got := pixels*v.right, s.below(at, v.right); got <= least || got > 2*least+pixels {
			t.Errorf("%v: of the first of %d tiles a row, below is %d pixels on", size, v.right, got)
		}
		for i := range v.tilesOf(3) - 1 {
			before := s.below(at, v.right)
			v.next(&at)
			if got := s.below(at, v.right) - before; got != pixels {
				t.Errorf("%v: from tile %d to the next below goes on by %d pixels, want %d", size, i, got, pixels)
			}
		}
	}
}
