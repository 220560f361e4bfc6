#!/bin/sh
# sh scripts/demo.sh SDNN DIR: plain against subclass training on made-up YouTube-8M files. Every step is a command that works on
# the real files too; DIR is begun anew each time.
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
net="--net logistic --epochs 20 --batch 64 --lr 0.005 --quiet"
# shellcheck disable=SC2086 # $net is several words
step "$sdnn" train --data "$dir/store" --out "$dir/plain" $net
# shellcheck disable=SC2086
step "$sdnn" train --data "$dir/store" --out "$dir/subclass" $net --subclass --neglected 10
step "$sdnn" eval --run "$dir/plain" --data "$dir/store"
step "$sdnn" eval --run "$dir/subclass" --data "$dir/store" --against "$dir/plain"
echo
echo "$dir/ has raw/ (TFRecord files), store/, and the runs plain/ and subclass/."
