#!/bin/sh
# Prints the packages that start goroutines or use sync, whose tests are worth the race detector.
git ls-files '*.go' | grep -v '/gen/' | xargs grep -lE '^	+go (func|[a-z.]+\()|"sync(/atomic)?"' |
	xargs -n1 dirname | sort -u | sed 's|^|./|'
