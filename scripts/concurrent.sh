#!/bin/sh
# Prints the packages that start goroutines, use sync or share work out to a pool, whose tests are worth the race detector.
git ls-files '*.go' | grep -v '/gen/' | xargs grep -lE '^	+go (func|[a-z.]+\()|"sync(/atomic)?"|"sdnn/nn/cpu/pool"' |
	xargs -n1 dirname | sort -u | sed 's|^|./|'
