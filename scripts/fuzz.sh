#!/bin/sh
# Runs every fuzz target of the module for the given time each; the first that fails ends it.
set -eu
time=${1:-10s}
git ls-files '*_test.go' | xargs grep -oE '^func Fuzz[A-Za-z0-9_]+' | while IFS=: read -r file func; do
	name=${func#func }
	dir=$(dirname "$file")
	echo "== ./$dir $name"
	${GO:-go} test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time"
done
