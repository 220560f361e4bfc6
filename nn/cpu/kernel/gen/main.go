// Command gen writes the amd64 assembly of package kernel with avo
// (github.com/mmcloughlin/avo). It is a module of its own so that the
// generator's dependencies stay out of sdnn's; run it through
//
//	go generate ./nn/cpu/kernel
//
// which calls it once for each generated pair of files:
//
//	go run -C gen . -file NAME -out ../NAME_amd64.s -stubs ../NAME_stubs_amd64.go -pkg kernel
//
// A family of kernels lives in NAME.go here and enters itself in generators.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/mmcloughlin/avo/build"
)

// generators maps the name of a family of kernels to the function that adds
// its text to avo's global context. Entries are made in init functions.
var generators = map[string]func(){}

func main() {
	name := flag.String("file", "", "family of kernels to write")
	flag.Parse()
	gen, ok := generators[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "gen: no family of kernels %q; there are %v\n", *name, slices.Sorted(maps.Keys(generators)))
		os.Exit(2)
	}
	build.ConstraintExpr("amd64")
	gen()
	build.Generate()
}
