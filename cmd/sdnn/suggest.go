package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// explainFlag words an error about a flag of cmd for people; other errors are returned as they are.
func explainFlag(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		typed := "--" + unknown.GetSpecifiedName()
		return fmt.Errorf("unknown flag %s%s", typed, didYouMean(typed, names))
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f := invalid.GetFlag()
		return fmt.Errorf("--%s %q: %s is expected", f.Name, invalid.GetValue(), flagKinds[f.Value.Type()])
	}
	return err
}

// flagKinds words pflag's names of types.
var flagKinds = map[string]string{
	"int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0", "float64": "a number", "bool": "true or false",
}

// didYouMean returns a clause that names the known word nearest to typed, or "" if none is near.
func didYouMean(typed string, known []string) string {
	best, least := "", max(2, len(strings.TrimLeft(typed, "-"))/3)+1
	for _, k := range known {
		if d := editDistance(typed, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// editDistance is the least number of insertions, deletions, replacements and swaps of neighbours that make b of a (optimal
// string alignment).
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// known checks that word is one of a few; what names it in the message.
func known(what, word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return usagef("%s %q is unknown%s; it is one of %s", what, word, didYouMean(word, words), strings.Join(words, ", "))
}

// wrappedFlags formats flags for --help.
func wrappedFlags(f *pflag.FlagSet) string { return strings.TrimRight(f.FlagUsagesWrapped(110), "\n") }
