#!/bin/sh
# Runs the tests on an NVIDIA card, TestGPU... of the packages under nn/cuda, in bin/gpu where they were built before, or built now.
#   scripts/test-gpu.sh build   only builds them, for a machine that has a card and no Go
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED="${CGO_ENABLED:-0}"
if [ "${1:-}" = build ] || command -v go >/dev/null 2>&1; then
	rm -rf bin/gpu
	for dir in $(git ls-files 'nn/cuda/*_test.go' | xargs grep -lE '^func TestGPU' | xargs -n1 dirname | sort -u); do
		mkdir -p "bin/gpu/$dir"
		go test -c -o "bin/gpu/$dir/gpu.test" "./$dir"
	done
fi
[ "${1:-}" != build ] || exit 0
[ -d bin/gpu ] || { echo "bin/gpu is missing: run scripts/test-gpu.sh build where Go is" >&2; exit 1; }
root=$PWD
failed=0
for test in $(find bin/gpu -name gpu.test | sort); do
	dir=${test#bin/gpu/}
	dir=${dir%/gpu.test}
	echo "=== $dir"
	(cd "$dir" && SDNN_TEST_GPU=1 "$root/$test" -test.v -test.count=1 -test.run '^TestGPU' -test.timeout 540s) || failed=1
done
exit $failed
