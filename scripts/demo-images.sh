#!/bin/sh
# sh scripts/demo-images.sh SDNN DIR: plain against subclass training of a small wide residual net on made-up CIFAR-10 files. Every
# step is a command that works on the real files too; DIR is begun anew each time.
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

step "$sdnn" synth cifar10 --out "$dir/raw"
step "$sdnn" ingest cifar10 --out "$dir/store" "$dir/raw"
net="--net wrn-10-1 --epochs 8 --augment crop:2 --dropout 0 --quiet"
# shellcheck disable=SC2086 # $net is several words
step "$sdnn" train --data "$dir/store" --out "$dir/plain" $net
# shellcheck disable=SC2086
step "$sdnn" train --data "$dir/store" --out "$dir/subclass" $net --subclass --neglect-epochs 3
step "$sdnn" eval --run "$dir/plain" --data "$dir/store" --per-class
step "$sdnn" eval --run "$dir/subclass" --data "$dir/store" --against "$dir/plain" --confusion "$dir/confusion.csv"
echo
echo "$dir/ has raw/ (CIFAR-10 files), store/, confusion.csv, and the runs plain/ and subclass/."
