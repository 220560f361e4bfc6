#!/bin/sh
# sh scripts/demo.sh SDNN DIR: plain against subclass training on made-up YouTube-8M files, a quarter of whose classes have two
# opposite modes: the case that subclasses are for. A random split of the same classes is the control. Every step is a command that
# works on the real files too; DIR is begun anew each time.
set -eu
sdnn=$1
dir=$2

step() {
	echo
	echo "\$ $*"
	"$@"
}

case $dir in ''|/|.|..) echo "demo: not a folder for a demo: '$dir'" >&2; exit 2 ;; esac
rm -rf "$dir"

step "$sdnn" synth yt8m --out "$dir/raw"
step "$sdnn" ingest yt8m --out "$dir/store" --split train --vocabulary "$dir/raw/vocabulary.csv" "$dir/raw/train*.tfrecord"
step "$sdnn" ingest yt8m --out "$dir/store" --split validate --vocabulary "$dir/raw/vocabulary.csv" "$dir/raw/validate*.tfrecord"
step "$sdnn" train --data "$dir/store" --out "$dir/plain" --net logistic --quiet
step "$sdnn" train --data "$dir/store" --out "$dir/subclass" --net logistic --quiet --subclass --neglected 10
step "$sdnn" train --data "$dir/store" --out "$dir/random" --net logistic --quiet --subclass --neglected 10 --split random
step "$sdnn" eval --run "$dir/random" --data "$dir/store" --against "$dir/plain"
step "$sdnn" eval --run "$dir/subclass" --data "$dir/store" --against "$dir/plain"
echo
echo "The neglected classes with two modes gain by a split along them, and by a random one next to nothing. On real data without such"
echo "modes a split costs more than it gives (README.md, Does the subclass method help?)."
echo "$dir/ has raw/ (TFRecord files), store/, and the runs plain/, subclass/ and random/."
