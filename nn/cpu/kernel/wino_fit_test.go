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
